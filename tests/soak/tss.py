"""`make soak-tss`: the matrix over the simulated network, the crash sweep over real processes, the nonce table.

The whole list runs once; then the matrix repeats under new seeds until SOAK_MINUTES (default 10) are over.
Exit status 0 only when nothing that must hold failed.
"""

import asyncio
import os
import sys
import tempfile
import time
from pathlib import Path

from tests.soak.crashes import DKG, REFRESH, REPAIR, SIGN, committee
from tests.soak.matrix import SIZES, Matrix, SoakFault
from tests.soak.nonces import Nonces


def say(text: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {text}", flush=True)


async def crashes(folder: Path) -> tuple[int, Nonces, int]:
    """Kill points, what left, and how many shares left without a durable row."""
    async with committee(folder) as sweep:
        for work in (SIGN, DKG, REFRESH, REPAIR):
            for drives in (False, True):
                await sweep.run(work, drives=drives, say=say)
        table, unrecorded = sweep.nonces()
    return sum(sweep.kills.values()), table, unrecorded


def matrix(table: Nonces, seed: int, until: float) -> bool:
    """One pass over all sizes; False when time ran out on the way (never in the first)."""
    run = Matrix(table, seed)
    for n, t in SIZES:
        if seed and time.monotonic() > until:
            return False
        run.of(n, t)
        most = run.most_sessions[n, t]
        say(
            f"({n}, {t}) seed {seed}: {run.signatures:,} signatures so far, at most {most} of {n - t + 1} sessions"
        )
    say(f"seed {seed}: {run.culprits:,} culprits named, {run.refused} refusals as they must be")
    return True


def main() -> int:
    until = time.monotonic() + 60 * float(os.environ.get("SOAK_MINUTES", "10"))
    simulated = Nonces()
    try:
        matrix(simulated, 0, until)
        with tempfile.TemporaryDirectory(prefix="holdfast-soak-") as folder:
            kills, real, unrecorded = asyncio.run(crashes(Path(folder)))
        seed = 1
        while time.monotonic() < until and matrix(simulated, seed, until):
            seed += 1
    except SoakFault as fault:
        print(f"FAILED: {fault}", file=sys.stderr)
        return 1
    print(f"\nkill points: {kills}, no key stuck, signing resumed after each")
    print(simulated.row("simulated network"))
    print(real.row("real processes, killed"))
    print(f"shares that left without a durable row: {unrecorded}")
    return 1 if simulated.duplicates or real.duplicates or unrecorded else 0


if __name__ == "__main__":
    sys.exit(main())
