"""One bitcoind as Holdfast uses it: is it the right one, what is in its chain, and how to hand it transactions.

Sending is idempotent by txid: the chain is asked first, then the mempool, and only then the bytes go out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from typing import Any

from anchor.btc.amounts import FeeRate, Height, Sats
from anchor.btc.hashing import sha256d
from anchor.btc.header import HEADER_SIZE, Header
from anchor.btc.ids import BlockHash, OutPoint, Txid, display, from_display
from anchor.btc.network import REGTEST, Network
from anchor.btc.tx import Tx, TxOut
from anchor.jsonrpc import BadAnswer, JsonRpc, NodeError, Params, RpcError, Unauthorized, Unreachable

__all__ = [
    "BadAnswer",
    "Bitcoind",
    "Coin",
    "NodeError",
    "NodeInfo",
    "Outcome",
    "Pruned",
    "RpcError",
    "Submitted",
    "TooOld",
    "Unauthorized",
    "Unreachable",
    "Unsynced",
    "WrongChain",
]

MIN_VERSION = 280_000  # Core 28: TRUC and submitpackage
MAX_LAG = 2  # blocks that bitcoind may lack of its own headers and still count as synced
_ALREADY_IN_CHAIN = -27
_NOT_FOUND = -5
_SAME_TXID = ("txn-already-in-mempool", "txn-same-nonwitness-data-in-mempool")


class WrongChain(NodeError):
    """bitcoind runs another network than we were told."""


class Pruned(NodeError):
    """bitcoind has thrown away a block that we need."""


class TooOld(NodeError):
    """bitcoind is older than Core 28."""


class Unsynced(NodeError):
    """bitcoind is still catching up."""


class Outcome(Enum):
    """Where a transaction is after we submitted it."""

    IN_MEMPOOL = "in mempool"
    CONFIRMED = "confirmed"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Submitted:
    """What became of one transaction; `reason` is bitcoind's word when it was refused."""

    txid: Txid
    outcome: Outcome
    reason: str | None = None
    confirmations: int = 0


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """What a checked bitcoind said about itself; `version` as 280100 for 28.1."""

    version: int
    subversion: str
    chain: str
    blocks: Height
    headers: Height
    best: BlockHash
    pruned: bool
    initial_download: bool


@dataclass(frozen=True, slots=True)
class Coin:
    """An unspent output; `confirmations` is 0 while its transaction is in the mempool only."""

    out: TxOut
    confirmations: int
    coinbase: bool


def to_sats(amount: Decimal | int) -> Sats:
    """Return bitcoind's BTC amount in satoshis, exactly. BadAnswer for fractions of a satoshi."""
    sats = Decimal(amount) * 100_000_000
    if sats != int(sats):
        raise BadAnswer(f"bitcoind named an amount of {amount} BTC, which is no whole number of satoshis")
    return Sats(int(sats))


def _hex(value: object, what: str) -> bytes:
    try:
        return bytes.fromhex(value) if isinstance(value, str) else b""
    except ValueError as error:
        raise BadAnswer(f"bitcoind's {what} is not hex: check that the URL is its RPC port") from error


