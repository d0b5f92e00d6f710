"""Sequencer and validators as real processes over a real bitcoind: kill them, and nothing is signed twice."""

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from anchor import rollup_keys
from anchor.bitcoind import Bitcoind as Client
from anchor.btc.header import Header
from anchor.finality.votes import FinalTracker
from anchor.rollup.genesis import Genesis
from anchor.rollup.state import RollupState
from anchor.rollup.transitions import check_block
from anchor.rollup.tx import Activate
from anchor.rollup_client import RollupClient, RollupError
from regtest.bitcoind import Bitcoind
from tests.anchor.feeding import FeedHome, routes, serving
from tests.anchor.rollup.rollup_world import ALICE, BOB, World, a_genesis, an_activation, signed
from tests.anchor.rollup_parts import background, keys

pytestmark = pytest.mark.regtest

COMMAND = [sys.executable, "-c", "from anchor.rollup_cli import rollup; rollup()"]


class Process:
    """A command of ours in the background; its log in a file."""

    def __init__(self, folder: Path, name: str, *args: object) -> None:
        self.log, self.args = folder / f"{name}.log", [*COMMAND, *map(str, args)]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(self.args, stdout=log, stderr=log)

    def end(self, number: int = signal.SIGTERM) -> int:
        if self._process is None:
            return 0
        self._process.send_signal(number)
        status, self._process = self._process.wait(20), None
        return status

    def refused(self) -> tuple[int, str]:
        """Run it to its own end; status and what it said."""
        done = subprocess.run(self.args, capture_output=True, timeout=30, check=False)
        return done.returncode, (done.stdout + done.stderr).decode()

    def url(self) -> str:
        for line in self.log.read_text().splitlines()[::-1]:
            if line.startswith("rollup API on "):
                return line.split()[-1]
        return ""


async def until(condition: Callable[[], object], what: str, *logs: Path, seconds: float = 90) -> None:
    try:
        async with asyncio.timeout(seconds):
            while True:
                found = condition()
                if asyncio.iscoroutine(found):
                    found = await found
                if found:
                    return
                await asyncio.sleep(0.02)
    except TimeoutError:
        told = "\n".join(log.read_text()[-1500:] for log in logs if log.exists())
        raise AssertionError(f"waited {seconds} s in vain for {what}\n{told}") from None


@asynccontextmanager
async def a_node(folder: Path, core: Bitcoind) -> AsyncIterator[str]:
    """A feed on bitcoind behind `/v1/headers`, as a committee node serves it."""
    async with (
        Client(core.rpc_url, cookie=core.cookie) as client,
        FeedHome(folder).feed(client, zmq_url=core.zmq_url) as feed,
        serving(routes(feed)) as url,
    ):

        async def follow() -> None:
            while True:
                await feed.sync()
                await feed.wait(2)

        async with background(follow):
            yield url


class World4:
    """Everything the story needs: genesis, key file, both processes."""

    def __init__(self, folder: Path, core: Bitcoind, node: str, height: int) -> None:
        raw = bytes.fromhex(core.rpc().getblockheader(core.rpc().getblockhash(height), False))
        self.genesis: Genesis = a_genesis(bitcoin_height=height, bitcoin_header=raw, block_ms=200)
        (folder / "genesis.json").write_text(self.genesis.to_json())
        rollup_keys.save(folder / "validators.json", keys())
        common = ("--genesis", folder / "genesis.json")
        self.port = _free_port()
        self.sequencer = Process(
            folder, "sequencer", "run", *common, "--db", folder / "s.db", "--port", self.port, "--node", node
        )
        self.url = f"http://127.0.0.1:{self.port}"
        own = ("--bitcoind-url", core.rpc_url, "--cookie", core.cookie, "--zmq", core.zmq_url)
        theirs = ("--keys", folder / "validators.json", "--db", folder / "v.db", "--rollup", self.url)
        self.validator = Process(folder, "validator", "validator", "run", *common, *theirs, *own)

    @property
    def logs(self) -> tuple[Path, Path]:
        return self.sequencer.log, self.validator.log

    def end(self) -> None:
        self.sequencer.end()
        self.validator.end()


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def replay(client: RollupClient, genesis: Genesis) -> RollupState:
    """The state, from nothing but the served blocks."""
    state, tracker = RollupState.at_genesis(genesis), FinalTracker(genesis)
    while page := await client.blocks(state.height, 100):
        for certified in page:
            tracker.add(certified)
            state = check_block(genesis, state, certified.block)
    return state


async def certified(client: RollupClient) -> int:
    try:
        return (await client.status()).certified_height
    except RollupError:
        return -1


async def test_coins_survive_kills_and_a_reorg_on_a_real_bitcoind(tmp_path: Path, bitcoind: Bitcoind) -> None:
    address = bitcoind.rpc("miner").getnewaddress()
    bitcoind.rpc().generatetoaddress(8, address)
    async with a_node(tmp_path / "node", bitcoind) as node:
        world = World4(tmp_path, bitcoind, node, 2)
        world.sequencer.start()
        world.validator.start()
        try:
            async with RollupClient(world.url) as client:
                await _story(world, client, bitcoind)
        finally:
            world.end()


