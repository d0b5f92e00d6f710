"""Key generation over a network that delays, reorders, duplicates, loses, damages and parts."""

from random import Random

import pytest

from tests.tss.dkg.dkg_over_net import DkgOverNet
from tests.tss.simnet import ENGINE, Dkg
from tests.tss.simwire import Net
from tss.dkg import participant
from tss.dkg.faults import Missing


def assert_one_key(dkg, certificate):
    recoveries = [participant.finalize(state, certificate) for state in dkg.third.values()]
    assert len(recoveries) == dkg.n
    assert len({recovery.check(ENGINE).group_key for recovery in recoveries}) == 1


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(("n", "t"), [(3, 2), (5, 3)])
def test_delay_reordering_and_duplicates_change_nothing(n, t, seed):
    dkg = Dkg(n, t)
    certificate = DkgOverNet(Net(seed, duplicate=0.5, delay=2.0), dkg).run()
    assert_one_key(dkg, certificate)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("n", "t"), [(3, 2), (5, 3)])
def test_loss_fails_the_attempt_naming_who_was_missing_and_a_later_one_succeeds(n, t, seed):
    net = Net(seed, drop=0.08, duplicate=0.2, delay=1.0)
    for attempt in range(1, 80):
        dkg = Dkg(n, t, attempt=attempt)
        driver = DkgOverNet(net, dkg)
        fault = None
        try:
            certificate = driver.run()
        except Missing as missing:
            fault = missing
        if fault is None:
            assert_one_key(dkg, certificate)
            return
        assert set(fault.culprits) == driver.lost
    pytest.fail("no attempt came through")


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("n", "t"), [(3, 2), (5, 3)])
def test_where_the_peers_say_things_again_loss_and_damage_change_nothing(n, t, seed):
    net = Net(seed, drop=0.3, duplicate=0.3, corrupt=0.3, delay=0.5, again=0.3)
    dkg = Dkg(n, t)
    assert_one_key(dkg, DkgOverNet(net, dkg).run())
    assert all(net.seen[fault] for fault in ("dropped", "corrupted", "duplicated"))


@pytest.mark.parametrize("one_way", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_a_parted_committee_names_exactly_who_was_cut_off_and_makes_its_key_when_it_is_whole(seed, one_way):
    net = Net(seed, corrupt=0.1, delay=0.3, again=0.4)
    cut = set(Random(seed).sample((2, 3, 4, 5), 2))
    net.part(cut, 7.0, one_way=one_way)
    with pytest.raises(Missing) as missing:
        DkgOverNet(net, Dkg(5, 3)).run()
    assert set(missing.value.culprits) == cut
    dkg = Dkg(5, 3, attempt=2)
    assert_one_key(dkg, DkgOverNet(net, dkg).run()), "the part ends within a round, and the round goes on"
    assert net.seen["parted"]
