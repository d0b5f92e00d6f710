"""Keys of two epochs in one committee: the old one signs what moves coins off it, the new one all else."""

import asyncio
import time
from dataclasses import replace

import pytest
import sqlalchemy as sa

from tests.tss.epochs import epochs_of
from tests.tss.shells import noticed, sign_test, until, valid
from tss import tables
from tss.clone_watch import CloneAlarm
from tss.evidence import collect
from tss.frost.hashing import tagged_hash
from tss.handover import Handed
from tss.leading import LEAD
from tss.node import DkgFailed, SigningFailed
from tss.peers import PeerRefused
from tss.signing.approval import Refused
from tss.signing.faults import Finding, Kind
from tss.signing.messages import Commitments
from tss.signing.slots import request_id


def signs(public, payload, signatures):
    return valid(public.x_only, tagged_hash("tests/message", payload), signatures[0])


async def test_a_new_epoch_makes_new_keys_while_the_old_ones_sign_the_move(tmp_path):
    async with epochs_of(tmp_path, 4, 3, 2) as it:
        await it.key()
        await it["alice"].node.key_work.refresh("treasury")
        old = it["alice"].node.public("treasury")
        await it.serve(it.propose({"carol": "dave"}))
        alice, bob = it["alice"], it["bob"]
        assert alice.node.public("treasury").group_key == old.group_key, "it serves until a new one does"
        assert len(await alice.node.sign("treasury", b"business")) == 2
        made = await it.key()
        assert (made.epoch, made.state) == (2, "verified")
        new = await bob.node.sign("treasury", b"business")
        assert signs(made.public, b"business", new), "what the old key signed is not taken for the new one's"
        assert (alice.node.holders("treasury", 1), alice.node.holders("treasury", 2)) == ((1, 2), (1, 2, 3))
        assert alice.node.public("treasury", 1).group_key == old.group_key
        for epoch in (1, 1, 7):  # again, and without such a key, it changes nothing
            await alice.node.retire("treasury", epoch)
        assert {info.epoch: info.state for info in alice.node.every_key()} == {1: "retiring", 2: "verified"}
        assert signs(old, b"move", await alice.node.sign("treasury", b"move", epoch=1))
        assert alice.port.epochs[-1] == bob.port.epochs[-1] == 1, "the port hears which key would sign"
        with pytest.raises(SigningFailed, match="no treasury key of epoch 7"):
            await alice.node.sign("treasury", b"move", epoch=7)
        assert (await alice.node.key_work.move("treasury", 1, "retired")).state == "retired"
        assert not (alice.folder / "keys" / "treasury-1.share").exists()
        assert alice.node.holders("treasury", 1) == ()
        with pytest.raises(SigningFailed, match="epoch 1 can sign here"):
            await alice.node.sign("treasury", b"again", epoch=1)
        await alice.down()
        await alice.up()
        await noticed(bob, alice)
        await sign_test(bob.node, b"only the new one", purpose="treasury")


async def test_a_key_is_not_finished_while_something_depends_on_it(tmp_path):
    async with epochs_of(tmp_path, 3, 3, 2) as it:
        await it.key()
        await it.serve(it.propose())
        await it.key()
        alice = it["alice"]
        left = ["coins lie under it until height 900"]

        async def guard(purpose, epoch):
            assert (purpose, epoch) == ("treasury", 1)
            return left[0] if left else None

        alice.node.use_retirement(guard)
        for state in ("serving still", "retiring"):
            with pytest.raises(DkgFailed, match="until height 900") as refused:
                await alice.node.key_work.move("treasury", 1, "retired")
            assert refused.value.retryable, state
            await alice.node.retire("treasury", 1)
        assert (alice.folder / "keys" / "treasury-1.share").exists()
        left.clear()
        assert (await alice.node.key_work.move("treasury", 1, "retired")).state == "retired"


