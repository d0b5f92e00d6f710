"""Refresh and repair over a network that delays, reorders, duplicates, loses, damages and parts."""

import pytest

from tests.tss.rotation.session import Held, Session
from tests.tss.rotation.work_over_net import WorkOverNet
from tests.tss.simnet import ENGINE
from tests.tss.simwire import Net
from tss.dkg.faults import Missing


@pytest.fixture(scope="module", params=[(3, 2), (5, 3)])
def held(request):
    return Held.made(*request.param)


def plan(held, kind, attempt):
    if kind == "refresh":
        return held.plan(attempt=attempt)
    members = tuple(held.keys)[: held.public.threshold + 1]
    return held.plan(members, attempt=attempt, lost=members[0])


@pytest.mark.parametrize("kind", ["refresh", "repair"])
@pytest.mark.parametrize("seed", range(4))
def test_delay_reordering_and_duplicates_change_nothing(held, kind, seed):
    session = Session(held, plan(held, kind, 1))
    link = WorkOverNet(Net(seed, duplicate=0.5, delay=2.0), session).run()
    public = link.check(ENGINE, held.committee, held.public)
    assert public.group_key == held.public.group_key
    assert len(session.done) == len(session.plan.members)


@pytest.mark.parametrize("kind", ["refresh", "repair"])
@pytest.mark.parametrize("seed", range(5))
def test_loss_fails_the_attempt_naming_who_was_missing_and_a_later_one_succeeds(held, kind, seed):
    net = Net(seed, drop=0.06, duplicate=0.2, delay=1.0)
    for attempt in range(1, 80):
        driver = WorkOverNet(net, Session(held, plan(held, kind, attempt)))
        fault = None
        try:
            link = driver.run()
        except Missing as missing:
            fault = missing
        if fault is None:
            assert link.check(ENGINE, held.committee, held.public).group_key == held.public.group_key
            assert held.signed(tuple(held.keys)[: held.public.threshold]), "the old shares are untouched"
            return
        # The receiver of a repair deals nothing, so that its silence is no matter in those rounds.
        assert fault.culprits
        assert set(fault.culprits) <= driver.lost
    pytest.fail("no attempt came through")


@pytest.mark.parametrize("kind", ["refresh", "repair"])
@pytest.mark.parametrize("seed", range(3))
def test_where_the_peers_say_things_again_loss_and_damage_change_nothing(held, kind, seed):
    net = Net(seed, drop=0.3, duplicate=0.3, corrupt=0.3, delay=0.5, again=0.3)
    link = WorkOverNet(net, Session(held, plan(held, kind, 1))).run()
    assert link.check(ENGINE, held.committee, held.public).group_key == held.public.group_key
    assert all(net.seen[fault] for fault in ("dropped", "corrupted", "duplicated"))


@pytest.mark.parametrize("kind", ["refresh", "repair"])
@pytest.mark.parametrize("one_way", [False, True])
def test_a_parted_committee_names_who_was_cut_off_and_the_old_shares_serve_on(held, kind, one_way):
    net = Net(7, corrupt=0.1, delay=0.3, again=0.4)
    members = plan(held, kind, 1).members
    net.part(members[1:2], 7.0, one_way=one_way)
    with pytest.raises(Missing) as missing:
        WorkOverNet(net, Session(held, plan(held, kind, 1))).run()
    assert set(missing.value.culprits) == set(members[1:2])
    assert held.signed(tuple(held.keys)[: held.public.threshold])
    link = WorkOverNet(net, Session(held, plan(held, kind, 2))).run()
    assert link.check(ENGINE, held.committee, held.public).group_key == held.public.group_key


@pytest.mark.parametrize(("n", "t"), [(9, 6), (15, 11)])
def test_larger_committees_refresh_remove_as_many_as_they_can_and_repair(n, t, monkeypatch):
    from tests.tss import simnet

    monkeypatch.setattr(simnet, "NAMES", tuple(f"member-{i}" for i in range(1, n + 1)))
    held = Held.made(n, t).refreshed()
    held = held.refreshed(tuple(range(n - t + 1, n + 1)))
    members = tuple(held.keys)
    assert len(members) == t
    assert held.signed(members)
    whole = Held.made(n, t)
    session = Session(whole, whole.plan(tuple(range(1, t + 2)), lost=t + 1))
    session.run()
    assert session.done[t + 1].key.export_secret() == whole.keys[t + 1].export_secret()