class Bitcoind(JsonRpc):
    """The verbs of one bitcoind; construction as for `JsonRpc`. Hashes are in internal order."""

    async def check(self, network: Network, min_version: int = MIN_VERSION) -> NodeInfo:
        """Return what this bitcoind is, or raise WrongChain, TooOld or Unsynced naming the next move.

        On regtest a node without a fresh block counts as synced (it always reports initial download).
        """
        chain, net, genesis = await self._all(
            [("getblockchaininfo", []), ("getnetworkinfo", []), ("getblockhash", [0])]
        )
        try:
            info = _node_info(chain, net)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BadAnswer(
                f"{self.url} does not answer like bitcoind: check that it is its RPC port"
            ) from error
        if info.chain != network.chain or from_display(genesis) != network.genesis_hash:
            raise WrongChain(
                f"bitcoind at {self.url} is on {info.chain!r}, not on {network.name}: "
                f"start it for {network.name} or correct the network in the configuration"
            )
        if info.version < min_version:
            raise TooOld(
                f"bitcoind at {self.url} is {info.subversion} (version {info.version}): "
                f"install version {min_version} or later"
            )
        loading = info.initial_download and network != REGTEST
        if loading or info.headers - info.blocks > MAX_LAG:
            raise Unsynced(
                f"bitcoind at {self.url} has {info.blocks} of {info.headers} blocks: wait until it has caught up"
            )
        return info

    async def best(self) -> tuple[Height, BlockHash]:
        """Return height and hash of this node's tip, read together."""
        info = await self.call("getblockchaininfo")
        return Height(info["blocks"]), BlockHash(from_display(info["bestblockhash"]))

    async def block_hash(self, height: int) -> BlockHash | None:
        """Return the hash at `height` of the active chain, None above its tip."""
        try:
            return BlockHash(from_display(await self.call("getblockhash", height)))
        except RpcError as error:
            if error.code in (-8, -1):  # Core, btcd
                return None
            raise

    async def header_bytes(self, block: BlockHash) -> bytes:
        """Return the 80 bytes of a header that this node knows, stale ones too. RpcError -5 when it does not."""
        raw = _hex(await self.call("getblockheader", display(block), False), "header")
        return self._checked(raw, block)

    async def headers(self, start: int, count: int) -> list[Header]:
        """Return up to `count` linked headers of the active chain from height `start`; fewer at the tip.

        A reorg in the middle of the reading cuts the list where the links break; just ask again.
        """
        hashes: list[Any] = await self.batch([("getblockhash", [start + i]) for i in range(count)])
        known: list[str] = []
        for item in hashes:
            if isinstance(item, RpcError):
                break
            known.append(item)
        raws = await self._all([("getblockheader", [item, False]) for item in known])
        result: list[Header] = []
        for item, raw in zip(known, raws, strict=True):
            header = Header.parse(self._checked(_hex(raw, "header"), BlockHash(from_display(item))))
            if result and header.parent != result[-1].hash:
                break
            result.append(header)
        return result

    async def raw_block(self, block: BlockHash) -> bytes:
        """Return a whole serialised block with witnesses. Pruned or RpcError when this node does not have it."""
        try:
            raw = await self.call("getblock", display(block), 0)
        except RpcError as error:
            if "pruned" not in error.message:
                raise
            raise Pruned(
                f"bitcoind at {self.url} has pruned block {display(block)}, which is needed: start it with "
                "-prune=0 -reindex, or give another bitcoind that keeps its blocks"
            ) from error
        return self._checked(_hex(raw, "block"), block)

    async def chain_tips(self) -> list[tuple[Height, BlockHash, str]]:
        """Return (height, hash, status) of every branch this node knows; status as in `getchaintips`."""
        tips = await self.call("getchaintips")
        return [(Height(t["height"]), BlockHash(from_display(t["hash"])), str(t["status"])) for t in tips]

    async def transaction(self, txid: Txid, block: BlockHash | None = None) -> Tx | None:
        """Return a transaction from the mempool, or from `block`; None when it is not there.

        Without `block` confirmed transactions are found only by a node with -txindex.
        """
        try:
            where = [] if block is None else [display(block)]
            raw = await self.call("getrawtransaction", display(txid), False, *where)
        except RpcError as error:
            if error.code == _NOT_FOUND:
                return None
            raise
        tx = Tx.parse(_hex(raw, "transaction"))
        if tx.txid != txid:
            raise BadAnswer(f"bitcoind at {self.url} gave another transaction than {display(txid)}")
        return tx

    async def txout(self, outpoint: OutPoint, include_mempool: bool = True) -> Coin | None:
        """Return the coin at `outpoint`, None when it is spent or never was.

        With `include_mempool` unconfirmed coins count, and coins that the mempool spends do not.
        """
        return _coin(await self.call("gettxout", display(outpoint.txid), outpoint.vout, include_mempool))

    async def spenders(self, outpoints: Sequence[OutPoint]) -> dict[OutPoint, Txid]:
        """Return which mempool transaction spends each of `outpoints`, where one does."""
        if not outpoints:
            return {}
        asked = [{"txid": display(o.txid), "vout": o.vout} for o in outpoints]
        found = await self.call("gettxspendingprevout", asked)
        return {
            o: Txid(from_display(item["spendingtxid"]))
            for o, item in zip(outpoints, found, strict=True)
            if "spendingtxid" in item
        }

    async def in_mempool(self, txid: Txid) -> bool:
        """Tell whether the mempool holds a transaction."""
        return not isinstance((await self.batch([("getmempoolentry", [display(txid)])]))[0], RpcError)

    async def estimate_fee(self, blocks: int = 6) -> FeeRate | None:
        """Return sat/vB, rounded up, to confirm within `blocks`; None while bitcoind cannot say."""
        rate = (await self.call("estimatesmartfee", blocks)).get("feerate")
        return None if rate is None else FeeRate(-(-to_sats(rate) // 1000))

    async def test_accept(self, *txs: Tx) -> list[str | None]:
        """Return for each transaction why the mempool would refuse it, None where it would not."""
        verdicts = await self.call("testmempoolaccept", [tx.serialize().hex() for tx in txs])
        return [None if v.get("allowed") else _reason(v) for v in verdicts]

    async def where(self, tx: Tx) -> Submitted | None:
        """Say where a transaction already is, None when neither chain state nor mempool know it.

        The chain state knows it only while one of its outputs is unspent: who tracks blocks knows more.
        """
        outs = [("gettxout", [display(tx.txid), vout, False]) for vout in range(len(tx.outputs))]
        *coins, entry = await self.batch([*outs, ("getmempoolentry", [display(tx.txid)])])
        for coin in coins:
            if isinstance(coin, dict) and coin["confirmations"] > 0:
                return Submitted(tx.txid, Outcome.CONFIRMED, None, coin["confirmations"])
        return None if isinstance(entry, RpcError) else Submitted(tx.txid, Outcome.IN_MEMPOOL)

    async def submit(self, tx: Tx) -> Submitted:
        """Bring one transaction into the mempool unless chain or mempool have it; safe to repeat.

        Missing inputs may also mean that it confirmed and all its outputs are spent: the caller's own view of
        the chain decides. Raises Unreachable when the fate is unknown: ask again.
        """
        if (there := await self.where(tx)) is not None:
            return there
        try:
            await self.call("sendrawtransaction", tx.serialize().hex())
        except RpcError as error:
            if error.code == _ALREADY_IN_CHAIN:
                return Submitted(tx.txid, Outcome.CONFIRMED, None, 1)
            if any(word in error.message for word in _SAME_TXID):
                return Submitted(tx.txid, Outcome.IN_MEMPOOL)
            return Submitted(tx.txid, Outcome.REFUSED, error.message)
        return Submitted(tx.txid, Outcome.IN_MEMPOOL)

    async def submit_package(self, parent: Tx, child: Tx) -> tuple[Submitted, Submitted]:
        """Bring a parent and its child in together, so that the child's fee carries both; safe to repeat.

        Each result is read singly: Core may accept the parent and refuse the child. The child of a confirmed
        parent goes alone, and so does a parent whose child is there.
        """
        first, second = await self.where(parent), await self.where(child)
        if first is not None and second is not None:
            return first, second
        if first is not None and first.outcome is Outcome.CONFIRMED:
            return first, await self.submit(child)
        if second is not None:
            return await self.submit(parent), second
        pair = (parent, child)
        try:
            answer = await self.call("submitpackage", [tx.serialize().hex() for tx in pair])
        except RpcError as error:
            refused = [Submitted(tx.txid, Outcome.REFUSED, error.message) for tx in pair]
            return refused[0], refused[1]
        results = answer.get("tx-results", {})
        message = str(answer.get("package_msg", ""))
        read = [_package_member(tx, results.get(display(tx.wtxid)), message) for tx in pair]
        return read[0], read[1]

    async def _all(self, calls: Sequence[tuple[str, Params]]) -> list[Any]:
        results = await self.batch(calls)
        for result in results:
            if isinstance(result, RpcError):
                raise result
        return results

    def _checked(self, data: bytes, block: BlockHash) -> bytes:
        if len(data) < HEADER_SIZE or sha256d(data[:HEADER_SIZE]) != block:
            raise BadAnswer(f"bitcoind at {self.url} gave another block than {display(block)}")
        return data


def _node_info(chain: dict[str, Any], net: dict[str, Any]) -> NodeInfo:
    return NodeInfo(
        version=int(net["version"]),
        subversion=str(net["subversion"])[:100],
        chain=str(chain["chain"])[:20],
        blocks=Height(int(chain["blocks"])),
        headers=Height(int(chain["headers"])),
        best=BlockHash(from_display(chain["bestblockhash"])),
        pruned=bool(chain.get("pruned", False)),
        initial_download=bool(chain["initialblockdownload"]),
    )


def _coin(answer: dict[str, Any] | None) -> Coin | None:
    if answer is None:
        return None
    script = _hex(answer["scriptPubKey"]["hex"], "script")
    return Coin(
        TxOut(to_sats(answer["value"]), script), int(answer["confirmations"]), bool(answer["coinbase"])
    )


def _reason(verdict: dict[str, Any]) -> str:
    return str(verdict.get("reject-details") or verdict.get("reject-reason") or verdict.get("package-error"))


def _package_member(tx: Tx, result: dict[str, Any] | None, message: str) -> Submitted:
    if result is None:
        return Submitted(tx.txid, Outcome.REFUSED, message or "bitcoind did not judge it")
    error = result.get("error")
    if error is None or any(word in str(error) for word in _SAME_TXID):
        return Submitted(tx.txid, Outcome.IN_MEMPOOL)
    reason = message if str(error) == "package-not-validated" and message else str(error)
    return Submitted(tx.txid, Outcome.REFUSED, reason)