async def test_a_key_that_a_newcomer_has_no_share_of_signs_for_it_by_a_holder_that_leads(tmp_path):
    async with epochs_of(tmp_path, 5, 3, 2) as it:
        old = await it.key()
        await it.serve(it.propose({"carol": "dave"}, added=("erin",), threshold=3))
        dave, erin, alice, bob = (it[name] for name in ("dave", "erin", "alice", "bob"))
        for newcomer in (dave, erin):
            made = await newcomer.node.sign("treasury", b"move", epoch=1)
            assert signs(old.public, b"move", made)
            assert newcomer.node.public("treasury", 1).group_key == old.public.group_key
            assert newcomer.node.holders("treasury", 1) == (1, 2)
            assert newcomer.node.public("treasury") is None, "it has no key of its own yet"
        assert dave.port.asked == [("treasury", b"move")], "who has no share judges all the same"
        dave.port.refusal = Refused("not on its own chain", retryable=True)
        with pytest.raises(SigningFailed, match="this node refuses: not on its own chain"):
            await dave.node.sign("treasury", b"more", epoch=1)
        alice.port.refusal = Refused("paused", retryable=True)
        with pytest.raises(SigningFailed, match=r"nobody led for it: .*paused"):
            await erin.node.sign("treasury", b"more", epoch=1)
        with pytest.raises(SigningFailed, match="no share of a mint key of epoch 1"):
            await erin.node.sign("mint", b"none was made", epoch=1)
        alice.port.refusal = dave.port.refusal = None
        begun = request_id("treasury", b"begun", 1)
        await bob.node.sign("treasury", b"begun", epoch=1)
        assert signs(old.public, b"begun", await erin.node.take_over(begun))
        made = await it.key()
        assert signs(made.public, b"move", await dave.node.sign("treasury", b"move", epoch=2))
        assert signs(old.public, b"move", await dave.node.sign("treasury", b"move", epoch=1))
        assert not bob.node._runner._grudges.level(3), "nobody asks for shares who has none"


async def test_a_holder_that_lies_to_a_newcomer_is_passed_over(tmp_path):
    async with epochs_of(tmp_path, 4, 3, 2) as it:
        old = await it.key()
        await it.serve(it.propose({"carol": "dave"}))
        alice, dave = it["alice"], it["dave"]

        async def lies(_member, _body):
            return bytes(128)

        async def hangs(_member, _body):
            await asyncio.Event().wait()

        alice.peers._handlers["tss.key.held"] = lies
        for number, trick in enumerate((lies, hangs, lies, lies)):
            alice.peers._handlers["tss.sign.lead"] = trick
            text = b"move %d" % number  # whom it asks first is drawn for each request
            assert signs(old.public, text, await dave.node.sign("treasury", text, epoch=1, timeout=12))


async def test_a_member_leads_no_tests_for_others_and_only_a_few_requests_at_once(tmp_path):
    async with epochs_of(tmp_path, 4, 3, 2) as it:
        await it.key()
        await it.serve(it.propose({"carol": "dave"}))
        dave, leading = it["dave"], it["alice"].node._leading
        unwanted = [Handed("test", 1, b"treasury\0x", b""), Handed("treasury", 2, b"x", b"")]
        for body in (b"", *(one.encode() for one in unwanted)):
            with pytest.raises(PeerRefused):
                await dave.peers.call(1, LEAD, body)
        leading._led[3] = 4
        with pytest.raises(PeerRefused, match="are led here now"):
            await dave.peers.call(1, LEAD, Handed("treasury", 1, b"x", b"").encode())


