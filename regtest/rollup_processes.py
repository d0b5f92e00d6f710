"""The embedded rollup's processes: keys, genesis, one sequencer, one process with four validators."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from regtest import http
from regtest.bitcoind import Bitcoind
from regtest.command import HOLDFAST, holdfast, holdfast_json
from regtest.ports import Port
from regtest.process import Process

VALIDATORS = 4
BLOCK_MS = 500
K = 3


class Rollup:
    """One rollup of a world. `bitcoind` is the validators' own; the sequencer reads headers from nodes."""

    def __init__(self, folder: Path, bitcoind: Bitcoind) -> None:
        """Describe a rollup; nothing is made yet."""
        self.folder, self.bitcoind = folder / "rollup", bitcoind
        self._port = Port()
        self.url = f"http://127.0.0.1:{self._port.number}"
        self.genesis_file = self.folder / "genesis.json"
        self._keys = self.folder / "validators.json"
        self._logs = folder / "logs"
        self.sequencer: Process | None = None
        self.validators: Process | None = None

    def make_genesis(self, committee_file: Path, *, height: int) -> None:
        """Make validator keys and genesis.json; the rollup's view of Bitcoin begins at this height."""
        self.folder.mkdir(parents=True, exist_ok=True)
        keys = holdfast_json("rollup", "key", "new", "-o", self._keys, "--count", VALIDATORS)["keys"]
        committee = holdfast_json("tss", "committee", "show", committee_file)
        hosts = [member["host_key"] for member in committee["members"]]
        holdfast(
            *("rollup", "genesis", "make", "-o", self.genesis_file, "--id", 1, "--name", "demo"),
            *("--network", "regtest", "--committee-hash", committee["hash"]),
            *(word for host in hosts for word in ("--host-key", host)),
            *("--threshold", committee["threshold"]),
            *(word for key in keys for word in ("--validator", key)),
            *("--bitcoind-url", self.bitcoind.rpc_url, "--cookie", self.bitcoind.cookie),
            *("--bitcoin-height", height, "--k", K, "--block-ms", BLOCK_MS),
        )

    def start(self, node_urls: Sequence[str], *, seconds: float = 90) -> None:
        """Start sequencer and validators; its headers come from the first of these nodes that answers."""
        nodes = [word for url in node_urls for word in ("--node", url)]
        self.sequencer = Process(
            "the sequencer",
            (
                *(*HOLDFAST, "rollup", "run", "--genesis", self.genesis_file),
                *("--db", self.folder / "sequencer.db", "--port", str(self._port.number), *nodes),
            ),
            self._logs / "sequencer.log",
        )
        zmq = () if self.bitcoind.zmq_url is None else ("--zmq", self.bitcoind.zmq_url)
        self.validators = Process(
            "the validators' process",
            (
                *(*HOLDFAST, "rollup", "validator", "run", "--genesis", self.genesis_file),
                *("--keys", self._keys, "--db", self.folder / "validator.db", "--rollup", self.url),
                *("--bitcoind-url", self.bitcoind.rpc_url, "--cookie", self.bitcoind.cookie, *zmq),
            ),
            self._logs / "validators.log",
        )
        self.sequencer.start()
        self.validators.start()
        self.sequencer.wait_ready(lambda: http.answers(self.url + "/v1/status"), seconds=seconds)
        self.validators.wait_ready(lambda: self.status()["certified_height"] > 0, seconds=seconds)

    def status(self) -> Any:
        """Heights, view of Bitcoin, supply and escrow, as the sequencer serves them."""
        return self.get("/v1/status")

    def get(self, path: str) -> Any:
        """The JSON answer to a GET on the rollup's API."""
        return http.get(self.url + path)

    @property
    def genesis(self) -> Any:
        """What genesis.json says."""
        return json.loads(self.genesis_file.read_text())

    @property
    def processes(self) -> list[Process]:
        """What was started so far."""
        return [process for process in (self.sequencer, self.validators) if process is not None]

    def close(self) -> None:
        """Stop both processes and give the port back."""
        try:
            for process in reversed(self.processes):
                process.stop()
        finally:
            self._port.release()
