"""Transactions that wait for a block: bounded, in order of arrival, each applied once on the state so far.

Kept in memory only: who sent one that is gone after a restart sends it again.
"""

from collections import OrderedDict
from collections.abc import Iterable

from anchor.btc.codec import CodecError
from anchor.rollup.execute import apply_in_place
from anchor.rollup.genesis import Genesis
from anchor.rollup.refusals import TxRefused
from anchor.rollup.state import RollupState
from anchor.rollup.tx import decode_tx

MAX_TXS = 20_000
MAX_BYTES = 16 << 20
REMEMBERED = 1000  # dropped transactions whose reason is kept


class Mempool:
    """What waits upon the state after the newest proposal; `pending` is the state when all of it is in."""

    def __init__(
        self, genesis: Genesis, state: RollupState, *, max_txs: int = MAX_TXS, max_bytes: int = MAX_BYTES
    ) -> None:
        self._genesis = genesis
        self._txs: OrderedDict[bytes, bytes] = OrderedDict()
        self._bytes = 0
        self._max_txs, self._max_bytes = max_txs, max_bytes
        self.dropped: OrderedDict[bytes, TxRefused] = OrderedDict()
        self.pending = _inside(state)

    def __len__(self) -> int:
        return len(self._txs)

    def __contains__(self, txid: object) -> bool:
        return txid in self._txs

    def add(self, raw: bytes) -> bytes:
        """Take an encoded transaction and return its id; one that waits already changes nothing.

        Raises TxRefused: malformed, mempool_full, or why it does not apply after those that wait.
        """
        try:
            tx = decode_tx(raw)
        except CodecError as error:
            raise TxRefused("malformed", f"not a transaction: {error}") from error
        txid = tx.txid(self._genesis.hash)
        if txid in self._txs:
            return txid
        if len(self._txs) >= self._max_txs or self._bytes + len(raw) > self._max_bytes:
            raise TxRefused("mempool_full", "too many transactions wait: try again later", retryable=True)
        apply_in_place(self.pending, tx, self._genesis)
        self._txs[txid] = raw
        self._bytes += len(raw)
        self.dropped.pop(txid, None)
        return txid

    def waiting(self) -> list[bytes]:
        """Everything that waits, encoded, in order of arrival."""
        return list(self._txs.values())

    def rebase(self, state: RollupState, included: Iterable[bytes]) -> None:
        """Continue upon `state`, whose block holds the ids `included`; what no longer applies is dropped."""
        for txid in included:
            raw = self._txs.pop(txid, None)
            self._bytes -= len(raw or b"")
        self.pending = _inside(state)
        for txid, raw in list(self._txs.items()):
            try:
                apply_in_place(self.pending, decode_tx(raw), self._genesis)
            except TxRefused as refusal:
                self._bytes -= len(self._txs.pop(txid))
                self.dropped[txid] = refusal
        while len(self.dropped) > REMEMBERED:
            self.dropped.popitem(last=False)


def _inside(state: RollupState) -> RollupState:
    inside = state.copy()
    inside.height = state.height + 1
    return inside
