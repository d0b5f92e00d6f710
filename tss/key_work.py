"""Key work of one node, joined: refresh, removal, repair, a key's last states, and catching up."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress

import structlog

from tss.dkg.committee import Committee
from tss.dkg.faults import DkgFault
from tss.dkg.ports import Identity, Sealer
from tss.dkg_relay import DkgFailed
from tss.evidence_gossip import EvidenceBook
from tss.frost.engine import Engine
from tss.keyring import SERVING, KeyInfo, Keyring
from tss.peers import Peers
from tss.rotation import succession
from tss.rotation_catch_up import CatchUp
from tss.rotation_keys import RotationKeys
from tss.rotation_member import RotationMember
from tss.rotation_relay import KeyWorkInfo, Prove, RotationRelay
from tss.rotation_store import RotationStore
from tss.rounds import Rounds
from tss.store import Store
from tss.views import Views

RetirementGuard = Callable[[str, int], Awaitable[str | None]]  # why a purpose's key of an epoch is needed yet

_FINISHING_SECONDS = 1.0
_IDLE_SECONDS = 10.0


class KeyWork:
    """What `TssNode` needs of key work."""

    def __init__(
        self,
        engine: Engine,
        sealer: Sealer,
        identity: Identity,
        committee: Committee,
        peers: Peers,
        keyring: Keyring,
        store: Store,
        clock: Callable[[], float],
        prove: Prove,
        book: EvidenceBook,
        views: Views,
        rounds: Rounds,
    ) -> None:
        self._committee, self._keyring = committee, keyring
        rows = RotationStore(store, clock)
        self.keys = RotationKeys(engine, sealer, identity, committee, keyring, rows, clock)
        self.member = RotationMember(
            engine, sealer, identity, committee, keyring, self.keys, rows, clock, book, views
        )
        self.catch_up = CatchUp(peers, keyring, self.keys)
        self.relay = RotationRelay(
            engine,
            sealer,
            committee,
            peers,
            keyring,
            self.keys,
            self.catch_up,
            rows,
            clock,
            prove,
            book,
            views,
            rounds,
        )
        self.member.catch_up = self.catch_up.key
        self.guard: RetirementGuard | None = None
        self._loop: asyncio.Task[None] | None = None
        self._log = structlog.get_logger("tss.rotation")

    def register(self, peers: Peers) -> None:
        """Answer the topics of key work."""
        self.member.register(peers)

    def start(self) -> None:
        """Begin to ask the others for refreshes that this node missed."""
        self._loop = asyncio.create_task(self._catch_up())

    async def close(self) -> None:
        """Stop asking."""
        if self._loop is not None:
            self._loop.cancel()
            with suppress(asyncio.CancelledError):
                await self._loop

    async def refresh(self, purpose: str, without: Iterable[str] = ()) -> KeyWorkInfo:
        """New shares of the same key for all members but those named; DkgFailed says who and why not."""
        return await self.relay.refresh(purpose, self._indexes(without))

    async def consent(self, purpose: str, without: Iterable[str]) -> KeyWorkInfo:
        """Agree to the removal of these members from the present shares."""
        return await self.relay.consent(purpose, self._indexes(without))

    async def repair(self, purpose: str, helpers: Iterable[str] = ()) -> KeyWorkInfo:
        """Our own share again, from t helpers (those named, or who is up)."""
        return await self.relay.repair(purpose, self._indexes(helpers))

    async def move(self, purpose: str, epoch: int, state: str) -> KeyInfo:
        """Move a key to retiring, back to active, or to retired, which wipes our share here."""
        key = next(iter(self._keyring.of(purpose, epoch)), None)
        if key is None:
            reason = f"this node holds no share of a {purpose} key of epoch {epoch}"
            raise DkgFailed("no-key", reason, retryable=False)
        needed = None if state != "retired" or self.guard is None else await self.guard(purpose, epoch)
        if needed is not None and key.info.state in SERVING:  # who must wait is not told to retire it by hand
            raise DkgFailed("key-needed", needed, retryable=True)
        try:
            succession.check_move(purpose, epoch, key.info.state, state)
        except DkgFault as fault:
            raise DkgFailed(fault.code, fault.reason, retryable=False) from fault
        if state != "retired":
            return (await self._keyring.set_state(key.sid, state)).info
        serving = self._keyring.serving(purpose)
        if serving is None or serving.info.epoch <= epoch or serving.info.state not in SERVING:
            reason = (
                f"no later {purpose} key serves here: make the next epoch's key and move the coins to it before "
                "this share is wiped"
            )
            raise DkgFailed("key-state", reason, retryable=False)
        if needed is not None:
            raise DkgFailed("key-needed", needed, retryable=True)
        await self._keyring.end(key.sid, state)
        return next(i for i in self._keyring.every_info() if (i.purpose, i.epoch) == (purpose, epoch))

    async def retire(self, purpose: str, epoch: int) -> None:
        """Serving → retiring; nothing for a key in any other state."""
        for key in self._keyring.of(purpose, epoch):
            if key.info.state in SERVING:
                await self._keyring.set_state(key.sid, "retiring")

    def _indexes(self, names: Iterable[str]) -> tuple[int, ...]:
        known = {member.name: index for index, member in enumerate(self._committee.members, 1)}
        found = []
        for name in names:
            if name not in known:
                reason = f"{name} is no member: the members are {', '.join(known)}"
                raise DkgFailed("member", reason, retryable=False)
            found.append(known[name])
        return tuple(found)

    async def _catch_up(self) -> None:
        while True:
            try:
                await self.catch_up.all()
            except Exception:
                self._log.exception("catching up on refreshes failed")
            await asyncio.sleep(_FINISHING_SECONDS if self.catch_up.unfinished() else _IDLE_SECONDS)
