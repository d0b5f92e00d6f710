"""A Bitcoin of real transactions without proof of work: blocks, mempool, reorgs. No scripts are run here."""

from dataclasses import dataclass, field

from anchor.btc.amounts import Sats
from anchor.btc.block import Block
from anchor.btc.hashing import sha256
from anchor.btc.header import Header
from anchor.btc.ids import OutPoint, Txid
from anchor.btc.script import push_number
from anchor.btc.tx import NULL_OUTPOINT, Tx, TxIn, TxOut

START = 99  # the block before the first


@dataclass
class ToyChain:
    """`blocks[i]` has height START + 1 + i. Transactions of undone blocks go back to the mempool."""

    coins: dict[OutPoint, TxOut] = field(default_factory=dict)
    blocks: list[Block] = field(default_factory=list)
    mempool: dict[Txid, Tx] = field(default_factory=dict)
    _undo: list[dict[OutPoint, TxOut]] = field(default_factory=list)
    _salt: int = 0

    @property
    def height(self) -> int:
        return START + len(self.blocks)

    def outside_coin(self, value: int) -> OutPoint:
        """Make a coin that was there before; its owner is outside the story."""
        self._salt += 1
        outpoint = OutPoint(Txid(sha256(b"outside %d" % self._salt)), 0)
        coin = TxOut(Sats(value), b"\x51")
        for coins in (self.coins, *self._undo):
            coins[outpoint] = coin
        return outpoint

    def depth(self, block_hash: bytes) -> int:
        for above, block in enumerate(reversed(self.blocks), 1):
            if block.header.hash == block_hash:
                return above
        return 0

    def at(self, height: int) -> Block:
        return self.blocks[height - START - 1]

    def send(self, tx: Tx) -> bool:
        """Take a transaction whose inputs exist, replacing conflicting ones; False when it cannot confirm now."""
        made = {t.outpoint(n) for t in self.mempool.values() for n in range(len(t.outputs))}
        if not all(i.outpoint in self.coins or i.outpoint in made for i in tx.inputs):
            return False
        spent = {i.outpoint for i in tx.inputs}
        rivals = [t for t in self.mempool.values() if spent & {i.outpoint for i in t.inputs}]
        for rival in rivals:
            if rival.txid != tx.txid:
                del self.mempool[rival.txid]
        self.mempool[tx.txid] = tx
        self._prune()
        return tx.txid in self.mempool

    def mine(self, leave_out: frozenset[Txid] = frozenset(), only: tuple[Tx, ...] | None = None) -> Block:
        """Add a block with all that can confirm, but for some; or with `only` some of anybody's choice."""
        self._salt += 1
        self._undo.append(dict(self.coins))
        chosen: list[Tx] = []
        waiting = (
            [t for t in self.mempool.values() if t.txid not in leave_out] if only is None else list(only)
        )
        progress = True
        while progress:
            progress = False
            for tx in list(waiting):
                if all(i.outpoint in self.coins for i in tx.inputs):
                    waiting.remove(tx)
                    chosen.append(tx)
                    self._spend(tx)
                    progress = True
        block = Block(self._header(), (self._coinbase(), *chosen))
        self.blocks.append(block)
        for tx in chosen:
            self.mempool.pop(tx.txid, None)
        self._prune()
        return block

    def undo(self) -> Block:
        """Take the newest block away; its transactions wait again, where nothing newer conflicts."""
        block = self.blocks.pop()
        self.coins = self._undo.pop()
        for tx in block.txs[1:]:
            self.mempool[tx.txid] = tx
        self._prune()
        return block

    def spender_of(self, outpoint: OutPoint) -> Tx | None:
        for tx in (*self.mempool.values(), *(t for b in self.blocks for t in b.txs)):
            if any(i.outpoint == outpoint for i in tx.inputs):
                return tx
        return None

    def _spend(self, tx: Tx) -> None:
        for i in tx.inputs:
            del self.coins[i.outpoint]
        for vout, out in enumerate(tx.outputs):
            self.coins[tx.outpoint(vout)] = out

    def _prune(self) -> None:
        """Drop what can no longer confirm: inputs spent, or parents gone."""
        alive: dict[Txid, Tx] = {}
        coins = set(self.coins)
        progress = True
        while progress:
            progress = False
            for tx in self.mempool.values():
                if tx.txid not in alive and all(i.outpoint in coins for i in tx.inputs):
                    alive[tx.txid] = tx
                    coins -= {i.outpoint for i in tx.inputs}
                    coins |= {tx.outpoint(n) for n in range(len(tx.outputs))}
                    progress = True
        self.mempool = alive

    def _header(self) -> Header:
        parent = self.blocks[-1].header.hash if self.blocks else bytes(32)
        return Header(0x20000000, parent, sha256(b"%d" % self._salt), 1_600_000_000, 0x207FFFFF, self._salt)

    def _coinbase(self) -> Tx:
        mark = push_number(self.height + 1) + push_number(1_000 + self._salt)
        return Tx(1, (TxIn(NULL_OUTPOINT, 0xFFFFFFFF, (), mark),), (TxOut(Sats(5_000_000), b"\x51"),))


def payment(source: OutPoint, *outputs: TxOut) -> Tx:
    """A stranger's or depositor's transaction."""
    return Tx(2, (TxIn(source, 0xFFFFFFFD),), outputs)
