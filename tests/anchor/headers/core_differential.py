"""Our header rules beside Core's own, on random trees of regtest headers: in process, and by `submitheader`.

As in `differential`: a Disagreement at the first difference, what was counted otherwise.
"""

import base64
import json
import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from http.client import HTTPConnection
from itertools import islice
from pathlib import Path
from typing import overload
from urllib.parse import urlsplit

import pbk

from anchor.btc.header import Header
from anchor.btc.ids import BlockHash
from anchor.btc.network import REGTEST
from anchor.headers.rules import MAX_FUTURE, HeaderRefused, check, rules_of
from regtest.bitcoind import Bitcoind
from tests.anchor.headers.differential import GENESIS, Disagreement, Offered
from tests.anchor.headers.stories import Story, mined

BATCH = 1000  # submitheader calls in one request
QUICK = "-checkblockindex=0"  # regtest's bitcoind would look through all headers at every header
CORE_WORDS = {
    "bad-diffbits": "bits",
    "high-hash": "work",
    "time-too-old": "median-time",
    "time-timewarp-attack": "timewarp",
    "time-too-new": "future",
    "bad-version": "version",
    "Must submit previous header": "parent",
}


class Branch(Sequence[Header]):
    """The branch that ends in one header of a tree; walked from its end, so the newest are near."""

    def __init__(self, known: dict[BlockHash, tuple[Header, int]], tip: Header) -> None:
        self._known, self._tip = known, tip
        self._length = known[tip.hash][1] + 1

    def __len__(self) -> int:
        return self._length

    @overload
    def __getitem__(self, place: int) -> Header: ...
    @overload
    def __getitem__(self, place: slice) -> list[Header]: ...
    def __getitem__(self, place: int | slice) -> Header | list[Header]:
        if isinstance(place, slice):
            first = place.indices(len(self))[0]
            return list(islice(self._down(), len(self) - first))[::-1]
        return next(islice(self._down(), (len(self) - 1 - place) if place >= 0 else -1 - place, None))

    def _down(self) -> Iterator[Header]:
        walk = self._tip
        while True:
            yield walk
            if walk is GENESIS:
                return
            walk = self._known[walk.parent][0]


class Tree:
    """Random headers on a tree, mostly near its newest end; by our own rules the valid ones are taken.

    `now` is the clock by which Core judges the two-hour rule, Unix seconds: what is later is "future" here.
    """

    def __init__(self, seed: int, now: int, *, bip94: bool = False) -> None:
        self.rules = replace(rules_of(REGTEST), bip94=bip94)
        self.rng, self.now = random.Random(seed), now
        self.known: dict[BlockHash, tuple[Header, int]] = {GENESIS.hash: (GENESIS, 0)}
        self.recent = [GENESIS]
        self.ends: list[Header] = []  # the last headers of periods; what BIP94 says is said upon them
        self.counts: Counter[str] = Counter()

    def offers(self, count: int) -> Iterator[Offered]:
        """Yield `count` candidates with our answer."""
        for _ in range(count):
            near = self.recent[-1] if self.rng.random() < 0.8 else self.rng.choice(self.recent)
            if self.ends and self.rng.random() < 0.1:
                near = self.rng.choice(self.ends)
            story = Story(self.rules, self.rng, Branch(self.known, near))
            header = story.honest()
            roll = self.rng.random()
            if roll < 0.03:
                header = mined(replace(header, time=self.now + MAX_FUTURE + self.rng.choice((1, 2, 10**6))))
            elif roll < (0.9 if story.height % self.rules.interval == 0 else 0.5):
                header = story.flaw(header)
            height = self.known.get(header.parent, (None, -1))[1] + 1
            rule = self._judge(header)
            self.counts[rule or "valid"] += 1
            yield Offered(header, height, rule)

    def _judge(self, header: Header) -> str | None:
        below = self.known.get(header.parent)
        if below is None:
            return "parent"
        branch = Branch(self.known, below[0])
        try:
            check(self.rules, header, len(branch), lambda h: branch[h] if 0 <= h < len(branch) else None)
        except HeaderRefused as error:
            return error.rule
        if header.time > self.now + MAX_FUTURE:
            return "future"
        self.known[header.hash] = (header, len(branch))
        self.recent = [*self.recent[-30:], header]
        if self.rules.bip94 and (len(branch) + 1) % self.rules.interval == 0:
            self.ends.append(header)
        return None


def in_process(folder: Path, seed: int, count: int) -> Counter[str]:
    """Compare with `ChainstateManager.process_block_header`, whose clock is the machine's.

    On regtest Core looks through its whole block index at every header, so several short trees cost much less than
    one long one.
    """
    context = pbk.make_context(pbk.ChainType.REGTEST)
    options = pbk.ChainstateManagerOptions(context, str(folder / "core"), str(folder / "core/blocks"))
    options.update_block_tree_db_in_memory(True)
    options.update_chainstate_db_in_memory(True)
    core = pbk.ChainstateManager(options)
    tree = Tree(seed, int(time.time()) + 3600)  # nobody waits long enough for "now" to matter
    for one in tree.offers(count):
        try:
            core.process_block_header(pbk.BlockHeader(one.header.raw))
            theirs = True
        except pbk.ProcessBlockHeaderException:
            theirs = False
        if theirs != (one.rule is None):
            raise Disagreement(f"{one}: Core {'takes' if theirs else 'refuses'} it, we say {one.rule}")
    return tree.counts


def by_rpc(node: Bitcoind, seed: int, count: int, *, bip94: bool = False) -> Counter[str]:
    """Compare with `submitheader`, reasons included, on a fresh bitcoind whose clock is set here."""
    now = 1_800_000_000
    node.rpc().setmocktime(now)
    tree = Tree(seed, now, bip94=bip94)
    offers = tree.offers(count)
    while batch := list(islice(offers, BATCH)):
        for one, said in zip(batch, _submit(node, batch), strict=True):
            theirs = next((ours for word, ours in CORE_WORDS.items() if said and word in said), said)
            # Core looks at the work first: a header without it may break other rules, too
            if theirs != one.rule and (theirs, one.rule is None) != ("work", False):
                raise Disagreement(f"{one}: Core says {said}, we say {one.rule}")
    return tree.counts


def _submit(node: Bitcoind, batch: list[Offered]) -> list[str | None]:
    """Send headers in one request; Core's word for each, None where it takes it."""
    calls = [
        {"jsonrpc": "2.0", "id": n, "method": "submitheader", "params": [one.header.raw.hex()]}
        for n, one in enumerate(batch)
    ]
    where = urlsplit(node.url)
    assert where.hostname is not None
    connection = HTTPConnection(where.hostname, where.port, timeout=120)
    token = base64.b64encode(f"{where.username}:{where.password}".encode()).decode()
    connection.request("POST", "/", json.dumps(calls), {"Authorization": f"Basic {token}"})
    answers = sorted(json.loads(connection.getresponse().read()), key=lambda answer: answer["id"])
    connection.close()
    return [answer["error"]["message"] if "error" in answer else None for answer in answers]
