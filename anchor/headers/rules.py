"""When a header is valid after its ancestors: consensus rules, as data per network.

These rules depend on headers only, so everybody who replays them agrees. The two-hour rule depends on a clock and
is therefore not here: it defers a header (see `chain`) and never condemns it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from anchor.btc.header import Header, HeaderError, bits_of, target_of
from anchor.btc.ids import display
from anchor.btc.network import MAINNET, REGTEST, SIGNET, TESTNET3, TESTNET4, Network

MEDIAN_SPAN = 11
MAX_TIMEWARP = 600  # BIP94, seconds
MAX_FUTURE = 2 * 60 * 60  # local policy, seconds

# Gives the header at a height of the branch being extended, None below what is known.
Ancestors = Callable[[int], Header | None]


# The rules by name; the last three are about files of headers.
RuleName = Literal[
    "parent", "bits", "work", "median-time", "timewarp", "version", "length", "genesis", "start"
]


class HeaderRefused(Exception):
    """A header that breaks consensus; `rule` names the broken rule, `reason` is a sentence."""

    def __init__(self, rule: RuleName, reason: str, height: int | None = None) -> None:
        where = "" if height is None else f" at height {height}"
        super().__init__(f"header{where} refused ({rule}): {reason}")
        self.rule: RuleName = rule
        self.reason, self.height = reason, height


@dataclass(frozen=True, slots=True)
class Rules:
    """The consensus parameters of one network that headers must obey (chainparams.cpp in Core).

    `pow_limit` is the easiest target, `interval` the blocks between two retargets, `spacing` seconds per block.
    `min_difficulty`: after 20 minutes without a block the easiest target is allowed. `versions`: from which
    heights versions below 2, 3 and 4 are refused (BIP34, BIP66, BIP65).
    """

    network: Network
    pow_limit: int
    interval: int = 2016
    spacing: int = 600
    min_difficulty: bool = False
    constant_bits: bool = False
    bip94: bool = False
    versions: tuple[int, int, int] = (1, 1, 1)

    @property
    def limit_bits(self) -> int:
        """The easiest target in compact form."""
        return bits_of(self.pow_limit)


_LIMIT_32 = (1 << 224) - 1

_RULES = {
    MAINNET.name: Rules(MAINNET, _LIMIT_32, versions=(227_931, 363_725, 388_381)),
    TESTNET3.name: Rules(TESTNET3, _LIMIT_32, min_difficulty=True, versions=(21_111, 330_776, 581_885)),
    TESTNET4.name: Rules(TESTNET4, _LIMIT_32, min_difficulty=True, bip94=True),
    SIGNET.name: Rules(SIGNET, 0x377AE << 216),
    REGTEST.name: Rules(REGTEST, (1 << 255) - 1, interval=144, min_difficulty=True, constant_bits=True),
}


def rules_of(network: Network) -> Rules:
    """Return the header rules of a network."""
    return _RULES[network.name]


def next_bits(rules: Rules, height: int, time: int, at: Ancestors) -> int:
    """Return the compact target that a header at `height` with `time` must carry.

    Source: GetNextWorkRequired and CalculateNextWorkRequired in Core, BIP94.
    """
    last = _known(at, height - 1)
    if rules.constant_bits:  # regtest: also the minimum-difficulty paths end at the same constant
        return last.bits
    if height % rules.interval == 0:
        return _retarget(rules, height, last, at)
    if not rules.min_difficulty:
        return last.bits
    if time > last.time + 2 * rules.spacing:
        return rules.limit_bits
    # Core walks back over the easiest bits to others or to the period's first block. Those others were found in the
    # same way, so they are that first block's: one look instead of up to 2,015.
    return _known(at, height - height % rules.interval).bits


def _retarget(rules: Rules, height: int, last: Header, at: Ancestors) -> int:
    first = _known(at, height - rules.interval)
    span = rules.interval * rules.spacing
    took = min(max(last.time - first.time, span // 4), span * 4)
    base = first.bits if rules.bip94 else last.bits
    return bits_of(min(target_of(base) * took // span, rules.pow_limit))


def median_time(height: int, at: Ancestors) -> int | None:
    """Return the median time of the 11 headers below `height`, None while too few are known to say."""
    times = []
    for below in range(height - 1, max(height - 1 - MEDIAN_SPAN, -1), -1):
        header = at(below)
        if header is None:
            return None
        times.append(header.time)
    times.sort()
    return times[len(times) // 2]


def check(rules: Rules, header: Header, height: int, at: Ancestors) -> None:
    """Raise HeaderRefused unless `header` is valid at `height` after its ancestors; the parent link included.

    Where a trusted start hides ancestors that the median needs, that rule is passed over.
    """
    parent = at(height - 1)
    if parent is None or parent.hash != header.parent:
        raise HeaderRefused("parent", "its parent is not the header below", height)
    wanted = next_bits(rules, height, header.time, at)
    if header.bits != wanted:
        raise HeaderRefused("bits", f"bits {header.bits:08x}, the rules compute {wanted:08x}", height)
    check_work(rules, header, height)
    median = median_time(height, at)
    if median is not None and header.time <= median:
        raise HeaderRefused("median-time", f"time {header.time} is not after the median {median}", height)
    if rules.bip94 and height % rules.interval == 0 and header.time < parent.time - MAX_TIMEWARP:
        raise HeaderRefused(
            "timewarp", f"a period's first block is {MAX_TIMEWARP} s too early (BIP94)", height
        )
    check_version(rules, header, height)


def check_version(rules: Rules, header: Header, height: int) -> None:
    """Raise HeaderRefused when a header's version is below the least one at its height."""
    if any(
        header.version < v and height >= since for v, since in zip((2, 3, 4), rules.versions, strict=True)
    ):
        raise HeaderRefused("version", f"version {header.version} is outdated at this height", height)


def check_work(rules: Rules, header: Header, height: int | None = None) -> None:
    """Raise HeaderRefused unless the hash meets the header's own bits and these the network's limit."""
    try:
        target = target_of(header.bits)
    except HeaderError as error:
        raise HeaderRefused("bits", str(error), height) from error
    if target > rules.pow_limit:
        raise HeaderRefused("bits", f"bits {header.bits:08x} are easier than the network allows", height)
    if int.from_bytes(header.hash, "little") > target:
        raise HeaderRefused("work", f"hash {display(header.hash)} misses its target", height)


def _known(at: Ancestors, height: int) -> Header:
    header = at(height)
    assert header is not None, "a chain's start must reach back to the first block of its period"
    return header
