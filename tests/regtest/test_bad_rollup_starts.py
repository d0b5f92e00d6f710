"""Sequencer and validators over what is wrong: one sentence, a failed exit, nothing that was stored has changed."""

import os
import shutil
import socket
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pytest

from anchor import rollup_keys
from anchor.btc.network import SIGNET
from anchor.rollup_keys import RollupKey
from regtest import http
from regtest.bitcoind import Bitcoind
from regtest.command import HOLDFAST
from regtest.ports import Port
from regtest.process import Process
from regtest.waiting import wait_until
from tests.regtest.grounds import BURNT, Refused, genesis_of, on_signet, refusal, refusals, signed_by_all
from tss import identity

pytestmark = pytest.mark.regtest


@dataclass
class Ran:
    """A rollup that made a few blocks and was stopped; `sequencer` and `validator` are the words that start it."""

    folder: Path
    bitcoind: Bitcoind
    port: int
    url: str

    def sequencer(self, **changes: object) -> tuple[object, ...]:
        words = {
            "genesis": self.folder / "genesis.json",
            "db": self.folder / "sequencer.db",
            "port": self.port,
        }
        return ("rollup", "run", *options(words | {"node": "http://127.0.0.1:9"} | changes))

    def validator(self, **changes: object) -> tuple[object, ...]:
        words = {
            "genesis": self.folder / "genesis.json",
            "keys": self.folder / "keys.json",
            "db": self.folder / "validator.db",
            "rollup": self.url,
            "bitcoind-url": self.bitcoind.rpc_url,
            "cookie": self.bitcoind.cookie,
        }
        return ("rollup", "validator", "run", *options(words | changes))


Words = tuple[object, ...]
Case = Callable[[Ran], Words]


def options(words: dict[str, object]) -> list[object]:
    return [part for name, value in words.items() for part in (f"--{name.replace('_', '-')}", value)]


@pytest.fixture(scope="module")
def signet(bitcoind_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bitcoind]:
    """A bitcoind on another network."""
    with on_signet(tmp_path_factory.mktemp("bitcoin") / "signet", bitcoind_path) as node:
        yield node


@pytest.fixture(scope="module")
def ran(bitcoind_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ran]:
    """One that had two validators in one process; the second start of each is refused while it runs."""
    folder = tmp_path_factory.mktemp("rollup")
    port = Port()
    keys = [RollupKey.new() for _ in range(2)]
    rollup_keys.save(folder / "keys.json", keys)
    members = [identity.create(folder / n, n, f"https://127.0.0.1:{9 + i}") for i, n in enumerate("ab")]
    (folder / "genesis.json").write_text(genesis_of(signed_by_all(members), keys).to_json())
    with Bitcoind(tmp_path_factory.mktemp("bitcoin") / "regtest", binary=bitcoind_path) as bitcoind:
        bitcoind.rpc().generatetoaddress(2, BURNT)
        found = Ran(folder, bitcoind, port.number, f"http://127.0.0.1:{port.number}")
        commands = {"sequencer": found.sequencer(), "validators": found.validator()}
        running = [
            Process(n, (*HOLDFAST, *c), folder.parent / f"{n}.log").start() for n, c in commands.items()
        ]
        try:
            running[0].wait_ready(lambda: http.answers(found.url + "/v1/status"))
            certified = lambda: http.get(found.url + "/v1/status")["certified_height"] > 3  # noqa: E731
            wait_until(certified, "some certified blocks", seconds=90)
            for command, file in ((found.sequencer(), "sequencer.db"), (found.validator(), "validator.db")):
                again = refusal(folder / "a", *command)
                again.check(f"another process uses .*{file}", "stop it", status=1)
        finally:
            for process in reversed(running):
                process.stop()
        assert not any("Traceback" in process.log.read_text() for process in running)
        yield found
    port.release()


@pytest.fixture
def starts(ran: Ran, tmp_path: Path) -> Callable[..., dict[str, Refused]]:
    """Run commands over copies of the rollup's folder, each named; a case changes its copy and gives the words."""

    def over(name: str, case: Case) -> Refused:
        mine = replace(ran, folder=tmp_path / name)
        shutil.copytree(ran.folder, mine.folder)
        return refusal(mine.folder, *case(mine))

    return lambda cases: refusals({name: partial(over, name, case) for name, case in cases.items()})


def written(name: str, data: bytes | str, command: Callable[..., Words], mode: int = 0o600) -> Case:
    """Start over a file with this content."""

    def case(mine: Ran) -> Words:
        (mine.folder / name).write_bytes(data.encode() if isinstance(data, str) else data)
        (mine.folder / name).chmod(mode)
        return command(mine)

    return case


def sql(name: str, statement: str, command: Callable[..., Words]) -> Case:
    """Start over a database in which something was changed."""

    def case(mine: Ran) -> Words:
        with closing(sqlite3.connect(mine.folder / name)) as db, db:
            db.execute(statement)
        return command(mine)

    return case


