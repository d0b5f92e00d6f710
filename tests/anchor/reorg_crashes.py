"""A process that applies a reorg again and again and is killed at another change of a file each time.

Runs with `kill_at_write.c` preloaded: `python -m tests.anchor.reorg_crashes LIBRARY FOLDER before|torn`. Each try
is a fork of this process; afterwards the folder is opened again and must say one thing in file, tables and ledger.
Prints the number of changes it was killed at.
"""

import asyncio
import ctypes
import os
import shutil
import sys
from pathlib import Path

import sqlalchemy as sa

import anchor.header_store as stores
from anchor.feed import HeaderFeed
from anchor.header_file import HeaderFile
from tests.anchor.feeding import Branch, FeedHome

MOST = 400  # changes; far more than there are


def story() -> tuple[Branch, Branch, Branch]:
    """The chain before, after a reorg of five blocks, and with a run of sixty more upon it."""
    before = Branch().mine(12)
    turned = Branch(before.chain).reorg(5, 7)
    return before, turned, Branch(turned.chain).mine(60)


async def apply(folder: Path, *ways: Branch) -> None:
    home = FeedHome(folder)
    for way in ways:
        async with home.feed(way) as feed:
            await feed.sync()


async def agree(folder: Path, before: Branch, final: Branch) -> None:
    """Right after a start, and again after one more round."""
    home = FeedHome(folder)
    async with home.feed(final) as feed:
        await one_thing(folder, feed, before)
        tip = feed.chain.tip.hash
        assert tip == before.chain[-1].hash or feed.chain.tip.height > 12, "an old tip or a better one"
        rows = await feed.reorgs()
        assert len(rows) <= 1
        if tip != before.chain[-1].hash:
            assert rows, "the chain has turned, so the ledger knows"
        await feed.sync()
        await one_thing(folder, feed, before)
        assert feed.chain.tip.hash == final.chain[-1].hash
        [row] = await feed.reorgs()
        assert (row.depth, row.fork_height, row.old_tip) == (5, 7, before.chain[-1].hash)
        async with home.engine() as engine, engine.connect() as db:
            kept = set((await db.execute(sa.select(home.tables.forks.c.hash))).scalars())
        assert {header.hash for header in before.chain[8:]} <= kept


async def one_thing(folder: Path, feed: HeaderFeed, before: Branch) -> None:
    chain = feed.chain
    stored = b"".join(HeaderFile(folder / "main.bin").read())
    assert stored == chain.raws(0, chain.tip.height + 1), "the file is the main chain"
    assert all(chain.get(header.hash) for header in before.chain), "no header is lost"


def child(library: ctypes.CDLL, folder: Path, n: int, torn: bool, *ways: Branch) -> bool:
    """Apply in a fork that dies at its n-th change; whether it died."""
    pid = os.fork()
    if pid == 0:
        library.kill_at(ctypes.c_long(n), int(torn))
        try:
            asyncio.run(apply(folder, *ways))
        except BaseException:
            os._exit(1)
        os._exit(0)
    status = os.waitpid(pid, 0)[1]
    assert os.WIFSIGNALED(status) or os.WEXITSTATUS(status) == 0, f"the try at change {n} failed by itself"
    return os.WIFSIGNALED(status)


def main(library: str, folder: Path, how: str) -> int:
    stores.NOTE_EVERY = 10
    before, turned, final = story()
    ready = folder / "ready"
    asyncio.run(apply(ready, before))
    loaded, n = ctypes.CDLL(library), 0
    while n < MOST:
        place = folder / str(n)
        shutil.copytree(ready, place)
        died = child(loaded, place, n, how == "torn", turned, final)
        asyncio.run(agree(place, before, final))
        shutil.rmtree(place)
        if not died:
            break
        n += 1
    sys.stdout.write(f"{n}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2]), sys.argv[3]))
