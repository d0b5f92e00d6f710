"""Bitcoin Core in this process: its script engine as judge, and a whole regtest chain (py-bitcoinkernel)."""

from pathlib import Path

import pbk
from pbk.script import PrecomputedTransactionData

from anchor.btc.block import Block, merkle_levels, parse_block
from anchor.btc.hashing import sha256d
from anchor.btc.header import Header, target_of
from anchor.btc.ids import OutPoint
from anchor.btc.network import REGTEST
from anchor.btc.script import op_return, push, push_number
from anchor.btc.taproot import compact_size
from anchor.btc.tx import NULL_OUTPOINT, Tx, TxIn, TxOut

_ALL_FLAGS = sum(pbk.ScriptVerificationFlags)
SUBSIDY = 50 * 100_000_000
MATURITY = 100


def core_accepts(tx: Tx, prevouts: list[TxOut]) -> bool:
    """Ask Core's script engine about every input."""
    judged = pbk.Transaction(tx.serialize())
    scripts = [pbk.ScriptPubkey(out.script) for out in prevouts]
    spent = [pbk.TransactionOutput(script, out.value) for script, out in zip(scripts, prevouts, strict=True)]
    data = PrecomputedTransactionData(judged, spent)
    try:
        return all(
            script.verify(out.value, judged, data, i, pbk.ScriptVerificationFlags(_ALL_FLAGS))
            for i, (script, out) in enumerate(zip(scripts, prevouts, strict=True))
        )
    except pbk.ScriptVerifyException:
        return False


class CoreChain:
    """A regtest chain judged by Core's consensus; blocks are mined here, 0.2 ms each."""

    def __init__(self, folder: Path) -> None:
        self.core = pbk.load_chainman(folder, pbk.ChainType.REGTEST)
        self.headers = [Header.parse(REGTEST.genesis)]
        self.blocks: dict[int, Block] = {}
        self._salt = 0

    @property
    def height(self) -> int:
        return len(self.headers) - 1

    @property
    def raw_headers(self) -> bytes:
        return b"".join(header.raw for header in self.headers)

    def mine(self, txs: tuple[Tx, ...] = (), reward: bytes = b"\x51") -> Block:
        """Mine a block on the tip with `txs`, coinbase to script `reward`; AssertionError when Core refuses."""
        height = self.height + 1
        coinbase = self._coinbase(height, txs, reward)
        root = merkle_levels([tx.txid for tx in (coinbase, *txs)])[0][-1][0]
        header = grind(
            Header(0x20000000, self.headers[-1].hash, root, self.headers[-1].time + 1, 0x207FFFFF, 0)
        )
        body = b"".join(tx.serialize() for tx in (coinbase, *txs))
        raw = header.raw + compact_size(1 + len(txs)) + body
        self.core.process_block(pbk.Block(raw))
        tip = self.core.get_active_chain()
        assert tip.height >= height, "Core refused the block"  # a branch overtakes only in the end
        self.headers.append(header)
        self.blocks[height] = parse_block(raw)
        return self.blocks[height]

    def fork(self, length: int) -> None:
        """Forget the last `length` blocks here; Core follows once the new branch is longer."""
        for _ in range(length):
            self.blocks.pop(self.height)
            self.headers.pop()

    def coins(self, script: bytes, value: int) -> OutPoint:
        """Mine a coin of `value` at `script` and let it ripen."""
        assert value <= SUBSIDY >> 1
        block = self.mine(reward=script)
        assert block.txs[0].outputs[0].script == script
        for _ in range(MATURITY):
            self.mine()
        return block.txs[0].outpoint(0)

    def _coinbase(self, height: int, txs: tuple[Tx, ...], reward: bytes) -> Tx:
        self._salt += 1
        script_sig = push_number(height) + push(self._salt.to_bytes(4, "big"))
        wtxids = [bytes(32), *(tx.wtxid for tx in txs)]
        commitment = sha256d(merkle_levels(wtxids)[0][-1][0] + bytes(32))
        outputs = (
            TxOut(SUBSIDY >> (height // 150), reward),
            TxOut(0, op_return(bytes.fromhex("aa21a9ed") + commitment)),
        )
        return Tx(1, (TxIn(NULL_OUTPOINT, 0xFFFFFFFF, (bytes(32),), script_sig),), outputs)


def grind(header: Header) -> Header:
    """Find a nonce: two tries on average."""
    while int.from_bytes(header.hash, "little") > target_of(header.bits):
        header = Header(
            header.version, header.parent, header.merkle_root, header.time, header.bits, header.nonce + 1
        )
    return header
