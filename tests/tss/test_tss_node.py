"""Committees of real nodes over real TLS in one process: keys are made, requests signed, members lost."""

import asyncio
import shutil

import pytest

from tests.tss.shells import committee_of, noticed, sign_test, signed_committee, until, valid
from tss.files import FolderInUse
from tss.frost.hashing import tagged_hash
from tss.frost.path import KEY_ONLY
from tss.keyring import KeyFault
from tss.node import DkgFailed, SigningFailed, TssNode
from tss.peers import Peers
from tss.signing.approval import Refused


async def test_three_members_make_a_key_and_sign_with_two(tmp_path):
    async with committee_of(tmp_path, 3, 2) as (alice, bob, carol):
        info = await alice.node.dkg("anchor")
        assert (info.purpose, info.epoch, info.state) == ("anchor", 1, "verified")
        assert info.public.threshold == 2
        await until(lambda: all(seat.node.public("anchor") == info.public for seat in (bob, carol)))
        assert await bob.node.dkg("anchor") == bob.node.keys()["anchor"], "asking again changes nothing"
        await sign_test(bob.node, b"hello")
        for seat in (alice, bob, carol):
            share = seat.folder / "keys" / "anchor-1.share"
            assert share.stat().st_mode & 0o777 == 0o600
        await carol.down()
        await sign_test(alice.node, b"without carol")
        await alice.node.activate(["anchor"], 1)
        assert alice.node.keys()["anchor"].state == "active"
        await bob.down()
        with pytest.raises(
            SigningFailed, match="only 1 of the 2 signers needed answered: bob is down"
        ) as failed:
            await sign_test(alice.node, b"alone")
        assert failed.value.retryable
        await carol.up()
        await noticed(alice, carol)
        await sign_test(alice.node, b"carol is back")
        await sign_test(carol.node, b"and leads", timeout=10)


async def test_a_developer_alone_makes_keys_and_signs_with_them_on_regtest(tmp_path):
    async with committee_of(tmp_path, 1, 1) as (alone,):
        info = await alone.node.dkg("anchor")
        assert (info.state, info.public.threshold) == ("verified", 1)
        await sign_test(alone.node, b"alone")
        await alone.down()
        await alone.up()
        await sign_test(alone.node, b"alone again")
        with pytest.raises(DkgFailed, match="nobody is there to make it new with"):
            await alone.node.key_work.refresh("anchor")


async def test_five_members_sign_what_their_port_approves_on_both_paths(tmp_path):
    async with committee_of(tmp_path, 5, 3) as seats:
        await seats[0].node.dkg("treasury")
        await until(lambda: all(seat.node.public("treasury") for seat in seats))
        group = seats[0].node.public("treasury")
        message = tagged_hash("tests/message", b"pay")
        internal, key_path = await seats[2].node.sign("treasury", b"pay")
        assert valid(group.x_only, message, internal)
        assert valid(group.output_key(KEY_ONLY)[0], message, key_path)
        assert await seats[2].node.sign("treasury", b"pay") == [internal, key_path], "one request, one result"
        together = await asyncio.gather(*(seat.node.sign("treasury", b"more") for seat in seats))
        for one, other in together:
            assert valid(group.x_only, tagged_hash("tests/message", b"more"), one)
            assert valid(group.output_key(KEY_ONLY)[0], tagged_hash("tests/message", b"more"), other)


async def test_nothing_is_signed_without_enough_approvals_and_verdicts_are_kept(tmp_path):
    async with committee_of(tmp_path, 3, 2) as (alice, bob, carol):
        await alice.node.dkg("treasury")
        await until(lambda: bob.node.public("treasury") and carol.node.public("treasury"))
        alice.node._runner._pools.clear()
        for seat in (bob, carol):
            seat.port.refusal = Refused("the deposit is not final", retryable=True)
        with pytest.raises(SigningFailed, match=r"bob refused \(the deposit is not final\)") as failed:
            await alice.node.sign("treasury", b"pay")
        assert failed.value.retryable
        carol.port.refusal = None
        assert len(await alice.node.sign("treasury", b"pay")) == 2
        alice.port.refusal = Refused("paused", retryable=False)
        with pytest.raises(SigningFailed, match="this node refuses: paused"):
            await alice.node.sign("treasury", b"pay")
        with pytest.raises(SigningFailed, match="run `holdfast tss dkg --purpose mint` first"):
            await alice.node.sign("mint", b"x")
        request = carol.node._store
        rows = await request.verdicts((await _only_request(carol, b"pay")).request_id)
        assert [(row.phase, row.approved) for row in rows][:1] == [("request", False)]
        assert ("release", True) in [(row.phase, row.approved) for row in rows]


