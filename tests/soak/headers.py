"""`make differential-headers`: our header rules against Core's, btcd's and a slow model's, at length.

HEADERS (default 100,000) random headers, valid and invalid, go to Core in process, to a bitcoind's `submitheader`
and to one under `-test=bip94`; more than as many again, on the networks' easy copies with real and with small
periods, to btcd and the model. Prints what was offered and which rules were broken how often. SEED chooses other
headers. Exit status 0 only when nobody ever disagreed.
"""

import os
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from regtest.bitcoind import Bitcoind
from tests.anchor.headers.core_differential import QUICK, by_rpc, in_process
from tests.anchor.headers.differential import (
    Disagreement,
    build_btcd,
    linear,
    tally,
    with_btcd,
    with_runs,
    with_the_model,
)
from tests.anchor.headers.stories import easy_networks

PERIODS = {2016: 0.25, 12: 0.05, 4: 0.05}  # length: share of HEADERS for each network
TREE = 5000  # headers for one Core in process, see there


def with_kernels(folder: Path, seed: int, count: int) -> Counter[str]:
    """Core in process, a fresh one for every few thousand headers."""
    counts: Counter[str] = Counter()
    for n, start in enumerate(range(0, count, TREE)):
        place = folder / f"kernel-{n}"
        place.mkdir()
        counts += in_process(place, seed * 1000 + n, min(TREE, count - start))
    return counts


def with_core(folder: Path, seed: int, count: int, *, bip94: bool) -> Counter[str]:
    """One fresh bitcoind, asked by RPC."""
    flags = (QUICK, "-test=bip94") if bip94 else (QUICK,)
    with Bitcoind(folder / f"bip94-{bip94:d}", zmq=False, extra=flags) as node:
        return by_rpc(node, seed, count, bip94=bip94)


def on_easy_chains(btcd: Path | None, interval: int, name: str, seed: int, count: int) -> Counter[str]:
    """One network's easy copy: the model, runs of headers, btcd when it is there."""
    rules = easy_networks(interval)[name]
    story, offered = linear(rules, seed, count)
    with_the_model(rules, offered)
    with_runs(rules, offered, random.Random(seed))
    if btcd is not None:
        with_btcd(btcd, rules, offered)
    counts = tally(offered)
    counts["periods"] = story.height // interval
    return counts


def step(what: str, run: Callable[[], Counter[str]]) -> int:
    """Run one comparison and print its counts; returns how many headers were compared."""
    began = time.monotonic()
    counts = run()
    extra = {"periods": counts.pop("periods")} if "periods" in counts else {}
    total = sum(counts.values())
    told = ", ".join(f"{name} {n:,}" for name, n in [*counts.most_common(), *extra.items()])
    took = time.monotonic() - began
    print(f"{what}: {total:,} headers in {took:.0f} s, no disagreement ({told})", flush=True)
    return total


def main() -> int:
    count = int(os.environ.get("HEADERS", "100000"))
    seed = int(os.environ.get("SEED", "1"))
    total = 0
    try:
        with tempfile.TemporaryDirectory(prefix="holdfast-headers-") as place:
            folder = Path(place)
            total += step("Core in process", lambda: with_kernels(folder, seed, count))
            for bip94, what in ((False, "bitcoind"), (True, "bitcoind -test=bip94")):
                total += step(what, lambda b=bip94: with_core(folder, seed + 1 + b, count, bip94=b))
            btcd = build_btcd(folder)
            if isinstance(btcd, str):
                print(f"btcd left out: {btcd}")
            witness = None if isinstance(btcd, str) else btcd
            for interval, share in PERIODS.items():
                for n, name in enumerate(easy_networks(interval)):
                    run = (witness, interval, name, seed + 10 * interval + n, int(count * share))
                    total += step(f"{name}, periods of {interval}", lambda run=run: on_easy_chains(*run))
    except Disagreement as found:
        print(f"FAILED (SEED={seed}): {found}", file=sys.stderr)
        return 1
    print(f"{total:,} headers, no disagreement")
    return 0


if __name__ == "__main__":
    sys.exit(main())