async def test_one_payload_under_two_keys_is_two_requests_to_store_hand_over_and_take_over(tmp_path):
    async with epochs_of(tmp_path, 3, 3, 2) as it:
        old = await it.key()
        await it.serve(it.propose())
        new = await it.key()
        alice, bob, carol = (it[name] for name in ("alice", "bob", "carol"))
        ids = {epoch: request_id("treasury", b"both", epoch) for epoch in (1, 2)}
        made = {epoch: await alice.node.sign("treasury", b"both", epoch=epoch) for epoch in (2, 1)}
        assert signs(old.public, b"both", made[1])
        assert signs(new.public, b"both", made[2])
        assert await alice.node.sign("treasury", b"both", epoch=1) == made[1], "stored apart"
        for seat, one in ((bob, 1), (carol, 2), (bob, 2), (carol, 1)):
            assert await seat.node.take_over(ids[one]) == made[one]
            row = await seat.node.request(ids[one])
            assert row is None or row.epoch == one
        await alice.down()
        for epoch, public in ((1, old.public), (2, new.public)):
            assert signs(public, b"later", await bob.node.sign("treasury", b"later", epoch=epoch))
        await bob.down()
        await alice.up()
        await noticed(carol, alice)
        await alice.node.retire("treasury", 1)
        later = request_id("treasury", b"later", 1)
        assert signs(old.public, b"later", await carol.node.take_over(later))
        assert {(row.epoch, row.state) for row in carol.node.sessions()} == {(1, "done")}


async def test_an_old_keys_shares_are_neither_refreshed_nor_repaired_and_that_is_said(tmp_path):
    async with epochs_of(tmp_path, 4, 3, 2) as it:
        await it.key()
        await it.serve(it.propose({"carol": "dave"}))
        work = it["alice"].node.key_work
        for doing in (work.refresh("treasury"), work.consent("treasury", ["bob"]), work.repair("treasury")):
            with pytest.raises(DkgFailed, match="of an earlier committee, which is no more") as refused:
                await doing
            assert (refused.value.code, refused.value.retryable) == ("old-key", False)
        await it.key()
        assert (await work.refresh("treasury")).epoch == 2


async def test_what_was_written_of_a_seat_stays_with_who_had_it_then(tmp_path):
    async with epochs_of(tmp_path, 4, 3, 2) as it:
        alice = it["alice"]
        assert await alice.node.audit.compare(3) == []
        assert (await alice.node.audit.store.remembered())[3].number > 0
        alice.peers.clones._alarm(CloneAlarm(3, b"l" * 16, b"p" * 16, time.time()))
        await it.serve(it.propose({"carol": "dave"}))
        alice, bob, dave = it["alice"], it["bob"], it["dave"]
        assert await alice.node.audit.compare(3) == [], "dave's log is not held to what carol signed"
        kept = (await alice.node.audit.store.remembered())[3]
        assert kept.signed_by(dave.identity.host_key, alice.committee.committee.hash)
        assert await alice.node.audit.compare(2) == []
        assert await bob.node.audit.compare(1) == []
        [clone] = alice.node.clones
        assert alice.node.seats.name(clone.member, clone.at) == "carol"
        assert alice.node.seats.name(3, time.time()) == "dave"
        assert alice.node.copies() == []


async def test_a_log_that_was_rewritten_over_a_rotation_is_still_noticed(tmp_path):
    async with epochs_of(tmp_path, 3, 3, 2) as it:
        alice = it["alice"]
        await alice.node.audit.compare(2)
        kept = (await alice.node.audit.store.remembered())[2]
        await it.serve(it.propose())
        alice, bob = it["alice"], it["bob"]
        async with bob.node._store.transaction() as db:
            await db.execute(
                sa.update(tables.audit).where(tables.audit.c.number == kept.number).values(hash=b"x" * 32)
            )
        [alarm] = await alice.node.audit.compare(2)
        assert (alarm.member, alarm.row) == (2, kept.number)


