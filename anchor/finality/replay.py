"""A rollup's view of Bitcoin, rebuilt from its blocks alone: no bitcoind, nothing believed but the genesis.

Votes are counted, every bundle is validated by all header rules, and what a block claims about Bitcoin must be what
its bundles gave. Transactions are not executed here; `anchor.rollup.transitions.check_block` does that.
"""

from dataclasses import dataclass

from anchor.btc.codec import CodecError
from anchor.finality.votes import FinalTracker, NoQuorum, NotTheNext, VoteRefused
from anchor.headers.bundle import Bundle, BundleRefused
from anchor.headers.chain import HeaderAt
from anchor.rollup import bitcoin_view
from anchor.rollup.bitcoin_view import ViewReorg
from anchor.rollup.block import BlockHeader, CertifiedBlock, data_root
from anchor.rollup.genesis import Genesis


class ReplayRefused(Exception):
    """A block that does not follow from genesis and the blocks before it; `height` is its place, `code` the lie."""

    def __init__(self, height: int, code: str, reason: str) -> None:
        super().__init__(f"block {height} is refused ({code}): {reason}")
        self.height, self.code, self.reason = height, code, reason


@dataclass(frozen=True, slots=True)
class Replayed:
    """What the blocks say: heights of the rollup; Bitcoin's tip, work and final block in its view; all reorgs.

    `headers` came in `bundles`; `work` is counted from the trusted header of the genesis, its own included.
    """

    height: int
    final: int
    tip: HeaderAt
    work: int
    final_bitcoin: tuple[int, bytes]
    headers: int
    bundles: int
    reorgs: tuple[ViewReorg, ...]


class HeaderReplay:
    """Takes certified blocks in order, from height 1 on; keeps nothing but the view and the last header."""

    def __init__(self, genesis: Genesis) -> None:
        self._genesis = genesis
        self._view = bitcoin_view.begin(genesis)
        self._tracker = FinalTracker(genesis)
        self._last: BlockHeader | None = None
        self._reorgs: list[ViewReorg] = []
        self._headers = self._bundles = 0

    @property
    def height(self) -> int:
        """Height of the last block taken, 0 before the first."""
        return self._tracker.certified

    def take(self, certified: CertifiedBlock) -> None:
        """Take the next block. Raises ReplayRefused; the replay ends there."""
        header, height = certified.block.header, self.height + 1
        try:
            self._tracker.add(certified)
        except (NotTheNext, VoteRefused, NoQuorum) as error:
            code = "certificate" if isinstance(error, (VoteRefused, NoQuorum)) else "place"
            raise ReplayRefused(height, code, str(error)) from error
        self._check_header(certified)
        bundle = certified.block.bundle
        try:
            taken = bitcoin_view.take(self._view, bundle, height)
        except (CodecError, BundleRefused) as error:
            rule = f"bundle:{error.rule}" if isinstance(error, BundleRefused) else "bundle:malformed"
            raise ReplayRefused(height, rule, str(error)) from error
        if bundle:
            self._bundles += 1
            self._headers += len(Bundle.decode(bundle).headers)
        if taken.reorg is not None:
            self._reorgs.append(taken.reorg)
        if (header.final_height, header.final_hash) != bitcoin_view.final_of(self._view, self._genesis.k):
            raise ReplayRefused(height, "final", "the final Bitcoin block it names is not its headers'")
        self._last = header

    def _check_header(self, certified: CertifiedBlock) -> None:
        block, header = certified.block, certified.block.header
        last, genesis = self._last, self._genesis
        if (header.rollup_id, header.validators_root) != (genesis.rollup_id, genesis.validators_root):
            raise ReplayRefused(header.height, "rollup", "it is of another rollup, or of other validators")
        if header.data_root != data_root(block.bundle, block.transactions):
            raise ReplayRefused(header.height, "data-root", "its bytes are not those that were voted for")
        if last is not None and (header.state_before != last.state_after or header.time < last.time):
            raise ReplayRefused(header.height, "state", "its state or time does not follow from its parent")

    def result(self) -> Replayed:
        """What was found so far."""
        tip = self._view.tip
        final = bitcoin_view.final_of(self._view, self._genesis.k)
        reorgs = tuple(self._reorgs)
        return Replayed(
            self.height, self._tracker.final, tip, tip.work, final, self._headers, self._bundles, reorgs
        )
