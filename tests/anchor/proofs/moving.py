"""A lane that two rotations hand on, on Core's own chain: epochs 1, 2 and 3, with anchors in each and a void."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from anchor.btc.amounts import Height
from anchor.btc.curve import schnorr_sign, x_only_from_secret
from anchor.btc.hashing import sha256
from anchor.btc.ids import OutPoint
from anchor.btc.network import REGTEST
from anchor.btc.tx import Tx
from anchor.inscription.batch import AnchorBatch, RotationBatch
from anchor.inscription.builder import build, build_void
from anchor.inscription.lane import tip_script
from anchor.inscription.reader import AnchorFound, LaneState, RotationFound, VoidFound, apply_block, apply_txs
from anchor.inscription.successor import Successor
from anchor.proofs.proof_file import AnchorProof
from anchor.proofs.proof_maker import make_proof
from anchor.proofs.rotation_file import RotationProofs
from anchor.proofs.rotation_maker import make_rotation, sequence_of, steps_between
from anchor.rollup.activation import Activation
from anchor.rollup.succession import SignedSuccession, Succession
from tests.anchor.inscription.batches import a_batch, a_range
from tests.anchor.inscription.core import CoreChain
from tests.anchor.inscription.whole_key import ANCHOR, NEXT, WholeKey
from tests.anchor.proofs.story import an_activation

THIRD = WholeKey((9).to_bytes(32, "big"))
LATER = range(4, 9)
LANE_KEYS = {1: ANCHOR, 2: NEXT, 3: THIRD} | {n: WholeKey((500 + n).to_bytes(32, "big")) for n in LATER}
MINT_KEYS = {n: WholeKey((40 + n).to_bytes(32, "big")) for n in range(2, 9)}
MINT_KEYS[1] = WholeKey((4).to_bytes(32, "big"))  # as in `an_activation`


def host_key(epoch: int, place: int) -> bytes:
    """A host key's secret."""
    return sha256(b"host %d %d" % (epoch, place))


def succeed(activation: Activation, epoch: int, previous: bytes, **changes) -> SignedSuccession:
    """Name epoch `epoch`: three operators and the mint key before them sign."""
    record = Succession(
        rollup_id=activation.rollup_id,
        genesis_hash=activation.genesis_hash,
        network=activation.network,
        epoch=epoch,
        previous=previous,
        committee_hash=sha256(b"committee %d" % epoch),
        host_keys=tuple(x_only_from_secret(host_key(epoch, n)) for n in range(3)),
        threshold=2,
        treasury_key=WholeKey((30 + epoch).to_bytes(32, "big")).key33,
        anchor_key=LANE_KEYS[epoch].key33,
        mint_key=MINT_KEYS[epoch].key33,
    )
    return sign(replace(record, **changes))


def sign(record: Succession) -> SignedSuccession:
    """Every operator's signature, and that of the mint key before."""
    hosts = (schnorr_sign(host_key(record.epoch, n), record.hash, bytes(32)) for n in range(3))
    mint = MINT_KEYS[record.epoch - 1].sign(record.message, "internal")
    return SignedSuccession(record, tuple(hosts), mint)


