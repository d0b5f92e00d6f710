"""Scripts: shortest pushes, and reading what others wrote."""

import pytest
from bitcoin.core.script import CScript
from hypothesis import given
from hypothesis import strategies as st

from anchor.btc.script import (
    OP_CHECKSIG,
    OP_RETURN,
    ScriptError,
    is_p2tr,
    number,
    op_return,
    operations,
    p2tr,
    push,
    push_number,
)


@pytest.mark.parametrize(
    ("data", "script"),
    [
        ("", "00"),
        ("01", "51"),
        ("10", "60"),
        ("11", "0111"),
        ("00", "0100"),
        ("81", "4f"),
        ("80", "0180"),
        ("07" * 75, "4b" + "07" * 75),
        ("07" * 76, "4c4c" + "07" * 76),
        ("07" * 255, "4cff" + "07" * 255),
        ("07" * 256, "4d0001" + "07" * 256),
        ("07" * 520, "4d0802" + "07" * 520),
    ],
)
def test_a_push_is_the_shortest_there_is(data, script):
    assert push(bytes.fromhex(data)).hex() == script


def test_a_push_beyond_consensus_is_refused():
    with pytest.raises(ScriptError, match="split it"):
        push(bytes(521))


@given(st.integers(-(2**39), 2**39))
def test_numbers_are_written_as_bitcoinlib_writes_them(value):
    assert push_number(value) == bytes(CScript([value]))


def test_script_numbers_carry_their_sign():
    assert [number(v).hex() for v in (0, 1, -1, 127, 128, -128, 144, 65535)] == [
        *("", "01", "81", "7f", "8000", "8080", "9000", "ffff00"),
    ]


@given(st.lists(st.binary(max_size=520), max_size=6))
def test_operations_give_back_what_was_pushed(items):
    script = b"".join(push(item) for item in items) + bytes([OP_CHECKSIG])
    seen = list(operations(script))
    assert seen[-1] == (OP_CHECKSIG, None)
    for item, (opcode, data) in zip(items, seen, strict=False):
        assert data == item or (data is None and push(item) == bytes([opcode]))


@pytest.mark.parametrize("script", ["01", "4c", "4c05aa", "4d01", "4d0500aa", "4effffff", "4effffffffaa"])
def test_a_push_that_is_cut_short_is_refused(script):
    with pytest.raises(ScriptError):
        list(operations(bytes.fromhex(script)))


def test_outputs_are_recognised():
    assert is_p2tr(p2tr(bytes(32)))
    assert not is_p2tr(p2tr(bytes(32)) + b"\0")
    assert op_return(b"abc") == bytes([OP_RETURN, 3]) + b"abc"
    with pytest.raises(ScriptError):
        p2tr(bytes(33))
