"""Nodes of people: their folder made by the real command, their process, their public address.

An operator's node and an observer's differ in their role only, as in `holdfast node init --role`.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from regtest import http
from regtest.bitcoind import Bitcoind
from regtest.command import HOLDFAST, holdfast, together
from regtest.ports import Port
from regtest.process import Process
from regtest.waiting import wait_until

NAMES = ("alice", "bob", "carol", "dave", "erin", "frank", "grace", "heidi", "ivan", "judy")


def name_of(index: int) -> str:
    """The name of the operator with this position, from 0."""
    return NAMES[index] if index < len(NAMES) else f"operator-{index + 1}"


@dataclass(frozen=True, slots=True)
class Admin:
    """How its own operator reaches a running node; changes at every start."""

    url: str
    token: str

    def get(self, path: str) -> Any:
        """The JSON answer to a GET on the admin port."""
        return http.get(self.url + path, token=self.token)

    def post(self, path: str, body: object, *, seconds: float = 60) -> Any:
        """The JSON answer to a POST on the admin port."""
        return http.post(self.url + path, body, token=self.token, seconds=seconds)


class Node:
    """One node with its folder, ports and process. `index` is its position in the committee, from 0."""

    def __init__(
        self, folder: Path, name: str, bitcoind: Bitcoind, rollup_url: str, *, role: str = "operator"
    ) -> None:
        """Describe a node; nothing is made yet."""
        self.folder, self.name, self.role = folder / name, name, role
        self.bitcoind, self.rollup_url = bitcoind, rollup_url
        self._peer, self._public = Port(), Port()
        self.url = f"http://127.0.0.1:{self._public.number}"
        command = (*HOLDFAST, "node", "run", "--dir", self.folder)
        self.process = Process(f"{name}'s node", command, folder / "logs" / f"{name}.log")

    # Made once

    def init_command(self) -> tuple[object, ...]:
        """The command that makes identity, folder and config."""
        zmq = () if self.bitcoind.zmq_url is None else ("--zmq", self.bitcoind.zmq_url)
        return (
            *("node", "init", "--dir", self.folder, "--name", self.name, "--network", "regtest"),
            *("--bitcoind-url", self.bitcoind.rpc_url, "--cookie", self.bitcoind.cookie, *zmq),
            *("--peer-host", "127.0.0.1", "--peer-port", self._peer.number),
            *("--public-port", self._public.number, "--rollup-url", self.rollup_url, "--role", self.role),
            *("--no-passphrase",),
        )

    @property
    def peer_port(self) -> int:
        """Where the other operators' nodes reach it."""
        return self._peer.number

    @property
    def member_file(self) -> Path:
        """Its public part of the committee file."""
        return self.folder / "member.json"

    # Running

    def start(self) -> None:
        """Start the process without waiting; see `wait_ready`."""
        self.process.start()

    def wait_ready(self, *, seconds: float = 30) -> None:
        """Wait until it answers on its public and its admin port."""
        self.process.wait_ready(
            lambda: (self.folder / "admin.json").exists() and http.answers(self.url + "/v1/info"),
            seconds=seconds,
        )

    @property
    def awake(self) -> bool:
        """Whether it runs and is not frozen."""
        return self.process.running and not self.process.frozen

    @property
    def admin(self) -> Admin:
        """Its admin port, as admin.json says now."""
        found = json.loads((self.folder / "admin.json").read_text())
        return Admin(found["url"], found["token"])

    def get(self, path: str) -> Any:
        """The JSON answer to a GET on its public port."""
        return http.get(self.url + path)

    def restart(self) -> None:
        """End the process in order and start it again, without waiting; see `wait_ready`."""
        self.process.stop()
        self.start()

    def close(self) -> None:
        """Stop the process and give the ports back."""
        try:
            self.process.stop()
        finally:
            self._peer.release()
            self._public.release()

    def __repr__(self) -> str:
        return f"Node({self.name!r}, {self.url})"


def form_committee(nodes: Sequence[Node], threshold: int, file: Path) -> None:
    """Make the committee file of these operators: proposed by one, signed by each, accepted by each."""
    members = [node.member_file for node in nodes]
    proposal = file.with_suffix(".proposal.json")
    holdfast(
        *("tss", "committee", "propose", "--name", "demo", "--threshold", threshold),
        *("--chain", "regtest", *members, "-o", proposal),
    )
    sign_committee(nodes, proposal, file)
    accept_committee(nodes, file)
    proposal.unlink()


def sign_committee(nodes: Sequence[Node], proposal: Path, file: Path) -> None:
    """Have each of these operators sign a copy of the proposed committee file, and merge the copies into `file`."""
    copies = [file.with_suffix(f".{node.name}.json") for node in nodes]
    for copy in copies:
        copy.write_bytes(proposal.read_bytes())
    together(
        [
            ("tss", "committee", "sign", "--dir", node.folder, copy)
            for node, copy in zip(nodes, copies, strict=True)
        ]
    )
    holdfast("tss", "committee", "merge", *copies, "-o", file)
    for done in copies:
        done.unlink()


def accept_committee(nodes: Sequence[Node], file: Path) -> None:
    """Have each node take the committee file."""
    together([("tss", "committee", "accept", "--dir", node.folder, file) for node in nodes])


def start_all(nodes: Sequence[Node], *, seconds: float = 60) -> None:
    """Start the nodes at once and wait for all."""
    for node in nodes:
        node.start()
    for node in nodes:
        node.wait_ready(seconds=seconds)


def wait_tip(nodes: Sequence[Node], block_hash: str, *, seconds: float = 60) -> None:
    """Wait until the awake nodes have this block as Bitcoin's tip."""
    for node in nodes:
        if node.awake:
            wait_until(
                lambda node=node: node.get("/v1/headers")["tip_hash"] == block_hash,  # type: ignore[misc]  # mypy infers no defaults
                f"{node.name}'s node to follow its bitcoind to {block_hash}",
                seconds=seconds,
            )
