"""`make bench-tss`: what signing and key generation cost, each beside its parts measured alone in the same run.

Five and fifteen real processes over mutual TLS 1.3 with durable databases; 67 of 100 in one process. BENCH_ROW
says how many signatures the long row has (default 10000), BENCH_COST=regtest makes the passphrases cheap.
Exit status 0 when it could measure.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from statistics import median

from tests.bench import simulated
from tests.bench.processes import ROOT, BenchFault, Worker, workers
from tests.bench.report import BUILD, Row, below, beside, p50, publish, unmeasured
from tss.vault import PRODUCTION, REGTEST

Bare = dict[str, dict[str, list[float]]]
PURPOSE = "treasury"
LONG_ROW = int(os.environ.get("BENCH_ROW", "10000"))
COST = REGTEST if os.environ.get("BENCH_COST") == "regtest" else PRODUCTION
TIME_OUT_MS = 2000  # the share time-out that a node starts with
LEAST_MS = TIME_OUT_MS / 2  # the shortest that it comes to by what it measures


def say(text: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {text}", flush=True)


def bare_crypto() -> Bare:
    """Samples of the crate's own steps, milliseconds, by "t/n"."""
    crate = ROOT / "tss" / "frost" / "native"
    target = BUILD / "cargo"
    build = [
        "cargo",
        "build",
        "--quiet",
        "--release",
        "--locked",
        "--example",
        "bare",
        "--target-dir",
        str(target),
    ]
    subprocess.run(build, cwd=crate, check=True)
    program = target / "release" / "examples" / "bare"
    sizes = ["3", "5", "11", "15", "67", "100"]
    out = subprocess.run([program, *sizes], check=True, capture_output=True, text=True).stdout
    return json.loads(out)


async def durations(worker: Worker, count: int, tag: str, messages: int = 1) -> list[float]:
    return (await worker.do("sign", purpose=PURPOSE, count=count, messages=messages, tag=tag))["ms"]


async def the_parts(five: list[Worker]) -> tuple[list[float], list[float]]:
    """One fsync of 4 kB and one echo over the committee's TLS, alone."""
    disk = await five[0].do("fsync", count=200)
    port = await five[1].do("echo_server")
    echo = await five[0].do("echo", port=port, count=300)
    return disk, echo[20:]


def parts_of_one(bare: dict[str, list[float]]) -> float:
    """The crypto on the path of one signature: a member's share and next commitment, then the coordinator."""
    return p50(bare["sign"]) + p50(bare["commit"]) + p50(bare["coordinate"])


async def honest(
    five: list[Worker], bare: dict[str, list[float]], disk: list[float], echo: list[float]
) -> list[Row]:
    """One signature and a hundred at once, when all behave."""
    await durations(five[0], 40, "warm")
    took = await five[0].do("sign", purpose=PURPOSE, count=300, messages=1, tag="one")
    rounds, commits = median(took["rounds"]), median(took["commits"])
    crypto = parts_of_one(bare)
    parts = crypto + commits * p50(disk) + rounds * p50(echo)
    one = p50(took["ms"])
    say(f"one signature 3-of-5: {one:.1f} ms; parts {parts:.1f} ms")
    await durations(five[0], 3, "warm100", 100)
    many = await five[0].do("sign", purpose=PURPOSE, count=20, messages=100, tag="hundred")
    rate = 100_000 / p50(many["ms"])
    goal = "≤ 3 × (bare crypto + commits as 4 kB write + fsync + round trips as echoes)"
    return [
        beside("  bare Rust crypto on the path of one signature", crypto, "ms"),
        beside("  one 4 kB write + fsync", p50(disk), "ms", disk),
        beside("  one echo of 1 kB over the same mutual TLS", p50(echo), "ms", echo),
        beside("  round trips of one signature", rounds, ""),
        beside("  durable commits on its path", commits, ""),
        below("one signature 3-of-5, five processes, durable", "p50 ≤ 30 ms", one, 30, "ms", took["ms"]),
        below("one signature 3-of-5 / sum of its parts", goal, one / parts, 3, "×"),
        Row("100 messages in one session, 3-of-5", "≥ 150 signatures/s", rate, "/s", rate >= 150, many["ms"]),
        below("  its round trips", "as for one", median(many["rounds"]), rounds, "", many["rounds"]),
    ]


