"""`make soak-reorgs`: two real bitcoinds apart and together again, depths 1 to k + 2, with and without a thief.

Each partition has an anchor, deposits, a sweep and a payout in the lost branch. All depths run once, then again
until SOAK_MINUTES (default 1) are over. Prints a row for each, then what `holdfast anchor reorgs` says; writes the
pages and pictures to build/soak/reorgs. Exit status 0 only when no value was ever lost or doubled and every fate is
told.
"""

import asyncio
import contextlib
import io
import os
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import structlog
from aiohttp import web
from click.testing import CliRunner

from anchor import problem
from anchor.api_headers import HeaderApi, HeaderSources
from anchor.btc.ids import display
from anchor.cli_reorgs import reorgs
from regtest.network import Network
from tests.bridge.office import Office, office
from tests.bridge.partitioned import OWN, K, Partition

SHOWN = Path("build/soak/reorgs")


@contextlib.asynccontextmanager
async def served(it: Office) -> AsyncIterator[str]:
    """The first node's header routes, and as much of its health as the command reads."""
    node = it.nodes[0]
    active = node.active
    assert active is not None
    sources = HeaderSources(
        "alice",
        it.genesis.k,
        node.feed.chain,
        node.feed.ledger,
        lambda: active.depths,
        active.reorgs.touched,
        active.paused,
        lambda: it.rollup.state.reorgs,
    )

    async def health(_: web.Request) -> web.Response:
        tip = node.feed.chain.tip
        bitcoin = {"height": tip.height, "hash": display(tip.hash), "agrees": node.feed.agrees}
        return problem.answer({"bitcoin": bitcoin, "checks": [], "paused": active.paused()})

    app = problem.app()
    app.add_routes([*HeaderApi(sources).routes(), web.get("/v1/health", health)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def keep_pages(it: Office) -> str:
    """Write the newest reorg's page and picture; return what the command says."""
    (row,) = await it.nodes[0].feed.reorgs(1)
    SHOWN.mkdir(parents=True, exist_ok=True)
    async with served(it) as url, aiohttp.ClientSession() as session:
        for path, name in (
            ("/reorgs", "index.html"),
            (f"/reorgs/{row.id}", f"reorg-{row.id}.html"),
            (f"/v1/reorgs/{row.id}/fork.svg", f"reorg-{row.id}.svg"),
        ):
            async with session.get(url + path) as answer:
                (SHOWN / name).write_bytes(await answer.read())
        said = await asyncio.to_thread(CliRunner().invoke, reorgs, ["--node", url, "--limit", "500"])
    assert said.exit_code == 0, said.output
    return said.output


async def one(story: Partition, depth: int, *, thief: bool) -> str:
    """One partition through to its end; the row to print."""
    started, it = time.monotonic(), story.it
    lost = await story.lose(depth, thief=thief)
    took_out = Counter(t.kind for t in lost["touched"])
    await it.blocks(1)
    paused = it.rollup.state.paused is not None
    assert paused == (depth >= K), f"depth {depth}, k {K}, paused: {paused}"
    if paused:
        for _ in range(K + 1):  # its newest final block is one that everybody has again
            it.mine()
            await it.blocks(1)
        await story.decide()
    before = it.bitcoind.rpc().getblockcount()
    await story.recover()
    await story.check()
    fates = Counter(outcome for (_, outcome), n in (await story.fates()).items() for _ in range(n))
    blocks = it.bitcoind.rpc().getblockcount() - before
    held = ", ".join(f"{n} {kind}" for kind, n in sorted(took_out.items()))
    became = ", ".join(f"{n} {word}" for word, n in sorted(fates.items()))
    level, seconds = lost["row"].level, time.monotonic() - started
    thieves = "a thief" if thief else "-"
    return f"{depth:>5}  {level:<8} {thieves:<8} {held:<52} {became:<36} {blocks:>4} blocks  {seconds:5.1f} s"


async def run(folder: Path, until: float) -> int:
    """All depths, again and again; how many partitions went well."""
    count, said = 0, ""
    with Network(folder / "network", 2) as network:
        async with office(folder, network.nodes[OWN]) as it:
            story = Partition(it, network)
            await story.ready()
            print("depth  level    thief    held by the lost blocks", flush=True)
            while not count or time.monotonic() < until:
                for depth in range(1, K + 3):
                    for thief in (False, True) if depth <= K else (False,):
                        print(await one(story, depth, thief=thief), flush=True)
                        count += 1
                        said = await keep_pages(it)
    print(f"\n{said}")
    return count


def main() -> int:
    """Run the soak."""
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(io.StringIO()))
    until = time.monotonic() + 60 * float(os.environ.get("SOAK_MINUTES", "1"))
    with tempfile.TemporaryDirectory() as folder:
        try:
            count = asyncio.run(run(Path(folder), until))
        except AssertionError as fault:
            print(f"FAILED: {fault}")
            return 1
    print(f"{count} partitions, no value lost or doubled; pages in {SHOWN}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
