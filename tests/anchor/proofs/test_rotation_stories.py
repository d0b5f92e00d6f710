"""Random stories of a lane: anchors, voids, rotations and reorgs in any order, on Core's own chain."""

from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anchor.btc.network import REGTEST
from anchor.inscription.reader import AnchorFound, RotationFound
from anchor.proofs.coverage import cover
from anchor.proofs.proof import verify
from anchor.proofs.refused import ProofRefused
from anchor.proofs.rotation_file import RotationProofs
from tests.anchor.inscription.batches import a_range
from tests.anchor.proofs.moving import LANE_KEYS, Moving, read_again

RANGES = [a_range(number) for number in range(40)]
LAST = max(LANE_KEYS)
act = st.one_of(
    st.tuples(st.just("anchor"), st.booleans()),
    st.tuples(st.just("void"), st.booleans()),
    st.tuples(st.just("rotate"), st.booleans()),
    st.tuples(st.just("fork"), st.integers(1, 4)),
)


def perform(it: Moving, acts: list[tuple[str, int]]) -> None:
    """Play a story; the lane goes on from wherever a reorg leaves it."""
    for what, how in acts:
        if it.state.pending is not None:  # a reorg took the reveal only: bring it back
            it.read(it.tx_spending(it.state.pending.outpoint))
        next_range = sum(isinstance(f, AnchorFound) for f in it.found)
        match what:
            case "anchor":
                it.anchor(next_range, apart=bool(how))
            case "void":
                it.anchor(next_range, void=True, apart=bool(how))
            case "rotate" if it.state.epoch < LAST:
                it.rotate(apart=bool(how))
            case "fork":
                it.fork(how)


@settings(max_examples=20, deadline=None)
@given(st.lists(act, min_size=1, max_size=12))
def test_whatever_happened_all_read_the_same_lane_and_every_anchor_is_proven(
    acts: list[tuple[str, int]],
) -> None:
    with TemporaryDirectory() as folder:
        it = Moving.begin(Path(folder))
        perform(it, acts)
        it.core.mine()
        state, found = read_again(it)
        assert state == it.state
        assert found == it.found
        payloads = [f.payload for f in it.found if isinstance(f, AnchorFound)]
        covered = cover(payloads, RANGES, bytes(32))
        assert (covered.conflict, covered.next) == (None, len(payloads))
        prove_all(it)


def prove_all(it: Moving) -> None:
    data = it.rotations().encode()
    assert RotationProofs.decode(data) == it.rotations()
    headers, turns = it.core.raw_headers, {}
    for f in it.found:
        if isinstance(f, RotationFound):
            turns[f.successor.epoch - 1] = f.height
    for f in it.found:
        if isinstance(f, AnchorFound):
            proof = it.proof(f.payload.sequence).encode()
            said = verify(proof, headers, it.activation, REGTEST, rotations=data)
            assert (said.epoch, said.key) == (f.payload.epoch, LANE_KEYS[f.payload.epoch].key33[1:])
            assert said.succeeded == turns.get(said.epoch)
            if said.epoch > 1:
                with pytest.raises(ProofRefused, match="give --rotations"):
                    verify(proof, headers, it.activation, REGTEST)
