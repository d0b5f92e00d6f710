"""The canonical codec."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anchor.btc.codec import CodecError, Reader, Writer

VALUES = st.tuples(
    st.integers(0, 2**8 - 1),
    st.integers(0, 2**16 - 1),
    st.integers(0, 2**32 - 1),
    st.integers(0, 2**64 - 1),
    st.binary(min_size=4, max_size=4),
    st.binary(max_size=40),
    st.text(max_size=20),
)


def write(values) -> bytes:
    a, b, c, d, fixed, var, text = values
    return Writer().u8(a).u16(b).u32(c).u64(d).fixed(fixed, 4).var(var).text(text).done()


def read(data: bytes):
    r = Reader(data)
    values = (r.u8(), r.u16(), r.u32(), r.u64(), r.fixed(4), r.var(40), r.text(80))
    r.end()
    return values


@given(VALUES)
def test_what_is_written_is_read_back(values):
    assert read(write(values)) == values


@given(VALUES, st.data())
def test_every_truncation_and_every_tail_is_refused(values, data):
    encoded = write(values)
    cut = data.draw(st.integers(0, len(encoded) - 1))
    with pytest.raises(CodecError):
        read(encoded[:cut])
    with pytest.raises(CodecError, match="follow the end"):
        read(encoded + data.draw(st.binary(min_size=1, max_size=3)))


def test_integers_are_big_endian_and_bytes_carry_their_length():
    assert (
        Writer().u16(1).u32(2).var(b"xy").text("é").done().hex()
        == "000100000002000000027879" + "00000002c3a9"
    )


@pytest.mark.parametrize("bad", [("u8", 256), ("u16", -1), ("u32", 2**32), ("u64", 2**64), ("count", -1)])
def test_numbers_that_do_not_fit_are_refused(bad):
    with pytest.raises(CodecError, match="does not fit"):
        getattr(Writer(), bad[0])(bad[1])


def test_bounds_hold_for_writers_and_readers():
    with pytest.raises(CodecError, match="32 bytes wanted"):
        Writer().fixed(b"x", 32)
    with pytest.raises(CodecError, match="UTF-8"):
        Writer().text("\ud800")
    with pytest.raises(CodecError, match="at most 3"):
        Reader(Writer().var(b"four").done()).var(3)
    with pytest.raises(CodecError, match="at most 9"):
        Reader(b"\xff\xff\xff\xff").count(9)
    with pytest.raises(CodecError, match="UTF-8"):
        Reader(Writer().var(b"\xff").done()).text(9)
    with pytest.raises(CodecError, match="cut short"):
        Reader(b"").fixed(-1)
