"""Several bitcoinds that are peers of each other, as verbs: split, heal, mine, fund, reorg.

Every pair is connected by one connection that is made by the lower index and never remade by Core itself, so
a split stays split. All waits are for conditions that bitcoind states.
"""

import hashlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import combinations
from pathlib import Path
from types import TracebackType
from typing import Self

from bitcoinrpc.authproxy import JSONRPCException

from regtest.bitcoind import Bitcoind
from regtest.waiting import wait_until

WALLET = "miner"
COINBASE_MATURITY = 100
SATS_PER_BTC = 100_000_000
CONNECTED_ALREADY = -24  # Core's RPC_CLIENT_NODE_ALREADY_ADDED
NOT_CONNECTED = -29  # Core's RPC_CLIENT_NODE_NOT_CONNECTED


@dataclass(frozen=True, slots=True)
class Replaced:
    """What `reorg` did: blocks are hashes in display order, lowest first."""

    fork_height: int
    lost: tuple[str, ...]
    won: tuple[str, ...]


class Network:
    """N peered bitcoinds; the one at index `wallet_node` (the last by default) holds the miner's wallet.

    Folders are `folder/bitcoind-0` and so on. Nodes are numbered from 0. Not for several threads at once.
    """

    def __init__(
        self,
        folder: Path,
        count: int,
        *,
        wallet_node: int = -1,
        zmq: bool = True,
        extra: tuple[str, ...] = (),
        binary: Path | None = None,
    ) -> None:
        """Describe a network; nothing runs yet."""
        self.wallet_node = wallet_node % count
        self.nodes = [
            Bitcoind(
                folder / f"bitcoind-{i}", wallet=i == self.wallet_node, zmq=zmq, extra=extra, binary=binary
            )
            for i in range(count)
        ]
        self._groups: tuple[frozenset[int], ...] = (frozenset(range(count)),)

    # Life

    def start(self, *, coinbases: int = 10, seconds: float = 60) -> Self:
        """Start all, connect all, and on a new chain give the wallet so many mature coinbases of 50 BTC.

        With 0 the chain stays at genesis.
        """
        for node in self.nodes:
            node.launch()
        for node in self.nodes:
            node.wait_ready(seconds=seconds)
        self.nodes[self.wallet_node].ensure_wallet(WALLET)
        self.connect()
        if self.height() == 0 and coinbases:
            own = self.nodes[self.wallet_node].rpc(WALLET).getnewaddress("coinbases", "bech32m")
            self.mine(self.wallet_node, coinbases, own)
            self.mine(self.wallet_node, COINBASE_MATURITY)
        self.wait_same_tip(seconds=seconds)
        return self

    def close(self) -> None:
        """Stop all at once and give their ports back."""
        with ThreadPoolExecutor(len(self.nodes)) as pool:
            list(pool.map(Bitcoind.close, self.nodes))

    def __enter__(self) -> Self:
        """Start all, unless they run."""
        if all(node.running for node in self.nodes):
            return self
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop all."""
        self.close()

    # Who sees whom

    def connect(self, *, seconds: float = 90) -> None:
        """Make every connection that the present split allows and that is not there; call it after a restart."""
        wanted = [pair for pair in self._running_pairs() if self._together(*pair)]
        for i, j in wanted:
            self._dial(i, j)
        for i, j in wanted:
            wait_until(partial(self._peered, i, j), f"bitcoind {i} to peer with {j}", seconds=seconds)

    def split(self, *groups: Iterable[int], seconds: float = 90) -> None:
        """Cut the network into groups; a node that no group names is alone. `heal` undoes it."""
        named = [frozenset(group) for group in groups]
        if sum(map(len, named)) != len(frozenset().union(*named)):
            raise ValueError("A node can be in one group only: name each node once.")
        self._groups = tuple(named)
        cut = [pair for pair in self._running_pairs() if not self._together(*pair)]
        ends = [(i, j, self._hang_up(i, j)) for i, j in cut]
        for i, j, local in ends:
            wait_until(partial(self._apart, i, j, local), f"bitcoind {i} to leave {j}", seconds=seconds)
        self.connect(seconds=seconds)

    def heal(self, *, seconds: float = 90) -> None:
        """Join all groups again; the chains meet when `wait_same_tip` returns."""
        self._groups = (frozenset(range(len(self.nodes))),)
        self.connect(seconds=seconds)

    def wait_same_tip(self, nodes: Iterable[int] | None = None, *, seconds: float = 60) -> str:
        """Wait until the nodes (all that run, by default) have one best block; return its hash."""
        chosen = [self.nodes[i] for i in nodes] if nodes is not None else [n for n in self.nodes if n.running]
        tips: set[str] = set()

        def agree() -> bool:
            tips.clear()
            tips.update(node.rpc().getbestblockhash() for node in chosen)
            return len(tips) == 1

        wait_until(agree, "bitcoinds to agree on one best block", seconds=seconds)
        return tips.pop()

    def wait_in_mempools(self, txid: str, nodes: Iterable[int] | None = None, *, seconds: float = 90) -> None:
        """Wait until the nodes (all that run, by default) hold the transaction unconfirmed."""
        lacking = list(nodes) if nodes is not None else [i for i, n in enumerate(self.nodes) if n.running]

        def spread() -> bool:
            lacking[:] = [i for i in lacking if txid not in self.nodes[i].rpc().getrawmempool()]
            return not lacking

        try:
            wait_until(spread, f"{txid} to spread", seconds=seconds)
        except TimeoutError as error:
            raise TimeoutError(f"{error} Without it: bitcoind {', '.join(map(str, lacking))}.") from error

    # Blocks and coins

    def height(self, node: int | None = None) -> int:
        """Return a node's height; the wallet node's by default."""
        return int(self.nodes[self.wallet_node if node is None else node].rpc().getblockcount())

    def mine(self, node: int, count: int = 1, address: str | None = None) -> list[str]:
        """Mine blocks with that node's mempool; return their hashes. Waits for nobody: see `wait_same_tip`.

        Without an address each node mines to a script of its own, so that rival blocks are never the same block.
        """
        if address is not None:
            return list(self.nodes[node].rpc().generatetoaddress(count, address))
        return list(self.nodes[node].rpc().generatetodescriptor(count, self._payout_of(node)))

    def mine_empty(self, node: int, count: int = 1, *, instead_of: str = "") -> list[str]:
        """Mine blocks that leave the mempool alone; return their hashes.

        Name the block that they replace, if any: an empty block made in the same second would be the same one.
        """
        script = self._payout_of(node, instead_of)
        return [self.nodes[node].rpc().generateblock(script, [])["hash"] for _ in range(count)]

    def mine_these(self, node: int, transactions: Sequence[str]) -> str:
        """Mine one block with exactly these transactions, in this order; return its hash.

        Each is the txid of one in that node's mempool, or raw hex.
        """
        return str(self.nodes[node].rpc().generateblock(self._payout_of(node), list(transactions))["hash"])

    def fund(self, address: str, sats: int) -> str:
        """Pay an address from the miner's wallet; return the transaction's id (unconfirmed)."""
        amount = f"{sats // SATS_PER_BTC}.{sats % SATS_PER_BTC:08d}"  # text, so no float ever touches money
        return str(self.nodes[self.wallet_node].rpc(WALLET).sendtoaddress(address, amount))

    def reorg(self, depth: int, *, node: int | None = None, seconds: float = 60) -> Replaced:
        """Replace the last `depth` blocks by `depth + 1` empty ones, made by a node, and wait until all follow.

        What the lost blocks held is unconfirmed again. By default the wallet node makes them.
        """
        maker = self.wallet_node if node is None else node
        rpc = self.nodes[maker].rpc
        top = self.height(maker)
        if not 0 < depth <= top:
            raise ValueError(f"The chain has {top} blocks above genesis: a reorg of {depth} is not possible.")
        below, *lost = (rpc().getblockhash(h) for h in range(top - depth, top + 1))
        aside = [lost[0]]
        rpc().invalidateblock(lost[0])
        try:
            while (rival := self._turned_from(maker, below)) is not None:
                aside.append(rival)
                rpc().invalidateblock(rival)
            won = tuple(self.mine_empty(maker, depth + 1, instead_of=lost[0]))
        finally:
            for block in aside:
                rpc().reconsiderblock(block)
        self.connect(seconds=seconds)
        self.wait_same_tip(self._group_of(maker), seconds=seconds)
        return Replaced(fork_height=top - depth, lost=tuple(lost), won=won)

    # Inside

    def _turned_from(self, node: int, block: str) -> str | None:
        """The first block of the branch that a node follows instead of the one that ends in `block`, if it does.

        A branch that an earlier reorg left may have as much work as what a later one leaves standing.
        """
        rpc = self.nodes[node].rpc
        if rpc().getbestblockhash() == block:
            return None
        shared = rpc().getblockheader(block)
        while shared["confirmations"] < 0:  # not on the chain that it follows
            shared = rpc().getblockheader(shared["previousblockhash"])
        return str(rpc().getblockhash(shared["height"] + 1))

    @staticmethod
    def _payout_of(node: int, instead_of: str = "") -> str:
        """A Taproot output that nobody can spend: a wallet's would cost a disk write per block."""
        key = hashlib.sha256(f"holdfast regtest miner {node} {instead_of}".encode())
        return f"raw(5120{key.hexdigest()})"

    def _running_pairs(self) -> list[tuple[int, int]]:
        return list(combinations([i for i, node in enumerate(self.nodes) if node.running], 2))

    def _together(self, i: int, j: int) -> bool:
        return any(i in group and j in group for group in self._groups)

    def _group_of(self, node: int) -> list[int]:
        return [i for i, n in enumerate(self.nodes) if n.running and (i == node or self._together(i, node))]

    def _dial(self, i: int, j: int) -> None:
        if self._ends(i, j):
            return
        try:
            self.nodes[i].rpc().addnode(self.nodes[j].p2p, "onetry")  # "add" would remake it through a split
        except JSONRPCException as error:
            if error.code != CONNECTED_ALREADY:
                raise

    def _hang_up(self, i: int, j: int) -> set[str]:
        """Cut the connection and return the addresses that it had at i's end."""
        ends = self._ends(i, j)
        try:
            self.nodes[i].rpc().disconnectnode(self.nodes[j].p2p)
        except JSONRPCException as error:
            if error.code != NOT_CONNECTED:
                raise
        return ends

    def _ends(self, i: int, j: int) -> set[str]:
        """Addresses at i's end of its connections to j."""
        return {p["addrbind"] for p in self.nodes[i].rpc().getpeerinfo() if p["addr"] == self.nodes[j].p2p}

    def _apart(self, i: int, j: int, ends: set[str]) -> bool:
        """Whether both have dropped the connection that had these addresses at i's end."""
        return not self._ends(i, j) and ends.isdisjoint(p["addr"] for p in self.nodes[j].rpc().getpeerinfo())

    def _peered(self, i: int, j: int) -> bool:
        """Whether both ends have shaken hands."""
        here = [
            p for p in self.nodes[i].rpc().getpeerinfo() if p["addr"] == self.nodes[j].p2p and p["version"]
        ]
        if not here:
            return False
        there = {p["addr"] for p in self.nodes[j].rpc().getpeerinfo() if p["version"]}
        return any(p["addrbind"] in there for p in here)
