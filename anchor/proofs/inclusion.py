"""What every proof about a lane shows: commit, reveal and payload in a block of a file of headers."""

from typing import Protocol

from anchor.btc.block import BlockError, merkle_root_from
from anchor.btc.codec import CodecError
from anchor.btc.curve import schnorr_verify
from anchor.btc.header import HEADER_SIZE, Header, work_of
from anchor.btc.ids import XOnlyKey
from anchor.btc.network import Network
from anchor.btc.script import is_p2tr
from anchor.btc.taproot import leaf_hash, sighash, verify_control
from anchor.btc.tx import Tx, TxError, TxOut
from anchor.headers.rules import HeaderRefused
from anchor.headers.verify import Verified, check_length, verify_headers
from anchor.inscription.lane import REVEAL_SEQUENCE, TRUC_VERSION, tip_script, x_only
from anchor.inscription.payload import Payload
from anchor.inscription.script import LeafError, parse_leaf
from anchor.proofs.refused import ProofRefused


class Mined(Protocol):
    """A reveal in its block: the fields that proofs of anchors and of rotations have in common."""

    @property
    def commit(self) -> bytes:
        """The commit, without witness."""

    @property
    def reveal(self) -> bytes:
        """The reveal, with its witness."""

    @property
    def tx_index(self) -> int:
        """The reveal's place in the block."""

    @property
    def tx_branch(self) -> tuple[bytes, ...]:
        """The reveal's Merkle branch."""

    @property
    def coinbase(self) -> bytes:
        """Transaction 0, without witness."""

    @property
    def coinbase_branch(self) -> tuple[bytes, ...]:
        """Its Merkle branch."""

    @property
    def header(self) -> bytes:
        """The block's 80 bytes."""

    @property
    def height(self) -> int:
        """The block's height."""


class HeaderFile:
    """A file of headers, the first at height `start`: checked once by all rules, when that is first needed."""

    def __init__(self, raw: bytes, network: Network, start: int) -> None:
        self.raw, self.network, self.start = raw, network, start
        self._known: Verified | None = None

    def depth(self, header: bytes, height: int) -> int:
        """Confirmations of the block with this header. ProofRefused when it is not in a valid file."""
        try:
            check_length(self.raw)
        except HeaderRefused as error:
            raise ProofRefused(f"the headers file is not valid: {error}") from error
        place = (height - self.start) * HEADER_SIZE
        if place < 0:
            raise ProofRefused(
                f"block {height} is before the first header, {self.start}: export headers that begin earlier"
            )
        if place >= len(self.raw):
            last = self.start + len(self.raw) // HEADER_SIZE - 1
            reach = f"{self.start} to {last}"
            raise ProofRefused(f"block {height} is not among the headers {reach}: get newer ones")
        if self.raw[place : place + HEADER_SIZE] != header:
            raise ProofRefused(f"the headers have another block {height}: reorged, or another chain")
        if self._known is None:
            try:
                self._known = verify_headers(self.network, self.raw, self.start)
            except HeaderRefused as error:
                raise ProofRefused(f"the headers file is not valid: {error}") from error
        return self._known.height - height + 1

    def final(self, height: int, k: int) -> bool:
        """Whether depth and work above a block of the file reach k."""
        first = (height - self.start) * HEADER_SIZE
        places = range(first, len(self.raw), HEADER_SIZE)
        bits = [Header.parse(self.raw[at : at + HEADER_SIZE]).bits for at in places]
        return len(bits) >= k and sum(map(work_of, bits)) >= k * work_of(bits[0])


def transactions(proof: Mined) -> tuple[Tx, Tx]:
    """Commit and reveal, which spends it. ProofRefused otherwise."""
    try:
        commit, reveal = Tx.parse(proof.commit), Tx.parse(proof.reveal)
    except TxError as error:
        raise ProofRefused(f"commit or reveal: {error}") from error
    if proof.commit != commit.serialize_stripped():
        raise ProofRefused("the commit is written without witness")
    spent = reveal.inputs[0].outpoint
    if spent.txid != commit.txid or spent.vout >= len(commit.outputs):
        raise ProofRefused("the reveal does not spend the commit")
    return commit, reveal


def read_payload(commit: Tx, reveal: Tx) -> tuple[Payload, XOnlyKey]:
    """The payload that the commit's output commits to, and its leaf's key.

    This holds whatever the witness's signature is. ProofRefused when there is none.
    """
    stack, out = reveal.inputs[0].witness, commit.outputs[reveal.inputs[0].outpoint.vout]
    if len(stack) != 3 or not is_p2tr(out.script):
        raise ProofRefused("the reveal is no script spend of a Taproot output")
    _, leaf, control = stack
    if len(control) != 33 or not verify_control(out.script[2:], control, leaf):
        raise ProofRefused("the commit's output does not commit to the leaf")
    try:
        data, key = parse_leaf(leaf)
        return Payload.decode(data), key
    except (LeafError, CodecError) as error:
        raise ProofRefused(f"the leaf: {error}") from error


def check_block(proof: Mined, reveal: Tx) -> None:
    """Return when the reveal is a transaction of the block with the proof's header. ProofRefused otherwise."""
    try:
        coinbase = Tx.parse(proof.coinbase)
        roots = {
            merkle_root_from(reveal.txid, proof.tx_index, proof.tx_branch),
            merkle_root_from(coinbase.txid, 0, proof.coinbase_branch),
        }
    except (TxError, BlockError) as error:
        raise ProofRefused(f"the block: {error}") from error
    stripped = coinbase.serialize_stripped()
    if not coinbase.is_coinbase or proof.coinbase != stripped or len(stripped) == 64:
        raise ProofRefused("transaction 0 is no coinbase written without witness")
    if len(proof.tx_branch) != len(proof.coinbase_branch) or len(reveal.serialize_stripped()) == 64:
        raise ProofRefused("the reveal is not at the depth of the block's transactions")
    if roots != {Header.parse(proof.header).merkle_root}:
        raise ProofRefused("the reveal is not in the block")


def check_signed(key33: bytes, committed: TxOut, reveal: Tx, next_key33: bytes) -> None:
    """Return when P = `key33` signed a reveal that recreates the tip under `next_key33`. ProofRefused otherwise."""
    signature, leaf, control = reveal.inputs[0].witness
    if control[1:] != x_only(key33):
        raise ProofRefused("the commit's internal key is not the anchor key")
    shape = (reveal.version, len(reveal.inputs), len(reveal.outputs), reveal.inputs[0].sequence)
    recreated = reveal.outputs[0].script == tip_script(next_key33)
    if shape != (TRUC_VERSION, 1, 1, REVEAL_SEQUENCE) or not recreated:
        raise ProofRefused(
            "the reveal is not one of this lane: it does not recreate the tip and nothing else"
        )
    message = sighash(reveal, 0, [committed], leaf=leaf_hash(leaf))
    if not schnorr_verify(x_only(key33), message, signature):
        raise ProofRefused("the reveal's signature is not the anchor key's")
