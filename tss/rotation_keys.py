"""Certified refreshes and repairs as this node keeps them: taken in, proved, adopted.

A link is stored and its share restored from it once before we acknowledge it. The old share serves until all who
take part have signed a test message together under the new ones; that proof ends the old share, whoever brings it.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import structlog

from tss.dkg.committee import Committee
from tss.dkg.ports import Identity, Sealer
from tss.frost.engine import Engine, GroupPublic, verify
from tss.frost.path import INTERNAL
from tss.key_proof import KeyProof, message_for_test, payload_for_test
from tss.keyring import OVER, Key, KeyFault, Keyring, LostKey
from tss.rotation import chain as chains
from tss.rotation.chain import Chain
from tss.rotation.link import HeldLink, Link
from tss.rotation.plan import Work
from tss.rotation.rules import Proven, rank
from tss.rotation_store import RotationRow, RotationStore


def proof_payload(purpose: str, sid: bytes) -> bytes:
    """The payload of the test signature that proves the refresh of session `sid`."""
    return payload_for_test(purpose, b"refresh " + sid.hex().encode())


def proof_holds(proof: KeyProof, purpose: str, sid: bytes, public: GroupPublic) -> bool:
    """Whether all who hold the new shares signed this refresh's own message under them."""
    message = message_for_test(proof_payload(purpose, sid))
    everyone = tuple(public.verifying_shares)
    return (
        proof.package.message == message
        and proof.package.path == INTERNAL
        and tuple(proof.package.commitments) == everyone
        and verify(public.x_only, message, proof.signature)
    )


@dataclass(frozen=True, slots=True)
class Proved:
    """A refresh with the test signature of all who hold its shares."""

    link: Link
    proof: KeyProof


