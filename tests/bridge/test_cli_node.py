"""The operator's commands as processes: what they make, how they end, and one sentence for each wrong set-up."""

import asyncio
import json
import re
import signal
import socket
import sqlite3
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Self

import pytest

from regtest.bitcoind import Bitcoind
from tests.bridge.observing import make_paper, write_observer

HOLDFAST = (sys.executable, "-c", "import sys; from bridge.cli import main; sys.exit(main())")


async def holdfast(*words: object, status: int = 0) -> tuple[str, str]:
    """Run a command; return stdout and stderr once it ended with `status`."""
    process = await asyncio.create_subprocess_exec(
        *HOLDFAST, *map(str, words), stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    out, err = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == status, (words, out, err)
    return out.decode(), err.decode()


def init(folder: Path, *more: object) -> tuple[object, ...]:
    where = ("--bitcoind-url", "http://127.0.0.1:18443", "--cookie", "cookie", "--public-port", 9101)
    named = ("--dir", folder, "--name", "alice", "--network", "regtest", "--no-passphrase")
    return ("node", "init", *named, *where, *more)


OPERATOR = ("--peer-host", "127.0.0.1", "--peer-port", 9301)


def snapshot(folder: Path) -> dict[str, bytes]:
    """Everything stored in a folder, locks aside."""
    files = (p for p in folder.rglob("*") if p.is_file() and not p.name.endswith("lock"))
    return {str(p.relative_to(folder)): p.read_bytes() for p in files}


async def test_init_makes_a_private_folder_with_identity_and_config(tmp_path):
    folder = tmp_path / "deep" / "alice"
    out, _ = await holdfast(*init(folder, *OPERATOR, "--json"))
    assert json.loads(out)["member"] == str(folder / "member.json")
    assert folder.stat().st_mode & 0o777 == 0o700
    assert (folder / "keys" / "host.key").stat().st_mode & 0o777 == 0o600
    assert json.loads((folder / "member.json").read_text())["peer_url"] == "https://127.0.0.1:9301"
    assert f'cookie = "{Path.cwd() / "cookie"}"' in (folder / "config.toml").read_text()


async def test_init_never_touches_what_is_there(tmp_path):
    await holdfast(*init(tmp_path / "a", *OPERATOR))
    before = snapshot(tmp_path / "a")
    _, err = await holdfast(*init(tmp_path / "a", *OPERATOR), status=1)
    assert "already is a node" in err
    assert snapshot(tmp_path / "a") == before


async def test_init_goes_on_where_it_died_but_only_as_the_same_node(tmp_path):
    await holdfast(*init(tmp_path, *OPERATOR))
    member = (tmp_path / "member.json").read_bytes()
    (tmp_path / "config.toml").unlink()
    _, err = await holdfast(*init(tmp_path, "--peer-host", "other.example", "--peer-port", 1), status=1)
    assert "holds the keys of alice at https://127.0.0.1:9301" in err
    await holdfast(*init(tmp_path, *OPERATOR))
    assert (tmp_path / "member.json").read_bytes() == member


async def test_an_observer_needs_no_identity_and_an_operator_a_peer_port(tmp_path):
    await holdfast(*init(tmp_path / "o", "--role", "observer"))
    assert not (tmp_path / "o" / "keys").exists()
    _, err = await holdfast(*init(tmp_path / "p"), status=2)
    assert "--peer-host" in err
    assert not (tmp_path / "p").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--bitcoind-url", "127.0.0.1:18443"), "--bitcoind-url '127.0.0.1:18443' is no address"),
        (("--bitcoind-url", "http://"), "is no address"),
        (("--bitcoind-url", "http://host:port"), "is no address"),
        (("--rollup-url", "localhost:9000"), "--rollup-url"),
        (("--zmq", "http://127.0.0.1:28332"), "tcp://"),
        (("--peer-host", "https://alice.example"), "leave out scheme and port"),
        (("--peer-host", "alice.example:9101"), "leave out scheme and port"),
        (("--peer-port", 9101), "--public-port and --peer-port are both 9101"),
        (("--admin-port", 9101), "--public-port and --admin-port are both 9101"),
    ],
)
async def test_what_can_never_be_reached_or_bound_is_refused_before_anything_is_made(tmp_path, words, said):
    _, err = await holdfast(*init(tmp_path / "a", *OPERATOR, *words), status=2)
    assert said in " ".join(err.split())
    assert not (tmp_path / "a").exists()


