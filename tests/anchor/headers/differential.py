"""Our header rules beside those of strangers: a slow model and btcd's checks, on chains whose work is easy.

Each function offers random headers to both and raises Disagreement at the first difference; what it counted comes
back. The tests run a slice of each; `make differential-headers` runs them at length.
"""

import json
import os
import random
import shutil
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from anchor.btc.header import Header, work_of
from anchor.btc.network import REGTEST
from anchor.headers.rules import HeaderRefused, Rules
from anchor.headers.run import HeaderRun
from tests.anchor.headers.slow_model import Parameters, broken
from tests.anchor.headers.stories import Story

HERE = Path(__file__).parent
GENESIS = Header.parse(REGTEST.genesis)

BTCD_WORDS = {
    "ErrPreviousBlockUnknown": "parent",
    "ErrUnexpectedDifficulty": "bits",
    "ErrHighHash": "work",
    "ErrTimeTooOld": "median-time",
    "ErrTimewarpAttack": "timewarp",
    "ErrBlockVersionTooOld": "version",
}


class Disagreement(AssertionError):
    """Two validators answered differently; the sentence has all that is needed to see why."""


@dataclass(frozen=True)
class Offered:
    """A candidate with our answer: the broken rule, None for a valid header."""

    header: Header
    height: int
    rule: str | None


def linear(rules: Rules, seed: int, count: int, *, flawed: float = 0.4) -> tuple[Story, list[Offered]]:
    """Grow a chain from `count` candidates; by our own rules the valid ones are taken."""
    story, offered = Story(rules, random.Random(seed)), []
    for header in story.offers(count, flawed):
        rule = story.ours(header)
        offered.append(Offered(header, story.height, rule))
        if rule is None:
            story.headers.append(header)
    return story, offered


def tally(offered: list[Offered]) -> Counter[str]:
    """How many candidates broke which rule; "valid" for those that broke none."""
    return Counter(one.rule or "valid" for one in offered)


def with_the_model(rules: Rules, offered: list[Offered], genesis: Header = GENESIS) -> None:
    """Compare with the slow model: which are valid, and that our word is among the rules that it finds broken."""
    pairs = zip(rules.versions, (2, 3, 4), strict=True)
    slow = Parameters(
        rules.pow_limit,
        rules.interval,
        rules.spacing,
        rules.min_difficulty,
        rules.constant_bits,
        rules.bip94,
        tuple(pairs),
    )
    chain = [genesis.raw]
    for one in offered:
        found = broken(slow, chain, one.header.raw)
        if (one.rule is None) != (not found) or (one.rule is not None and one.rule not in found):
            raise Disagreement(f"{one}: the model finds {found or 'nothing wrong'}, we say {one.rule}")
        if not found:
            chain.append(one.header.raw)


def with_runs(rules: Rules, offered: list[Offered], rng: random.Random) -> None:
    """Compare `HeaderRun`: pieces of random length, each ended by a candidate as it came; the work, too."""
    tip, work = [GENESIS], 0
    run, piece = HeaderRun(rules, tip, 0, 0), b""
    for one in offered:
        piece += one.header.raw
        if one.rule is None:
            tip = [one.header]
            work += work_of(one.header.bits)
            if rng.random() > 0.02:
                continue
        try:
            run.add(piece)
            rule = None
        except HeaderRefused as error:
            rule = error.rule
            if error.height != one.height:
                raise Disagreement(f"{one}: in a run it is refused at height {error.height}") from error
        if rule != one.rule or (run.tip, run.work) != (tip[-1].hash, work):
            raise Disagreement(f"{one}: in a run it is {rule or 'valid'}, the work {run.work}, not {work}")
        piece = b""


def build_btcd(folder: Path) -> Path | str:
    """Build the Go program around btcd's checks; a sentence when Go or its modules are not to be had."""
    go = shutil.which("go")
    if go is None:
        return "there is no Go on PATH, so btcd's header checks cannot be built"
    source = HERE / "btcd"
    fetched = subprocess.run([go, "mod", "download"], cwd=source, capture_output=True, text=True, check=False)
    if fetched.returncode:
        return f"btcd's source cannot be fetched: {fetched.stderr.strip().splitlines()[-1]}"
    binary = folder / "btcd-headers"
    environment = {**os.environ, "GOFLAGS": "-buildvcs=false -mod=readonly", "CGO_ENABLED": "0"}
    subprocess.run([go, "build", "-o", binary, "."], cwd=source, check=True, env=environment)
    return binary


def with_btcd(binary: Path, rules: Rules, offered: list[Offered], genesis: Header = GENESIS) -> None:
    """Compare with btcd, verdict by verdict; the words too where the order of the checks leaves no choice."""
    first = {
        "pow_limit": f"{rules.pow_limit:x}",
        "limit_bits": rules.limit_bits,
        "interval": rules.interval,
        "spacing": rules.spacing,
        "min_difficulty": rules.min_difficulty,
        "constant_bits": rules.constant_bits,
        "bip94": rules.bip94,
        "versions": rules.versions,
    }
    sent = json.dumps(first).encode() + b"\n" + genesis.raw + b"".join(one.header.raw for one in offered)
    done = subprocess.run([binary], input=sent, capture_output=True, check=True)
    answers = done.stdout.decode().splitlines()
    if len(answers) != len(offered):
        raise Disagreement(f"btcd answered {len(answers)} times to {len(offered)} headers")
    for one, said in zip(offered, answers, strict=True):
        theirs = None if said == "ok" else BTCD_WORDS.get(said, said)
        # btcd looks at the work before the expected bits: a header may break both
        if theirs != one.rule and (one.rule, theirs) != ("bits", "work"):
            raise Disagreement(f"{one}: btcd says {said}, we say {one.rule}")
