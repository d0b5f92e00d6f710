"""Bad input of every kind, each over a real socket: refused by name, counted, logged once, nothing stored."""

import time
from collections.abc import Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import aiohttp
import pytest
import sqlalchemy as sa
import structlog

from tests.tss.shells import Seat, committee_of, until
from tss import identity, tables
from tss.certificates import EXCHANGE
from tss.dkg.committee import Committee
from tss.dkg_member import OFFER, ROUND1, ROUND2, ROUND3, offer_request
from tss.envelope import MAX_BODY, Envelope, Kind
from tss.evidence_gossip import TELL
from tss.peer_tls import client_context
from tss.peers import PeerRefused
from tss.rotation import relay
from tss.rotation.plan import Plan, Work
from tss.rotation_topics import OFFER as WORK_OFFER
from tss.rotation_topics import ROUND1 as WORK_ROUND1
from tss.rotation_topics import SUM
from tss.signing.messages import Refusal, SharesRequest
from tss.signing_member import SHARES

VOLATILE = {"peer_boots", "nonce_counts", "audit_heads"}  # who spoke, how much: no matter what was said


@dataclass
class Ground:
    """Bob talks to alice, raw where he must; carol is honest."""

    alice: Seat
    bob: Seat
    sid: bytes
    used: bytes  # an envelope that alice has taken

    def sealed(self, topic: str = "peer.ping", body: bytes = b"") -> Envelope:
        return self.bob.peers._seal(Kind.REQUEST, 1, topic, bytes(32), "", body)

    async def post(self, data: bytes, topic: str = "peer.ping") -> str:
        """What alice answers to these bytes from bob's TLS key: a code, or the HTTP status."""
        async with aiohttp.ClientSession() as session:
            url = f"{self.alice.identity.peer_url}/peer/v1/{topic}"
            context = client_context(self.bob.identity.tls)
            async with session.post(url, data=data, ssl=context) as response:
                answer = await response.read()
                return Envelope.decode(answer).code if response.status == 200 else f"http-{response.status}"

    async def changed(self, **changes: object) -> str:
        """The same for a ping with other fields, signed by bob's host key all the same."""
        bare = replace(self.sealed(), **changes)
        return await self.post(bare.with_signature(self.bob.identity.sign(bare.digest)).encode())

    async def call(self, topic: str, body: bytes) -> str:
        """The code of an honest envelope's refusal."""
        with pytest.raises(PeerRefused) as refused:
            await self.bob.peers.call(1, topic, body)
        return refused.value.code

    async def of_committee(self, **changes: object) -> str:
        """A ping under a committee file that is not alice's."""
        mine = self.bob.committee.committee
        other: Committee = replace(mine, **changes)
        return await self.changed(committee=other.hash)

    async def plan(self, attempt: int) -> str:
        """A refresh that alice's shares are not ripe for."""
        public = self.alice.node.public("anchor")
        committee = self.alice.committee.committee
        plan = Plan(Work.REFRESH, committee.hash, self.sid, public.share_set, attempt, (1, 2, 3), 0)
        return await self.call(WORK_OFFER, plan.encode())


async def _stranger(ground: Ground) -> str:
    folder = ground.bob.folder.parent / "mallory"
    tls = (
        identity.load(folder) if folder.exists() else identity.create(folder, "mallory", "https://m:1")
    ).tls
    async with aiohttp.ClientSession() as session:
        with pytest.raises(aiohttp.ClientError):
            await session.post(f"{ground.alice.identity.peer_url}/peer/v1/t", ssl=client_context(tls))
    return "tls-stranger"


CASES: dict[str, tuple[str, Callable[[Ground], Awaitable[str]]]] = {
    "a wrong committee file, and so wrong words": ("committee", lambda g: g.of_committee(threshold=3)),
    "another chain": ("committee", lambda g: g.of_committee(chain="signet")),
    "an old epoch": ("committee", lambda g: g.of_committee(epoch=9)),
    "a key that nothing is for": ("purpose", lambda g: g.call(OFFER, offer_request("my-own", 1, 1))),
    "a test's key": ("purpose", lambda g: g.call(OFFER, offer_request("test", 1, 1))),
    "a key of an old epoch": ("epoch", lambda g: g.call(OFFER, offer_request("mint", 0, 1))),
    "an unknown member": ("http-400", lambda g: g.changed(sender=9)),
    "another member's envelope": ("http-400", lambda g: g.changed(sender=3)),
    "an envelope for another": ("http-400", lambda g: g.changed(receiver=3)),
    "a forged signature": ("http-401", lambda g: g.post(g.sealed().with_signature(bytes(64)).encode())),
    "a self-signed stranger": ("tls-stranger", _stranger),
    "a message for another session": ("unknown-attempt", lambda g: g.call(ROUND2, bytes(32) + b"x")),
    "a message of no form": ("malformed", lambda g: g.call(ROUND1, b"\xff" * 99)),
    "shares of no form": ("malformed", lambda g: g.call(SHARES, b"\xff" * 99)),
    "evidence of no form": ("malformed", lambda g: g.call(TELL, b"\xff" * 99)),
    "certificates of no form": ("malformed", lambda g: g.call(EXCHANGE, b"\xff" * 99)),
    "an unknown topic": ("unknown-topic", lambda g: g.call("tss.steal", b"")),
    "no envelope": ("http-400", lambda g: g.post(b"\x01" * 300)),
    "nothing": ("http-400", lambda g: g.post(b"")),
    "too large": ("http-413", lambda g: g.post(bytes(MAX_BODY + 2000))),
    "too early": ("clock", lambda g: g.changed(time_ms=g.sealed().time_ms + 400_000)),
    "too late": ("clock", lambda g: g.changed(time_ms=g.sealed().time_ms - 400_000)),
    "a refresh from the future": ("attempt", lambda g: g.plan(2**32 - 1)),
    "a round of no attempt": ("unknown-attempt", lambda g: g.call(ROUND3, bytes(32))),
    "twice": ("replay", lambda g: g.post(g.used)),
    "after the end": ("key-held", lambda g: g.call(OFFER, offer_request("anchor", 1, 2))),
    "a round after its end": ("unknown-attempt", lambda g: g.call(ROUND3, g.sid + b"x")),
    "a boot that was left": (
        "boot",
        lambda g: g.changed(boot_id=bytes(16), time_ms=g.sealed().time_ms - 60_000),
    ),
}


