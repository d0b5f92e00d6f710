"""How deep is deep enough: the chance that an attacker replaces the last blocks, by two published formulas.

`attacker` is his share of all hash power, below one half. `depth` counts confirmations (the block itself is one):
the honest blocks since the race began, the papers' z. Both count drawing level as success and let the attacker race
on for ever; neither knows of delays between miners, of blocks mined ahead, or of miners who are bribed.

Sources: Nakamoto, Bitcoin (2008), section 11, which lets honest blocks come at their expected rate; Grunspan and
Pérez-Marco, Double spend races (arXiv 1702.02867), which is exact: I(4pq; z, 1/2), the regularised incomplete beta.
"""

from collections.abc import Callable
from itertools import count
from math import exp, fsum, inf, lgamma, log

MAX_DEPTH = 1_000_000

Formula = Callable[[float, int], float]


class RiskError(ValueError):
    """A question without an answer; the sentence says what to ask instead."""


def nakamoto(attacker: float, depth: int) -> float:
    """Return the chance that the attacker catches up, by section 11 of the whitepaper; 0 to 1."""
    _check(attacker, depth)
    if depth == 0:
        return 1.0
    ratio = attacker / (1 - attacker)
    mean = depth * ratio  # of the attacker's blocks, Poisson, while honest miners find `depth`

    def chance(blocks: int) -> float:
        return blocks * log(mean) - mean - lgamma(blocks + 1)

    behind = fsum(exp(chance(n) + (depth - n) * log(ratio)) for n in range(depth + 1))
    ahead = fsum(_until_nothing(chance, depth + 1))
    return min(behind + ahead, 1.0)


def grunspan(attacker: float, depth: int) -> float:
    """Return the chance that the attacker catches up, by Grunspan and Pérez-Marco; 0 to 1.

    Twice the chance that he has `depth` blocks before the others have: equal to their I(4pq; z, 1/2), and a sum of
    positive terms.
    """
    _check(attacker, depth)
    if depth == 0:
        return 1.0
    honest = log(1 - attacker)

    def chance(others: int) -> float:
        ways = lgamma(others + depth) - lgamma(others + 1) - lgamma(depth)
        return ways + depth * log(attacker) + others * honest

    return min(2 * fsum(exp(chance(n)) for n in range(depth)), 1.0)


FORMULAS: dict[str, Formula] = {"nakamoto": nakamoto, "grunspan": grunspan}


def depth_for(formula: Formula, attacker: float, risk: float) -> int:
    """Return the least depth at which the attacker's chance is at most `risk` (0 to 1, both excluded).

    RiskError where that takes more than a million blocks, or for shares and risks that make no sense.
    """
    if not 0 < risk < 1:
        raise RiskError(f"a risk is a chance between 0 and 1, not {risk:g}")
    _check(attacker, 1)
    high = 1
    while formula(attacker, high) > risk:
        high *= 2
        if high > MAX_DEPTH:
            raise RiskError(f"no depth below a million is enough against {attacker} of the hash power")
    low = high // 2  # not enough; both formulas fall with depth
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if formula(attacker, middle) <= risk else (middle, high)
    return high


def risk_for(value: int, loss: int, most: float) -> float:
    """Return the chance that a payment of `value` satoshis may carry: at most `most`, and at most `loss` expected.

    The expected loss is chance times value, in satoshis: ten times the value takes a tenth of the chance.
    """
    if value < 1 or loss < 1:
        raise RiskError("value and loss are amounts of at least 1 satoshi")
    if not 0 < most < 1:
        raise RiskError(f"a risk is a chance between 0 and 1, not {most:g}")
    return min(most, loss / value)


def _check(attacker: float, depth: int) -> None:
    if not 0 < attacker < 0.5:
        raise RiskError(
            f"an attacker's share is above 0 and below 0.5, not {attacker}: with half he always wins"
        )
    if depth < 0:
        raise RiskError("a depth is not negative")


def _until_nothing(chance: Callable[[int], float], first: int) -> list[float]:
    """Terms of a falling series from `first` on, given as logarithms, until they add nothing."""
    terms: list[float] = []
    largest = -inf
    for n in count(first):
        term = chance(n)
        largest = max(largest, term)
        if term < largest - 40:
            return terms
        terms.append(exp(term))
    raise AssertionError
