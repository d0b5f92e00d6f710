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
    RotationFound,
    VoidFound,
    apply_block,
    apply_txs,
)
from anchor.inscription.script import leaf_script
from tests.anchor.inscription.batches import TIP, a_batch, a_range, a_rotation, a_successor
from tests.anchor.inscription.core import CoreChain
from tests.anchor.inscription.whole_key import ANCHOR, NEXT, STRANGER, WholeKey

KEY = ANCHOR.key33
START = LaneState(0, 1, KEY, TIP, 1_000_000)


def place_of(state: LaneState):
    return {
        "tip": state.tip,
        "tip_value": state.tip_value,
        "sequence": state.sequence + 1,
        "previous_root": state.root,
        "epoch": state.epoch,
    }


def next_package(state: LaneState, *records, key: WholeKey = ANCHOR):
    package = build(a_batch(*records, **place_of(state)), key.key33, [1])
    return package, key.sign_package(package)


def rotation_of(state: LaneState, key: WholeKey = ANCHOR, to: WholeKey = NEXT):
    successor = a_successor(state.epoch + 1, to.key33)
    package = build(a_rotation(successor=successor, **place_of(state)), key.key33, [1])
    return package, key.sign_package(package)


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
    out = signed.commit.outputs[0]
    place = (0, 3, signed.commit.txid, void.txid, chain.height)
    assert found == VoidFound(*place, 111 * 4, out.value, out.script)
    assert (lane.sequence, lane.root) == (3, root)
    assert lane.tip == void.outpoint(0)


def test_a_rotation_hands_the_lane_to_the_next_key_and_its_own_hands_it_on(chain, lane):
    _, signed = next_package(lane, a_range(0))
    lane, _ = apply_block(lane, chain.mine((signed.commit, signed.reveals[0])), chain.height)
    root = lane.root
    package, signed = rotation_of(lane)
    lane, events = apply_block(lane, chain.mine((signed.commit,)), chain.height)
    assert (events, lane.epoch, lane.key33) == ((), 1, KEY)
    lane, (found,) = apply_block(lane, chain.mine((signed.reveals[3],)), chain.height)
    assert found == RotationFound(
        lane=0,
        sequence=2,
        successor=a_successor(),
        commit=signed.commit.txid,
        commit_height=chain.height - 1,
        txid=signed.reveals[3].txid,
        height=chain.height,
        fee=8 * 288,
        payload=package.payload,
    )
    assert (lane.epoch, lane.key33, lane.sequence, lane.root) == (2, NEXT.key33, 2, root)
    assert LaneState.decode(lane.encode()) == lane

    package, signed = next_package(lane, a_range(1), key=NEXT)
    lane, (found,) = apply_block(lane, chain.mine((signed.commit, signed.reveals[0])), chain.height)
    assert (found.payload.epoch, found.payload.sequence) == (2, 3)
    third = WholeKey((77).to_bytes(32, "big"))
    _, signed = rotation_of(lane, NEXT, third)
    lane, (found,) = apply_block(lane, chain.mine((signed.commit, signed.reveals[0])), chain.height)
    assert (found.successor.epoch, lane.key33, lane.sequence) == (3, third.key33, 4)
    assert lane.halted is None


def test_a_rotation_may_be_a_lanes_first_anchor(chain, lane):
    _, signed = rotation_of(lane)
    lane, (found,) = apply_block(lane, chain.mine((signed.commit, signed.reveals[0])), chain.height)
    assert (found.sequence, found.payload.root, lane.root) == (1, bytes(32), bytes(32))


def test_a_voided_rotation_leaves_the_old_key_and_is_tried_again(chain, lane):
    package, signed = rotation_of(lane)
    void = ANCHOR.sign_void(build_void(package, 2))
    lane, (found,) = apply_block(lane, chain.mine((signed.commit, void)), chain.height)
    assert isinstance(found, VoidFound)
    assert (lane.epoch, lane.key33, lane.sequence) == (1, KEY, 1)
    _, signed = rotation_of(lane)
    lane, (found,) = apply_block(lane, chain.mine((signed.commit, signed.reveals[0])), chain.height)
    assert (found.sequence, lane.key33) == (2, NEXT.key33)


def test_a_reorg_of_a_rotation_gives_the_lane_back_to_the_old_key(chain, lane):
    _, signed = rotation_of(lane)
    apply_block(lane, chain.mine((signed.commit, signed.reveals[0])), chain.height)
    chain.fork(1)
    chain.mine()
    _, other = next_package(lane, a_range(0))
    lane, (found,) = apply_block(lane, chain.mine((other.commit, other.reveals[0])), chain.height)
    assert isinstance(found, AnchorFound)
    assert (lane.epoch, lane.key33, lane.halted) == (1, KEY, None)


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


ROTATION, ROTATED = rotation_of(START)
TO_NEXT = (TxOut(REVEAL.outputs[0].value, tip_script(NEXT.key33)),)


def rotated(outputs=TO_NEXT, **changes) -> list[Tx]:
    """A hand-made rotation, signed by the old key."""
    leaf = leaf_script(replace(ROTATION.payload, **changes).encode(), KEY[1:])
    return reveal_with(leaf, outputs=outputs)


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
    "a rotation that keeps the old tip": rotated(REVEAL.outputs),
    "a rotation to another key than it names": rotated(
        (replace(TO_NEXT[0], script=tip_script(STRANGER.key33)),)
    ),
    "a batch of records that hands the lane on": reveal_with(payload_with(), outputs=TO_NEXT),
    "a rotation with a root of its own": rotated(root=bytes([1]) * 32),
    "a rotation of another epoch": rotated(epoch=2, body=a_successor(3).encode()),
    "a rotation to the lane's own key": rotated(REVEAL.outputs, body=a_successor(anchor=KEY).encode()),
    "a rotation out of turn": rotated(sequence=2),
    "a void that hands the lane on": [
        ROTATED.commit,
        replace(
            ROTATED.reveals[0],
            inputs=(replace(ROTATED.reveals[0].inputs[0], sequence=0xFFFFFFFC, witness=(bytes(64),)),),
        ),
    ],
    "another internal key": reveal_with(payload_with(), key33=STRANGER.key33),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_what_no_builder_of_ours_makes_halts_the_lane(name):
    state, events = apply_txs(START, FOREIGN[name], 7)
    assert isinstance(events[-1], ForeignSpend)
    assert (events[-1].txid, events[-1].height) == (FOREIGN[name][-1].txid, 7)
    assert state.halted == events[-1].reason
    assert apply_txs(state, [COMMIT, REVEAL], 8) == (state, ())


def test_the_old_key_signs_nothing_after_the_rotation():
    state, _ = apply_txs(START, [ROTATED.commit, ROTATED.reveals[0]], 7)
    assert state.halted is None
    _, late = next_package(replace(state, key33=KEY, epoch=1), a_range(0))
    state, events = apply_txs(state, [late.commit, late.reveals[0]], 8)
    assert isinstance(events[-1], ForeignSpend)
    assert state.halted is not None


def test_a_hand_made_rotation_is_good_where_it_is_as_the_builder_makes_it():
    state, (found,) = apply_txs(START, rotated(), 7)
    assert isinstance(found, RotationFound)
    assert state.halted is None


def test_the_shapes_above_differ_from_a_good_one_only_in_what_they_name():
    state, (found,) = apply_txs(START, reveal_with(payload_with()), 7)
    assert isinstance(found, AnchorFound)
    assert state.halted is None
