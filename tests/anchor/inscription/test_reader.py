"""Anchors are found again in blocks that Core's consensus accepted, reorgs included."""

from dataclasses import replace

import pytest

from anchor.btc.codec import CodecError
from anchor.btc.script import p2tr
from anchor.btc.taproot import leaf_hash, sighash
from anchor.btc.tx import Tx, TxIn, TxOut
from anchor.inscription.builder import build, build_void
from anchor.inscription.lane import commit_output, tip_script
from anchor.inscription.reader import (
    AnchorFound,
    ForeignSpend,
    LaneState,
    Pending,
    VoidFound,
    apply_block,
    apply_txs,
)
from anchor.inscription.script import leaf_script
from tests.anchor.inscription.batches import TIP, a_batch, a_range
from tests.anchor.inscription.core import CoreChain
from tests.anchor.inscription.whole_key import ANCHOR, STRANGER

KEY = ANCHOR.key33
START = LaneState(0, 1, KEY, TIP, 1_000_000)


def next_package(state: LaneState, *records):
    batch = a_batch(
        *records,
        tip=state.tip,
        tip_value=state.tip_value,
        sequence=state.sequence + 1,
        previous_root=state.root,
    )
    package = build(batch, KEY, [1])
    return package, ANCHOR.sign_package(package)


@pytest.fixture
def chain(tmp_path):
    return CoreChain(tmp_path)


@pytest.fixture
def lane(chain):
    """The state of a lane whose tip is a ripe coin on `chain`."""
    outpoint = chain.coins(tip_script(KEY), 10**9)
    return LaneState(0, 1, KEY, outpoint, chain.blocks[1].txs[0].outputs[0].value)


def test_two_anchors_and_a_void_are_read_back_from_cores_chain(chain, lane):
    package, signed = next_package(lane, a_range(0))
    lane, events = apply_block(lane, chain.mine((signed.commit,)), chain.height)
    assert events == ()
    assert lane.pending is not None
    lane, (found,) = apply_block(lane, chain.mine((signed.reveals[2],)), chain.height)
    assert isinstance(found, AnchorFound)
    assert (found.payload, found.txid) == (package.payload, signed.reveals[2].txid)
    assert (found.commit_height, found.height, found.fee) == (chain.height - 1, chain.height, 254 * 4)
    assert (lane.sequence, lane.root, lane.pending) == (1, package.payload.root, None)

    package, signed = next_package(lane, a_range(1))
    lane, (found,) = apply_block(lane, chain.mine((signed.commit, signed.reveals[0])), chain.height)
    assert (found.payload.sequence, found.fee) == (2, 254)

    package, signed = next_package(lane, a_range(2))
    void = ANCHOR.sign_void(build_void(package, 2))
    root = lane.root
    lane, (found,) = apply_block(lane, chain.mine((signed.commit, void)), chain.height)
    assert found == VoidFound(0, 3, signed.commit.txid, void.txid, chain.height, found.fee)
    assert (lane.sequence, lane.root) == (3, root)
    assert lane.tip == void.outpoint(0)


def test_a_reorg_is_going_back_to_the_state_of_the_fork(chain, lane):
    at_fork = LaneState.decode(lane.encode())
    package, signed = next_package(lane, a_range(0))
    lost, (first,) = apply_block(lane, chain.mine((signed.commit, signed.reveals[0])), chain.height)
    chain.fork(1)
    chain.mine()
    block = chain.mine((signed.commit, signed.reveals[5]))
    lane, (second,) = apply_block(at_fork, block, chain.height)
    assert first.payload == second.payload == package.payload
    assert first.txid != second.txid
    assert lane.tip != lost.tip


def test_what_does_not_touch_the_lane_changes_nothing(chain, lane):
    assert apply_block(lane, chain.mine(), chain.height) == (lane, ())


@pytest.mark.parametrize(
    "state",
    [
        START,
        replace(START, pending=Pending(TIP, 5, p2tr(bytes(32)), 9)),
        replace(START, halted="a stranger", sequence=7, root=bytes([1]) * 32),
    ],
)
def test_a_state_survives_encoding_and_refuses_anything_else(state):
    raw = state.encode()
    assert LaneState.decode(raw) == state
    for bad in (raw[:-1], raw + b"\0", b""):
        with pytest.raises(CodecError):
            LaneState.decode(bad)


