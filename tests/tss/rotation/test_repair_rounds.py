"""A repair gives the very share that was lost, to its member alone."""

from itertools import combinations

import pytest

from tests.tss.rotation.session import Held, Session, sign
from tests.tss.simnet import ENGINE, SEALER
from tss.dkg.faults import RestoreFault
from tss.frost.errors import EngineState
from tss.rotation import chain as chains
from tss.rotation.chain import Chain
from tss.rotation.plan import Work


def repaired(held, lost, helpers):
    session = Session(held, held.plan((*helpers, lost), lost=lost))
    return session, session.run()


@pytest.mark.parametrize(("n", "t", "helpers"), [(3, 2, (1, 3)), (5, 3, (1, 4, 5)), (5, 3, (1, 3, 4, 5))])
def test_the_repaired_share_is_the_lost_one(n, t, helpers):
    held = Held.made(n, t)
    session, link = repaired(held, 2, helpers)
    key = session.done[2].key
    assert key.export_secret() == held.keys[2].export_secret()
    assert all(session.done[helper].key is None for helper in helpers)
    assert link.check(ENGINE, held.committee, held.public) == held.public
    again = chains.repaired(ENGINE, SEALER, held.who(2), link, held.committee, held.public)
    assert again.export_secret() == key.export_secret()
    assert sign({2: key, **{m: held.keys[m] for m in helpers[: t - 1]}}, held.public)


def test_a_refreshed_share_is_repaired_and_a_removed_member_gets_none():
    held = Held.made(5, 3).refreshed((1, 2, 3, 4))
    session, _ = repaired(held, 4, (1, 2, 3))
    assert session.done[4].key.export_secret() == held.keys[4].export_secret()
    session = Session(held, held.plan((1, 2, 3, 5), lost=5))
    roster = session.roster()
    with pytest.raises(EngineState) as caught:
        session.begin(roster, 1)
    assert caught.value.culprits == (5,)


def test_a_chain_whose_dkg_gives_no_share_starts_from_the_repair(monkeypatch):
    held = Held.made(3, 2)
    _, link = repaired(held, 2, (1, 3))
    later = held.refreshed()
    whole = Chain(held.chain.base, later.chain.links, (link,))
    assert whole == held.chain.with_link(link).with_link(later.chain.links[0])

    def lost(*_arguments):
        raise RestoreFault("the DKG's shares for bob are gone")

    monkeypatch.setattr(chains.participant, "restore", lost)
    assert whole.restore(ENGINE, SEALER, held.who(2)).export_secret() == later.keys[2].export_secret()
    with pytest.raises(RestoreFault, match="are gone"):
        whole.restore(ENGINE, SEALER, held.who(1))


def test_nobody_but_the_receiver_can_open_a_sigma_and_no_helper_seals_to_itself():
    held = Held.made(5, 3)
    _, link = repaired(held, 2, (1, 3, 4))
    plan = link.roster.plan
    assert plan.work is Work.REPAIR
    for deal in link.transcript.deals.messages:
        assert len(deal.sealed) == 2
        assert deal.sender not in plan.receivers(deal.sender)
    for member in (1, 3, 4):
        assert chains.boxes.open_all(SEALER, held.who(member), link.transcript.second).values == {}


def test_all_helpers_but_one_cannot_put_its_share_together_from_what_they_saw():
    """The missing delta is the one that a helper keeps for itself; it is nowhere in the transcript."""
    held = Held.made(5, 3)
    session = Session(held, held.plan((1, 2, 3, 4), lost=2))
    link = session.run()
    order = int.from_bytes(bytes.fromhex("FF" * 15 + "FEBAAEDCE6AF48A03BBFD25E8CD0364141"), "big")
    seen = chains.boxes.open_all
    deltas = {
        receiver: seen(SEALER, held.who(receiver), link.transcript.first).values[4] for receiver in (1, 3)
    }
    weighted = sum(int.from_bytes(delta, "big") for delta in deltas.values()) % order
    share = int.from_bytes(held.keys[4].export_secret(), "big")
    weight = pow((1 - 4) * (3 - 4), -1, order) * (1 - 2) * (3 - 2) % order
    assert weighted != weight * share % order
    sigma = seen(SEALER, held.who(2), link.transcript.second).values
    assert len(sigma) == 3


def test_different_helpers_give_the_same_share():
    held = Held.made(4, 2)
    secrets = set()
    for number, helpers in enumerate(combinations((1, 2, 4), 2), 1):
        session = Session(held, held.plan((*helpers, 3), lost=3, attempt=number))
        session.run()
        secrets.add(bytes(session.done[3].key.export_secret()))
    assert secrets == {bytes(held.keys[3].export_secret())}
