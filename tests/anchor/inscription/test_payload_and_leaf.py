"""The 56 bytes, and the script around them."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anchor.btc.codec import CodecError
from anchor.btc.script import operations
from anchor.inscription.payload import HEADER_SIZE, Payload, PayloadError
from anchor.inscription.script import LeafError, leaf_script, parse_leaf
from anchor.inscription.successor import SUCCESSOR_SIZE
from tests.anchor.inscription.batches import a_rotation, a_successor

KEY = bytes(range(1, 33))
PAYLOAD = Payload(7, 3, 41, 2, 5, bytes(range(32)))


def test_a_payload_is_56_bytes_in_the_documented_order():
    data = PAYLOAD.encode()
    assert data.hex() == ("484653541000000000070003000000290000000200000005" + bytes(range(32)).hex())
    assert len(data) == HEADER_SIZE == 56
    assert Payload.decode(data) == PAYLOAD


@pytest.mark.parametrize("flags", [0x20, 0x40, 0x80, 0xFF])
def test_flag_bits_that_no_version_defines_are_refused(flags):
    data = bytearray(PAYLOAD.encode())
    data[5] = flags
    with pytest.raises(PayloadError, match="no version defines"):
        Payload.decode(bytes(data))


@pytest.mark.parametrize("flags", [1, 2, 4, 16, 9, 10, 12, 24])
def test_a_payload_with_a_body_waits_for_a_version_that_reads_it(flags):
    data = bytearray(PAYLOAD.encode() + bytes(64))
    data[5] = flags
    with pytest.raises(PayloadError, match="no other flags"):
        Payload.decode(bytes(data))


def test_a_breaking_version_is_refused_and_a_compatible_one_is_read():
    data = bytearray(PAYLOAD.encode())
    data[4] = 0x20
    with pytest.raises(PayloadError, match="upgrade"):
        Payload.decode(bytes(data))
    data[4] = 0x11
    assert Payload.decode(bytes(data)).encode() == bytes(data)


@pytest.mark.parametrize("size", range(56))
def test_a_payload_cut_short_is_refused(size):
    with pytest.raises(CodecError):
        Payload.decode(PAYLOAD.encode()[:size])


def test_bytes_after_a_root_only_payload_are_refused():
    with pytest.raises(PayloadError):
        Payload.decode(PAYLOAD.encode() + b"\0")


ROTATION = a_rotation(sequence=41, previous_root=bytes(range(32))).payload()


def test_a_rotation_names_the_next_keys_in_135_bytes_after_the_head():
    data = ROTATION.encode()
    assert data[:HEADER_SIZE].hex() == (
        "484653541008000000010000000000290000000100000000" + bytes(range(32)).hex()
    )
    assert len(data) == HEADER_SIZE + SUCCESSOR_SIZE == 191
    assert Payload.decode(data) == ROTATION
    assert (ROTATION.successor, PAYLOAD.successor) == (a_successor(), None)


@pytest.mark.parametrize("size", range(191))
def test_a_rotation_cut_short_is_refused(size):
    with pytest.raises(CodecError):
        Payload.decode(ROTATION.encode()[:size])


@pytest.mark.parametrize("bit", range(8))
def test_a_rotation_with_a_changed_bit_is_another_one_or_none(bit):
    data = ROTATION.encode()
    for at in range(len(data)):
        changed = data[:at] + bytes([data[at] ^ 1 << bit]) + data[at + 1 :]
        try:
            found = Payload.decode(changed)
        except CodecError:
            continue
        assert found != ROTATION
        assert found.encode() == changed


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"count": 1}, "no leaves"),
        ({"count": 2}, "no leaves"),
        ({"epoch": 2}, "names the next, not 2"),
        ({"body": ROTATION.body + b"\0"}, "follow the end"),
        ({"body": b""}, "cut short"),
        ({"body": bytes(135)}, "compressed points"),
        ({"body": a_successor(3).encode()}, "names the next, not 3"),
        ({"flags": 0}, "root-only"),
        ({"flags": 0, "count": 2}, "root-only"),
        ({"flags": 0, "body": b""}, "has a manifest and a record"),
    ],
)
def test_a_rotation_is_a_successor_of_the_next_epoch_and_nothing_else(changes, reason):
    with pytest.raises(CodecError, match=reason):
        replace(ROTATION, **changes)


def test_another_magic_is_refused():
    with pytest.raises(PayloadError, match="HFST"):
        Payload.decode(b"HFSU" + PAYLOAD.encode()[4:])


@given(st.binary(min_size=2, max_size=2000))
def test_a_leaf_gives_back_its_payload_and_key(payload):
    assert parse_leaf(leaf_script(payload, KEY)) == (payload, KEY)


@given(st.binary(min_size=2, max_size=2000))
def test_every_push_of_a_leaf_is_minimal_and_at_most_255_bytes(payload):
    pushes = [data for _, data in operations(leaf_script(payload, KEY)) if data is not None]
    assert all(2 <= len(data) <= 255 for data in pushes)


@pytest.mark.parametrize("size", [256, 511, 766])
def test_a_last_chunk_of_one_byte_borrows_one(size):
    pushes = [data for _, data in operations(leaf_script(b"\x01" * size, KEY)) if data is not None]
    assert len(pushes[-2]) == 2
    assert len(pushes[-3]) == 254


@given(st.binary(max_size=120))
def test_random_bytes_are_a_leaf_only_if_they_are_the_canonical_one(script):
    try:
        payload, key = parse_leaf(script)
    except LeafError:
        return
    assert leaf_script(payload, key) == script


@pytest.mark.parametrize(
    "script",
    [
        b"",
        leaf_script(bytes(56), KEY)[:-1],
        leaf_script(bytes(56), KEY) + b"\x51",
        b"\x4d\x38\x00" + leaf_script(bytes(56), KEY)[1:],  # the push written long
        leaf_script(bytes(56), KEY).replace(b"\x75", b"\x6a"),
        bytes([56]) + bytes(56) + b"\x75" + b"\x21\x02" + KEY + b"\xac",  # a 33-byte key
        b"\x51\x75" + b"\x20" + KEY + b"\xac",
    ],
)
def test_a_script_that_is_nearly_a_leaf_is_refused(script):
    with pytest.raises(LeafError):
        parse_leaf(script)


@pytest.mark.parametrize("size", [0, 1, 400_001])
def test_a_payload_of_impossible_size_gets_no_leaf(size):
    with pytest.raises(LeafError):
        leaf_script(bytes(size), KEY)
