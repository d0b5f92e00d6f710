"""A committee of real TLS peers in which one member loses its machine, and comes back from words and a file."""

import json
from dataclasses import replace

import coincurve
import pytest

from tests.tss.shells import committee_of, noticed, sign_test, signed_committee, until
from tss import backup, certificate, identity, recovery, rehearsal
from tss.frost.hashing import tagged_hash
from tss.key_proof import message_for_test, payload_for_test
from tss.node import SigningFailed
from tss.peers import PeerDown, PeerError, Peers
from tss.recovery import RecoveryFault, RecoveryFile
from tss.rehearsal import RehearsalFailed, rehearse
from tss.words import from_words, to_words

NOW = 1_800_000_000.0


async def backed_up(seat, folder):
    """What the operator has after `node backup`: the words, and the file."""
    chains = await backup.chains_of(seat.folder)
    path = folder / f"{seat.identity.name}.recovery.json"
    backup.make(seat.folder, seat.identity, "regtest", chains, NOW).write(path)
    return " ".join(to_words(seat.identity.secret())), path


async def came_back(seat, folder, words, path, *, committee=None, seal=None, chains=None):
    file = RecoveryFile.read(path)
    return await backup.build(
        folder,
        from_words(words),
        file,
        committee or seat.committee,
        file.chains if chains is None else chains,
        seal,
    )


async def key_everywhere(seats, purpose="anchor"):
    await seats[0].node.dkg(purpose)
    await until(lambda: all(seat.node.public(purpose) for seat in seats))


async def test_a_member_that_lost_its_machine_comes_back_from_words_and_file_and_signs(tmp_path):
    async with committee_of(tmp_path, 3, 3) as seats:
        alice, bob, _carol = seats
        await key_everywhere(seats)
        await key_everywhere(seats, "treasury")
        words, path = await backed_up(bob, tmp_path)
        lost = bob.node.boot_id
        await bob.down()
        bob.folder.rename(tmp_path / "lost")
        bob.identity = await came_back(bob, bob.folder, words, path)
        for name in ("anchor-1.share", "treasury-1.share"):
            assert (bob.folder / "keys" / name).stat().st_mode & 0o777 == 0o600
        assert (bob.folder / "committee.json").read_text() == bob.committee.to_json()
        await bob.up()
        assert bob.node.boot_id != lost
        assert {info.state for info in bob.node.keys().values()} == {"verified"}
        await noticed(alice, bob)
        await sign_test(alice.node, b"all three are needed")
        await sign_test(bob.node, b"and it leads", "treasury")


async def test_a_restored_node_knows_no_nonce_of_the_lost_one(tmp_path):
    async with committee_of(tmp_path, 3, 3) as seats:
        alice, bob, _carol = seats
        await key_everywhere(seats)
        words, path = await backed_up(bob, tmp_path)
        await sign_test(alice.node, b"alice now holds commitments of bob's lost engine")
        await bob.down()
        bob.folder.rename(tmp_path / "lost")
        bob.identity = await came_back(bob, bob.folder, words, path)
        await bob.up()
        assert await bob.node._store.nonces([b"\0" * 66]) == {}
        await noticed(alice, bob)
        await sign_test(alice.node, b"with fresh commitments")


async def announced(seat):
    async def announce(boot_id):
        answers = await seat.node.rehearsals.announce(boot_id)
        return [member for member, answer in answers.items() if not isinstance(answer, PeerError)]

    return announce


async def test_a_rehearsal_proves_the_restored_share_beside_the_running_node(tmp_path):
    async with committee_of(tmp_path, 3, 3) as seats:
        alice, bob, _carol = seats
        await key_everywhere(seats)
        await key_everywhere(seats, "mint")
        words, path = await backed_up(bob, tmp_path)
        folder = tmp_path / "bob" / "rehearsal"
        restored = await came_back(bob, folder, words, path)
        boots = {seat.peers.boot_id for seat in seats}
        before = alice.peers.seen[2].boot_id
        chains = RecoveryFile.read(path).chains
        signed = await rehearse(folder, bob.committee, restored, chains, await announced(bob))
        assert sorted(signed) == ["anchor", "mint"]
        assert not folder.exists(), "the throw-away folder is gone"
        assert alice.peers.seen[2].boot_id == before, "the running node stays the one that is known"
        await sign_test(bob.node, b"the running node was never disturbed")
        await sign_test(alice.node, b"nor in the eyes of the others")
        assert {seat.peers.boot_id for seat in seats} == boots
        await alice.node._store.check_audit()
        rows = await alice.node._store.rows(_audit_details())
        assert any("bob announced boot" in detail for (detail,) in rows)


