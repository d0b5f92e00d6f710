"""A succession over real peers: who signs what, what is refused by name, what holds after a crash."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from anchor.rollup.succession import SignedSuccession, Succession
from anchor.rollup.tx import Succeed, decode_tx
from bridge.ceremony import CeremonyFault
from bridge.succession import PROPOSE, PUBLISH, SuccessionFault
from bridge.treasury import certificates
from regtest.bitcoind import Bitcoind
from tests.bridge.next_committee import bring_in
from tests.bridge.observing import key
from tests.bridge.office import Office, OfficeNode, office
from tss.node import SigningFailed
from tss.peers import PeerRefused
from tss.stored_keys import without_quorum

pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass
class Prepared:
    """Carol left for dave; erin came; all hold the new keys. Nothing is signed yet, or only the same again."""

    it: Office
    record: Succession

    @property
    def alice(self) -> OfficeNode:
        return self.it.nodes[0]

    @property
    def dave(self) -> OfficeNode:
        return self.it.nodes[2]

    async def ask(self, topic: str, body: bytes) -> bytes:
        """Dave's answer to what Alice's changed program sends."""
        return await self.alice.seat.peers.call(self.dave.seat.peers.index, topic, body)

    async def signed(self, record: Succession | None = None) -> SignedSuccession:
        """Signed by all new members' host keys, not by the mint key."""
        record = record or self.record
        hosts = [node.seat.identity.sign(record.hash) for node in self.it.nodes]
        return SignedSuccession(record, tuple(hosts))


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def prepared(tmp_path_factory: pytest.TempPathFactory, bitcoind_path: Path) -> AsyncIterator[Prepared]:
    folder = tmp_path_factory.mktemp("succession")
    bitcoind = Bitcoind(folder / "bitcoind", binary=bitcoind_path, wallet=True).start()
    bitcoind.ensure_wallet("miner")
    try:
        async with office(folder, bitcoind) as it:
            await bring_in(it, {"carol": "dave"}, ["erin"], 3)
            yield Prepared(it, it.nodes[0].successions.own())
    finally:
        bitcoind.close()


async def test_every_node_makes_the_same_record_from_its_own_keys_and_files(prepared: Prepared) -> None:
    it, record = prepared.it, prepared.record
    assert {node.successions.own().hash for node in it.nodes} == {record.hash}
    epochs = it.rollup.state.epochs(it.genesis)
    assert (record.epoch, record.previous, record.threshold) == (2, epochs.latest.record, 3)
    assert record.host_keys == tuple(node.seat.identity.host_key for node in it.nodes)
    assert record.committee_hash == it.committee.committee.hash


NOBODYS = b"\x02" + key(99)
LIES: list[dict[str, Any]] = [
    {"rollup_id": 8},
    {"genesis_hash": bytes(32)},
    {"network": "signet"},
    {"epoch": 3},
    {"previous": bytes(32)},
    {"committee_hash": bytes(32)},
    {"host_keys": (key(98), key(97))},
    {"threshold": 1},
    {"treasury_key": NOBODYS},
    {"anchor_key": NOBODYS},
    {"mint_key": NOBODYS},
]


@pytest.mark.parametrize("lie", LIES, ids=[next(iter(lie)) for lie in LIES])
async def test_a_record_that_a_member_would_not_make_gets_neither_host_nor_mint_signature(
    prepared: Prepared, lie: dict[str, Any]
) -> None:
    if "host_keys" in lie:
        lie = lie | {"threshold": 2}
    record = replace(prepared.record, **lie)
    with pytest.raises(PeerRefused, match=f"the record says {next(iter(lie))} = ") as refused:
        await prepared.ask(PROPOSE, record.encode())
    assert refused.value.code == "another-record"
    payload = certificates.encode_succession(await prepared.signed(record))
    with pytest.raises(SuccessionFault, match=f"the record says {next(iter(lie))} = "):
        await prepared.dave.successions.approve(payload, 1)
    with pytest.raises(SigningFailed) as failed:
        await prepared.alice.seat.node.sign("mint", payload, epoch=1, timeout=5)
    assert failed.value.code == "refused"