async def test_evidence_of_the_committee_before_is_judged_stored_and_named_by_its_own_file(tmp_path):
    async with epochs_of(tmp_path, 4, 3, 2) as it:
        await it.key()
        carol, first = it["carol"], it.files[0].committee
        public, me = it["alice"].node.public("treasury"), carol.identity.seated(first)
        one = Commitments(public.share_set, 3, bytes(16), 1, (2 * public.group_key,)).signed(me)
        again = replace(one, sequence=2).signed(me)
        found = Finding(Kind.REPLAYED_COMMITMENT, 3, "", (one, again))
        piece = collect.signing(it["alice"].node._book._engine, first, public, found)
        await it.serve(it.propose({"carol": "dave"}))
        alice, bob = it["alice"], it["bob"]
        assert await alice.node._book.report([piece]) == [piece]
        await until(lambda: bob.node.evidence_counts.stored == 1)
        [row] = await bob.node.evidence()
        assert (row.culprit, row.member) == ("carol", 3)
        stranger = replace(piece, committee=replace(first, name="others"))
        assert await alice.node._book.report([stranger]) == []


async def test_the_old_key_signs_while_the_new_one_is_made_and_a_failed_attempt_harms_nothing(tmp_path):
    async with epochs_of(tmp_path, 4, 3, 2) as it:
        old = await it.key()
        second = it.propose({"carol": "dave"})
        await it.serve(second, "alice", "bob")
        alice = it["alice"]
        with pytest.raises(DkgFailed, match="dave"):
            await alice.node.dkg("treasury")
        assert signs(old.public, b"on", await alice.node.sign("treasury", b"on", epoch=1))
        await it.serve(second)
        alice, bob, dave = (it[name] for name in ("alice", "bob", "dave"))
        texts = [b"while %d" % number for number in range(8)]
        leaders = [(alice, bob, dave)[number % 3] for number in range(8)]
        work = [one.node.sign("treasury", text, epoch=1) for one, text in zip(leaders, texts, strict=True)]
        made, *signed = await asyncio.gather(dave.node.dkg("treasury"), *work)
        assert made.epoch == 2
        assert all(signs(old.public, text, some) for text, some in zip(texts, signed, strict=True))
        assert {info.epoch: info.state for info in alice.node.every_key()} == {1: "verified", 2: "verified"}


async def test_a_share_is_wiped_though_the_process_died_right_after_its_key_was_finished(tmp_path):
    async with epochs_of(tmp_path, 3, 3, 2) as it:
        await it.key()
        await it.serve(it.propose())
        await it.key()
        alice = it["alice"]
        await alice.node.retire("treasury", 1)
        share = alice.folder / "keys" / "treasury-1.share"
        alice.node._keyring._wipe_file = lambda _info: (_ for _ in ()).throw(KeyboardInterrupt)
        with pytest.raises(KeyboardInterrupt):
            await alice.node.key_work.move("treasury", 1, "retired")
        assert share.exists()
        await alice.down()
        await alice.up()
        assert not share.exists()
        assert (alice.folder / "keys" / "treasury-2.share").exists()


async def test_three_epochs_in_a_row_leave_three_keys_and_each_signs_with_those_who_still_hold_it(tmp_path):
    async with epochs_of(tmp_path, 5, 3, 2) as it:
        made = {1: await it.key()}
        await it.serve(it.propose({"carol": "dave"}, added=("erin",), threshold=3))
        made[2] = await it.key()
        await it.serve(it.propose(dropped=("erin",), threshold=2))
        made[3] = await it.key()
        alice, bob, dave = (it[name] for name in ("alice", "bob", "dave"))
        assert [dave.node.holders("treasury", epoch) for epoch in (2, 3)] == [(1, 2, 3), (1, 2, 3)]
        assert alice.node.holders("treasury", 1) == (1, 2)
        for epoch, key in made.items():
            assert key.public.threshold == (2, 3, 2)[epoch - 1]
            for leader in (alice, bob, dave):
                text = b"%s in %d" % (leader.identity.name.encode(), epoch)
                assert signs(key.public, text, await leader.node.sign("treasury", text, epoch=epoch))
        assert dave.node.public("treasury") == made[3].public