def test_genesis_and_key_files_that_will_not_do_are_refused(ran: Ran, starts) -> None:
    text, keys = (ran.folder / "genesis.json").read_text(), (ran.folder / "keys.json").read_bytes()
    other = text.replace('"bad-input"', '"other"')
    rollup_keys.save(ran.folder.parent / "strangers.json", [RollupKey.new()])
    strangers = (ran.folder.parent / "strangers.json").read_bytes()
    found = starts(
        {
            "cut": written("genesis.json", text[:200], Ran.sequencer),
            "other": written("genesis.json", other, Ran.sequencer),
            "other's vote": written("genesis.json", other, Ran.validator),
            "open keys": written("keys.json", keys, Ran.validator, 0o644),
            "bad keys": written("keys.json", "{}", Ran.validator),
            "strangers": written("keys.json", strangers, Ran.validator),
        }
    )
    found["cut"].check("not a genesis file", status=1)
    found["other"].check("sequencer.db belongs to another rollup or role", "give the right", status=1)
    found["other's vote"].check("validator.db belongs to another rollup or role", status=1)
    found["open keys"].check("can be read by others", "chmod 600", status=1)
    found["bad keys"].check("is no key file", "holdfast rollup key new", status=1)
    found["strangers"].check("is no validator of this genesis", "give this rollup's own", status=1)


def test_a_database_that_is_not_of_this_release_role_or_damaged_is_refused(ran: Ran, starts) -> None:
    whole = (ran.folder / "sequencer.db").read_bytes()
    newer, row = (
        "UPDATE alembic_version SET version_num = 'x'",
        "UPDATE blocks SET raw = x'00' WHERE height = 2",
    )
    found = starts(
        {
            "newer": sql("sequencer.db", newer, Ran.sequencer),
            "garbage": written("validator.db", os.urandom(5000), Ran.validator),
            "cut": written("sequencer.db", whole[: len(whole) // 8192 * 4096], Ran.sequencer),
            "swapped": lambda mine: mine.sequencer(db=mine.folder / "validator.db"),
            "hole": sql("validator.db", "DROP TABLE header_forks", Ran.validator),
            "block": sql("sequencer.db", row, Ran.sequencer),
            "vote": sql("validator.db", row, Ran.validator),
        }
    )
    found["newer"].check("newer than this release", "install the release that wrote it", status=1)
    found["garbage"].check("validator.db cannot be read", "restore it from a backup", status=1)
    found["cut"].check("sequencer.db cannot be", "malformed", "restore it from a backup", status=1)
    found["swapped"].check("belongs to another rollup or role", status=1)
    found["hole"].check("validator.db cannot be used", "--resume-above", status=1)
    found["block"].check("sequencer.db cannot be used", "restore it from a backup", status=1)
    found["vote"].check("validator.db cannot be used", "--resume-above", status=1)


def test_a_bitcoind_that_is_not_the_right_one_is_refused_and_nothing_is_made(
    starts, signet: Bitcoind
) -> None:
    nobody = Port()
    wrong = {"bitcoind_url": signet.rpc_url, "cookie": signet.cookie}
    away = {"bitcoind_url": f"http://127.0.0.1:{nobody.number}"}
    found = starts(
        {
            "wrong chain": lambda mine: mine.validator(db=mine.folder / "fresh.db", **wrong),
            "unreachable": lambda mine: mine.validator(db=mine.folder / "fresh.db", **away),
            "wrong cookie": lambda mine: mine.validator(cookie=signet.cookie),
            "no cookie": lambda mine: mine.validator(cookie=mine.folder / "none"),
            "no zmq": lambda mine: mine.validator(zmq="nonsense"),
            "headers": written("validator-headers/main.bin", SIGNET.genesis, Ran.validator),
        }
    )
    nobody.release()
    found["wrong chain"].check("is on 'signet', not on regtest", status=1)
    found["unreachable"].check("does not answer", "start it, or correct the URL", status=1)
    found["wrong cookie"].check("refuses the cookie file", "check rpcauth", status=1)
    found["no cookie"].check("cannot read bitcoind's cookie file", "give its real path", status=1)
    found["no zmq"].check("is no ZMQ address", "zmqpubsequence", status=1)
    found["headers"].check("begins with another header", "move it away", status=1)


def test_a_busy_port_is_refused(ran: Ran) -> None:
    with socket.create_server(("127.0.0.1", ran.port)):
        refusal(ran.folder, *ran.sequencer()).check(
            f"cannot listen on 127.0.0.1:{ran.port}", "--port", status=1
        )


def test_a_missing_file_is_a_usage_error_that_names_it(ran: Ran, tmp_path: Path) -> None:
    said = refusal(tmp_path, *ran.sequencer(genesis=tmp_path / "none.json"))
    assert (said.result.status, said.changed) == (2, ())
    assert f"File '{tmp_path / 'none.json'}' does not exist" in said.result.err.splitlines()[-1]