async def test_what_is_no_record_gets_no_signature(prepared: Prepared) -> None:
    whole = prepared.record.encode()
    for body in (b"", b"\xff" * 200, whole[:-1], whole + b"\0"):
        with pytest.raises(PeerRefused) as refused:
            await prepared.ask(PROPOSE, body)
        assert refused.value.code == "not-signed"
    with pytest.raises(SuccessionFault, match="not a succession"):
        await prepared.dave.successions.approve(b"\x03" + whole, 1)


async def test_the_mint_key_signs_no_record_that_one_member_did_not_sign(prepared: Prepared) -> None:
    signed = await prepared.signed()
    missing = replace(signed, signatures=signed.signatures[:-1])
    forged = replace(signed, signatures=(*signed.signatures[:-1], bytes(64)))
    swapped = replace(signed, signatures=signed.signatures[::-1])
    for bad in (missing, forged, swapped):
        with pytest.raises(SuccessionFault) as refused:
            await prepared.dave.successions.approve(certificates.encode_succession(bad), 1)
        assert refused.value.code == "not_signed"


async def test_no_other_key_than_the_latest_epochs_mint_key_is_asked(prepared: Prepared) -> None:
    payload = certificates.encode_succession(await prepared.signed())
    with pytest.raises(SuccessionFault, match="mint key of the latest epoch, 1, not of 2"):
        await prepared.dave.successions.approve(payload, 2)
    for purpose in ("treasury", "anchor"):
        with pytest.raises(SigningFailed) as failed:
            await prepared.alice.seat.node.sign(purpose, payload, epoch=1, timeout=5)
        assert failed.value.code == "refused"


async def test_while_value_stands_still_no_committee_hands_on(prepared: Prepared) -> None:
    active = prepared.dave.active
    assert active is not None
    true, active.paused = active.paused, lambda: "the rollup stops value: a test"
    try:
        with pytest.raises(PeerRefused, match="the rollup stops value") as refused:
            await prepared.ask(PROPOSE, prepared.record.encode())
        with pytest.raises(SuccessionFault, match="dave did not sign the succession"):
            await prepared.alice.successions.propose()
    finally:
        active.paused = true
    assert refused.value.code == "not-now"


async def test_without_the_operators_consent_nothing_is_signed_and_his_words_travel(
    prepared: Prepared,
) -> None:
    desk, digest = prepared.dave.successions, prepared.record.hash
    desk.asks = True
    try:
        with pytest.raises(
            SuccessionFault, match=f"dave did not.*holdfast bridge epoch consent {digest.hex()}"
        ):
            await prepared.alice.successions.propose()
        payload = certificates.encode_succession(await prepared.signed())
        with pytest.raises(SuccessionFault, match="must consent first"):
            await desk.approve(payload, 1)
        with pytest.raises(SuccessionFault, match=f"would sign is {digest.hex()}"):
            await desk.consent(bytes(32))
        await desk.consent(digest)
        assert await desk.approve(payload, 1) == prepared.record
        await prepared.ask(PROPOSE, prepared.record.encode())
    finally:
        desk.asks = False


async def test_a_node_that_signed_another_record_for_the_epoch_asks_its_operator(prepared: Prepared) -> None:
    desk, name = prepared.dave.successions, "succession-signed-2"
    consent = await desk.store.document("succession-consent-2")
    await desk.store.save_document("succession-consent-2", bytes(32))
    await desk.store.save_document(name, b"\x01" * 32)
    with pytest.raises(PeerRefused, match=f"another record for epoch 2, {'01' * 32}") as refused:
        await prepared.ask(PROPOSE, prepared.record.encode())
    assert refused.value.code == "signed-another"
    assert await desk.store.document(name) == b"\x01" * 32
    await desk.consent(prepared.record.hash)
    await prepared.ask(PROPOSE, prepared.record.encode())
    assert await desk.store.document(name) == prepared.record.hash
    await desk.store.save_document("succession-consent-2", consent or bytes(32))