async def _story(world: World4, client: RollupClient, core: Bitcoind) -> None:
    genesis, logs = world.genesis, world.logs

    async def reaches(height: int) -> None:
        async def there() -> bool:
            return await certified(client) >= height

        await until(there, f"certified block {height}", *logs)

    await reaches(2)
    await client.submit(Activate(signed(an_activation(genesis))).encode())
    await until(client.activation, "the activation", *logs)
    shadow = World(genesis)
    shadow.bitcoin = [Header.parse(_raw(core, h)) for h in range(9)]
    await client.submit(shadow.mint(ALICE, 500_000, height=6, block_hash=shadow.bitcoin[6].hash).encode())
    await until(lambda: _balance(client, ALICE.x, 500_000), "the mint", *logs)

    world.validator.end(signal.SIGKILL)
    world.sequencer.end(signal.SIGKILL)
    assert await certified(client) == -1
    world.sequencer.start()
    world.validator.start()
    await until(lambda: _balance(client, ALICE.x, 500_000), "the sequencer to remember", *logs)
    shadow.state = await replay(client, genesis)
    await client.submit(shadow.transfer(ALICE, BOB, 200_000).encode())
    await until(lambda: _balance(client, BOB.x, 200_000), "the transfer", *logs)

    height = await certified(client)
    gone = core.rpc().getblockhash(7)
    core.rpc().invalidateblock(gone)
    core.rpc().generatetoaddress(4, core.rpc("miner").getnewaddress())  # rivals, not the same blocks
    await until(client.reorgs, "the reorg in the rollup's view", *logs)
    await reaches(height + 4)
    [reorg] = await client.reorgs()
    assert (reorg.depth, reorg.fork_height, reorg.old_height, reorg.new_height) == (2, 6, 8, 10)
    state = await replay(client, genesis)
    assert state.paused is None
    assert (state.supply, state.account(ALICE.x).balance) == (500_000, 300_000)
    assert len(state.reorgs) == 1


def _raw(core: Bitcoind, height: int) -> bytes:
    return bytes.fromhex(core.rpc().getblockheader(core.rpc().getblockhash(height), False))


async def _balance(client: RollupClient, key: bytes, wanted: int) -> bool:
    try:
        return (await client.account(key)).balance == wanted
    except RollupError:
        return False


async def test_second_processes_and_strange_nodes_are_refused_by_name(
    tmp_path: Path, bitcoind: Bitcoind
) -> None:
    bitcoind.rpc().generatetoaddress(4, bitcoind.rpc("miner").getnewaddress())
    async with a_node(tmp_path / "node", bitcoind) as node:
        world = World4(tmp_path, bitcoind, node, 1)
        world.sequencer.start()
        world.validator.start()
        try:
            async with RollupClient(world.url) as client:

                async def two() -> bool:
                    return await certified(client) >= 2

                await until(two, "two blocks", *world.logs)
            for process in (world.sequencer, world.validator):
                status, said = await asyncio.to_thread(process.refused)
                assert status == 1, said
                assert "another process uses" in said
                assert "Traceback" not in said
            wrong = replace(world.genesis, network="signet", bitcoin_height=0)
            (tmp_path / "wrong.json").write_text(wrong.to_json())
            args = [str(a) for a in world.validator.args[len(COMMAND) :]]
            args[args.index(str(tmp_path / "genesis.json"))] = str(tmp_path / "wrong.json")
            args[args.index(str(tmp_path / "v.db"))] = str(tmp_path / "other.db")
            status, said = await asyncio.to_thread(Process(tmp_path, "wrong", *args).refused)
            assert (status, "not on signet" in said) == (1, True), said
            assert world.validator.end() == 0, "SIGTERM is an orderly end"
            assert world.sequencer.end() == 0
        finally:
            world.end()


async def test_the_feed_wakes_by_zmq_and_keeps_a_real_reorg(tmp_path: Path, bitcoind: Bitcoind) -> None:
    address = bitcoind.rpc("miner").getnewaddress()
    bitcoind.rpc().generatetoaddress(5, address)
    async with (
        Client(bitcoind.rpc_url, cookie=bitcoind.cookie) as client,
        FeedHome(tmp_path).feed(client, zmq_url=bitcoind.zmq_url) as feed,
    ):
        await feed.sync()
        assert feed.chain.tip.height == 5
        waiting = asyncio.create_task(feed.wait(30))
        async with asyncio.timeout(60):
            while not waiting.done():  # a subscription takes a moment; mine until one is heard
                bitcoind.rpc().generatetoaddress(1, address)
                await asyncio.wait({waiting}, timeout=0.3)
        await feed.sync()
        top = feed.chain.tip.height
        bitcoind.rpc().invalidateblock(bitcoind.rpc().getblockhash(top - 1))
        await feed.sync()
        assert (feed.chain.tip.height, feed.agrees) == (top, False)
        bitcoind.rpc().generatetoaddress(
            3, bitcoind.rpc("miner").getnewaddress()
        )  # rivals, not the same blocks
        await feed.sync()
        assert (feed.chain.tip.height, feed.agrees) == (top + 1, True)
        [row] = await feed.reorgs()
        assert (row.depth, row.old_height, row.new_height) == (2, top, top + 1)