async def test_a_cookie_that_is_not_there_yet_is_pointed_out_and_the_folder_made(tmp_path):
    out, err = await holdfast(*init(tmp_path / "a", *OPERATOR, "--json"))
    assert "there is no cookie yet" in err
    assert json.loads(out)["name"] == "alice"
    (tmp_path / "there").touch()
    _, err = await holdfast(*init(tmp_path / "b", *OPERATOR, "--cookie", tmp_path / "there"))
    assert "note" not in err


async def test_help_of_the_root_and_of_each_command_is_quick_and_has_an_example(tmp_path):
    began = time.monotonic()
    out, _ = await holdfast("--help")
    assert time.monotonic() - began < 5  # 0.2 s where nothing else runs
    assert all(group in out for group in ("anchor", "bridge", "node", "regtest", "rollup", "tss"))
    for words in (("node", "init"), ("node", "run"), ("bridge", "withdraw"), ("anchor", "verify")):
        out, _ = await holdfast(*words, "--help")
        assert "Example: holdfast " + " ".join(words) in " ".join(out.split()), words


async def test_an_unknown_group_is_a_usage_error():
    _, err = await holdfast("frobnicate", status=2)
    assert "No such command" in err


@pytest.fixture
def observer(tmp_path, bitcoind):
    return write_observer(tmp_path / "watcher", make_paper(tmp_path / "paper"), bitcoind)