@dataclass
class Moving:
    """The lane as a node reads it, block by block."""

    core: CoreChain
    activation: Activation
    state: LaneState
    found: list[AnchorFound | RotationFound | VoidFound]
    batches: dict[int, AnchorBatch]
    successions: dict[int, SignedSuccession]
    states: dict[int, LaneState] = field(default_factory=dict)
    spent: dict[OutPoint, Tx] = field(default_factory=dict)
    held: list[Tx] | None = None

    @property
    def start(self) -> LaneState:
        """The lane before its first anchor."""
        lane = self.activation.lanes[0]
        return LaneState(0, 1, ANCHOR.key33, lane.outpoint, lane.value)

    @classmethod
    def begin(cls, folder: Path) -> "Moving":
        """A lane whose coin is ripe."""
        core = CoreChain(folder)
        coin = core.coins(tip_script(ANCHOR.key33), 10**9)
        value = core.blocks[1].txs[0].outputs[0].value
        activation = an_activation(coin, value)
        state = LaneState(0, 1, ANCHOR.key33, coin, value)
        return cls(core, activation, state, [], {}, {})

    def read(self, *txs: Tx) -> None:
        """Mine transactions and read the block."""
        self.state, found = apply_block(self.state, self.core.mine(txs), self.core.height)
        self.spent |= {tx.inputs[0].outpoint: tx for tx in txs}
        self.found += found
        self.states[self.core.height] = self.state
        assert self.state.halted is None

    def fork(self, length: int) -> None:
        """Take the newest blocks back, as far as there are any since the beginning."""
        length = min(length, len(self.states))
        self.core.fork(length)
        self.states = {h: s for h, s in self.states.items() if h <= self.core.height}
        self.state = self.states.get(self.core.height, self.start)
        self.found = [f for f in self.found if f.height <= self.core.height]

    def place(self) -> dict:
        """Where the next batch goes."""
        s = self.state
        place = {"tip": s.tip, "tip_value": s.tip_value, "sequence": s.sequence + 1}
        return place | {"previous_root": s.root, "epoch": s.epoch}

    def anchor(self, number: int, *, void: bool = False, apart: bool = False) -> None:
        """Anchor a range; or void its commit; with the commit in a block before when `apart`."""
        batch, key = a_batch(a_range(number), **self.place()), LANE_KEYS[self.state.epoch]
        package = build(batch, key.key33, [1])
        signed = key.sign_package(package)
        end = key.sign_void(build_void(package, 3)) if void else signed.reveals[1]
        if not void:
            self.batches[batch.sequence] = batch
        self._mine(signed.commit, end, apart=apart)

    def rotate(self, *, apart: bool = False) -> None:
        """Hand the lane on to the next epoch's key."""
        epoch, previous = self.state.epoch + 1, self.activation.hash
        if self.state.epoch in self.successions:
            previous = self.successions[self.state.epoch].succession.hash
        signed = self.successions[epoch] = succeed(self.activation, epoch, previous)
        batch = RotationBatch(0, successor=Successor.of(signed.succession), rollup_id=1, **self.place())
        key = LANE_KEYS[self.state.epoch]
        package = key.sign_package(build(batch, key.key33, [1]))
        self._mine(package.commit, package.reveals[0], apart=apart)

    @contextmanager
    def one_block(self) -> Iterator[None]:
        """Hold transactions back and mine them together."""
        self.held = []
        yield
        txs, self.held = self.held, None
        self.state = self.states.get(self.core.height, self.start)
        self.read(*txs)

    def _mine(self, commit: Tx, end: Tx, *, apart: bool) -> None:
        if self.held is not None:
            self.held += [commit, end]
            self.state, _ = apply_txs(self.state, (commit, end), Height(0))
        elif apart:
            self.read(commit)
            self.read(end)
        else:
            self.read(commit, end)

    def tx(self, txid: bytes) -> Tx:
        """A mined transaction."""
        return next(tx for block in self.core.blocks.values() for tx in block.txs if tx.txid == txid)

    def tx_spending(self, coin: OutPoint) -> Tx:
        """The transaction, of this chain or one that was left, that spends a coin."""
        return self.spent[coin]

    def rotations(self) -> RotationProofs:
        """The file that a node would make."""
        made = []
        for found, steps in steps_between(self.found, self.activation.lanes[0].value):
            signed, block = self.successions[found.successor.epoch], self.core.blocks[found.height]
            made.append(make_rotation(steps, signed, self.tx(found.commit), block, found))
        return RotationProofs("regtest", 0, tuple(made))

    def proof(self, sequence: int) -> AnchorProof:
        """The proof of the range that an anchor holds."""
        found = next(f for f in self.found if sequence_of(f) == sequence)
        assert isinstance(found, AnchorFound)
        batch, block = self.batches[sequence], self.core.blocks[found.height]
        place = (self.tx(found.commit), block, found.height, found.txid)
        return make_proof(REGTEST, batch.manifest(), batch.decoded(), 0, *place)

    def height(self, sequence: int) -> int:
        """The block of an anchor, rotation or void."""
        return next(f.height for f in self.found if sequence_of(f) == sequence)


def move_twice(folder: Path) -> Moving:
    """Anchors 1, 4, 5 and 7, a void 2, rotations 3 (to epoch 2) and 6 (to epoch 3); two blocks follow."""
    it = Moving.begin(folder)
    it.anchor(0)
    it.anchor(1, void=True)
    it.rotate(apart=True)
    it.anchor(1)
    it.anchor(2, apart=True)
    it.rotate()
    it.anchor(3)
    it.core.mine()
    it.core.mine()
    return it


def read_again(it: Moving) -> tuple[LaneState, list]:
    """What somebody reads who comes late and has the activation record alone."""
    state, found = it.start, []
    for height in sorted(it.core.blocks):
        state, events = apply_block(state, it.core.blocks[height], height)
        found += events
    return state, found


def other_coin(it: Moving) -> OutPoint:
    """A ripe coin of a stranger on the same chain."""
    return it.core.coins(tip_script(WholeKey((99).to_bytes(32, "big")).key33), 10**8)
