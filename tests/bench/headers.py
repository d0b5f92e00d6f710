"""`make bench-headers`: what validating, storing, starting, following and turning cost, beside a bare hash loop.

BENCH_HEADERS says how long the long chain is (default 950000), BENCH_BLOCKS how many blocks bitcoind mines for the
first sync (default 20000); with less the rows that ask for more are missed. Exit status 0 when it could measure.
"""

import asyncio
import inspect
import json
import logging
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from statistics import median
from struct import Struct

import structlog

from anchor.btc.header import Header
from anchor.btc.network import REGTEST
from anchor.headers.chain import HeaderChain
from anchor.headers.orphans import Orphans
from anchor.headers.rules import rules_of
from anchor.headers.run import HeaderRun
from regtest.bitcoind import BitcoindError
from tests.bench import header_node
from tests.bench.header_chain import GENESIS, RawBranch, long_chain, mined
from tests.bench.header_home import most_megabytes, served, tracker
from tests.bench.header_listener import Listener
from tests.bench.report import BUILD, Row, below, beside, publish, unmeasured

LONG = int(os.environ.get("BENCH_HEADERS", "950000"))
BLOCKS = int(os.environ.get("BENCH_BLOCKS", "20000"))
AT_ONCE = 20_160  # headers, as a file is read
ROOT = Path(__file__).parents[2]
RULES = rules_of(REGTEST)