async def troubled(five: list[Worker]) -> list[Row]:
    """One silent member that does not lead, one that does, then a lying one; the honest case right before."""
    quiet = five[4]
    usual = p50(await durations(five[0], 100, "usual"))
    quiet.freeze()
    silent = await durations(five[0], 200, "silent")
    quiet.thaw()
    late = sum(ms >= LEAST_MS for ms in silent)
    await five[0].do("up", members=[2, 3, 4, 5])
    five[0].freeze()  # whoever asked it waits one time-out, then asks the next in line for the same
    begun = time.perf_counter()
    asked = asyncio.create_task(durations(five[0], 1, "led"))
    await asyncio.wait({asked}, timeout=TIME_OUT_MS / 1000)
    await durations(five[1], 1, "led")
    leader = (time.perf_counter() - begun) * 1000
    five[0].thaw()
    await asked
    await five[0].do("up", members=[2, 3, 4, 5])
    await durations(five[0], 40, "again")
    again = p50(await durations(five[0], 100, "usual again"))
    await quiet.do("lie")
    lying = await durations(five[0], 200, "lying")
    return [
        below("one silent member in 5: p50 / honest", "≤ 1.5", p50(silent) / usual, 1.5, "×", silent),
        below("  time-outs on the path, it does not coordinate", "0 in 200", late, 0, ""),
        beside("  the slowest of them, when its silence was new", max(silent), "ms"),
        below("  time-outs on the path, it coordinates", "1", leader // TIME_OUT_MS, 1, "", [leader]),
        below("one lying member in 5: p50 / honest", "≤ 1.5", p50(lying) / again, 1.5, "×", lying),
    ]


async def in_a_row(five: list[Worker]) -> list[Row]:
    """Many signatures one after the other: memory and latency at the end beside those after the start."""
    slice_ = max(1, LONG_ROW // 10)
    took, memory = [], []
    for part in range(10):
        took.append(await durations(five[0], slice_, f"row {part}"))
        memory.append([await worker.do("memory") for worker in five])
        say(f"{(part + 1) * slice_} signatures: p50 {p50(took[-1]):.1f} ms, {max(memory[-1]):.0f} MiB")
    growth = max(last / first for first, last in zip(memory[0], memory[-1], strict=True))
    name, everything = f"{10 * slice_:,} signatures in a row", [ms for part in took for ms in part]
    slower = p50(took[-1]) / p50(took[0])
    short = "" if LONG_ROW >= 10_000 else " (fewer than the goal asks: missed)"
    rows = [
        below(f"{name}{short}: latency, last tenth / first", "≤ 1.2", slower, 1.2, "×", everything),
        below(f"{name}{short}: memory, after last tenth / after first", "≤ 1.2", growth, 1.2, "×"),
    ]
    return [replace(row, met=row.met and not short) for row in rows]


async def dkg_row(name: str, members: list[Worker], bare: dict[str, list[float]], limit: float) -> list[Row]:
    took = [await members[0].do("dkg", purpose=purpose) for purpose in (PURPOSE, "anchor", "mint")]
    say(f"DKG {name}: {p50(took):.0f} ms")
    crate = sum(p50(bare[f"dkg part{i}"]) for i in (1, 2, 3))
    goal = f"< {limit / 1000:g} s"
    name += "" if COST is PRODUCTION else " (with a cheap passphrase)"
    return [
        beside(f"  DKG {name}: bare part1 + part2 + part3 of one member", crate, "ms"),
        below(
            f"DKG {name} in processes, certificate, ack and proof included",
            goal,
            p50(took),
            limit,
            "ms",
            took,
        ),
    ]


async def measure(folder: Path) -> list[Row]:
    """All rows; what fails is a row of its own, and the rest goes on."""
    say("building and running the bare Rust crypto")
    bare = await asyncio.to_thread(bare_crypto)
    rows: list[Row] = []
    busy = [os.getloadavg()[0]]
    say("five processes")
    async with workers(folder / "five", 5, 3, COST) as five:
        disk, echo = await the_parts(five)
        made = await dkg_row("3-of-5", five, bare["3/5"], 1000)
        rows += await honest(five, bare["3/5"], disk, echo) + made
        rows += await guarded("10,000 signatures in a row", "ratio ≤ 1.2", in_a_row(five))
        rows += await guarded("one silent, one lying member", "p50 ≤ 1.5 × honest", troubled(five))
    say("fifteen processes")
    async with workers(folder / "fifteen", 15, 11, COST) as fifteen:
        rows += await guarded("DKG 11-of-15", "< 3 s", dkg_row("11-of-15", fifteen, bare["11/15"], 3000))
        rows += await guarded("signature 11-of-15", "p50 < 80 ms", eleven(fifteen, bare["11/15"]))
    busy.append(os.getloadavg()[0])
    rows.append(
        beside(
            f"  load of the machine ({os.cpu_count()} CPUs), at start and after the processes",
            max(busy),
            "",
            busy,
        )
    )
    say("67 of 100, simulated")
    return rows + await asyncio.to_thread(simulated.rows, bare["67/100"], p50(disk), p50(echo))


async def eleven(fifteen: list[Worker], bare: dict[str, list[float]]) -> list[Row]:
    await durations(fifteen[0], 20, "warm")
    took = await durations(fifteen[0], 100, "eleven")
    return [
        beside("  11-of-15: bare Rust crypto on the path", parts_of_one(bare), "ms"),
        below("signature 11-of-15, fifteen processes, durable", "p50 < 80 ms", p50(took), 80, "ms", took),
    ]


async def guarded(what: str, goal: str, rows: object) -> list[Row]:
    try:
        return await rows
    except (BenchFault, TimeoutError, OSError) as fault:
        return [unmeasured(what, goal, str(fault) or type(fault).__name__)]


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="holdfast-bench-") as folder:
        try:
            rows = asyncio.run(measure(Path(folder)))
        except (BenchFault, TimeoutError, OSError, subprocess.CalledProcessError) as fault:
            print(f"nothing could be measured: {fault}", file=sys.stderr)
            return 1
    publish("tss", rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