@asynccontextmanager
async def _ground(folder):
    async with committee_of(folder, 3, 2) as (alice, bob, carol):
        await bob.node.dkg("anchor")
        await until(lambda: all(seat.node.public("anchor") for seat in (alice, bob, carol)))
        ground = Ground(alice, bob, alice.node._keyring.serving("anchor").sid, b"")
        ground.used = ground.sealed().encode()
        assert await ground.post(ground.used) == "ok"
        await alice.node.peers.clones.save()
        yield ground


async def _stored(seat):
    """Every row of signer.db that somebody's words could have made."""
    return {
        table.name: await seat.node._store.rows(sa.select(table))
        for table in tables.metadata.sorted_tables
        if table.name not in VOLATILE
    }


async def test_each_is_refused_by_name_counted_logged_once_and_stores_nothing(tmp_path):
    async with _ground(tmp_path) as ground:
        refusals = ground.alice.peers.refusals
        for name, (code, send) in CASES.items():
            member = 0 if code == "tls-stranger" else 2
            before, counted = await _stored(ground.alice), refusals.counts[member, code]
            refusals._told.clear()
            with structlog.testing.capture_logs() as logs:
                assert await send(ground) == code, name
                assert await send(ground) == code, name
                await until(lambda m=member, c=code, n=counted: refusals.counts[m, c] == n + 2)
            of_it = [one for one in logs if one.get("code") == code and "refused" in one["event"]]
            assert len(of_it) == 1, (name, logs)
            assert await _stored(ground.alice) == before, name


async def test_a_round_before_its_time_is_refused_and_stores_nothing(tmp_path):
    async with _ground(tmp_path) as ground:
        bob, committee = ground.bob, ground.bob.committee.committee
        public = ground.alice.node.public("anchor")
        plan = Plan(
            Work.REFRESH, committee.hash, ground.sid, public.share_set, int(time.time()), (1, 2, 3), 0
        )
        offers = {m: await bob.peers.call(m, WORK_OFFER, plan.encode()) for m in (1, 2, 3)}
        roster = relay.roster(committee, plan, offers)
        await bob.peers.call(1, WORK_ROUND1, roster.encode())
        before = await _stored(ground.alice)
        assert await ground.call(SUM, roster.sid) == "order"
        assert await ground.call(WORK_ROUND1, roster.encode()) == "unknown-offer", "nor one that is over"
        assert ground.alice.peers.refusals.counts[2, "order"] == 1
        assert await _stored(ground.alice) == before


async def test_a_refusal_in_a_signed_answer_is_counted_and_logged_as_seldom(tmp_path):
    async with _ground(tmp_path) as ground:
        alice, bob = ground.alice, ground.bob
        refusals, sent = alice.peers.refusals, []
        real = alice.peers._handlers[SHARES]

        async def kept(member, body):
            sent.append(body)
            return await real(member, body)

        alice.peers._handlers[SHARES] = kept
        while not sent:  # alice is one of two that may be chosen
            await bob.node.sign("test", b"anchor\0once", own=False)
        request = SharesRequest.decode(sent[0])
        forged = request.with_signature(bytes(64))
        before = await _stored(alice)
        refusals._told.clear()
        with structlog.testing.capture_logs() as logs:
            for _ in range(3):
                answer = await bob.peers.call(1, SHARES, forged.encode())
                assert Refusal.decode(answer).code == "signature"
        assert refusals.counts[2, "sign-signature"] == 3
        assert len([one for one in logs if one.get("code") == "sign-signature"]) == 1
        elsewhere = replace(request, key=b"\2" * 33).signed(bob.identity.seated(bob.committee.committee))
        assert await ground.call(SHARES, elsewhere.encode()) == "unknown-key"
        assert await _stored(alice) == before