def _audit_details():
    import sqlalchemy as sa

    from tss import tables

    return sa.select(tables.audit.c.detail).where(tables.audit.c.kind == "rehearsal")


async def test_each_of_five_rehearses_in_turn(tmp_path):
    async with committee_of(tmp_path, 5, 3) as seats:
        await key_everywhere(seats)
        for seat in seats:
            words, path = await backed_up(seat, tmp_path)
            folder = seat.folder / "rehearsal"
            restored = await came_back(seat, folder, words, path)
            chains = RecoveryFile.read(path).chains
            (signature,) = (
                await rehearse(folder, seat.committee, restored, chains, await announced(seat))
            ).values()
            assert len(signature) == 64


async def guest_of(seat, folder, tmp_path):
    """A rehearsal's own line to the others, announced by the running node."""
    words, path = await backed_up(seat, tmp_path)
    restored = await came_back(seat, folder, words, path)
    peers = Peers(seat.committee.committee, restored.index, restored.tls, restored, ping_every=0.5)
    await (await announced(seat))(peers.boot_id)
    peers.dial([1, 3])
    return peers


async def asks_of(seat, purpose, payload):
    """What a node would send its peers to have something signed: nothing of it arrives."""
    asked = []

    async def recorded(member, topic, body, **_more):
        if topic != "peer.ping":  # a node pings all the while
            asked.append((topic, body))
        raise PeerDown(member, "is not called in this test")

    seat.peers.call = recorded
    with pytest.raises(SigningFailed):
        await seat.node.sign(purpose, payload)
    assert {topic for topic, _ in asked} & {"tss.sign.request", "tss.sign.shares"}
    return asked


async def test_a_rehearsal_may_ask_for_test_signatures_and_nothing_else(tmp_path):
    async with committee_of(tmp_path, 3, 2) as seats:
        alice, bob, _carol = seats
        await key_everywhere(seats, "treasury")
        peers = await guest_of(bob, tmp_path / "guest", tmp_path)
        try:
            topics = [t for t in alice.peers._handlers if t not in ("peer.ping", rehearsal.HEADS)]
            assert "tss.sign.request" in topics
            for topic in topics:
                for body in (b"", b"\xff" * 50):
                    with pytest.raises(PeerError) as refused:
                        await peers.call(1, topic, body)
                    assert refused.value.code == "rehearsal", topic
            asked = await asks_of(bob, "treasury", b"pay")
            for topic, body in asked:
                with pytest.raises(PeerError, match="test signatures only"):
                    await peers.call(1, topic, body)
            assert rehearsal.decode_heads(await peers.call(1, rehearsal.HEADS, b""))[0].purpose == "treasury"
        finally:
            await peers.close()


async def test_a_rehearsal_that_nobody_announced_or_whose_time_is_over_is_refused(tmp_path):
    async with committee_of(tmp_path, 3, 2) as seats:
        alice, bob, _carol = seats
        peers = await guest_of(bob, tmp_path / "guest", tmp_path)
        try:
            assert await peers.call(1, "peer.ping", b"")
            for guest in alice.peers.guests._guests[2]:
                guest.until_ms = 0
            with pytest.raises(PeerError, match="this rehearsal is over"):
                await peers.call(1, "peer.ping", b"")
            assert alice.peers.seen[2].boot_id == bob.node.boot_id, "it never becomes the member's boot"
            with pytest.raises(PeerError, match="16 bytes"):
                await bob.peers.call(1, rehearsal.ANNOUNCE, b"short")
        finally:
            await peers.close()


async def test_an_older_chain_than_the_others_hold_is_refused_with_the_reason(tmp_path):
    async with committee_of(tmp_path, 3, 2) as seats:
        _alice, bob, _carol = seats
        await key_everywhere(seats)
        words, path = await backed_up(bob, tmp_path)
        await key_everywhere(seats, "mint")
        folder = tmp_path / "rehearsal"
        restored = await came_back(bob, folder, words, path)
        chains = RecoveryFile.read(path).chains
        with pytest.raises(
            RehearsalFailed, match="mint key of epoch 1, which this recovery file does not know"
        ):
            await rehearse(folder, bob.committee, restored, chains, await announced(bob))
        assert not folder.exists()