async def _only_request(seat, payload):
    from tss.signing.slots import request_id

    return await seat.node.request(request_id("treasury", payload, 1))


async def test_the_port_is_asked_again_when_shares_are_released(tmp_path):
    async with committee_of(tmp_path, 3, 3) as (alice, bob, carol):
        await alice.node.dkg("treasury")
        await until(lambda: bob.node.public("treasury") and carol.node.public("treasury"))

        class Changing:
            asked = 0

            async def approve(self, purpose, payload, epoch):
                Changing.asked += 1
                return (
                    await bob.port.approve(purpose, payload, epoch)
                    if Changing.asked == 1
                    else Refused("paused", False)
                )

        bob.node.use_approval(Changing())
        alice.node._runner._pools.clear()  # so that commitments are asked for first
        with pytest.raises(SigningFailed, match=r"bob refused \(paused\)"):
            await alice.node.sign("treasury", b"pay")
        assert Changing.asked == 2


async def test_a_node_without_a_port_signs_only_tests(tmp_path):
    async with committee_of(tmp_path, 3, 3) as (alice, bob, carol):
        await alice.node.dkg("anchor")
        await until(lambda: bob.node.public("anchor") and carol.node.public("anchor"))
        bob.node._approvals._port = None
        await sign_test(alice.node, b"fine")
        with pytest.raises(SigningFailed, match="nothing on this node can judge anchor requests yet"):
            await alice.node.sign("anchor", b"x")
        with pytest.raises(SigningFailed, match="names a purpose"):
            await alice.node.sign("test", b"no key's name")
        with pytest.raises(SigningFailed, match="this node refuses: a test names its key"):
            await alice.node.sign("test", b"anchor")


async def test_a_key_generation_with_a_member_missing_names_it_and_leaves_the_serving_key_alone(tmp_path):
    async with committee_of(tmp_path, 3, 2) as (alice, bob, carol):
        await alice.node.dkg("anchor")
        before = alice.node.public("anchor")
        await carol.down()
        with pytest.raises(DkgFailed, match=r"carol is down: .*key generation needs all 3 members") as failed:
            await alice.node.dkg("mint")
        assert (failed.value.code, failed.value.culprits) == ("missing", (3,))
        assert alice.node.public("anchor") == before
        await sign_test(bob.node, b"still serving")
        await carol.up()
        await noticed(alice, carol)
        assert (await alice.node.dkg("mint")).state == "verified"


async def test_a_member_that_missed_the_end_of_a_key_generation_learns_it(tmp_path):
    async with committee_of(tmp_path, 3, 2) as (alice, bob, carol):
        bob.peers._handlers["tss.key.proof"] = _lost
        await alice.node.dkg("anchor")
        await until(lambda: bob.node.public("anchor") is not None)
        assert bob.node.public("anchor") == alice.node.public("anchor")
        await bob.down()
        await bob.up()
        assert bob.node.public("anchor") == alice.node.public("anchor")
        assert carol.node.public("anchor") is not None


async def _lost(_member, _body):
    raise ConnectionError


async def test_a_lost_share_file_is_restored_from_the_recovery_data(tmp_path):
    async with committee_of(tmp_path, 3, 3) as (alice, bob, carol):
        await alice.node.dkg("anchor")
        await until(lambda: bob.node.public("anchor") and carol.node.public("anchor"))
        await bob.down()
        share = bob.folder / "keys" / "anchor-1.share"
        share.write_bytes(share.read_bytes()[:-1])
        await bob.up()
        await noticed(alice, bob)
        await sign_test(alice.node, b"restored")