def say(text: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {text}", flush=True)


def at_least(what: str, goal: str, seen: float, limit: float, unit: str, samples: list[float]) -> Row:
    return Row(what, goal, seen, unit, seen >= limit, samples)


def bare(raw: bytes) -> None:
    """Double SHA-256 and unpack, and nothing else."""
    unpack = Struct("<i32s32sIII").unpack
    for (header,) in Struct("80s").iter_unpack(raw):
        sha256(sha256(header).digest()).digest()
        unpack(header)


def cpu(work: Callable[[], object]) -> float:
    """Seconds of this thread's CPU: others on the machine do not count."""
    begun = time.thread_time()
    work()
    return time.thread_time() - begun


def validating(raw: bytes) -> list[Row]:
    """All rules in memory, one thread, against the bare loop, taken in turns."""
    part = raw[: 80 * 200_001]
    count = len(part) // 80 - 1
    loops, rules, chains = list[float](), list[float](), list[float]()
    for _ in range(5):
        loops.append(cpu(lambda: bare(part[80:])))
        rules.append(cpu(lambda: in_run(part)))
        chains.append(cpu(lambda: in_chain(part)))
    rates = [[count / seconds for seconds in row] for row in (loops, rules, chains)]
    goal = "≥ 50 % of the bare loop of double SHA-256 + unpack"
    share = [100 * a / b for a, b in zip(loops, chains, strict=True)]
    alone = [100 * a / b for a, b in zip(loops, rules, strict=True)]
    say(
        f"bare {median(rates[0]):,.0f}/s, rules {median(rates[1]):,.0f}/s, in a chain {median(rates[2]):,.0f}/s"
    )
    return [
        beside("  bare loop of double SHA-256 + unpack, CPU of one thread", median(rates[0]), "/s", rates[0]),
        beside("  all rules alone", median(rates[1]), "/s", rates[1]),
        at_least("all rules, memory, one thread / bare loop", goal, median(alone), 50, "%", alone),
        beside("  the same into a chain with its index, / bare loop", median(share), "%", share),
    ]


def in_run(raw: bytes) -> HeaderRun:
    run = HeaderRun(RULES, [GENESIS], 0, 2)
    for at in range(80, len(raw), 80 * AT_ONCE):
        run.add(raw[at : at + 80 * AT_ONCE])
    return run


def in_chain(raw: bytes) -> HeaderChain:
    chain = HeaderChain(RULES, GENESIS)
    for at in range(80, len(raw), 80 * AT_ONCE):
        chain.extend(raw[at : at + 80 * AT_ONCE])
    return chain


def cold_starts(raw: bytes, folder: Path) -> list[Row]:
    """A process of its own from its start to its ready line, the files out of the page cache."""
    folder.mkdir()
    (folder / "main.bin").write_bytes(raw)
    height, rows = len(raw) // 80 - 1, list[Row]()
    asyncio.run(noted(folder))
    for what, keep in (("", True), (", nothing noted beside it (all rules again)", False)):
        seconds, megabytes, busy = list[float](), list[float](), list[float]()
        for _ in range(5):
            if not keep:
                (folder / "main.idx").unlink(missing_ok=True)
            for file in folder.iterdir():
                forget_pages(file)
            begun, used = time.perf_counter(), children()
            told = ready_line(folder)
            seconds.append(told["ready_at"] - begun)
            busy.append(children() - used)
            assert (told["height"], told["found"]) == (height, True), told
            megabytes.append(told["megabytes"])
        name = f"cold start with {height:,} headers on disk to ready{what}"
        say(f"{name}: {median(seconds):.2f} s, {max(megabytes):.0f} MB")
        short = "" if height >= 950_000 else " (fewer than the goal asks: missed)"
        rows += [
            below(name + short, "< 3 s", median(seconds), 3, "s", seconds),
            beside("  its CPU, from start to end of the process", median(busy), "s", busy),
            below(
                "  its memory at most" + short,
                "< 250 MB",
                max(megabytes),
                250,
                "MB",
                megabytes,
            ),
        ]
        rows[-3:] = [replace(row, met=row.met and not short) if row.goal else row for row in rows[-3:]]
    return rows


async def noted(folder: Path) -> None:
    async with tracker(folder, RawBranch(b"")):
        pass


def children() -> float:
    """Seconds of CPU that ended child processes have used."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def ready_line(folder: Path) -> dict[str, object]:
    command = [sys.executable, "-m", "tests.bench.header_home", str(folder)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        ready_at = time.perf_counter()
        return json.loads(line) | {"ready_at": ready_at}


def forget_pages(file: Path) -> None:
    with file.open("rb") as opened:
        os.fsync(opened.fileno())
        os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


async def reorgs(folder: Path) -> list[Row]:
    """On the long chain's folder: 100 blocks out, 101 in, until a listener has read the event."""
    source, took, busy = RawBranch((folder / "main.bin").read_bytes()), list[float](), list[float]()
    async with tracker(folder, source, hold=False) as home, served(home.stream) as url:
        await home.round()
        async with Listener(url) as listener:
            for turn in range(11):
                source.reorg(100, 101, salt=turn + 1)
                begun, used = time.perf_counter(), time.process_time()
                heard = asyncio.create_task(listener.next("reorg"))
                await home.round()
                told = await heard
                took.append((time.perf_counter() - begun) * 1000)
                busy.append((time.process_time() - used) * 1000)
                assert json.loads(told)["depth"] == 100, told
    say(f"100-deep reorg: {median(took):.1f} ms")
    return [
        below("100-deep reorg applied, persisted, announced", "< 50 ms", median(took), 50, "ms", took),
        beside("  its CPU", median(busy), "ms", busy),
    ]


def one_height(raw: bytes) -> list[Row]:
    """One more header, and finding one, on chains of three lengths, in turns."""
    sizes = [size for size in (1_000, 100_000, 950_000) if size < len(raw) // 80]
    chains = [in_chain(raw[: 80 * size]) for size in sizes]
    for chain in chains:
        chain.pack(chain.tip.height)  # as after a start
    more = [[*parsed(mined(c.tip.hash, c.tip.header.time, 600))] for c in chains]
    asked = [[c.at_height(c.tip.height * i // 300).hash for i in range(300)] for c in chains]
    adds: list[list[float]] = [[] for _ in sizes]
    finds: list[list[float]] = [[] for _ in sizes]
    for turn in range(20):
        for i, chain in enumerate(chains):
            run = more[i][turn * 30 : turn * 30 + 30]
            adds[i].append(cpu(lambda c=chain, run=run: [c.add(header) for header in run]) / 30 * 1e6)
            finds[i].append(cpu(lambda c=chain, i=i: [find(c, block) for block in asked[i]]) / 300 * 1e6)
    rows = list[Row]()
    for what, took in (("take one more", adds), ("find one by hash, its depth and work", finds)):
        each = [median(samples) for samples in took]
        for size, us, samples in zip(sizes, each, took, strict=True):
            rows.append(beside(f"  {what}, at {size:,}", us, "µs", samples))
        ratio = max(each) / min(each)
        short = "" if len(sizes) == 3 else " (fewer than the goal asks: missed)"
        name = f"one height's cost at {', '.join(f'{size:,}' for size in sizes)} headers: {what}{short}"
        row = below(name, "flat (ratio ≤ 1.2)", ratio, 1.2, "×", each)
        rows.append(replace(row, met=row.met and not short))
    say("one height: " + ", ".join(f"{row.seen:.3g} {row.unit}" for row in rows))
    return rows


def parsed(raw: bytes):
    return [Header.parse(raw[i : i + 80]) for i in range(0, len(raw), 80)]


def find(chain: HeaderChain, block: bytes) -> None:
    node = chain.get(block)
    assert node is not None
    chain.at_height(node.height)
    chain.depth(node.hash)
    chain.work_above(node.hash)


def a_million_orphans() -> list[Row]:
    """From one peer, each with its own work; memory before and after."""
    chain, orphans = HeaderChain(RULES, GENESIS), Orphans()
    many = 1_000_000
    offer_orphans(chain, orphans, 0, 10_000)
    before = most_megabytes()
    offer_orphans(chain, orphans, 10_000, many)
    grown = most_megabytes() - before
    say(f"a million orphans: {len(orphans)} held, {grown:.1f} MB")
    return [
        below(
            "a peer that sends a million orphans: memory it takes", "memory bounded (20 MB)", grown, 20, "MB"
        )
    ]


def offer_orphans(chain: HeaderChain, orphans: Orphans, start: int, end: int) -> None:
    for i in range(start, end):
        for header in parsed(mined(i.to_bytes(32, "big"), GENESIS.time, 1)):
            orphans.offer(chain, header)


def measure(folder: Path) -> list[Row]:
    busy = [os.getloadavg()[0]]
    print("the bare loop:\n\n" + inspect.getsource(bare))
    say(f"a chain of {LONG:,} headers")
    raw = long_chain(LONG, BUILD)
    rows = validating(raw)
    rows += one_height(raw)
    rows += cold_starts(raw, folder / "long")
    rows += asyncio.run(reorgs(folder / "long"))
    rows += a_million_orphans()
    del raw
    try:
        rows += asyncio.run(header_node.rows(folder / "node", BLOCKS, say))
    except (BitcoindError, OSError, TimeoutError) as fault:
        rows += [
            unmeasured("bitcoind's tip to the event on the stream", "< 100 ms median with ZMQ", str(fault))
        ]
        rows += [unmeasured("first sync from a regtest bitcoind", "≥ 100,000 headers/s by REST", str(fault))]
    busy.append(os.getloadavg()[0])
    return [
        *rows,
        beside(
            f"  load of the machine ({os.cpu_count()} CPUs), at start and at the end", max(busy), "", busy
        ),
    ]


def main() -> int:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-") as folder:
        publish("headers", measure(Path(folder)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
