"""Sequencer and validators over what is wrong: one sentence, a failed exit, nothing that was stored has changed."""

import os
import shutil
import socket
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
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
from tests.regtest.grounds import BURNT, genesis_of, on_signet, refusal, refusals, signed_by_all
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
            wait_until(certified, "some certified blocks", seconds=30)
            for command, file in ((found.sequencer(), "sequencer.db"), (found.validator(), "validator.db")):
                again = refusal(folder / "a", *command)
                again.check(f"another process uses .*{file}", "stop it", status=1)
        finally:
            for process in reversed(running):
                process.stop()
        assert not any("Traceback" in process.log.read_text() for process in running)
        yield found
    port.release()


def damaged(source: Path, target: Path, change: Callable[[sqlite3.Connection], object]) -> Path:
    """A changed copy of a database."""
    shutil.copy2(source, target)
    with closing(sqlite3.connect(target)) as db, db:
        change(db)
    return target


def test_genesis_and_key_files_that_will_not_do_are_refused(ran: Ran, tmp_path: Path) -> None:
    text = (ran.folder / "genesis.json").read_text()
    (tmp_path / "cut.json").write_text(text[:200])
    (tmp_path / "other.json").write_text(text.replace('"bad-input"', '"other"'))
    shutil.copy2(ran.folder / "keys.json", tmp_path / "open.json")
    (tmp_path / "open.json").chmod(0o644)
    (tmp_path / "bad.json").write_text("{}")
    (tmp_path / "bad.json").chmod(0o600)
    rollup_keys.save(tmp_path / "strangers.json", [RollupKey.new()])
    found = refusals(
        {
            "cut": partial(refusal, ran.folder, *ran.sequencer(genesis=tmp_path / "cut.json")),
            "other": partial(refusal, ran.folder, *ran.sequencer(genesis=tmp_path / "other.json")),
            "other's vote": partial(refusal, ran.folder, *ran.validator(genesis=tmp_path / "other.json")),
            "open keys": partial(refusal, ran.folder, *ran.validator(keys=tmp_path / "open.json")),
            "bad keys": partial(refusal, ran.folder, *ran.validator(keys=tmp_path / "bad.json")),
            "strangers": partial(refusal, ran.folder, *ran.validator(keys=tmp_path / "strangers.json")),
        }
    )
    found["cut"].check("not a genesis file", status=1)
    found["other"].check("sequencer.db belongs to another rollup or role", "give the right", status=1)
    found["other's vote"].check("validator.db belongs to another rollup or role", status=1)
    found["open keys"].check("can be read by others", "chmod 600", status=1)
    found["bad keys"].check("is no key file", "holdfast rollup key new", status=1)
    found["strangers"].check("is no validator of this genesis", "give this rollup's own", status=1)


def test_a_database_that_is_not_of_this_release_role_or_damaged_is_refused(ran: Ran, tmp_path: Path) -> None:
    ours, theirs = ran.folder / "sequencer.db", ran.folder / "validator.db"
    newer = damaged(
        ours, tmp_path / "newer.db", lambda db: db.execute("UPDATE alembic_version SET version_num = 'x'")
    )
    row = "UPDATE blocks SET raw = x'00' WHERE height = 2"
    (tmp_path / "garbage.db").write_bytes(os.urandom(5000))
    cut = damaged(ours, tmp_path / "cut.db", lambda _: None)
    os.truncate(cut, cut.stat().st_size // 8192 * 4096)
    hole = damaged(theirs, tmp_path / "hole.db", lambda db: db.execute("DROP TABLE header_forks"))
    block = damaged(ours, tmp_path / "block.db", lambda db: db.execute(row))
    vote = damaged(theirs, tmp_path / "vote.db", lambda db: db.execute(row))
    headers = {"headers": ran.folder / "validator-headers"}
    found = refusals(
        {
            "newer": partial(refusal, tmp_path, *ran.sequencer(db=newer)),
            "garbage": partial(refusal, tmp_path, *ran.validator(db=tmp_path / "garbage.db", **headers)),
            "cut": partial(refusal, tmp_path, *ran.sequencer(db=cut)),
            "swapped": partial(refusal, ran.folder, *ran.sequencer(db=theirs)),
            "hole": partial(refusal, tmp_path, *ran.validator(db=hole, **headers)),
            "block": partial(refusal, tmp_path, *ran.sequencer(db=block)),
            "vote": partial(refusal, tmp_path, *ran.validator(db=vote, **headers)),
        }
    )
    found["newer"].check("newer than this release", "install the release that wrote it", status=1)
    found["garbage"].check("garbage.db cannot be read", "restore it from a backup", status=1)
    found["cut"].check("cut.db cannot be", "malformed", "restore it from a backup", status=1)
    found["swapped"].check("belongs to another rollup or role", status=1)
    found["hole"].check("hole.db cannot be used", "--resume-above", status=1)
    found["block"].check("block.db cannot be used", "restore it from a backup", status=1)
    found["vote"].check("vote.db cannot be used", "--resume-above", status=1)


def test_a_bitcoind_that_is_not_the_right_one_is_refused_and_nothing_is_made(
    ran: Ran, signet: Bitcoind, tmp_path: Path
) -> None:
    fresh, nobody = tmp_path / "fresh.db", Port()
    (tmp_path / "main.bin").write_bytes(SIGNET.genesis)
    wrong = {"bitcoind_url": signet.rpc_url, "cookie": signet.cookie}
    away = {"bitcoind_url": f"http://127.0.0.1:{nobody.number}"}
    found = refusals(
        {
            "wrong chain": partial(refusal, tmp_path, *ran.validator(db=fresh, **wrong)),
            "unreachable": partial(refusal, tmp_path, *ran.validator(db=fresh, **away)),
            "wrong cookie": partial(refusal, tmp_path, *ran.validator(db=fresh, cookie=signet.cookie)),
            "no cookie": partial(refusal, tmp_path, *ran.validator(db=fresh, cookie=tmp_path / "none")),
            "no zmq": partial(refusal, ran.folder, *ran.validator(zmq="nonsense")),
            "headers": partial(refusal, ran.folder, *ran.validator(headers=tmp_path)),
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
