"""A whole Holdfast world as verbs: one bitcoind per operator and one more, a committee, the rollup, an observer.

Everything is real: each node, the sequencer and the validators are operating-system processes, made and run by the
`holdfast` command; each has its own databases. Everything listens on 127.0.0.1 and ends with this process.
"""

import shutil
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Self

from regtest.command import holdfast, together
from regtest.network import SATS_PER_BTC, WALLET, Network
from regtest.operators import (
    Node,
    form_committee,
    name_of,
    start_all,
    wait_tip,
)
from regtest.process import Process, ProcessFault
from regtest.rollup_processes import Rollup
from regtest.wallets import Payment, Wallet, sats

COINS = 5  # of the depositor's wallet at the start, so that its payments need not build on each other


class World:
    """One world in one folder. Not for several threads at once.

    `operators[i]` uses bitcoind i; the last bitcoind holds the wallets and serves validators and observer. The
    sequencer reads headers from the last operators only, those that the story leaves on its side of a split. With
    fewer `bitcoinds` operators share them, and a world comes up sooner.
    """

    def __init__(
        self, folder: Path, *, operators: int = 5, threshold: int = 3, bitcoinds: int | None = None
    ) -> None:
        """Describe a world; nothing runs yet."""
        self.folder, self.size, self.threshold = folder, operators, threshold
        # An operator's bitcoind that restarts has forgotten its mempool: only nodes bring it back.
        self.network = Network(folder, bitcoinds or operators + 1, extra=("-persistmempool=0",))
        self.miner = len(self.network.nodes) - 1
        self.operators: list[Node] = []
        self.left: list[Node] = []  # members of an earlier committee, not of the present one
        self.observers: list[Node] = []
        self._rollup: Rollup | None = None
        self.committee_files = [folder / "committee.json"]  # of every epoch, oldest first
        self.activation_file = folder / "activation.json"

    # Making it, in this order

    def start_bitcoin(self) -> None:
        """Start and peer the bitcoinds; give miner and depositor coins."""
        self.network.start()
        for _ in range(COINS):
            self.network.fund(self.depositor.address(), 5 * SATS_PER_BTC)
        self.network.mine(self.miner)
        self.network.wait_same_tip()

    def form_committee(self) -> None:
        """Make every operator's folder and the committee file that all sign."""
        self._rollup = Rollup(self.folder, self.network.nodes[self.miner])
        self.operators = [self.new_operator(i) for i in range(self.size)]
        together([node.init_command() for node in self.operators])
        form_committee(self.operators, self.threshold, self.committee_file)

    def new_operator(self, index: int) -> Node:
        """Describe the operator with this number, from 0, among all there ever were; nothing is made yet."""
        own = index % max(1, self.miner)
        return Node(self.folder, name_of(index), self.network.nodes[own], self.rollup.url)

    def make_genesis(self) -> None:
        """Make the rollup's genesis and hand it to every operator."""
        self.rollup.make_genesis(self.committee_file, height=self.network.height() - 1)
        for node in self.operators:
            self.give_genesis(node)

    def give_genesis(self, node: Node) -> None:
        """Hand the rollup's genesis to a node that does not run yet."""
        shutil.copy2(self.rollup.genesis_file, node.folder / "genesis.json")

    def give_papers(self, nodes: Sequence[Node]) -> None:
        """Hand nodes that come later the genesis and the committee files of all epochs."""
        earlier = [word for file in self.committee_files[:-1] for word in ("--earlier", file)]
        words = ("tss", "rotate", "accept") if earlier else ("tss", "committee", "accept")
        together([(*words, "--dir", node.folder, self.committee_file, *earlier) for node in nodes])
        for node in nodes:
            self.give_genesis(node)

    def start_nodes(self) -> None:
        """Start every operator's node."""
        start_all(self.operators)
        self.wait_seen()

    def start_rollup(self) -> None:
        """Start sequencer and validators."""
        shared = self.miner < self.size  # then no story splits Bitcoin between the operators
        heard = self.operators if shared else self.operators[self.threshold :] or self.operators[-1:]
        self.rollup.start([node.url for node in heard])

    def start(self) -> Self:
        """All of the above; keys and activation are `ceremony`'s."""
        self.start_bitcoin()
        self.form_committee()
        self.make_genesis()
        self.start_nodes()
        self.start_rollup()
        return self

    def add_observer(self, name: str = "olive") -> Node:
        """Make and start an observer on the last bitcoind: it holds no share and saw nothing of the past."""
        node = Node(self.folder, name, self.network.nodes[self.miner], self.rollup.url, role="observer")
        self.observers.append(node)
        holdfast(*node.init_command())
        self.give_papers([node])
        start_all([node])
        return node

    def succeed(
        self, operators: Sequence[Node], leavers: Sequence[Node], threshold: int, committee_file: Path
    ) -> None:
        """Take the next committee for the present one; see `rotation`."""
        self.left += leavers
        self.operators, self.size, self.threshold = list(operators), len(operators), threshold
        self.committee_files.append(committee_file)

    def close(self) -> None:
        """Stop everything, in the order in which nobody misses anybody; what fails does not stop the rest."""
        faults: list[Exception] = []
        closers: list[Callable[[], None]] = [node.close for node in self.nodes]
        closers += [] if self._rollup is None else [self._rollup.close]
        for process in self.processes:
            process.ask_to_stop()
        for close in (*closers, self.network.close):
            try:
                close()
            except ProcessFault as fault:
                faults.append(fault)
        if faults:
            raise ProcessFault(" ".join(str(fault) for fault in faults))

    def __enter__(self) -> Self:
        """Nothing is started: call the verbs."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop everything."""
        self.close()

    # Looking at it

    @property
    def rollup(self) -> Rollup:
        """The rollup; there once the committee is formed."""
        assert self._rollup is not None, "form the committee first"
        return self._rollup

    @property
    def nodes(self) -> list[Node]:
        """Operators, who was one, and observers."""
        return [*self.operators, *self.left, *self.observers]

    @property
    def awake(self) -> list[Node]:
        """The operators whose nodes run now."""
        return [node for node in self.operators if node.awake]

    @property
    def processes(self) -> list[Process]:
        """All our own programs."""
        return [node.process for node in self.nodes] + ([] if self._rollup is None else self.rollup.processes)

    @cached_property
    def wallet(self) -> Wallet:
        """The miner's money."""
        return Wallet(self.network.nodes[self.miner], WALLET)

    @cached_property
    def depositor(self) -> Wallet:
        """The depositor's money."""
        return Wallet(self.network.nodes[self.miner], "depositor")

    @property
    def committee_file(self) -> Path:
        """The present committee's, signed by all its members."""
        return self.committee_files[-1]

    @property
    def epoch(self) -> int:
        """The number of the present committee's file."""
        return len(self.committee_files)

    # Verbs

    def wait_seen(self) -> str:
        """Wait until all bitcoinds and all awake nodes have one tip; return its hash."""
        tip = self.network.wait_same_tip()
        wait_tip(self.nodes, tip)
        return tip

    def mine(self, count: int = 1) -> list[str]:
        """Mine blocks with what is in the mempool and wait until everybody has seen them; return their hashes."""
        blocks = self.network.mine(self.miner, count)
        self.wait_seen()
        return blocks

    def pay(self, address: str, amount: int) -> Payment:
        """Pay an address so many sats from the miner's wallet and wait until every bitcoind holds the payment."""
        payment = self.wallet.pay(address, amount)
        self.network.wait_in_mempools(payment.txid)
        return payment

    def inputs(self, txid: str) -> list[str]:
        """The outpoints that an unconfirmed transaction spends, `txid:output`."""
        found = self.network.nodes[self.miner].rpc().getrawtransaction(txid, True)["vin"]
        return [f"{each['txid']}:{each['vout']}" for each in found]

    def coin(self, outpoint: str) -> int | None:
        """The sats of an unspent, confirmed output, as the last bitcoind has it; None when there is none."""
        txid, _, vout = outpoint.partition(":")
        found = self.network.nodes[self.miner].rpc().gettxout(txid, int(vout), False)
        return None if found is None else sats(found["value"])
