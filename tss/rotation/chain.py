"""Recovery data that follows refreshes: the DKG's, then the link of every refresh, oldest first.

With the host secret a chain restores a member's present share; without it, it tells anybody the present group. A
repair changes nothing that others see, so its link stands beside the chain, at the member whose share it made.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from tss.dkg import participant
from tss.dkg.committee import Committee
from tss.dkg.faults import RestoreFault
from tss.dkg.ports import Identity, Sealer
from tss.dkg.transcript import RecoveryData
from tss.frost.engine import Engine, GroupPublic, KeyShare
from tss.frost.errors import FrostError
from tss.rotation import boxes
from tss.rotation.link import Link
from tss.rotation.plan import Work


@dataclass(frozen=True, slots=True)
class Chain:
    """One key's recovery data. `generation` counts its refreshes."""

    base: RecoveryData
    links: tuple[Link, ...] = ()
    repairs: tuple[Link, ...] = ()

    @classmethod
    def decode(cls, links: Sequence[bytes], repairs: Sequence[bytes] = ()) -> "Chain":
        """Read `links[0]` as the DKG's recovery data and each further one as a refresh; DecodeError otherwise."""
        later = tuple(Link.decode(link) for link in links[1:])
        return cls(RecoveryData.decode(links[0]), later, tuple(Link.decode(link) for link in repairs))

    @property
    def generation(self) -> int:
        """0 for the shares that the DKG made."""
        return len(self.links)

    @property
    def committee(self) -> Committee:
        """The committee whose key it is."""
        return self.base.transcript.committee

    @property
    def names(self) -> tuple[bytes, ...]:
        """Each link's hash, the DKG's first: equal at all who hold equal chains, whichever signatures they hold."""
        return (self.base.hash, *(link.hash for link in self.links))

    def with_link(self, link: Link) -> "Chain":
        """The same chain with one more refresh, or with a repair beside it."""
        if link.roster.plan.work is Work.REPAIR:
            return replace(self, repairs=(*self.repairs, link))
        return replace(self, links=(*self.links, link))

    def publics(self, engine: Engine) -> tuple[GroupPublic, ...]:
        """The group as the DKG made it and after each refresh, every signature checked; DkgFault otherwise."""
        groups = [self.base.check(engine)]
        for link in self.links:
            if link.roster.plan.work is not Work.REFRESH or link.roster.plan.key != self._key:
                raise RestoreFault("a link of this chain belongs to another key: take another copy")
            groups.append(link.check(engine, self.committee, groups[-1]))
        return tuple(groups)

    def check(self, engine: Engine) -> GroupPublic:
        """The present group, every signature checked; needs no secret."""
        return self.publics(engine)[-1]

    def restore(self, engine: Engine, sealer: Sealer, identity: Identity) -> KeyShare:
        """Rebuild our present share from host secret and chain.

        RestoreFault when this member was removed by a refresh, when its shares do not open, or when the data is
        not sound. A repair of ours serves where the shares before it are lost.
        """
        groups = self.publics(engine)
        start, share = self._start(engine, sealer, identity, groups)
        for link in self.links[start:]:
            share = refreshed(engine, sealer, identity, link, share)
        return share

    @property
    def _key(self) -> bytes:
        return self.base.transcript.roster.sid

    def _start(
        self, engine: Engine, sealer: Sealer, identity: Identity, groups: tuple[GroupPublic, ...]
    ) -> tuple[int, KeyShare]:
        try:
            return 0, participant.restore(engine, sealer, identity, self.base)
        except RestoreFault:
            own = [link for link in self.repairs if link.roster.plan.receiver == identity.index]
            sets = [group.share_set for group in groups]
            for link in reversed(own):
                if link.roster.plan.base in sets:
                    place = sets.index(link.roster.plan.base)
                    return place, repaired(engine, sealer, identity, link, self.committee, groups[place])
            raise


def refreshed(engine: Engine, sealer: Sealer, identity: Identity, link: Link, old: KeyShare) -> KeyShare:
    """Our share after a checked refresh, from the one before; the trial restore before every Ack."""
    plan = link.roster.plan
    if identity.index not in plan.members:
        raise RestoreFault(
            "this member was left out of a refresh and holds no share of the key any more: nothing can be restored"
        )
    own = link.transcript.r1s.of(identity.index)
    if boxes.public_keys(sealer, identity, link.roster, own.salt) != own.keys:
        raise RestoreFault("this host secret did not make the refresh's R1: restore with the right host key")
    opened = boxes.open_all(sealer, identity, link.transcript.first)
    try:
        if opened.bad:
            raise RestoreFault("shares of a refresh do not open: the data is damaged, take another copy")
        return engine.refresh_restore(old, link.transcript.r1s.packages, opened.fixed())
    except FrostError as error:
        raise RestoreFault(f"the engine refuses the refreshed share: {error}") from error
    finally:
        opened.wipe()


def repaired(
    engine: Engine,
    sealer: Sealer,
    identity: Identity,
    link: Link,
    committee: Committee,
    public: GroupPublic,
) -> KeyShare:
    """Our share from a repair that was made for us; checks the link first."""
    link.check(engine, committee, public)
    opened = boxes.open_all(sealer, identity, link.transcript.second)
    try:
        if opened.bad:
            raise RestoreFault("values of a repair do not open: the data is damaged, repair again")
        return engine.repair_finish(identity.index, public, opened.fixed())
    except FrostError as error:
        raise RestoreFault(f"the engine refuses the repaired share: {error}") from error
    finally:
        opened.wipe()
