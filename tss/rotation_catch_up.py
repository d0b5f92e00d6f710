"""Refreshes that this node missed, learned from the others; and the way back from a branch they did not take.

A relay that holds a certified, proved refresh back can show it to one member when the others have refreshed on from
another one: that member then asks in vain what follows its shares. So it names its earlier share sets too, and who
serves others answers with what followed the last one they have in common. See `rules.rank` for which branch counts.
"""

import asyncio
from contextlib import suppress

import structlog

from tss import rotation_topics as topics
from tss.dkg.faults import DkgFault
from tss.frost.engine import GroupPublic
from tss.frost.errors import FrostError
from tss.key_proof import KeyProof
from tss.keyring import SIGNING, Key, KeyFault, Keyring
from tss.peers import PeerError, Peers
from tss.rotation.chain import Chain
from tss.rotation.link import HeldLink, Link
from tss.rotation_keys import Proved, RotationKeys

_SECONDS = 5.0
_LONGEST_BRANCH = 64


class CatchUp:
    """Asks, checks, and takes up."""

    def __init__(self, peers: Peers, keyring: Keyring, keys: RotationKeys) -> None:
        self._peers, self._keyring, self._keys = peers, keyring, keys
        self._log = structlog.get_logger("tss.rotation")

    async def all(self, purpose: str | None = None) -> None:
        """Ask the others for refreshes that follow our shares, and take them up; the proved ones count."""
        for key in self._keyring.all():
            if purpose in (None, key.info.purpose) and key.info.state in SIGNING | {"acked"}:
                await self.key(key.sid)

    async def key(self, sid: bytes) -> None:
        """The same for one key."""
        with suppress(KeyFault):
            while await self._learn(sid):
                pass

    def unfinished(self) -> bool:
        """Whether a certified refresh waits for its proof here."""
        serving = (key for key in self._keyring.all() if key.info.state != "retiring")
        return any(self._keyring.pending(key.sid) for key in serving)

    async def _learn(self, sid: bytes) -> bool:
        """Take in what others hold; True when our shares moved on."""
        key = self._keyring.get(sid)
        if key is None:
            return False
        before = key.info.public.share_set
        question = topics.links_request(sid, share_sets(key))
        answers = await self._peers.gather(topics.LINKS, question, timeout=_SECONDS)
        for member, answer in answers.items():
            if isinstance(answer, PeerError) or not answer:
                continue
            try:
                await self._take(key, member, HeldLink.decode(answer))
            except (ValueError, DkgFault, FrostError, KeyFault, PeerError) as error:
                self._log.info(
                    "a peer's refresh was not taken", member=self._peers.name(member), why=str(error)
                )
        now = self._keyring.get(sid)
        return now is not None and now.info.public.share_set != before

    async def _take(self, key: Key, member: int, held: HeldLink) -> None:
        link = Link.decode(held.link)
        if link.roster.plan.base != key.info.public.share_set:
            branch = await self._branch(key, member, held)
            if await self._keys.change_branch(key.sid, branch):
                self._log.warning(
                    "another refresh of earlier shares counts: taken from a peer",
                    purpose=key.info.purpose,
                    member=self._peers.name(member),
                )
            return
        await self._keys.accept(link)
        if held.proof:
            await self._keys.adopt(link.sid, KeyProof.decode(held.proof))

    async def _branch(self, key: Key, member: int, held: HeldLink) -> list[Proved]:
        """All that a member serves from where its shares and ours part, every step certified and proved."""
        found, before = list[Proved](), await self._group_before(key, Link.decode(held.link))
        while held.proof and len(found) < _LONGEST_BRANCH:
            step = Proved(Link.decode(held.link), KeyProof.decode(held.proof))
            before = await asyncio.to_thread(self._keys.proved_group, key, step, before)
            found.append(step)
            question = topics.links_request(key.sid, [before.share_set])
            answer = await self._peers.call(member, topics.LINKS, question, timeout=_SECONDS)
            if not answer:
                break
            held = HeldLink.decode(answer)
        return found

    async def _group_before(self, key: Key, link: Link) -> GroupPublic:
        bases = [own.roster.plan.base for own in key.links]
        if link.roster.plan.base not in bases:
            raise KeyFault("a refresh was sent that follows no shares of ours: it is passed over")
        place = bases.index(link.roster.plan.base)
        chain = Chain(key.recovery, key.links[:place])
        return await asyncio.to_thread(chain.check, self._keys.engine)


def share_sets(key: Key) -> list[bytes]:
    """What our key's shares were, newest first: as many as a question names."""
    earlier = [link.roster.plan.base for link in reversed(key.links)]
    return [key.info.public.share_set, *earlier][: topics.MOST_SHARE_SETS]
