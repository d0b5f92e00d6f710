"""The rollup's two processes, put together: the sequencer with its HTTP interface, and the validator.

Both run until `stop` is set or something needs a person; `ready` is called once, when they work.
"""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import web
from sqlalchemy.exc import DatabaseError

from anchor.bitcoind import Bitcoind
from anchor.btc.codec import CodecError
from anchor.btc.network import network_by_name
from anchor.feed import HeaderFeed
from anchor.http_server import Runner
from anchor.remote_feed import RemoteFeed
from anchor.rollup.genesis import Genesis
from anchor.rollup_api import RollupApi
from anchor.rollup_client import RollupClient
from anchor.rollup_keys import RollupKey
from anchor.rollup_store import RollupStore, StoreError, headers
from anchor.sequencer import Sequencer
from anchor.validator import Validator


class PortBusy(StoreError):
    """The port to listen on is taken."""


class Damaged(StoreError):
    """The database cannot be read."""


@dataclass(frozen=True, slots=True)
class SequencerSettings:
    """`nodes` are roots of committee nodes' public HTTP; port 0 lets the system choose."""

    db: Path
    host: str
    port: int
    nodes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ValidatorSettings:
    """`headers` is the folder of the header file; `resume_above` as in `Validator.open`."""

    db: Path
    headers: Path
    rollup: str
    bitcoind: Bitcoind
    zmq: str | None = None
    resume_above: int | None = None


async def run_sequencer(
    genesis: Genesis, settings: SequencerSettings, stop: asyncio.Event, ready: Callable[[str], None]
) -> None:
    """Serve and make blocks until `stop`; `ready` gets the URL. Raises StoreError, SchemaFault or PortBusy."""
    if not settings.db.exists():  # refuse before there is one
        _check_port(settings.host, settings.port)
    async with _opened(settings.db, genesis, "sequencer", "restore it from a backup") as store:
        await _sequence(genesis, settings, store, stop, ready)


async def _sequence(
    genesis: Genesis,
    settings: SequencerSettings,
    store: RollupStore,
    stop: asyncio.Event,
    ready: Callable[[str], None],
) -> None:
    feeds: list[RemoteFeed] = []

    def feed(view: Any) -> RemoteFeed:
        feeds.append(RemoteFeed(settings.nodes, view))
        return feeds[-1]

    try:
        sequencer = Sequencer(genesis, store, feed)
        await sequencer.open()
        runner = Runner(RollupApi(sequencer).app())
        await runner.setup()
        try:
            ready(await _listen(runner, settings.host, settings.port))
            await _until(stop, sequencer.run())
        finally:
            await runner.cleanup()
    finally:
        for remote in feeds:
            await remote.close()


async def run_validator(
    genesis: Genesis,
    keys: Sequence[RollupKey],
    settings: ValidatorSettings,
    stop: asyncio.Event,
    ready: Callable[[int], None],
) -> None:
    """Follow and vote until `stop`; `ready` gets the height. Raises what needs a person."""
    remedy = "keep a copy, move it away, and start with --resume-above as --help tells"
    try:
        await settings.bitcoind.check(network_by_name(genesis.network))
        async with _opened(settings.db, genesis, "validator", remedy) as store:
            await _validate(genesis, keys, settings, store, stop, ready)
    finally:
        await settings.bitcoind.close()


async def _validate(
    genesis: Genesis,
    keys: Sequence[RollupKey],
    settings: ValidatorSettings,
    store: RollupStore,
    stop: asyncio.Event,
    ready: Callable[[int], None],
) -> None:
    client = RollupClient(settings.rollup)
    feed = HeaderFeed(
        settings.bitcoind,
        network_by_name(genesis.network),
        settings.headers,
        store.engine,
        headers,
        k=genesis.k,
        start=(genesis.bitcoin_height, genesis.first_header),
        zmq_url=settings.zmq,
        hold=False,  # the rollup pauses value on such a reorg, and asks for the operators' decision
    )
    try:
        validator = Validator(genesis, keys, store, client, feed)
        await feed.open()
        await validator.open(resume_above=settings.resume_above)
        ready(validator.state.height)
        await _until(stop, validator.run())
    finally:
        await feed.close()
        await client.close()


@asynccontextmanager
async def _opened(path: Path, genesis: Genesis, role: str, remedy: str) -> AsyncIterator[RollupStore]:
    """The database while it is open; damage in it, found whenever, is one sentence with the remedy."""
    try:
        store = await RollupStore.open(path, genesis.hash, role)
        try:
            yield store
        finally:
            await store.close()
    except (DatabaseError, CodecError) as error:
        why = error.orig if isinstance(error, DatabaseError) else error
        raise Damaged(f"{path} cannot be used ({why}): {remedy}") from error


def _check_port(host: str, port: int) -> None:
    """PortBusy before anything is made on disk."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise _busy(host, port, error) from error


def _busy(host: str, port: int, error: OSError) -> PortBusy:
    return PortBusy(f"cannot listen on {host}:{port} ({error.strerror}): choose another --port")


async def _listen(runner: web.AppRunner, host: str, port: int) -> str:
    site = web.TCPSite(runner, host, port)
    try:
        await site.start()
    except OSError as error:
        raise _busy(host, port, error) from error
    bound = runner.addresses[0]
    return f"http://{bound[0]}:{bound[1]}"


async def _until(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> None:
    """Run `work` until `stop`; the first error of its tasks comes out as it is."""
    task = asyncio.create_task(work)
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({task, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            await _unwrapped(task)
    finally:
        for each in (task, stopped):
            each.cancel()
        await asyncio.gather(task, stopped, return_exceptions=True)


async def _unwrapped(task: Awaitable[None]) -> None:
    try:
        await task
    except* Exception as group:
        error: BaseException = group
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        raise error from None
