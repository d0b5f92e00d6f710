"""A refresh from plan to certificate: what the new shares do, what old ones cannot, what restores them."""

import coincurve
import pytest
from ecc.ecc import ssa

from tests.tss.rotation.session import Held, Session, sign
from tests.tss.simnet import ENGINE, SEALER
from tss.dkg.faults import BadSignature, RestoreFault, WrongSession
from tss.frost.errors import EngineState, SignatureShareFault
from tss.rotation import chain as chains
from tss.rotation.chain import Chain
from tss.rotation.link import Link, acknowledge
from tss.rotation.relay import acks

MESSAGE = b"m" * 32


def holds(public, signature, message=MESSAGE):
    ours = coincurve.PublicKeyXOnly(public.x_only).verify(signature, message)
    assert ours == ssa.verify_(message, public.x_only, signature)
    return ours


@pytest.mark.parametrize(("n", "t"), [(2, 2), (3, 2), (5, 3), (7, 5)])
def test_the_key_stays_and_every_quorum_of_new_shares_signs(n, t):
    old = Held.made(n, t)
    new = old.refreshed()
    assert new.public.group_key == old.public.group_key
    assert new.public.share_set != old.public.share_set
    assert new.chain.check(ENGINE) == new.public
    members = list(new.keys)
    for signers in (members[:t], members[-t:], members):
        assert holds(old.public, new.signed(signers))


def test_an_old_share_is_useless_among_new_ones_whoever_coordinates():
    old = Held.made(5, 3)
    new = old.refreshed()
    mixed = {1: new.keys[1], 2: new.keys[2], 4: old.keys[4]}
    for public in (old.public, new.public):
        with pytest.raises(SignatureShareFault):
            sign(mixed, public)


def test_an_old_quorum_alone_still_signs_under_the_same_key():
    old = Held.made(5, 3)
    new = old.refreshed()
    assert holds(new.public, old.signed((2, 3, 5)))


def test_a_member_left_out_holds_nothing_afterwards_and_the_others_go_on():
    old = Held.made(5, 3)
    new = old.refreshed((1, 2, 4))
    assert tuple(new.public.verifying_shares) == (1, 2, 4)
    assert holds(old.public, new.signed((1, 2, 4)))
    with pytest.raises(EngineState):
        sign({1: new.keys[1], 2: new.keys[2], 3: old.keys[3]}, new.public)
    with pytest.raises(RestoreFault, match="left out of a refresh"):
        new.chain.restore(ENGINE, SEALER, new.who(3))


def test_the_chain_restores_every_share_of_every_generation():
    held = Held.made(5, 3)
    for members in (None, (1, 2, 4, 5), (1, 4, 5)):
        held = held.refreshed(members)
        for member, key in held.keys.items():
            restored = held.chain.restore(ENGINE, SEALER, held.who(member))
            assert restored.export_secret() == key.export_secret()
            assert restored.public == held.public
    assert held.chain.generation == 3
    links = [held.chain.base.encode(), *(link.encode() for link in held.chain.links)]
    assert Chain.decode(links) == held.chain


def test_only_the_right_host_secret_restores():
    held = Held.made().refreshed()
    link = held.chain.links[0]
    base = Chain(held.chain.base)
    share = base.restore(ENGINE, SEALER, held.who(1))
    with pytest.raises(RestoreFault, match="right host key"):
        chains.refreshed(ENGINE, SEALER, type(held.who(1))(1, b"\x07" * 32), link, share)


def test_a_chain_out_of_order_or_of_another_key_is_refused():
    held = Held.made(3, 2)
    later = held.refreshed().refreshed()
    first, second = later.chain.links
    with pytest.raises(WrongSession, match="starts from other shares"):
        Chain(held.chain.base, (second, first)).check(ENGINE)
    with pytest.raises(WrongSession, match="starts from other shares"):
        Chain(held.chain.base, (second,)).check(ENGINE)
    other = Held.made(3, 2, purpose="mint").refreshed()
    with pytest.raises(RestoreFault, match="another key"):
        Chain(held.chain.base, other.chain.links).check(ENGINE)


def test_a_certificate_counts_only_with_the_assent_of_all_who_hold_shares_afterwards():
    held = Held.made(3, 2)
    link = held.refreshed().chain.links[0]
    signatures = link.certificate.signatures
    for wrong in (
        signatures[:-1],
        (*signatures[:-1], bytes(64)),
        (signatures[1], signatures[0], signatures[2]),
    ):
        forged = Link(link.transcript, type(link.certificate)(link.sid, link.certificate.transcript, wrong))
        with pytest.raises((WrongSession, BadSignature)):
            forged.check(ENGINE, held.committee, held.public)


def test_a_late_certificate_completes_what_was_signed_long_ago():
    held = Held.made(3, 2)
    session = Session(held, held.plan())
    link = session.run()
    stored = session.done[2].transcript.encode()
    late = Link(type(link.transcript).decode(stored), link.certificate)
    assert late.check(ENGINE, held.committee, held.public).group_key == held.public.group_key
    share = chains.refreshed(ENGINE, SEALER, held.who(2), late, held.keys[2])
    assert share.export_secret() == session.done[2].key.export_secret()


def test_acks_name_one_link():
    held = Held.made(3, 2)
    session = Session(held, held.plan())
    link = session.run()
    answers = {m: acknowledge(held.who(m), link).encode() for m in (1, 2, 3)}
    assert [ack.sender for ack in acks(held.committee, link, answers)] == [1, 2, 3]
    other = Session(held, held.plan(attempt=2)).run()
    answers[2] = acknowledge(held.who(2), other).encode()
    with pytest.raises(WrongSession, match="bob"):
        acks(held.committee, link, answers)
