"""Honest key generations, and what is left of them."""

import pytest

from tests.tss.simnet import ENGINE, SEALER, Dkg, SimIdentity
from tss.dkg import participant, relay
from tss.dkg.faults import Missing, RestoreFault, ViewsDiffer, WrongSession
from tss.dkg.messages import R2Set
from tss.dkg.transcript import RecoveryData


@pytest.mark.parametrize(("n", "t"), [(3, 2), (5, 3)])
def test_all_members_end_with_one_key_and_one_certificate(n, t):
    dkg = Dkg(n, t)
    keys, recovery = dkg.run()
    assert len({key.public.group_key for key in keys.values()}) == 1
    assert RecoveryData.decode(recovery.encode()) == recovery
    assert recovery.check(ENGINE) == keys[1].public, "an outsider computes the same key"


def test_host_secret_and_recovery_data_restore_the_share():
    dkg = Dkg(3, 2)
    keys, recovery = dkg.run()
    for who in dkg.identities:
        restored = participant.restore(ENGINE, SEALER, who, recovery)
        assert restored.export_secret() == keys[who.index].export_secret()


def test_another_host_secret_restores_nothing():
    _, recovery = Dkg(3, 2).run()
    with pytest.raises(RestoreFault, match="no member"):
        participant.restore(ENGINE, SEALER, SimIdentity(1, b"\x07" * 32), recovery)


def test_a_host_secret_that_did_not_make_the_session_key_restores_nothing():
    dkg = Dkg(3, 2)
    _, recovery = dkg.run()

    class Forgetful(SimIdentity):
        def derive(self, tag, *parts):
            return b"\x08" * 32

    with pytest.raises(RestoreFault, match="did not make the key's R1"):
        participant.restore(ENGINE, SEALER, Forgetful(1, dkg.identities[0].secret), recovery)


def test_a_certificate_that_comes_after_a_restart_still_makes_the_key():
    dkg = Dkg(3, 2)
    keys, recovery = dkg.run()
    stored = type(recovery.transcript).decode(recovery.transcript.encode())
    late = participant.late(ENGINE, stored, recovery.certificate)
    assert late.hash == recovery.hash
    assert participant.restore(ENGINE, SEALER, dkg.identities[1], late).public == keys[2].public


def test_two_attempts_make_different_sessions_and_keys():
    one, other = Dkg(3, 2, attempt=1), Dkg(3, 2, attempt=2)
    assert one.run()[1].transcript.roster.sid != other.run()[1].transcript.roster.sid


def test_a_certificate_of_another_attempt_is_refused():
    one, other = Dkg(3, 2, attempt=1), Dkg(3, 2, attempt=2)
    one.run()
    _, stranger = other.run()
    with pytest.raises(WrongSession):
        participant.finalize(one.third[1], stranger.certificate)


def test_a_replayed_roster_is_refused_by_whoever_offered_a_new_nonce():
    dkg = Dkg(3, 2)
    old = dkg.roster()
    fresh = participant.offer(dkg.identities[0], dkg.committee, "treasury", 0, 1, b"\x01" * 32)
    with pytest.raises(WrongSession, match="replay"):
        participant.step1(ENGINE, SEALER, dkg.identities[0], dkg.committee, old, fresh, bytes(32))


def test_who_is_missing_is_named():
    dkg = Dkg(3, 2)
    roster = dkg.roster()
    answers = dkg.round1(roster)
    del answers[2], answers[3]
    with pytest.raises(Missing, match="bob and carol did not send an R1") as caught:
        relay.bundle_r1(dkg.committee, roster, answers)
    assert caught.value.culprits == (2, 3)


def test_another_committee_file_is_named_with_its_words():
    dkg, other = Dkg(3, 2), Dkg(3, 3)
    dkg.roster()
    other.roster()
    entries = {index: entry.encode() for index, entry in dkg.offered.items()}
    entries[3] = other.offered[3].encode()
    with pytest.raises(WrongSession, match="carol") as caught:
        relay.roster(dkg.committee, "treasury", 0, 1, entries)
    assert caught.value.culprits == (3,)
    assert dkg.committee.words in str(caught.value)


def test_members_that_sign_another_transcript_stop_the_certificate():
    dkg = Dkg(3, 2)
    roster, r1s, answers = dkg.to_r2()
    answers3 = dkg.round3(relay.bundle_r2(dkg.committee, roster, r1s, answers))
    with pytest.raises(ViewsDiffer, match="alice, bob and carol"):
        relay.certificate(dkg.committee, roster, bytes(32), answers3)


def test_an_ack_of_other_recovery_data_is_named():
    one, other = Dkg(3, 2, attempt=1), Dkg(3, 2, attempt=2)
    recovery, stranger = one.run()[1], other.run()[1]
    acks = {w.index: participant.acknowledge(w, recovery).encode() for w in one.identities}
    acks[2] = participant.acknowledge(one.identities[1], stranger).encode()
    with pytest.raises(WrongSession, match="bob"):
        relay.acks(one.committee, recovery, acks)


def test_states_show_no_secret():
    dkg = Dkg(3, 2)
    roster, r1s, answers = dkg.to_r2()
    dkg.round3(R2Set.decode(relay.bundle_r2(dkg.committee, roster, r1s, answers).encode()))
    shown = repr((dkg.first, dkg.second, dkg.third))
    for index, state in dkg.first.items():
        assert state.seed.hex() not in shown
        assert repr(state.seed) not in shown
        assert repr(bytes(dkg.third[index].key.export_secret())) not in shown


def test_the_largest_committee_fits_the_wire():
    from tss.dkg.messages import MAX_PACKAGE, MAX_RECOVERY, R1, R2, R1Set

    roster_entry, r1, r2 = 256, MAX_PACKAGE + 400, 128 * 80 + 400
    assert r1 <= R1.LIMIT
    assert r2 <= R2.LIMIT
    assert 128 * r1 <= R1Set.LIMIT
    assert 128 * r2 <= R2Set.LIMIT
    assert 128 * (roster_entry + r1 + r2 + 64 + 400) <= MAX_RECOVERY < 4 * 1024 * 1024
