"""`make soak-tss`: simulated committees, real processes that are killed and hurt, the nonce table.

The whole list runs once: the matrix of sizes, absences, malice and networks; key generation and key work over the
same networks; every bit of every wire form flipped; the crash sweep; what may befall a machine; the corners of the
matrix in real processes. Then the matrix repeats under new seeds until SOAK_MINUTES (default 10) are over. Exit 0
only when nothing that must hold failed.
"""

import asyncio
import os
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from tests.soak.committee import Counts, committee
from tests.soak.corners import CORNERS, corner
from tests.soak.crashes import Sweep, sweep_all
from tests.soak.epochs import sweep_epochs
from tests.soak.faults import SoakFault
from tests.soak.key_making import Making
from tests.soak.matrix import SIZES, Matrix
from tests.soak.nonces import Nonces
from tests.soak.troubles import Troubles, ballast, mount_small, no_room, unmount
from tests.tss.wire_forms import forms, same_after

_BITS = 40_000  # of each form, evenly spread where it has more


def say(text: str) -> None:
    print(f"[{time.strftime('%H:%M:%S')}] {text}", flush=True)


@dataclass
class Simulated:
    """Totals over all seeds."""

    nonces: Nonces = field(default_factory=Nonces)
    signatures: int = 0
    keys: int = 0
    culprits: int = 0

    def matrix(self, seed: int, until: float) -> bool:
        """One pass over all sizes; False when time ran out on the way (never in the first)."""
        run, made = Matrix(self.nonces, seed), Making(seed)
        for n, t in SIZES:
            if seed and time.monotonic() > until:
                return False
            run.of(n, t)
            most = f"at most {run.most_sessions[n, t]} of {n - t + 1} sessions"
            made.of(n, t)
            say(f"({n}, {t}) seed {seed}: {run.signatures:,} signatures so far, {most}")
        faults = ", ".join(
            f"{count:,} {fault}" for fault, count in sorted((run.faults + made.faults).items())
        )
        say(f"seed {seed}: {made.keys} keys made, {made.works} refreshed or repaired; messages: {faults}")
        named = run.culprits + made.culprits
        say(f"seed {seed}: {named} culprits named, {run.refused} refusals as they must be")
        say(f"seed {seed}: too few could talk {run.healed + made.parted} times, and could when it had healed")
        say(f"seed {seed}: {made.unheard} attempts at keys named a member unheard; the next did not")
        self.signatures += run.signatures
        self.keys += made.keys + made.works
        self.culprits += named
        return True


def wire() -> str:
    """Flip every bit of everything that tss reads, and ask its receivers."""
    shown, bits = forms(), 0
    for form in shown:
        size = len(form.encoded) * 8
        for bit in range(0, size, 1 + size // _BITS):
            bits += 1
            if same_after(form, bit, checked=True):
                raise SoakFault(f"{form.name}: bit {bit} can be flipped, and nobody minds")
    return f"wire forms: {len(shown)}, {bits:,} flipped bits, each refused or seen as something else"


async def hurt(folder: Path, counts: Counts) -> None:
    """Kill, then trouble, real processes."""
    async with committee(folder / "killed") as nodes:
        await sweep_all(Sweep(nodes, counts, say))
        counts.take(nodes)
    async with committee(folder / "rotated") as nodes:
        await sweep_epochs(Sweep(nodes, counts, say))
        counts.take(nodes)
    home = folder / "troubled" / "carol"
    why = mount_small(home)
    try:
        async with committee(folder / "troubled") as nodes:
            troubles = Troubles(nodes, counts, say)
            await troubles.begin()
            await troubles.older_database(folder)
            await troubles.second_process()
            await troubles.full_disk("no file may grow", no_room)
            if why:
                troubles.done("full disk", f"skipped, no small file system could be mounted: {why}")
            else:
                await troubles.full_disk("full disk", ballast)
            await troubles.clock_jump()
            counts.take(nodes)
    finally:
        unmount(home)
    for n, t in CORNERS:
        await corner(folder / f"corner-{n}", n, t, counts, say)


def main() -> int:
    until = time.monotonic() + 60 * float(os.environ.get("SOAK_MINUTES", "10"))
    simulated, counts, seed = Simulated(), Counts(), 1
    try:
        simulated.matrix(0, until)
        flipped = wire()
        say(flipped)
        with tempfile.TemporaryDirectory(prefix="holdfast-soak-") as folder:
            asyncio.run(hurt(Path(folder), counts))
        while time.monotonic() < until and simulated.matrix(seed, until):
            seed += 1
    except (SoakFault, TimeoutError) as fault:
        print(f"FAILED: {fault or 'what was waited for did not come'}", file=sys.stderr)
        return 1
    print(f"\n{flipped}")
    return report(simulated, counts)


def report(simulated: Simulated, counts: Counts) -> int:
    """Print the totals; 1 when a nonce was used twice or a share left unrecorded."""
    print("\nkill points, before and after each durable write:")
    for name, kills in counts.kills.items():
        print(f"  {kills:>4}  {name}")
    print(f"  {sum(counts.kills.values()):>4}  in all: no key stuck, signing resumed after each")
    for name, how in counts.troubles.items():
        print(f"{name}: {how}")
    print(f"\nsimulated: {simulated.signatures:,} signatures, {simulated.keys} keys made or worked on")
    print(f"simulated: {simulated.culprits:,} culprits named; real processes: {counts.signatures} signatures")
    print(simulated.nonces.row("simulated network"))
    print(counts.nonces.row("real processes"))
    print(f"shares that left without a durable row: {counts.unrecorded}")
    return 1 if simulated.nonces.duplicates or counts.nonces.duplicates or counts.unrecorded else 0


if __name__ == "__main__":
    sys.exit(main())