class RotationKeys:
    """What this node does with links."""

    def __init__(
        self,
        engine: Engine,
        sealer: Sealer,
        identity: Identity,
        committee: Committee,
        keyring: Keyring,
        store: RotationStore,
        clock: Callable[[], float],
    ) -> None:
        self.engine, self._sealer, self._identity = engine, sealer, identity
        self._committee, self._keyring, self._store, self._clock = committee, keyring, store, clock
        self._one_at_a_time = asyncio.Lock()
        self._log = structlog.get_logger("tss.rotation")

    async def accept(self, link: Link, relay: int = 0) -> None:
        """Take in a certified link: check all, restore our share from it once, store it. Repeating is harmless.

        Raises KeyFault (unknown key, or its base is not our share set), DkgFault, FrostError.
        """
        async with self._one_at_a_time:
            row = await self._store.get(link.sid)
            if row is not None and row.state in ("acked", "proved"):
                return
            if link.roster.plan.work is Work.REPAIR:
                await self._accept_repair(link, relay)
            else:
                await self._accept_refresh(link, relay)

    async def adopt(self, sid: bytes, proof: KeyProof) -> None:
        """A proof: the refresh counts from now on, and the shares before it are wiped. Repeating is harmless.

        KeyFault when we do not hold the link, it does not follow our shares, or the proof does not hold.
        """
        async with self._one_at_a_time:
            row = await self._store.get(sid)
            if row is None or row.state not in ("acked", "proved"):
                raise KeyFault("we do not hold this refresh: send its link first")
            if row.state == "acked":
                await self._adopt(row, proof)

    async def following(self, sid: bytes, share_sets: Sequence[bytes]) -> HeldLink | None:
        """What an asker misses, whose share sets these were, newest first.

        On the chain that we serve what follows the newest of them that was ours too; else the refresh that we know
        of its present shares, the proved one first.
        """
        rows = {
            row.sid: row for row in await self._store.of_key(sid, "acked", "proved") if row.work == "refresh"
        }
        key = self._keyring.get(sid)
        if key is not None:
            ours = {link.roster.plan.base: rows.get(link.sid) for link in key.links}
            shared = next((s for s in share_sets if s in ours or s == key.info.public.share_set), None)
            row = None if shared is None else ours.get(shared)
            if row is not None:
                return HeldLink(row.body, row.proof)
        after = [row for row in rows.values() if row.base == share_sets[0]]
        chosen = max(after, key=lambda row: (row.state == "proved", row.attempt, row.sid), default=None)
        return None if chosen is None else HeldLink(chosen.body, chosen.proof)

    def proved_group(self, key: Key, step: Proved, before: GroupPublic) -> GroupPublic:
        """The group after a refresh of `before`, everything checked; KeyFault, DkgFault or FrostError otherwise."""
        plan = step.link.roster.plan
        if (plan.work, plan.key) != (Work.REFRESH, key.sid):
            raise KeyFault("no refresh of this key was sent: it is passed over")
        public = step.link.check(self.engine, key.committee, before)
        if not proof_holds(step.proof, key.info.purpose, step.link.sid, public):
            raise KeyFault("the proof is no signature of all who hold the new shares")
        return public

    async def change_branch(self, sid: bytes, branch: Sequence[Proved]) -> bool:
        """Take up refreshes that part from ours, when they count and ours do not (`rules.rank`).

        Their groups were checked by `proved_group`. False when ours counts. KeyFault, DkgFault, FrostError.
        """
        async with self._one_at_a_time:
            key = self._keyring.get(sid)
            bases = [] if key is None else [link.roster.plan.base for link in key.links]
            if key is None or not branch or branch[0].link.roster.plan.base not in bases:
                return False
            kept = key.links[: bases.index(branch[0].link.roster.plan.base)]
            links = (*kept, *(step.link for step in branch))
            if rank(_proven(links)) <= rank(_proven(key.links)):
                return False
            await self._change(key, Chain(key.recovery, links, key.repairs), branch)
            return True

    async def _change(self, key: Key, chain: Chain, branch: Sequence[Proved]) -> None:
        groups = await asyncio.to_thread(chain.publics, self.engine)
        steps = zip(branch, groups[-len(branch) :], strict=True)
        rows = [
            row_of(step.link, 0, "proved", group, self._clock(), step.proof.encode()) for step, group in steps
        ]
        if any(self._identity.index not in step.link.roster.plan.members for step in branch):
            await self._store.change_branch(key.sid, groups[-1].encode(), rows)
            self._log.warning("we were removed by a refresh", purpose=key.info.purpose)
            await self._keyring.end(key.sid, "removed")
            return
        share = await asyncio.to_thread(chain.restore, self.engine, self._sealer, self._identity)
        await self._store.change_branch(key.sid, share.public.encode(), rows)
        info = replace(key.info, public=share.public)
        self._keyring.take_up(replace(key, info=info, share=share, links=chain.links))

    async def _accept_refresh(self, link: Link, relay: int) -> None:
        key, chain = self._chain_before(link)
        chain, takes_part = chain.with_link(link), self._identity.index in link.roster.plan.members
        if not takes_part:
            public = await asyncio.to_thread(chain.check, self.engine)
            await self._store.save(self._row(link, relay, "acked", public))
            return
        share = await asyncio.to_thread(chain.restore, self.engine, self._sealer, self._identity)
        await self._store.save(self._row(link, relay, "acked", share.public))
        info = replace(key.info, public=share.public)
        self._keyring.hold(replace(key, info=info, share=share, links=chain.links))

    async def _accept_repair(self, link: Link, relay: int) -> None:
        plan = link.roster.plan
        known: Key | LostKey | None = self._keyring.get(plan.key) or self._keyring.find_lost(plan.key)
        if known is None:
            raise KeyFault("we hold no such key: nothing of it can be repaired")
        public = known.info.public
        if plan.receiver != self._identity.index:
            await asyncio.to_thread(link.check, self.engine, self._committee, public)
            await self._store.save(self._row(link, relay, "proved", public))
            return
        arguments = (self.engine, self._sealer, self._identity, link, self._committee, public)
        share = await asyncio.to_thread(chains.repaired, *arguments)
        await self._store.save(self._row(link, relay, "proved", public))
        chain = known.chain.with_link(link)
        if isinstance(known, Key):  # it comes out equal, and the one in use has its nonces
            share.close()
            self._keyring.repaired(replace(known, repairs=chain.repairs))
        else:
            row_state = await self._stored_state(plan.key)
            info = replace(known.info, state=row_state)
            key = Key(known.sid, info, share, chain.base, known.proof, chain.links, chain.repairs)
            self._keyring.take_up(key)

    async def _adopt(self, row: RotationRow, proof: KeyProof) -> None:
        link, public = Link.decode(row.body), GroupPublic.decode(row.public)
        key, chain = self._chain_before(link)
        if not proof_holds(proof, key.info.purpose, row.sid, public):
            raise KeyFault("the proof is no signature of all who hold the new shares")
        await self._store.adopt(row.sid, row.key_sid, row.public, proof.encode())
        if self._identity.index not in link.roster.plan.members:
            self._log.warning("we were removed by a refresh", purpose=key.info.purpose)
            await self._keyring.end(row.key_sid, "removed")
            return
        held = self._keyring.by_share_set(public.share_set)
        if held is None:
            arguments = (self.engine, self._sealer, self._identity)
            share = await asyncio.to_thread(chain.with_link(link).restore, *arguments)
            held = replace(key, info=replace(key.info, public=public), share=share)
        self._keyring.take_up(
            replace(key, info=replace(key.info, public=public), share=held.share, links=(*chain.links, link))
        )
        if key.info.state == "acked":  # we missed the end of the key's own generation too
            await self._keyring.set_state(row.key_sid, "verified")

    def _chain_before(self, link: Link) -> tuple[Key, Chain]:
        """Our key and its chain up to the shares that a refresh starts from.

        That is our present share set, or the one before when a later attempt replaces the one we took.
        """
        plan = link.roster.plan
        key = self._keyring.get(plan.key)
        if key is None:
            raise KeyFault("we hold no such key, or no share of it: nothing of it can be refreshed here")
        if key.info.state in OVER:
            raise KeyFault(f"our {key.info.purpose} key is {key.info.state}")
        if plan.base == key.info.public.share_set:
            return key, key.chain
        last = key.links[-1].roster.plan if key.links else None
        if last is not None and last.base == plan.base and plan.attempt > last.attempt:
            return key, Chain(key.recovery, key.links[:-1], key.repairs)
        raise KeyFault(
            f"our {key.info.purpose} shares have been refreshed since: this refresh comes too late"
        )

    def _row(self, link: Link, relay: int, state: str, public: GroupPublic) -> RotationRow:
        return row_of(link, relay, state, public, self._clock())

    async def _stored_state(self, sid: bytes) -> str:
        return next(state for key, state in await self._store.key_states() if key == sid)


def _proven(links: Sequence[Link]) -> list[Proven]:
    return [Proven(link.roster.plan.attempt, link.sid) for link in links]


def row_of(
    link: Link, relay: int, state: str, public: GroupPublic, now: float, proof: bytes = b""
) -> RotationRow:
    """A link as a row; `public` is the group it makes."""
    plan = link.roster.plan
    return RotationRow(
        link.sid,
        plan.key,
        plan.work.name.lower(),
        plan.base,
        plan.attempt,
        relay,
        state,
        "",
        link.encode(),
        public.encode(),
        proof,
        now,
    )
