"""The chance to undo a block: both papers' tables, the exact closed form, and questions that make no sense.

Nakamoto's table was compared with copies of his paper. Of "Double spend races" no copy with its tables was at hand:
the numbers beside Nakamoto's were written down from memory, so what they prove rests on two tests that need none:
the race counted in fractions, and the paper's theorem, I(4pq; z, 1/2), summed by its series.
"""

from fractions import Fraction
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anchor.headers.risk import FORMULAS, RiskError, depth_for, grunspan, nakamoto, risk_for

SHARES = (0.10, 0.15, 0.20, 0.25, 0.30, 0.35, 0.40, 0.45)

# Nakamoto's section 11: attacker 0.1 at depths 1 to 10, 0.3 at 5, 10 … 50, and depths for less than 0.1 %
NAKAMOTO_10 = (
    "0.2045873 0.0509779 0.0131722 0.0034552 0.0009137 0.0002428 0.0000647 0.0000173 0.0000046 0.0000012"
)
NAKAMOTO_30 = (
    "0.1773523 0.0416605 0.0101008 0.0024804 0.0006132 0.0001522 0.0000379 0.0000095 0.0000024 0.0000006"
)
NAKAMOTO_DEPTHS = (5, 8, 11, 15, 24, 41, 89, 340)

# Grunspan's and Pérez-Marco's for the same shares and depths (see above for where they are from)
GRUNSPAN_10 = (
    "0.2000000 0.0560000 0.0171200 0.0054560 0.0017818 0.0005914 0.0001986 0.0000672 0.0000229 0.0000079"
)
GRUNSPAN_30 = (
    "0.1976173 0.0651067 0.0233077 0.0086739 0.0033027 0.0012769 0.0004991 0.0001967 0.0000780 0.0000311"
)
GRUNSPAN_DEPTHS = (6, 9, 13, 20, 32, 58, 133, 539)


@pytest.mark.parametrize(
    ("formula", "tenth", "third", "depths"),
    [
        (nakamoto, NAKAMOTO_10, NAKAMOTO_30, NAKAMOTO_DEPTHS),
        (grunspan, GRUNSPAN_10, GRUNSPAN_30, GRUNSPAN_DEPTHS),
    ],
)
def test_the_tables_come_out_to_the_last_digit(formula, tenth, third, depths):
    assert [f"{formula(0.1, depth):.7f}" for depth in range(1, 11)] == tenth.split()
    assert [f"{formula(0.3, depth):.7f}" for depth in range(5, 51, 5)] == third.split()
    assert tuple(depth_for(formula, share, 0.001) for share in SHARES) == depths


@given(st.integers(1, 49), st.integers(0, 60))
def test_the_exact_chance_is_that_of_the_whole_race_counted_in_fractions(percent, depth):
    q = Fraction(percent, 100)
    p = 1 - q
    lost = (
        sum((p**depth * q**k - q**depth * p**k) * comb(k + depth - 1, k) for k in range(depth))
        if depth
        else 0
    )
    assert grunspan(percent / 100, depth) == pytest.approx(float(1 - lost), rel=1e-9)


def incomplete_beta(x: Fraction, a: int) -> float:
    """I(x; a, 1/2), regularised, by the power series of its integral and 1/B(a, 1/2) as a product."""
    term, total, n = Fraction(1), Fraction(0), 0
    while term * x**n > Fraction(1, 10**25):
        total += term * x**n / (a + n)
        term *= Fraction(2 * n + 1, 2 * (n + 1))  # of (1 - t)^(-1/2)
        n += 1
    one_over_beta = Fraction(a) / 2  # B(a, 1/2) = 2·4·…·2a / (1·3·…·(2a-1)) / a
    for k in range(1, a + 1):
        one_over_beta *= Fraction(2 * k - 1, 2 * k)
    return float(total * one_over_beta * 2) * float(x) ** a


@pytest.mark.parametrize("percent", [2, 10, 25, 30, 40])
def test_the_exact_chance_is_the_theorems_incomplete_beta(percent):
    q = Fraction(percent, 100)
    for depth in (1, 2, 3, 6, 12, 50):
        assert grunspan(percent / 100, depth) == pytest.approx(
            incomplete_beta(4 * q * (1 - q), depth), rel=1e-9
        )


@given(st.floats(0.01, 0.45), st.floats(1e-12, 0.5))
def test_the_depth_is_the_least_that_is_enough(share, risk):
    for formula in FORMULAS.values():
        depth = depth_for(formula, share, risk)
        assert formula(share, depth) <= risk < formula(share, depth - 1)


@given(st.floats(0.01, 0.49), st.integers(1, 200))
def test_deeper_is_safer_and_a_stronger_attacker_is_not(share, depth):
    for formula in FORMULAS.values():
        here = formula(share, depth)
        assert 0 < here <= 1
        assert formula(share, depth + 1) <= here
        assert formula(share + 0.005, depth) >= here


def test_tiny_chances_are_not_lost_in_rounding():
    assert 0 < grunspan(0.1, 300) < 1e-130
    assert 0 < nakamoto(0.1, 100) < 1e-50


def test_a_tenth_of_the_chance_for_ten_times_the_value():
    assert risk_for(1, 100_000, 0.001) == 0.001
    assert risk_for(100_000_000, 100_000, 0.001) == 0.001
    assert risk_for(1_000_000_000, 100_000, 0.001) == pytest.approx(0.0001)


@pytest.mark.parametrize("share", [0, -0.1, 0.5, 1, float("nan"), float("inf")])
def test_shares_that_always_or_never_win_are_refused(share):
    for formula in FORMULAS.values():
        with pytest.raises(RiskError, match=r"above 0 and below 0\.5"):
            formula(share, 6)
        with pytest.raises(RiskError, match=r"above 0 and below 0\.5"):
            depth_for(formula, share, 0.001)


def test_other_questions_without_an_answer_are_refused():
    with pytest.raises(RiskError, match="not negative"):
        nakamoto(0.1, -1)
    for risk in (0, 1, -1, float("nan")):
        with pytest.raises(RiskError, match="between 0 and 1"):
            depth_for(grunspan, 0.1, risk)
        with pytest.raises(RiskError, match="between 0 and 1"):
            risk_for(1, 1, risk)
    for value, loss in ((0, 1), (1, 0)):
        with pytest.raises(RiskError, match="at least 1 satoshi"):
            risk_for(value, loss, 0.001)
    with pytest.raises(RiskError, match="no depth below a million"):
        depth_for(grunspan, 0.4999, 1e-9)