PACKAGE, SIGNED = next_package(START, a_range(0))
COMMIT, REVEAL = SIGNED.commit, SIGNED.reveals[0]


def reveal_with(leaf: bytes, *, key33: bytes = KEY, **changes) -> list[Tx]:
    """A commit to `leaf` under P and a reveal of it: what someone with P's signature could have made."""
    script, control = commit_output(key33, leaf)
    commit = replace(COMMIT, outputs=(TxOut(COMMIT.outputs[0].value, script),))
    bare = Tx(3, (TxIn(commit.outpoint(0), 0xFFFFFFFD),), REVEAL.outputs)
    bare = replace(bare, **changes)
    message = sighash(bare, 0, [commit.outputs[0]], leaf=leaf_hash(leaf))
    return [commit, bare.with_witness(0, (ANCHOR.sign(message, "internal"), leaf, control))]


def payload_with(**changes) -> bytes:
    return leaf_script(replace(PACKAGE.payload, **changes).encode(), KEY[1:])


def _elsewhere(reveal: Tx) -> Tx:
    """The same witness on an input that spends COMMIT."""
    return replace(reveal, inputs=(replace(reveal.inputs[0], outpoint=COMMIT.outpoint(0)),))


def _input(**changes) -> tuple[TxIn, ...]:
    return (replace(REVEAL.inputs[0], **changes),)


FOREIGN = {
    "a commit of version 2": [replace(COMMIT, version=2)],
    "a commit with two outputs": [replace(COMMIT, outputs=COMMIT.outputs * 2)],
    "a commit with a lock time": [replace(COMMIT, lock_time=1)],
    "a commit with another sequence": [
        replace(COMMIT, inputs=(replace(COMMIT.inputs[0], sequence=0xFFFFFFFF),))
    ],
    "a commit to the tip itself": [replace(COMMIT, outputs=(TxOut(9, tip_script(KEY)),))],
    "a commit that is no taproot output": [replace(COMMIT, outputs=(TxOut(9, b"\x51"),))],
    "a commit whose signature names a hash type": [COMMIT.with_witness(0, (bytes(65),))],
    "a reveal to another script": [
        COMMIT,
        replace(REVEAL, outputs=(replace(REVEAL.outputs[0], script=b"\x51"),)),
    ],
    "a reveal with a void's sequence": [COMMIT, replace(REVEAL, inputs=_input(sequence=0xFFFFFFFC))],
    "a void with a reveal's sequence": [COMMIT, REVEAL.with_witness(0, (bytes(64),))],
    "a reveal with an annex": [COMMIT, REVEAL.with_witness(0, (*REVEAL.inputs[0].witness, b"\x50"))],
    "another lane's payload": reveal_with(payload_with(lane=1)),
    "a sequence number too far": reveal_with(payload_with(sequence=2)),
    "another epoch": reveal_with(payload_with(epoch=2)),
    "no payload at all": reveal_with(leaf_script(bytes(56), KEY[1:])),
    "a leaf that is no leaf of ours": reveal_with(b"\x51"),
    "a leaf of another key": reveal_with(leaf_script(PACKAGE.payload.encode(), STRANGER.key33[1:])),
    "a leaf that the commit does not commit to": [COMMIT, _elsewhere(reveal_with(payload_with(count=9))[1])],
    "another internal key": reveal_with(payload_with(), key33=STRANGER.key33),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_what_no_builder_of_ours_makes_halts_the_lane(name):
    state, events = apply_txs(START, FOREIGN[name], 7)
    assert isinstance(events[-1], ForeignSpend)
    assert (events[-1].txid, events[-1].height) == (FOREIGN[name][-1].txid, 7)
    assert state.halted == events[-1].reason
    assert apply_txs(state, [COMMIT, REVEAL], 8) == (state, ())


def test_the_shapes_above_differ_from_a_good_one_only_in_what_they_name():
    state, (found,) = apply_txs(START, reveal_with(payload_with()), 7)
    assert isinstance(found, AnchorFound)
    assert state.halted is None