async def test_a_member_whose_new_key_is_missing_says_which(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = prepared.dave.seat.node
    true = node.public
    monkeypatch.setattr(node, "public", lambda p, e=None: None if (p, e) == ("anchor", 2) else true(p, e))
    with pytest.raises(PeerRefused, match="no verified anchor key of epoch 2: make it with"):
        await prepared.ask(PROPOSE, prepared.record.encode())


async def test_a_forged_host_signature_is_found_and_its_place_named(prepared: Prepared) -> None:
    peers = prepared.dave.seat.peers

    async def forge(_member: int, _body: bytes) -> bytes:
        return bytes(64)

    true, peers._handlers[PROPOSE] = peers._handlers[PROPOSE], forge
    try:
        with pytest.raises(SuccessionFault, match=r"operator 3 .* did not sign"):
            await prepared.alice.successions.propose()
    finally:
        peers._handlers[PROPOSE] = true


async def test_a_record_that_the_mint_key_did_not_sign_is_not_taken_from_a_member(prepared: Prepared) -> None:
    signed, desk = await prepared.signed(), prepared.dave.successions
    kept, desk.complete = desk.complete, None
    for bad in (signed, replace(signed, mint_signature=b"\x01" * 64)):
        with pytest.raises(PeerRefused) as refused:
            await prepared.ask(PUBLISH, bad.encode())
        assert refused.value.code == "bad-succession"
    with pytest.raises(PeerRefused):
        await prepared.ask(PUBLISH, b"\0")
    assert desk.complete is None
    desk.complete = kept


async def test_a_stranger_to_the_next_committee_has_nothing_to_propose(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node that has not taken the next file, and one whose file is of another chain."""
    node, desk = prepared.dave.seat.node, prepared.dave.successions
    theirs = node.committee
    monkeypatch.setattr(node, "committee", replace(theirs, previous=bytes(32)))
    with pytest.raises(SuccessionFault, match="does not succeed that of epoch 1"):
        desk.own()
    monkeypatch.setattr(node, "committee", replace(theirs, epoch=1))
    with pytest.raises(SuccessionFault, match="this node's committee file is of epoch 1"):
        desk.own()


async def test_all_sign_and_the_rollup_takes_what_they_signed_whoever_proposes(prepared: Prepared) -> None:
    it = prepared.it
    before = it.rollup.state.epochs(it.genesis).latest
    first = await it.nodes[3].successions.propose()
    again = await it.nodes[0].successions.propose()
    assert first.succession == again.succession == prepared.record
    first.verify(before)
    again.verify(before)
    for node in it.nodes:
        assert node.successions.complete is not None, (
            "all have it, so that no one sequencer's friend can hide it"
        )
        assert node.successions.complete.succession == prepared.record


async def test_the_whole_way_over_a_crash_to_the_next_epoch(tmp_path: Path, bitcoind: Bitcoind) -> None:
    async with office(tmp_path, bitcoind) as it:
        await bring_in(it, {"carol": "dave"})
        it.rollup.waiting, kept = [], it.rollup.submit
        it.rollup.submit = lost
        signed = await it.nodes[0].successions.propose()
        for node in it.nodes:
            await node.down()
        it.rollup.submit = kept
        for node in it.nodes:
            await node.up()
        await it.round()
        assert [
            decode_tx(raw).signed.succession
            for raw in it.rollup.waiting
            if isinstance(decode_tx(raw), Succeed)
        ]
        await it.blocks(1)
        [succeeded] = it.rollup.state.successions
        assert succeeded.signed.succession == signed.succession
        await it.round()
        for node in it.nodes:
            begun = node.successions.begun()
            assert begun is not None
            assert begun.record == signed.succession.hash
            assert node.successions.complete is None
            with pytest.raises(SuccessionFault, match="epoch 2 is this committee's and has begun"):
                node.successions.own()


async def test_no_committee_follows_one_that_does_not_hold_the_coins_yet(
    tmp_path: Path, bitcoind: Bitcoind
) -> None:
    async with office(tmp_path, bitcoind) as it:
        await bring_in(it, {}, ["dave"])
        await it.nodes[3].successions.propose()
        await it.round()
        await it.blocks(1)
        assert it.rollup.state.successions
        await bring_in(it, {}, ["erin"])
        record = it.nodes[0].successions.own()
        assert record.epoch == 3
        with pytest.raises(SuccessionFault, match=r"epoch 2 is still (announced|rotating)") as refused:
            await it.nodes[0].successions.propose()
        assert refused.value.retryable
        with pytest.raises(CeremonyFault, match="names an earlier committee than this node's, of epoch 3"):
            it.nodes[0].ceremony.keys()


async def test_a_new_member_that_refuses_in_the_end_is_left_out_by_another_file_of_the_epoch(
    tmp_path: Path, bitcoind: Bitcoind
) -> None:
    """All keys are there, dave refuses: without him there is another file, and other keys, of the same epoch."""
    async with office(tmp_path, bitcoind) as it:
        first = it.committee
        [carol] = await bring_in(it, {"carol": "dave"})
        second, dave = it.committee, it.nodes[2]
        dave.successions.asks = True
        with pytest.raises(SuccessionFault, match="dave did not sign"):
            await it.nodes[0].successions.propose()
        refused = it.nodes[0].successions.own()
        it.committee = first
        await bring_in(it, {"dave": "erin"})
        alice = it.nodes[0].seat.node
        states = {(i.purpose, i.epoch, i.state) for i in alice.every_key() if i.purpose == "mint"}
        assert states == {("mint", 1, "active"), ("mint", 2, "abandoned"), ("mint", 2, "verified")}
        record = it.nodes[0].successions.own()
        assert record.epoch == refused.epoch == 2
        assert not {record.mint_key, record.committee_hash} & {refused.mint_key, refused.committee_hash}
        with pytest.raises(SuccessionFault, match="signed another record for epoch 2"):
            await it.nodes[2].successions.propose()
        for node in it.nodes[:2]:  # those who signed the first one
            await node.successions.consent(record.hash)
        await it.nodes[2].successions.propose()
        await it.round()
        await it.blocks(1)
        assert it.rollup.state.successions[-1].signed.succession == record
        await it.blocks(2)
        said = without_quorum(it.nodes[1].seat.folder, second.committee, it.committee.committee.hash)
        assert "serves the bridge" in said[0], "what has begun is not replaced"
        await it.nodes[0].down()  # and one whose operator puts the file back that came to nothing
        it.nodes[0].seat.committee = second
        await it.nodes[0].up()
        await it.nodes[0].round()
        node = it.nodes[0].seat.node
        assert node.public("mint", 2).group_key == refused.mint_key, "its keys are there again"
        assert "another committee file of epoch 2" in it.nodes[0].active.moving.outdated()
        said = without_quorum(it.nodes[0].seat.folder, it.committee.committee, second.committee.hash)
        assert said == [], "what never served is not in the way of the right file"
        assert carol.seat.node is dave.seat.node is None


class Died(Exception):
    """The process ended before this write was on disk."""


async def test_who_dies_at_any_write_of_the_ceremony_is_asked_again_and_the_record_is_the_same(
    tmp_path: Path, bitcoind: Bitcoind, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with office(tmp_path, bitcoind) as it:
        await bring_in(it, {"carol": "dave"})
        record = it.nodes[0].successions.own()
        for victim in (0, 1):
            for name in ("succession-signed-2", "succession-2"):
                node = it.nodes[victim]
                dies_at(monkeypatch, node, name)
                try:
                    assert (await it.nodes[0].successions.propose()).succession == record
                except (Died, SuccessionFault):
                    pass
                await node.down()
                await node.up()
                for each in it.nodes:
                    await each.seat.peers.until_heard((1, 2, 3), 20)
                await it.round()
        last = await it.nodes[2].successions.propose()
        assert last.succession == record
        assert {await n.store.document("succession-signed-2") for n in it.nodes} == {record.hash}
        await it.round()
        await it.blocks(2)
        assert [s.signed.succession for s in it.rollup.state.successions] == [record]


def dies_at(monkeypatch: pytest.MonkeyPatch, node: OfficeNode, name: str) -> None:
    """The node's next write of this document does not happen, and what follows it neither."""
    save = node.store.save_document

    async def die(document: str, body: bytes) -> None:
        if document == name:
            raise Died(name)
        await save(document, body)

    monkeypatch.setattr(node.store, "save_document", die)


async def lost(_tx: bytes) -> None:
    """A sequencer that answers and forgets."""
