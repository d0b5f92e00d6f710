"""Random chains for the differential tests: valid headers, and ones that are wrong or odd in one way.

Each network's rules with work so easy that a test can do it, and periods so short that there are many.
"""

import random
from collections import Counter
from collections.abc import Iterator, MutableSequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from struct import Struct

from anchor.btc.header import Header, bits_of, target_of
from anchor.btc.ids import BlockHash
from anchor.btc.network import MAINNET, REGTEST, SIGNET, TESTNET3, TESTNET4
from anchor.headers.rules import HeaderRefused, Rules, check, median_time, next_bits, rules_of

EASIEST = (1 << 255) - 1
_ROOM = 6  # a test's targets stay within 2^-6 of the easiest, so that mining takes 64 tries or so
_HEAD, _NONCE = Struct("<i32s32sII"), Struct("<I")


def easy(rules: Rules, interval: int, versions: tuple[int, int, int] | None = None) -> Rules:
    """A network's rules with regtest's work and other periods; version heights scaled down by default."""
    heights = versions or tuple(min(v, 40 * n) for n, v in enumerate(rules.versions, 1))
    return replace(rules, pow_limit=EASIEST, interval=interval, versions=heights)


def easy_networks(interval: int) -> dict[str, Rules]:
    """The five networks, made easy, and regtest under BIP94."""
    networks = (MAINNET, TESTNET3, TESTNET4, SIGNET, REGTEST)
    made = {network.name: easy(rules_of(network), interval) for network in networks}
    return {**made, "regtest-bip94": replace(made["regtest"], bip94=True)}


def mined(header: Header, *, fail: bool = False) -> Header:
    """The header with a nonce that meets its target (or, with `fail`, misses it); as it is when it has none."""
    try:
        target = target_of(header.bits)
    except ValueError:
        return header
    if target >> (255 - 2 * _ROOM) == 0:
        return header  # nobody mines that in a test
    head = _HEAD.pack(header.version, header.parent, header.merkle_root, header.time, header.bits)
    begun = sha256(head)
    for nonce in range(1 << 32):
        full = begun.copy()
        full.update(_NONCE.pack(nonce))
        if (int.from_bytes(sha256(full.digest()).digest(), "little") <= target) != fail:
            return replace(header, nonce=nonce)
    raise AssertionError


@dataclass
class Story:
    """One growing chain; `offers` yields candidates, `accept` takes what the caller found valid."""

    rules: Rules
    rng: random.Random
    headers: MutableSequence[Header] = field(default_factory=list)
    kinds: Counter[str] = field(default_factory=Counter)
    pace: float = 1.0

    def __post_init__(self) -> None:
        if not self.headers:
            self.headers = [Header.parse(REGTEST.genesis)]

    @property
    def height(self) -> int:
        return len(self.headers)

    def at(self, height: int) -> Header | None:
        return self.headers[height] if 0 <= height < len(self.headers) else None

    def ours(self, header: Header) -> str | None:
        """The rule that `rules.check` says is broken."""
        try:
            check(self.rules, header, self.height, self.at)
        except HeaderRefused as error:
            return error.rule
        return None

    def honest(self) -> Header:
        """A valid next header, at a time that keeps difficulty moving and within reach."""
        time = self._time()
        bits = next_bits(self.rules, self.height, time, self.at)
        root = self.rng.randbytes(32)
        return mined(Header(self.rng.choice((4, 0x20000000)), self.headers[-1].hash, root, time, bits, 0))

    def _time(self) -> int:
        rules, rng, last = self.rules, self.rng, self.headers[-1]
        hard = target_of(last.bits) >> (255 - _ROOM + 2) == 0
        if self.height % rules.interval == 1:
            self.pace = rng.choice((0.1, 0.3, 0.8, 1, 1.2, 3, 5)) * rules.interval / (rules.interval - 1)
        late = 2 * rules.spacing
        gap = round(rng.expovariate(1 / (rules.spacing * self.pace)))
        roll = rng.random()
        if hard:
            gap = rng.randrange(2, 10) * rules.spacing
        elif roll < 0.1:
            gap = late + rng.choice((-1, 0, 1, 5))
        elif roll < 0.2:
            gap = rng.choice((-599, -600, -601, -rng.randrange(5000), 0, 1))
        median = median_time(self.height, self.at)
        assert median is not None
        floor = median + 1
        if rules.bip94 and self.height % rules.interval == 0:
            floor = max(floor, last.time - 600)
        return max(last.time + gap, floor)

    def offers(self, count: int, flawed: float = 0.4) -> Iterator[Header]:
        """Yield `count` candidates; the caller accepts the valid ones between two."""
        for _ in range(count):
            good = self.honest()
            often = 0.8 if self.height % self.rules.interval == 0 or self._upgrades() else flawed
            yield self.flaw(good) if self.rng.random() < often else good

    def flaw(self, header: Header) -> Header:
        """The header changed in one way; it may still be valid."""
        kinds = ("version", "time", "warp", "bits", "work", "parent", "bit", "late", "same")
        kind = self.rng.choice(kinds)
        if self.rng.random() < 0.5:
            begins = self.height % self.rules.interval == 0
            kind = "version" if self._upgrades() else "warp" if begins else kind
        self.kinds[kind] += 1
        rng, last = self.rng, self.headers[-1]
        if kind == "version":
            return mined(replace(header, version=rng.choice((-(2**31), -1, 0, 1, 2, 3, 4, 5, 2**31 - 1))))
        if kind == "time":
            time = rng.choice(self.headers[-12:]).time + rng.choice((-1, 0, 1))
            return self._at_time(header, time)
        if kind == "same":  # seven equal times in a row are one too many
            return self._at_time(header, last.time)
        if kind == "warp":
            return self._at_time(header, last.time - 600 + rng.choice((-1, 0, 1)))
        if kind == "late":
            late = 2 * self.rules.spacing
            return mined(replace(header, time=last.time + late + rng.choice((0, 1))))
        if kind == "bits":
            return mined(replace(header, bits=self._other_bits(header)))
        if kind == "work":
            return mined(header, fail=True)
        if kind == "parent":
            other = rng.choice(self.headers[-5:]).parent
            return mined(replace(header, parent=rng.choice((other, BlockHash(rng.randbytes(32))))))
        place = rng.choice([n for n in range(80) if n not in (70, 71)])  # years ahead, no story goes on
        raw = bytearray(header.raw)
        raw[place] ^= 1 << rng.randrange(8)
        return Header.parse(bytes(raw))

    def _upgrades(self) -> bool:
        """Whether old versions end about here."""
        return any(-1 <= self.height - since <= 1 for since in self.rules.versions if since > 1)

    def _at_time(self, header: Header, time: int) -> Header:
        bits = next_bits(self.rules, self.height, time, self.at)
        return mined(replace(header, time=max(time, 0), bits=bits))

    def _other_bits(self, header: Header) -> int:
        rng, bits = self.rng, header.bits
        near = self.headers[-self.rules.interval :]
        return rng.choice(
            (
                bits + rng.choice((-1, 1)),
                bits_of(min(target_of(bits) * 2, EASIEST)),
                rng.choice(near).bits,
                self.rules.limit_bits,
                0x2100007F
                if bits == self.rules.limit_bits
                else bits,  # the same size written one byte longer
                bits | 0x00800000,
                rng.choice(
                    (0, 0x20000000, 0x00FFFFFF, 0x207FFFFE, 0x1D00FFFF, 0x21007FFF, 0x22000100, 0xFF000001)
                ),
            )
        )