async def test_a_newer_chain_that_nobody_signed_counts_for_nothing(tmp_path):
    async with committee_of(tmp_path, 3, 2) as seats:
        alice, bob, carol = seats
        await key_everywhere(seats)
        chains = await backup.chains_of(bob.folder)
        one = chains[0]
        invented = [
            replace(one, sid=b"x" * 32),
            replace(one, links=(*one.links, b"refreshed, honestly")),
            replace(one, links=(*one.links, one.links[0])),
        ]
        assert await rehearsal.newer_chains(bob.peers, [1, 3], [bob.committee.committee], chains) == []
        for lie in invented:
            alice.node.rehearsals.chains = _chains_of(lie)
            found = await rehearsal.newer_chains(bob.peers, [1, 3], [bob.committee.committee], chains)
            assert found == []
        await carol.down()
        alice.peers._handlers[rehearsal.HEADS] = _garbage
        with pytest.raises(rehearsal.NobodyAnswers):
            await rehearsal.newer_chains(bob.peers, [1, 3], [bob.committee.committee], chains)


def _chains_of(*chains):
    async def stored():
        return chains

    return stored


async def _garbage(_member, _body):
    return b"garbage"


async def test_words_file_and_committee_must_be_of_one_member_and_one_committee(tmp_path):
    async with committee_of(tmp_path, 3, 2) as seats:
        alice, bob, carol = seats
        await key_everywhere(seats)
        words, path = await backed_up(bob, tmp_path)
        others, _ = await backed_up(alice, tmp_path)
        with pytest.raises(RecoveryFault, match="these words are not bob's host key"):
            await came_back(bob, tmp_path / "a", others, path)
        assert not (tmp_path / "a").exists(), "nothing is made of wrong words"
        strangers = signed_committee([alice.identity, carol.identity], 2)
        with pytest.raises(identity.IdentityFault, match="has no member with this node's host key"):
            await came_back(bob, tmp_path / "b", words, path, committee=strangers)
        form = json.loads(path.read_text())
        for name, value in (("peer_url", "https://127.0.0.1:1"), ("network", "mainnet"), ("chains", [])):
            bad = tmp_path / "bad.json"
            bad.write_text(json.dumps(form | {name: value}))
            with pytest.raises(RecoveryFault, match="was changed after bob wrote it"):
                RecoveryFile.read(bad)
        for text in ("", "{", "[]", json.dumps(form | {"more": 1}), json.dumps(form | {"host_key": "x"})):
            bad.write_text(text)
            with pytest.raises(RecoveryFault, match="no recovery file"):
                RecoveryFile.read(bad)


async def test_a_recovery_file_holds_no_secret(tmp_path):
    async with committee_of(tmp_path, 2, 2) as seats:
        alice = seats[0]
        await key_everywhere(seats)
        _words, path = await backed_up(alice, tmp_path)
        data = path.read_bytes()
        key = alice.node._keyring.serving("anchor")
        share = bytes(key.share.export_secret())
        for secret in (bytes(alice.identity.secret()), share, alice.identity.tls.key.read_bytes()):
            assert secret not in data
            assert secret.hex().encode() not in data
        assert b"PRIVATE KEY" not in data


async def test_the_folders_documents_come_back_and_nothing_else_is_written(tmp_path):
    async with committee_of(tmp_path, 2, 2) as seats:
        alice = seats[0]
        for name in ("config.toml", "genesis.json", "committee-0.json", "notes.txt", "committee-x.json"):
            (alice.folder / name).write_text(f"{name} as it was")
        words, path = await backed_up(alice, tmp_path)
        file = RecoveryFile.read(path)
        assert sorted(file.documents) == ["committee-0.json", "config.toml", "genesis.json"]
        evil = replace(file, documents={**file.documents, "../escaped": "x", "keys/host.key": "x"})
        evil.signed(alice.identity).write(path)
        await came_back(alice, tmp_path / "new", words, path)
        assert (tmp_path / "new" / "committee-0.json").read_text() == "committee-0.json as it was"
        assert not (tmp_path / "escaped").exists()


async def test_chains_of_another_member_bring_what_ours_lacks_but_not_its_states(tmp_path):
    async with committee_of(tmp_path, 2, 2) as seats:
        alice, bob = seats
        await key_everywhere(seats)
        _, old = await backed_up(bob, tmp_path)
        own = RecoveryFile.read(old).chains
        await key_everywhere(seats, "mint")
        await alice.node.activate(["anchor"], 1)
        _, newer = await backed_up(alice, tmp_path)
        merged = {c.purpose: c for c in recovery.newest(own, RecoveryFile.read(newer).chains)}
        assert merged["anchor"].state == "verified"
        assert (merged["mint"].state, merged["mint"].proof) == ("acked", b"")


