"""What the signers of the anchor key are asked for."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anchor.btc.codec import CodecError
from anchor.inscription.batch import (
    MAX_BATCH,
    MAX_RECORDS,
    AnchorBatch,
    BatchError,
    RotationBatch,
    decode_request,
)
from anchor.inscription.payload import PayloadError
from tests.anchor.inscription.batches import a_batch, a_range, a_rotation, a_successor


def test_a_batch_survives_encoding():
    batch = a_batch(a_range(0), a_range(1), a_range(0, 2))
    assert AnchorBatch.decode(batch.encode()) == batch


@given(st.data())
def test_a_batch_cut_short_or_followed_by_bytes_is_refused(data):
    raw = a_batch(a_range(0), a_range(1)).encode()
    cut = data.draw(st.integers(0, len(raw) - 1))
    with pytest.raises(CodecError):
        AnchorBatch.decode(raw[:cut])
    with pytest.raises(CodecError):
        AnchorBatch.decode(raw + b"\0")


@given(st.binary(max_size=300))
def test_random_bytes_never_crash_the_decoder(data):
    with pytest.raises(CodecError):
        AnchorBatch.decode(data)


@pytest.mark.parametrize(
    "records",
    [
        (a_range(1), a_range(0)),
        (a_range(0), a_range(0)),
        (a_range(0, 2), a_range(0, 1)),
        (a_range(0), a_range(2)),
        (),
    ],
)
def test_records_out_of_order_doubled_or_with_a_gap_are_refused(records):
    with pytest.raises(CodecError):
        a_batch(records=tuple(r.encode() for r in records), evidence=(b"",) * len(records))


@pytest.mark.parametrize(
    "change",
    [
        {"evidence": ()},
        {"evidence": (bytes(70_000),)},
        {"commit_fee": 110},
        {"commit_fee": 20_000},
        {"sequence": 0},
        {"lane": 65536},
        {"previous_root": bytes(31)},
        {"tip_value": -1},
        {"tip_value": 2_100_000_000_000_001},
    ],
)
def test_a_batch_out_of_bounds_is_refused(change):
    with pytest.raises(BatchError):
        a_batch(**change)


def test_a_batch_of_the_greatest_size_is_still_root_only():
    records = [a_range(n) for n in range(MAX_RECORDS)]
    batch = a_batch(*records)
    assert batch.payload().count == MAX_RECORDS + 1
    assert len(batch.payload().encode()) == 56
    with pytest.raises(BatchError, match="1 to 512"):
        a_batch(*records, a_range(MAX_RECORDS))


def test_a_request_above_a_mebibyte_is_refused_on_both_ends():
    batch = a_batch(*(a_range(n) for n in range(20)), evidence=(bytes(60_000),) * 20)
    with pytest.raises(BatchError, match="fewer records"):
        batch.encode()
    with pytest.raises(BatchError, match="at most"):
        AnchorBatch.decode(bytes(MAX_BATCH + 1))


def test_records_of_several_rollups_stand_under_rollup_id_zero():
    assert a_batch(a_range(0, 1)).payload().rollup_id == 1
    assert a_batch(a_range(0, 1), a_range(0, 2)).payload().rollup_id == 0


def test_a_request_is_a_batch_of_records_or_a_rotation():
    for request in (a_batch(), a_rotation()):
        assert decode_request(request.encode()) == request
    with pytest.raises(BatchError, match="kind 2"):
        AnchorBatch.decode(a_rotation().encode())
    with pytest.raises(BatchError, match="kind 1"):
        RotationBatch.decode(a_batch().encode())
    for kind in (0, 3, 255):
        with pytest.raises(BatchError, match=f"kind {kind}"):
            decode_request(bytes([kind]) + a_rotation().encode()[1:])


def test_a_rotation_cut_short_changed_or_followed_by_bytes_is_another_one_or_none():
    rotation, raw = a_rotation(), a_rotation().encode()
    for at in range(len(raw)):
        with pytest.raises(CodecError):
            decode_request(raw[:at])
        for bit in range(8):
            changed = raw[:at] + bytes([raw[at] ^ 1 << bit]) + raw[at + 1 :]
            try:
                assert decode_request(changed) != rotation
                assert decode_request(changed).encode() == changed
            except CodecError:
                pass
    with pytest.raises(CodecError):
        decode_request(raw + b"\0")


@pytest.mark.parametrize(
    "change",
    [{"commit_fee": 110}, {"sequence": 0}, {"lane": 65536}, {"previous_root": bytes(31)}, {"rollup_id": 0}],
)
def test_a_rotation_out_of_bounds_is_refused(change):
    with pytest.raises(BatchError):
        a_rotation(**change)


@pytest.mark.parametrize(("epoch", "successor"), [(1, 1), (1, 3), (2, 2), (3, 2)])
def test_a_rotation_goes_to_the_next_epoch_only(epoch, successor):
    with pytest.raises(PayloadError, match=f"names the next, not {successor}"):
        a_rotation(epoch=epoch, successor=a_successor(successor))


def test_a_rotation_repeats_the_last_root_and_counts_nothing():
    payload = a_rotation(previous_root=b"\x07" * 32, sequence=9).payload()
    assert (payload.root, payload.count, payload.sequence) == (b"\x07" * 32, 0, 9)
