"""A whole small bridge for the tests of bad requests: three operators, one bitcoind, a rollup, all active."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from regtest import http
from regtest.bitcoind import Bitcoind
from regtest.command import HOLDFAST
from regtest.operators import Node, start_all
from regtest.ports import Port
from regtest.process import Process
from regtest.waiting import wait_until
from regtest.wallets import Wallet
from tests.regtest.grounds import Ground, ground, wait_up

PURPOSES = ("treasury", "anchor", "mint")


@dataclass
class Town:
    """Alice and bob run; carol has a seat, a share and no process: a test may speak as carol."""

    ground: Ground
    rollup_url: str
    processes: list[Process]

    @property
    def alice(self) -> Node:
        """The node that is asked."""
        return self.ground.operators[0]

    @property
    def carol(self) -> Node:
        """The member without a process."""
        return self.ground.operators[2]

    @property
    def sequencer(self) -> Process:
        """The rollup's."""
        return self.processes[0]

    def peer_url(self, member: int) -> str:
        """Where a member is called; `member` is its index in the committee, from 1."""
        return self.ground.committee.committee.member(member).peer_url

    def sign(self, text: str) -> str:
        """Have alice and bob sign a test text; the signature in hex."""
        return str(self.alice.admin.post("/v1/tss/sign-test", {"key": "anchor", "text": text})["signature"])

    def check_logs(self) -> None:
        """Nobody wrote a traceback or an error of its own."""
        for process in (*self.processes, *(node.process for node in self.ground.operators)):
            said = process.log.read_text(errors="replace")
            for word in ("Traceback", "request_failed", "failed here", '"level": "error"', "never retrieved"):
                assert word not in said, (process.name, said[max(0, said.index(word) - 300) :][:3000])


@contextlib.contextmanager
def town(folder: Path, binary: Path) -> Iterator[Town]:
    """Start everything, make the keys, activate the bridge, stop carol; all ends with the block."""
    port = Port()
    url = f"http://127.0.0.1:{port.number}"
    with contextlib.ExitStack() as stack:
        stack.callback(port.release)
        bitcoind = stack.enter_context(Bitcoind(folder / "bitcoind", wallet=True, binary=binary))
        wallet = Wallet(bitcoind, "miner")
        bitcoind.rpc().generatetoaddress(101, wallet.address())
        made = stack.enter_context(ground(folder, bitcoind, 3, url))
        found = Town(made, url, _rollup(made, port.number))
        stack.callback(lambda: [process.stop() for process in reversed(found.processes)])
        for process in found.processes:
            process.start()
        start_all(made.operators)
        found.sequencer.wait_ready(lambda: http.answers(url + "/v1/status"))
        wait_up(made.operators)
        for purpose in PURPOSES:
            found.alice.admin.post("/v1/tss/dkg", {"purpose": purpose})
        _activate(found, wallet)
        found.carol.process.stop()
        yield found


def _rollup(made: Ground, port: int) -> list[Process]:
    rollup, nodes = ("--genesis", made.genesis_file), [w for n in made.operators for w in ("--node", n.url)]
    sequencer = (*rollup, "--db", made.folder / "sequencer.db", "--port", port, *nodes)
    own = ("--bitcoind-url", made.bitcoind.rpc_url, "--cookie", made.bitcoind.cookie)
    seats = ("--keys", made.validator_keys, "--db", made.folder / "validator.db")
    validators = (*rollup, *seats, "--rollup", f"http://127.0.0.1:{port}", *own)
    return [
        Process("sequencer", (*HOLDFAST, "rollup", "run", *sequencer), made.folder / "sequencer.log"),
        Process(
            "validators",
            (*HOLDFAST, "rollup", "validator", "run", *validators),
            made.folder / "validators.log",
        ),
    ]


def _activate(found: Town, wallet: Wallet) -> None:
    where = found.alice.admin.get("/v1/bridge/genesis")
    treasury = wallet.pay(where["treasury_address"], 2_000_000)
    lane = wallet.pay(where["lane_address"], 10_000_000)
    (block,) = found.ground.bitcoind.rpc().generatetoaddress(1, wallet.address())
    for node in found.ground.operators:
        wait_until(lambda node=node: node.get("/v1/headers")["tip_hash"] == block, "the tip", seconds=90)
    found.alice.admin.post("/v1/bridge/genesis", {"treasury": str(treasury), "lanes": [str(lane)]})
    for node in found.ground.operators:
        wait_until(lambda node=node: _ready(node), f"{node.name} to be active", seconds=90)
    wait_until(lambda: http.get(found.rollup_url + "/v1/status")["active"], "the rollup's word", seconds=90)


def _ready(node: Node) -> bool:
    if node.get("/v1/info")["activation_hash"] is None:
        return False
    return http.answers(node.url + "/v1/reserves")