async def test_a_share_that_does_not_come_out_of_the_chain_is_refused(tmp_path):
    async with committee_of(tmp_path, 2, 2) as seats:
        await key_everywhere(seats)
        await key_everywhere(seats, "mint")
        words, path = await backed_up(seats[0], tmp_path)
        anchor, mint = RecoveryFile.read(path).chains
        mixed = [replace(anchor, public=mint.public)]
        with pytest.raises(RecoveryFault, match="does not come out of its own recovery data"):
            await came_back(seats[0], tmp_path / "mixed", words, path, chains=mixed)


async def test_a_signature_of_a_rehearsal_is_over_its_own_test_message(tmp_path):
    async with committee_of(tmp_path, 2, 2) as seats:
        await key_everywhere(seats)
        words, path = await backed_up(seats[0], tmp_path)
        folder = tmp_path / "rehearsal"
        restored = await came_back(seats[0], folder, words, path)
        boots = []
        announce = await announced(seats[0])

        async def remembered(boot_id):
            boots.append(boot_id)
            return await announce(boot_id)

        chains = RecoveryFile.read(path).chains
        (signature,) = (await rehearse(folder, seats[0].committee, restored, chains, remembered)).values()
        payload = payload_for_test("anchor", b"rehearsal " + boots[0].hex().encode())
        assert message_for_test(payload) == tagged_hash("holdfast/test/v1", payload)
        public = seats[0].node.public("anchor").x_only
        assert coincurve.PublicKeyXOnly(public).verify(signature, message_for_test(payload))


def test_standing_says_what_was_done_and_what_to_do_next(tmp_path):
    heads = {"aa": "11", "bb": "22"}
    fresh = backup.standing(tmp_path, heads, NOW)
    assert not fresh.backup_ok
    assert "never made: run `holdfast node backup" in fresh.backup
    assert not fresh.rehearsal_ok
    assert "never: run `holdfast node rehearse" in fresh.rehearsal
    backup.note(tmp_path, "backup", heads, NOW, words=False)
    assert "the words were never shown" in backup.standing(tmp_path, heads, NOW).backup
    backup.note(tmp_path, "backup", heads, NOW, words=True)
    backup.note(tmp_path, "backup", heads, NOW, words=False)
    backup.note(tmp_path, "rehearsal", heads, NOW, words=True)
    now = backup.standing(tmp_path, heads, NOW + 86400)
    assert now.backup_ok
    assert now.rehearsal_ok
    assert "1 days ago" in now.rehearsal
    assert "1 keys changed" in backup.standing(tmp_path, heads | {"cc": "33"}, NOW).backup
    assert "1 keys changed" in backup.standing(tmp_path, heads | {"bb": "23"}, NOW).backup
    (tmp_path / "keys").mkdir()
    (tmp_path / "keys" / "tls.crt").write_bytes(certificate.make("bob", NOW)[1])
    rotated = backup.standing(tmp_path, heads, NOW)
    assert not rotated.backup_ok
    assert "certificate was rotated since the backup" in rotated.backup
    backup.note(tmp_path, "backup", heads, NOW)
    assert backup.standing(tmp_path, heads, NOW).backup_ok
    late = backup.standing(tmp_path, heads, NOW + 91 * 86400)
    assert not late.rehearsal_ok
    assert "91 days ago: run" in late.rehearsal
    backup.note(tmp_path, "rehearsal", heads, NOW, words=False)
    assert "without the words" in backup.standing(tmp_path, heads, NOW).rehearsal
    (tmp_path / "backup.json").write_text("{")
    assert not backup.standing(tmp_path, heads, NOW).backup_ok
    (tmp_path / "backup.json").write_text('{"backup": 7}')
    assert not backup.standing(tmp_path, heads, NOW).backup_ok


def test_heads_round_trip_and_refuse_garbage():
    heads = [rehearsal.Head(b"s" * 32, "anchor", 1, 3)]
    data = rehearsal.encode_heads(heads)
    assert rehearsal.decode_heads(data) == heads
    for bad in (data[:-1], data + b"\0", b"", b"\xff\xff", data.replace(b"anchor", b"ANCHOR")):
        with pytest.raises(ValueError):
            rehearsal.decode_heads(bad)
