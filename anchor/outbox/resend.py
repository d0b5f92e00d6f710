"""Which of the signed transactions may go to a node now: parents first, one unconfirmed generation at a time.

After a reorg Core does not announce again what it dropped, and TRUC (BIP431) lets an unconfirmed transaction have
one unconfirmed parent and one unconfirmed child, no more: what is refused now waits for its parent's block. The
child of a mined parent goes alone.
"""

from collections.abc import Collection, Sequence

from anchor.btc.ids import OutPoint, Txid
from anchor.btc.tx import Tx


def order(
    txs: Sequence[Tx],
    confirmed: Collection[Txid],
    mempool: Collection[Txid] = (),
    gone: Collection[OutPoint] = (),
) -> tuple[tuple[Tx, ...], ...]:
    """Return submissions that a node would take now, each one transaction or a (parent, child) package.

    `txs` are signed and may conflict: of versions that spend one coin, the one in the mempool keeps it, else the
    first in `txs` has it. Parents outside `txs` count as mined unless the coin they make is in `gone` (nowhere on
    the chain and in no mempool, or spent there by another). Give `confirmed` and `mempool` for all of `txs`.
    """
    return _Resend(txs, frozenset(confirmed), frozenset(mempool), gone).submissions()


class _Resend:
    def __init__(
        self,
        txs: Sequence[Tx],
        confirmed: frozenset[Txid],
        mempool: frozenset[Txid],
        gone: Collection[OutPoint],
    ) -> None:
        self.confirmed, self.mempool = confirmed, mempool
        self.known = {tx.txid: tx for tx in txs}
        self.alive = self._alive(frozenset(gone))

    def _alive(self, gone: frozenset[OutPoint]) -> frozenset[Txid]:
        """Transactions that are there or can still be: no coin gone or taken, no parent that cannot be."""
        there = {txid: tx for txid, tx in self.known.items() if txid in self.confirmed | self.mempool}
        taken = {txin.outpoint for tx in there.values() for txin in tx.inputs}
        alive, grown = set(there), True
        while grown:  # a parent may stand after its child
            grown = False
            for txid, tx in self.known.items():
                coins = {txin.outpoint for txin in tx.inputs}
                if txid not in alive and not coins & (taken | gone) and self._made(coins, alive):
                    alive.add(txid)
                    taken |= coins
                    grown = True
        return frozenset(alive)

    def _made(self, coins: Collection[OutPoint], alive: Collection[Txid]) -> bool:
        """Tell whether each coin that comes from one of ours is made by one that is alive."""
        ours = [coin for coin in coins if coin.txid in self.known]
        return all(c.txid in alive and c.vout < len(self.known[c.txid].outputs) for c in ours)

    def _unmined_parents(self, tx: Tx) -> list[Txid]:
        parents = dict.fromkeys(txin.outpoint.txid for txin in tx.inputs)
        return [txid for txid in parents if txid in self.known and txid not in self.confirmed]

    def _pending(self, tx: Tx) -> bool:
        """Tell whether a transaction still has to go out and may at some time."""
        return tx.txid in self.alive and tx.txid not in self.confirmed | self.mempool

    def _has_child_in_mempool(self, parent: Txid) -> bool:
        children = (self.known[txid] for txid in self.mempool if txid in self.known)
        return any(parent in self._unmined_parents(child) for child in children)

    def submissions(self) -> tuple[tuple[Tx, ...], ...]:
        """Walk the transactions in the given order and collect what may go; one child for each parent."""
        sent: set[Txid] = set()
        out: list[tuple[Tx, ...]] = []
        pending = [tx for tx in self.known.values() if self._pending(tx)]
        for tx in pending:
            if not self._unmined_parents(tx):
                child = self._only_child(tx.txid, pending)
                group = (tx,) if child is None else (tx, child)
                out.append(group)
                sent.update(member.txid for member in group)
        busy: set[Txid] = set()
        for tx in pending:
            parents = self._unmined_parents(tx)
            if tx.txid in sent or len(parents) != 1 or parents[0] not in self.mempool:
                continue
            parent = self.known[parents[0]]
            taken = parent.txid in busy or self._has_child_in_mempool(parent.txid)
            if not self._unmined_parents(parent) and not taken:
                busy.add(parent.txid)
                out.append((tx,))
        return tuple(out)

    def _only_child(self, parent: Txid, pending: Sequence[Tx]) -> Tx | None:
        """The first pending transaction whose one unmined parent this is."""
        return next((tx for tx in pending if self._unmined_parents(tx) == [parent]), None)
