"""Small worlds for the tests of bad input: real folders, processes and bitcoinds, no more of them than needed."""

import contextlib
import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from anchor import rollup_keys
from anchor.btc.network import network_by_name
from anchor.rollup.genesis import Genesis, Validator
from anchor.rollup_keys import RollupKey
from regtest.bitcoind import Bitcoind
from regtest.command import Result, together
from regtest.operators import Node, name_of, start_all
from regtest.waiting import wait_until
from tests.regtest.quick_commands import attempt
from tss import identity
from tss.dkg.committee import Committee, Member, SignedCommittee
from tss.identity import HostIdentity

LOCKS = ("lock", "signer.lock", ".db.lock")  # ends of names
K = 3
BURNT = "bcrt1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqdku202"  # to nobody: these tests spend nothing


def on_signet(folder: Path, binary: Path) -> Bitcoind:
    """A bitcoind on another network, alone; not started."""
    flags = ("-regtest=0", "-signet=1", "-connect=0")
    node = Bitcoind(folder, zmq=False, extra=flags, binary=binary)
    node.cookie = folder / "signet" / ".cookie"
    return node


@dataclass
class Ground:
    """A committee whose members all use one bitcoind, and the papers of a rollup."""

    folder: Path
    bitcoind: Bitcoind
    operators: list[Node]
    committee: SignedCommittee
    genesis: Genesis
    validator_keys: Path

    @property
    def genesis_file(self) -> Path:
        """The genesis.json outside of any node's folder."""
        return self.folder / "genesis.json"

    def identity(self, index: int) -> HostIdentity:
        """An operator's identity with its seat; `index` from 0."""
        return identity.load(self.operators[index].folder).seated(self.committee.committee)


def signed_by_all(
    identities: list[HostIdentity], *, name: str = "ours", chain: str = "regtest", threshold: int = 2
) -> SignedCommittee:
    """A committee file that all its members have signed."""
    members = tuple(Member(i.name, i.host_key, i.tls.fingerprint, i.peer_url) for i in identities)
    signed = SignedCommittee.unsigned(Committee(name, chain, 1, threshold, members))
    for index, each in enumerate(identities, 1):
        signed = signed.with_signature(index, each.sign(signed.committee.hash))
    return signed


def genesis_of(
    committee: SignedCommittee, keys: list[RollupKey], *, network: str = "regtest", name: str = "bad-input"
) -> Genesis:
    """A rollup of this committee that begins with Bitcoin's own first block."""
    return Genesis(
        7,
        name,
        network,
        committee.committee.hash,
        tuple(member.host_key for member in committee.committee.members),
        committee.committee.threshold,
        tuple(Validator(key.public, 1) for key in keys),
        0,
        network_by_name(network).genesis,
        K,
        500,
    )


@contextlib.contextmanager
def ground(folder: Path, bitcoind: Bitcoind, size: int, rollup_url: str = "") -> Iterator[Ground]:
    """Folders made by `holdfast node init` with papers in them; whatever was started ends with the block."""
    operators = [Node(folder, name_of(index), bitcoind, rollup_url) for index in range(size)]
    try:
        together([node.init_command() for node in operators])
        committee = signed_by_all([identity.load(node.folder) for node in operators])
        keys = [RollupKey.new() for _ in range(2)]
        rollup_keys.save(folder / "validators.json", keys)
        genesis = genesis_of(committee, keys)
        (folder / "genesis.json").write_text(genesis.to_json())
        for node in operators:
            (node.folder / "committee.json").write_text(committee.to_json())
            (node.folder / "genesis.json").write_text(genesis.to_json())
        yield Ground(folder, bitcoind, operators, committee, genesis, folder / "validators.json")
    finally:
        for node in operators:
            node.process.ask_to_stop()
        for node in operators:
            node.close()


def with_a_key(made: Ground, purpose: str) -> None:
    """Start all operators and have them make a key together."""
    start_all(made.operators)
    wait_up(made.operators)
    made.operators[0].admin.post("/v1/tss/dkg", {"purpose": purpose})


def wait_up(nodes: Sequence[Node]) -> None:
    """Wait until each of these nodes has heard of every other member that it is there."""
    for node in nodes:
        wait_until(lambda node=node: _sees_all(node, nodes), f"{node.name} to hear of the others", seconds=90)


def _sees_all(node: Node, nodes: Sequence[Node]) -> bool:
    up = {peer["name"] for peer in node.admin.get("/v1/tss/peers")["peers"] if peer["up"]}
    return {other.name for other in nodes} - {node.name} <= up


def state_of(folder: Path) -> dict[str, str]:
    """Kind, mode and content's hash of everything below a folder, lock files left out."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.name.endswith(LOCKS):
            continue
        content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "a folder"
        found[str(path.relative_to(folder))] = f"{path.stat().st_mode:o} {content}"
    return found


Change = Callable[[Path], object]


@dataclass(frozen=True)
class Refused:
    """What a program said that should not have started, and what it changed."""

    result: Result
    changed: tuple[str, ...]

    def check(self, *words: str, status: int = 2) -> None:
        """It ended with `status` and one sentence that holds all the words (regular expressions), no more."""
        told = [line for line in self.result.err.splitlines() if not _is_log(line)]
        assert self.result.status == status, (self.result.status, self.result.err[-2000:])
        assert len(told) == 1, told
        assert told[0].startswith("Error: "), told
        for word in words:
            assert re.search(word, told[0]), (word, told[0])
        assert self.changed == (), self.changed
        assert "Traceback" not in self.result.err


def refusal(folder: Path, *command: object, seconds: float = 30) -> Refused:
    """Run a command that must end by itself; tell what it said and which files under `folder` differ now."""
    before = state_of(folder) if folder.exists() else {}
    result = attempt(*command, seconds=seconds)
    after = state_of(folder) if folder.exists() else {}
    differ = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    return Refused(result, tuple(sorted(differ)))


def refusals(cases: Mapping[str, Callable[[], Refused]]) -> dict[str, Refused]:
    """Run independent cases, three at a time, as most of each is a program's start."""
    with ThreadPoolExecutor(3) as pool:
        return dict(zip(cases, pool.map(lambda case: case(), cases.values()), strict=True))


def copied(source: Path, target: Path, change: Change) -> Path:
    """A changed copy of a stopped node's folder."""
    shutil.copytree(source, target)
    change(target)
    return target


def set_config(**changes: object) -> Change:
    """Change settings of config.toml, named `section__setting`."""

    def change(folder: Path) -> None:
        lines, section = [], ""
        for line in (folder / "config.toml").read_text().splitlines():
            if header := re.match(r"\[(\w+)\]", line):
                section = header[1]
            setting = line.split(" = ")[0]
            key = f"{section}__{setting}"
            lines.append(f"{setting} = {json.dumps(changes[key])}" if key in changes else line)
        (folder / "config.toml").write_text("\n".join(lines) + "\n")

    return change


def _is_log(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except ValueError:
        return False
