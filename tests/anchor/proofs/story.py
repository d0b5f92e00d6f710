"""One anchored batch on Core's own chain, for the tests of proofs and of those who tamper with them."""

from dataclasses import dataclass, replace
from pathlib import Path

from anchor.btc.amounts import Sats
from anchor.btc.block import Block
from anchor.btc.hashing import sha256
from anchor.btc.header import Header
from anchor.btc.ids import OutPoint, Txid
from anchor.btc.network import REGTEST
from anchor.btc.taproot import leaf_hash, sighash
from anchor.btc.tx import Tx, TxIn, TxOut
from anchor.inscription.batch import AnchorBatch
from anchor.inscription.builder import build
from anchor.inscription.lane import REVEAL_SEQUENCE, commit_output, tip_script
from anchor.inscription.script import leaf_script
from anchor.proofs.proof_file import AnchorProof
from anchor.proofs.proof_maker import make_proof
from anchor.rollup.activation import Activation, Lane, Params
from tests.anchor.inscription.batches import a_batch, a_range
from tests.anchor.inscription.core import CoreChain, grind
from tests.anchor.inscription.whole_key import ANCHOR, STRANGER, WholeKey

PARAMS = Params(3, 10, 40, 10_000, 10**8, 10**10, 10_000, 1_000, 1_000, 1, 100, 100_000, 100)


def an_activation(lane: OutPoint, value: int, height: int = 1, key33: bytes = ANCHOR.key33) -> Activation:
    return Activation(
        rollup_id=1,
        genesis_hash=sha256(b"genesis"),
        committee_hash=sha256(b"committee"),
        network="regtest",
        epoch=1,
        treasury_key=WholeKey((3).to_bytes(32, "big")).key33,
        anchor_key=key33,
        mint_key=WholeKey((4).to_bytes(32, "big")).key33,
        treasury=OutPoint(Txid(sha256(b"treasury")), 0),
        treasury_value=Sats(1_000_000),
        lanes=(Lane(0, lane, Sats(value)),),
        height=height,
        params=PARAMS,
    )


@dataclass(frozen=True)
class Story:
    """Where everything is: `block` at `height` holds `commit` and `reveal`; two blocks follow."""

    batch: AnchorBatch
    activation: Activation
    headers: bytes
    commit: Tx
    reveal: Tx
    block: Block
    height: int

    def proof(self, which: int = 0) -> AnchorProof:
        batch = self.batch
        place = (self.commit, self.block, self.height, self.reveal.txid)
        return make_proof(REGTEST, batch.manifest(), batch.decoded(), which, *place)


def tell(folder: Path) -> Story:
    """Anchor three ranges of rollup 1 and one of rollup 2 on a chain that Core judges."""
    chain = CoreChain(folder)
    outpoint = chain.coins(tip_script(ANCHOR.key33), 10**9)
    value = chain.blocks[1].txs[0].outputs[0].value
    records = [a_range(0), a_range(1), a_range(2), a_range(0, 2)]
    batch = a_batch(*records, tip=outpoint, tip_value=value)
    signed = ANCHOR.sign_package(build(batch, ANCHOR.key33, [1, 2]))
    block = chain.mine((signed.commit, signed.reveals[1]))
    height = chain.height
    chain.mine()
    chain.mine()
    activation = an_activation(outpoint, value)
    return Story(batch, activation, chain.raw_headers, signed.commit, signed.reveals[1], block, height)


@dataclass(frozen=True)
class Lie:
    """What someone writes by hand: the leaf's payload and key, the internal key, and the reveal's shape."""

    payload: bytes
    leaf_key: bytes = ANCHOR.key33[1:]
    internal: bytes = ANCHOR.key33
    signer: WholeKey = ANCHOR
    to: bytes = tip_script(ANCHOR.key33)
    sequence: int = REVEAL_SEQUENCE


def told_by_hand(folder: Path, batch: AnchorBatch, lie: Lie) -> Story:
    """A stranger's coin pays for commit and reveal of `lie`; Core's consensus accepts both."""
    chain = CoreChain(folder)
    coin = chain.coins(tip_script(STRANGER.key33), 10**9)
    funding = TxOut(chain.blocks[1].txs[0].outputs[0].value, tip_script(STRANGER.key33))
    leaf = leaf_script(lie.payload, lie.leaf_key)
    script, control = commit_output(lie.internal, leaf)
    commit = Tx(3, (TxIn(coin, 0xFFFFFFFD),), (TxOut(Sats(funding.value - 111), script),))
    commit = commit.with_witness(0, (STRANGER.sign(sighash(commit, 0, [funding]), "key"),))
    out = TxOut(Sats(funding.value - 500), lie.to)
    reveal = Tx(3, (TxIn(commit.outpoint(0), lie.sequence),), (out,))
    message = sighash(reveal, 0, [commit.outputs[0]], leaf=leaf_hash(leaf))
    reveal = reveal.with_witness(0, (lie.signer.sign(message, "internal"), leaf, control))
    block = chain.mine((commit, reveal))
    height = chain.height
    chain.mine()
    return Story(batch, an_activation(coin, funding.value), chain.raw_headers, commit, reveal, block, height)


def strangers_story(folder: Path, batch: AnchorBatch) -> Story:
    """The look-alike of issue 3: internal key P, the payload of `batch`, a leaf that the stranger may spend."""
    payload = batch.payload().encode()
    return told_by_hand(folder, batch, Lie(payload, STRANGER.key33[1:], signer=STRANGER))


def with_root(story: Story, root: bytes) -> tuple[bytes, bytes]:
    """A header upon the story's chain that claims `root` as its Merkle root, and the headers with it."""
    last = Header.parse(story.headers[-80:])
    header = grind(Header(0x20000000, last.hash, root, last.time + 1, last.bits, 0))
    return header.raw, story.headers + header.raw


def changed(proof: AnchorProof, **fields) -> bytes:
    """The file of the same proof with other fields."""
    return replace(proof, **fields).encode()
