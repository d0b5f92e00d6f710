"""Records, their tree and leaf 0."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anchor.btc.codec import CodecError
from anchor.btc.hashing import sha256, tagged_hash
from anchor.proofs import tree
from anchor.proofs.manifest import BatchManifest, ManifestError, RollupEnd, leaves_of, manifest_of
from anchor.proofs.records import (
    RangeRecord,
    RecordError,
    conflict,
    decode_record,
    record_hash,
    sort_key,
)
from tests.anchor.inscription.batches import a_range

HASH = st.binary(min_size=32, max_size=32)
LEAVES = st.lists(HASH, min_size=1, max_size=40)


def test_a_range_record_has_251_bytes_and_survives_encoding():
    record = a_range(3, 9)
    assert len(record.encode()) == 251
    assert decode_record(record.encode()) == RangeRecord.decode(record.encode()) == record
    assert record_hash(record.encode()) == sha256(record.encode())


@pytest.mark.parametrize("size", [*range(251), 252, 2000])
def test_a_record_of_another_length_is_refused(size):
    with pytest.raises(CodecError):
        decode_record((a_range().encode() + bytes(2000))[:size])


@pytest.mark.parametrize("kind", [0, 2, 255])
def test_an_unknown_kind_is_refused(kind):
    data = bytes([kind]) + a_range().encode()[1:]
    for decode in (decode_record, RangeRecord.decode):
        with pytest.raises(RecordError):
            decode(data)


@pytest.mark.parametrize(
    "change",
    [
        {"rollup_id": 0},
        {"rollup_id": 1 << 32},
        {"first": 0},
        {"last": 0},
        {"first": 11},
        {"last": 1 << 64},
        {"state_before": bytes(31)},
        {"validators_root": b""},
        {"proof_digest": bytes([1]) * 32},
        {"proof_kind": 1 << 16},
        {"final_height": -1},
    ],
)
def test_a_record_out_of_bounds_cannot_exist(change):
    with pytest.raises(RecordError):
        replace(a_range(), **change)


def test_a_proof_digest_goes_with_a_proof_kind():
    assert replace(a_range(), proof_kind=1, proof_digest=bytes([1]) * 32).proof_kind == 1


def test_two_records_for_one_place_are_a_conflict_and_a_repetition_is_none():
    assert conflict(a_range(), replace(a_range(), tx_root=bytes(32)))
    assert not conflict(a_range(), a_range())
    assert not conflict(a_range(0), a_range(1))
    assert not conflict(a_range(0, 1), a_range(0, 2))


def test_leaf_and_node_are_the_tagged_hashes_of_the_design():
    assert tree.leaf(5, bytes(32)) == tagged_hash("holdfast/leaf/v1", b"\0\0\0\5", bytes(32))
    assert tree.node(b"a" * 32, b"b" * 32) == tagged_hash("holdfast/node/v1", b"a" * 32, b"b" * 32)


def test_an_odd_node_is_promoted_and_never_duplicated():
    a, b, c = (bytes([n]) * 32 for n in (1, 2, 3))
    assert tree.root([a]) == a
    assert tree.root([a, b, c]) == tree.node(tree.node(a, b), c)
    assert tree.root([a, b, c]) != tree.root([a, b, c, c])
    assert tree.branch([a, b, c], 2) == (tree.node(a, b),)


@given(LEAVES, st.data())
def test_every_branch_leads_to_the_root(leaves, data):
    index = data.draw(st.integers(0, len(leaves) - 1))
    siblings = tree.branch(leaves, index)
    assert tree.root_from(leaves[index], index, len(leaves), siblings) == tree.root(leaves)


@given(st.lists(HASH, min_size=2, max_size=40, unique=True), st.data())
def test_a_branch_leads_nowhere_else(leaves, data):
    index = data.draw(st.integers(0, len(leaves) - 1))
    siblings = tree.branch(leaves, index)
    at = data.draw(st.integers(0, len(siblings) - 1))
    wrong = list(siblings)
    wrong[at] = bytes([wrong[at][0] ^ 1]) + wrong[at][1:]
    assert tree.root_from(leaves[index], index, len(leaves), wrong) != tree.root(leaves)
    for length in (siblings[:-1], (*siblings, bytes(32))):
        with pytest.raises(tree.TreeError):
            tree.root_from(leaves[index], index, len(leaves), length)
    other = data.draw(st.integers(0, len(leaves) - 1).filter(lambda i: i != index))
    try:
        assert tree.root_from(leaves[index], other, len(leaves), siblings) != tree.root(leaves)
    except tree.TreeError:
        pass


@pytest.mark.parametrize(
    "call",
    [
        lambda: tree.root([]),
        lambda: tree.root([bytes(31)]),
        lambda: tree.branch([bytes(32)], 1),
        lambda: tree.branch([bytes(32)], -1),
        lambda: tree.node(bytes(31), bytes(32)),
        lambda: tree.root_from(bytes(32), 1, 1, ()),
        lambda: tree.root_from(bytes(32), 0, 0, ()),
        lambda: tree.root_from(bytes(31), 0, 1, ()),
        lambda: tree.root_from(bytes(32), 0, (1 << 32) + 1, (bytes(32),) * 33),
    ],
)
def test_impossible_trees_and_places_are_refused(call):
    with pytest.raises(tree.TreeError):
        call()


def test_the_manifest_says_what_the_batch_contains():
    records = [a_range(0, 1), a_range(1, 1), a_range(4, 3)]
    manifest = manifest_of(bytes(32), 2, 7, records)
    assert (manifest.lane, manifest.sequence, manifest.count) == (2, 7, 4)
    ends = [RollupEnd(1, 20, records[1].state_after), RollupEnd(3, 50, records[2].state_after)]
    assert manifest.rollups == tuple(ends)
    assert BatchManifest.decode(manifest.encode()) == manifest
    leaves = leaves_of(manifest, records)
    assert leaves[0] == tree.leaf(0, sha256(manifest.encode()))
    assert leaves[1:] == tuple(tree.leaf(r.rollup_id, sha256(r.encode())) for r in records)


def test_leaves_are_sorted_by_rollup_kind_subject_start():
    assert sort_key(a_range(2, 1)) < sort_key(a_range(0, 2)) < sort_key(a_range(1, 2))
    for bad in ([a_range(0, 2), a_range(0, 1)], [a_range(1), a_range(0)], [a_range(), a_range()], []):
        with pytest.raises(ManifestError):
            manifest_of(bytes(32), 0, 1, bad)


@pytest.mark.parametrize(
    "change",
    [
        {"version": 2},
        {"previous_root": bytes(31)},
        {"sequence": 0},
        {"count": 1},
        {"rollups": (RollupEnd(2, 1, bytes(32)), RollupEnd(1, 1, bytes(32)))},
        {"rollups": (RollupEnd(1, 1, bytes(32)),) * 2},
        {"rollups": (RollupEnd(0, 1, bytes(32)),)},
        {"rollups": (RollupEnd(1, 1, bytes(31)),)},
        {"rollups": tuple(RollupEnd(n, 1, bytes(32)) for n in range(1, 514)), "count": 600},
    ],
)
def test_a_manifest_out_of_bounds_cannot_exist(change):
    with pytest.raises(ManifestError):
        replace(manifest_of(bytes(32), 0, 1, [a_range()]), **change)


@given(st.data())
def test_a_manifest_cut_short_or_followed_by_bytes_is_refused(data):
    raw = manifest_of(bytes(32), 0, 1, [a_range(0, 1), a_range(0, 2)]).encode()
    cut = data.draw(st.integers(0, len(raw) - 1))
    for bad in (raw[:cut], raw + b"\0", b"\1" + raw[1:]):
        with pytest.raises(CodecError):
            BatchManifest.decode(bad)
