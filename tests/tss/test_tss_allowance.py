"""Small memories with a bound."""

from tss.allowance import Allowance, Grudges, Recent


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_so_many_a_minute_and_then_no_more():
    clock = Clock()
    allowance = Allowance(3, clock)
    assert [allowance.take() for _ in range(5)] == [True, True, True, False, False]
    clock.now = 59.9
    assert not allowance.take()
    clock.now = 60.0
    assert allowance.take()


def test_a_grudge_fades_and_many_strikes_last_longer_but_not_for_ever():
    clock = Clock()
    grudges = Grudges(clock)
    assert grudges.level(2) == 0
    grudges.note({2: 1, 3: 1000})
    assert [grudges.level(member) for member in (2, 3, 4)] == [1, 2, 0]
    clock.now = 601.0
    assert [grudges.level(member) for member in (2, 3)] == [0, 2]
    clock.now = 1300.0
    assert grudges.level(3) == 1
    clock.now = 3700.0
    assert grudges.level(3) == 0


def test_only_the_latest_names_are_remembered():
    recent = Recent(2)
    for name in (b"a", b"b", b"a", b"c"):
        recent.add(name)
    assert list(recent) == [b"a", b"c"]
    assert b"b" not in recent