async def test_a_restart_or_a_restored_copy_voids_every_earlier_commitment(tmp_path):
    async with committee_of(tmp_path, 3, 3) as (alice, bob, carol):
        await alice.node.dkg("anchor")
        await until(lambda: bob.node.public("anchor") and carol.node.public("anchor"))
        await sign_test(alice.node, b"fills alice's pool")
        boots = {bob.node.boot_id}
        await bob.down()
        shutil.copy(bob.folder / "signer.db", tmp_path / "old.db")
        await bob.up()
        boots.add(bob.node.boot_id)
        await noticed(alice, bob)
        await sign_test(alice.node, b"with new commitments")
        await bob.down()
        for rest in ("signer.db-wal", "signer.db-shm"):
            (bob.folder / rest).unlink(missing_ok=True)
        shutil.copy(tmp_path / "old.db", bob.folder / "signer.db")
        await bob.up()
        boots.add(bob.node.boot_id)
        assert len(boots) == 3
        await noticed(alice, bob)
        await sign_test(alice.node, b"a restored copy signs with fresh nonces only")


async def test_a_member_killed_in_mid_session_is_replaced(tmp_path):
    async with committee_of(tmp_path, 3, 2) as (alice, bob, carol):
        await alice.node.dkg("anchor")
        await until(lambda: bob.node.public("anchor") and carol.node.public("anchor"))
        await sign_test(alice.node, b"fills the pool")
        held = asyncio.Event()

        def freeze(seat):
            real = seat.peers._handlers["tss.sign.shares"]

            async def frozen(member, body):
                if not held.is_set():
                    held.set()
                    await asyncio.sleep(30)
                return await real(member, body)

            seat.peers._handlers["tss.sign.shares"] = frozen

        freeze(bob)
        freeze(carol)
        work = asyncio.create_task(sign_test(alice.node, b"one freezes"))
        await held.wait()
        await until(lambda: alice.node.sessions()[0].pending in [(2,), (3,)])
        info = alice.node.sessions()[0]
        assert info.state == "open"
        assert info.purpose == "test"
        await work
        assert alice.node.sessions()[0].state == "done"


async def test_a_second_process_on_a_folder_is_refused(tmp_path):
    async with committee_of(tmp_path, 2, 2) as (alice, _bob):
        peers = Peers(
            alice.committee.committee, 1, alice.identity.tls, alice.identity.seated(alice.committee.committee)
        )
        with pytest.raises(FolderInUse, match="is in use by process"):
            await TssNode.open(alice.folder, alice.committee, alice.identity, peers)


async def test_garbage_on_every_topic_is_refused_and_the_node_signs_on(tmp_path):
    async with committee_of(tmp_path, 3, 2) as (alice, bob, carol):
        await alice.node.dkg("anchor")
        await until(lambda: bob.node.public("anchor") and carol.node.public("anchor"))
        topics = [topic for topic in bob.peers._handlers if topic != "peer.ping"]
        assert len(topics) >= 9
        for topic in topics:
            for body in (b"", b"\0" * 40, b"\xff" * 3000, bob.node.public("anchor").encode()):
                answers = await carol.peers.gather(topic, body, members=[2])
                if topic == "tss.recovery.heads" and not body:
                    continue  # the one question that has no body
                assert answers[2].code not in ("internal", "down"), (topic, answers[2].reason)
        await sign_test(alice.node, b"after garbage")


async def test_a_committee_file_that_is_not_signed_by_all_opens_nothing(tmp_path):
    async with committee_of(tmp_path, 2, 2) as (alice, bob):
        other = signed_committee([bob.identity, alice.identity], 2)
        peers = Peers(other.committee, 1, bob.identity.tls, bob.identity.seated(other.committee))
        from dataclasses import replace

        unsigned = replace(other, signatures=(None, other.signatures[1]))
        with pytest.raises(Exception, match="not signed by bob"):
            await TssNode.open(tmp_path / "elsewhere", unsigned, bob.identity, peers)
        assert not (tmp_path / "elsewhere").exists()


async def test_a_key_in_the_ring_moves_only_as_the_states_allow(tmp_path):
    async with committee_of(tmp_path, 2, 2) as (alice, _bob):
        await alice.node.dkg("anchor")
        ring = alice.node._keyring
        key = ring.serving("anchor")
        for state in ("proposed", "certified", "acked", "failed", "retired", "nonsense"):
            with pytest.raises(
                KeyFault, match=f"the anchor key of epoch 1 is verified and cannot become {state}"
            ):
                await ring.set_state(key.sid, state)
        with pytest.raises(KeyFault, match="cannot become retired"):
            await ring.end(key.sid, "retired")
        assert ring.serving("anchor").info.state == "verified"
        assert [row.state for row in await alice.node._store.keys()] == ["verified"]