class Running:
    """`holdfast node run` in a process of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def __aenter__(self) -> Self:
        self.process = await asyncio.create_subprocess_exec(
            *HOLDFAST,
            *("node", "run", "--dir", str(self.folder)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        self.line = (await asyncio.wait_for(self.process.stdout.readline(), 30)).decode()
        assert self.line.startswith("watcher: http://127.0.0.1:"), await self.process.stderr.read()
        return self

    async def end(self, number: int) -> tuple[int, str]:
        self.process.send_signal(number)
        _, err = await asyncio.wait_for(self.process.communicate(), 15)
        return self.process.returncode, err.decode()

    async def __aexit__(self, *_: object) -> None:
        if self.process.returncode is None:
            self.process.kill()
            await self.process.communicate()


@pytest.mark.regtest
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_node_runs_tells_its_status_and_stops_cleanly_when_told(observer, number):
    async with Running(observer) as running:
        status = json.loads((await holdfast("node", "status", "--dir", observer, "--json"))[0])
        assert (status["name"], status["role"], status["pid"]) == ("watcher", "observer", running.process.pid)
        assert status["public_url"] in running.line
        text, _ = await holdfast("node", "status", "--dir", observer)
        assert "bitcoind" in text
        assert re.search(r"started +20\d\d-\d\d-\d\d \d\d:\d\d:\d\d UTC\n", text)
        assert re.search(r"uptime +\d+ s\n", text)
        troubles = [check["name"] for check in status["checks"] if not check["ok"]]
        assert "bridge" in troubles, "it is not active"
        assert re.search(rf"trouble +{', '.join(troubles)}\n", text)
        _, err = await holdfast("node", "confirm-tip", "--dir", observer, "ab" * 32, status=1)
        assert "does not ask about a chain with that block" in err
        assert "holdfast node status" in err
        refused, _ = await holdfast("node", "refuse-tip", "--dir", observer, "cd" * 32)
        assert "does not follow the chain with block " + "cd" * 32 in refused
        _, err = await holdfast("node", "confirm-tip", "--dir", observer, "nonsense", status=1)
        assert "64 hex digits" in err
        code, logged = await running.end(number)
    assert code == 0, logged
    lines = [json.loads(line) for line in logged.splitlines()]
    assert {"event", "level", "timestamp", "logger"} <= set(lines[0])
    assert "Traceback" not in logged
    assert not (observer / "admin.json").exists()
    _, err = await holdfast("node", "status", "--dir", observer, status=1)
    assert f"holdfast node run --dir {observer}" in err


@pytest.mark.regtest
async def test_a_second_process_on_the_folder_is_refused_by_name_and_the_first_goes_on(observer):
    async with Running(observer) as running:
        before = snapshot(observer)
        for words in (("node", "run"), ("node", "upgrade")):
            _, err = await holdfast(*words, "--dir", observer, status=2 if "run" in words else 1)
            assert f"in use by process {running.process.pid}" in err.splitlines()[-1]
        after = snapshot(observer)
        assert {n for n in before | after if not n.startswith("node.db")} == {
            n for n in before if not n.startswith("node.db")
        }
        assert after["admin.json"] == before["admin.json"]
        assert (await running.end(signal.SIGTERM))[0] == 0


@pytest.mark.regtest
async def test_a_killed_node_leaves_a_stale_token_that_the_next_start_replaces(observer):
    async with Running(observer) as running:
        old = (observer / "admin.json").read_text()
        await running.end(signal.SIGKILL)
    _, err = await holdfast("node", "status", "--dir", observer, status=1)
    assert "does not answer" in err
    async with Running(observer):
        assert (observer / "admin.json").read_text() != old
        await holdfast("node", "status", "--dir", observer)


async def refused(folder: Path) -> str:
    """Run the node; it must end with status 2, one sentence, and leave everything as it was."""
    before = snapshot(folder)
    out, err = await holdfast("node", "run", "--dir", folder, status=2)
    after = snapshot(folder)
    assert {name: data for name, data in after.items() if name in before} == before
    assert out == ""
    assert "Traceback" not in err
    return err.splitlines()[-1]


def edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


@pytest.mark.regtest
async def test_every_wrong_set_up_is_one_sentence_and_status_2(observer, bitcoind: Bitcoind, tmp_path):
    config, url = observer / "config.toml", bitcoind.rpc_url
    assert "node init" in await refused(tmp_path / "nowhere")
    edit(config, url, "http://127.0.0.1:9")
    assert "127.0.0.1:9" in await refused(observer)
    edit(config, "http://127.0.0.1:9", url)
    edit(config, 'network = "regtest"', 'network = "signet"')
    assert "regtest" in await refused(observer)
    edit(config, 'network = "signet"', 'network = "regtest"')
    edit(config, "[bitcoind]", "[bitcoind")
    assert "damaged" in await refused(observer)
    edit(config, "[bitcoind", "[bitcoind]")
    committee = (observer / "committee.json").read_text()
    edit(observer / "committee.json", '"epoch": 1', '"epoch": 2')
    assert "committee.json" in await refused(observer)
    (observer / "committee.json").write_text(committee)
    genesis = (observer / "genesis.json").read_text()
    (observer / "genesis.json").unlink()
    assert "genesis.json" in await refused(observer)
    edit_committee = json.loads(genesis) | {"committee_hash": "11" * 32}
    (observer / "genesis.json").write_text(json.dumps(edit_committee))
    assert "holdfast tss committee show" in await refused(observer)
    (observer / "genesis.json").write_text(genesis)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        edit(config, "port = 0", f"port = {port}")  # [peer] comes first, an observer has none
        text = config.read_text().replace("port = 0", f"port = {port}", 1)
        config.write_text(text)
        assert f"the public port 127.0.0.1:{port}" in await refused(observer)


@pytest.mark.regtest
async def test_an_old_a_newer_and_a_damaged_database_are_refused_unchanged(observer):
    async with Running(observer) as running:
        await running.end(signal.SIGTERM)
    path = observer / "node.db"
    with closing(sqlite3.connect(path)) as db, db:
        db.execute("UPDATE alembic_version SET version_num = 'n9999'")
    assert "newer than this release" in await refused(observer)
    _, err = await holdfast("node", "upgrade", "--dir", observer, status=1)
    assert "install the release that wrote it" in err
    path.write_bytes(b"this is not a database, it is a letter to whoever finds it" * 100)
    assert "restore it from a backup" in await refused(observer)
    path.unlink()
    for leftover in observer.glob("node.db-*"):
        leftover.unlink()
    out, _ = await holdfast("node", "upgrade", "--dir", observer)
    assert "none yet" in out


@pytest.mark.regtest
async def test_an_upgrade_of_a_current_node_does_nothing(observer):
    async with Running(observer) as running:
        await running.end(signal.SIGTERM)
    (done,) = json.loads((await holdfast("node", "upgrade", "--dir", observer, "--json"))[0])
    assert done == {"database": "node", "from": "n0001", "to": "n0001", "copy": None}
    assert not list(observer.glob("node.db.before*"))
