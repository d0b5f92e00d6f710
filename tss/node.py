"""One member's node: identity, peers, store and engine joined into key generation and signing.

    node = await TssNode.open(folder, committee, identity, peers)
    node.use_approval(port)
    await peers.start(host, port)
    await node.start()
    await node.dkg("treasury")
    signatures = await node.sign("treasury", payload)

`tss` signs nothing but its own `test` messages until an approval port is given. The folder holds signer.db and
keys/; a second process on it is refused.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import structlog

from tss.approvals import Approvals
from tss.audit_watch import AuditWatch
from tss.backup import stored_chains
from tss.certificates import CertificateWatch
from tss.clone_watch import CloneAlarm
from tss.committee_files import known
from tss.dkg.committee import Committee, SignedCommittee
from tss.dkg_member import DkgMember
from tss.dkg_relay import DkgFailed, DkgRelay
from tss.evidence_gossip import EvidenceBook, EvidenceCounts
from tss.evidence_store import EvidenceRow, EvidenceStore
from tss.files import FolderLock
from tss.frost.engine import Engine, GroupPublic
from tss.handover import Handover, UnknownRequest
from tss.identity import HostIdentity
from tss.key_proof import KeyTopics
from tss.key_work import KeyWork, RetirementGuard
from tss.keyring import KeyFault, KeyInfo, Keyring
from tss.late_keys import LateKeys
from tss.leading import Leading
from tss.mending import Mender
from tss.nonce_store import BootCounts, NonceBook
from tss.pause import Pause
from tss.peers import Peers
from tss.rehearsal import RehearsalTopics
from tss.rotation.succession import staying
from tss.rounds import Round, Rounds
from tss.seats import Seats
from tss.signing.approval import ApprovalPort
from tss.signing_member import SigningMember
from tss.signing_runner import SessionInfo, SigningFailed, SigningRunner
from tss.store import AttemptRow, RequestRow, Store
from tss.trimming import Trimming
from tss.turns import Place
from tss.vault import HpkeSealer, ShareVault

__all__ = ["DkgFailed", "KeyFault", "KeyInfo", "SessionInfo", "SigningFailed", "TssNode", "UnknownRequest"]

_CATCH_UP_SECONDS = 2.0
_ATTEMPTS = 6


class TssNode:
    """A running member of a committee."""

    def __init__(
        self,
        lock: FolderLock,
        committees: tuple[Committee, ...],
        identity: HostIdentity,
        peers: Peers,
        store: Store,
        keyring: Keyring,
        engine: Engine,
        sealer: HpkeSealer,
        clock: Callable[[], float],
        share_timeout: float,
        log: Any,
    ) -> None:
        """Use `open`; this only joins the parts and registers their topics."""
        self.committees, self.committee = committees, committees[-1]
        self.seats = Seats(committees, ())
        self.identity = identity
        self.peers = peers
        self._lock, self._store, self._keyring, self._clock, self._log = lock, store, keyring, clock, log
        self.pause = Pause(store, clock)
        self._approvals = Approvals(keyring, store, self.pause)
        self._book = EvidenceBook(engine, sealer, committees, identity.index, EvidenceStore(store, clock))
        shared = (keyring, self._approvals, store, self._book)
        self._nonces = NonceBook(store, peers.boot_id)
        self._member = SigningMember(
            engine, identity, self.committee, peers.boot_id, *shared, self._nonces, clock
        )
        self._runner = SigningRunner(
            engine, identity, self.committee, peers, *shared, clock, share_timeout=share_timeout
        )
        self._handover = Handover(keyring, self._approvals, store, peers, self._sign, clock)
        self._leading = Leading(engine, committees, peers, keyring, self._approvals, self._runner.sign)
        self.rehearsals = RehearsalTopics(store, lambda: stored_chains(store), clock)
        self.audit = AuditWatch(committees, identity, store, clock)
        self.certificates = CertificateWatch(self.committee, identity, peers, store, clock)
        self._trimming = Trimming(store, peers.boot_id, clock)
        self._topics = KeyTopics(identity.index, keyring, store)
        self._dkg_member = DkgMember(
            engine, sealer, identity, self.committee, keyring, store, clock, self._book
        )
        self._rounds = Rounds(self.committee, identity.index)
        joint, prove = (self._dkg_member.views, self._rounds), self._runner.prove
        held = (engine, sealer, self.committee, peers, keyring, self._topics)
        self._relay = DkgRelay(
            *held, store, clock, prove, *joint, self._book, lambda: self._dkg_member.purposes
        )
        parts = (engine, sealer, identity, self.committee, peers, keyring, store, clock)
        self.key_work = KeyWork(*parts, prove, self._book, *joint)
        self.mender = Mender(engine, committees, peers, keyring, store, clock)
        own = (self._member, self._handover, self._leading, self._topics, self._dkg_member, self._book)
        for part in (*own, self.rehearsals, self.key_work, self.audit, self.certificates, self._rounds):
            part.register(peers)
        self._catching_up: asyncio.Task[None] | None = None
        self._late_keys = LateKeys(self.committee, peers, keyring, self._topics, self._relay, store, clock)

    @classmethod
    async def open(
        cls,
        folder: Path,
        committee: SignedCommittee,
        identity: HostIdentity,
        peers: Peers,
        *,
        log: Any = None,
        clock: Callable[[], float] = time.time,
        share_timeout: float = 2.0,
    ) -> Self:
        """Lock the folder, open signer.db, void the commitments of earlier starts, take up the keys.

        Raises FolderInUse, SchemaFault, CommitteeFault (unsigned file), IdentityFault (no seat), KeyFault.
        """
        committee.verify()
        seated = identity.seated(committee.committee)
        lock, store = FolderLock(folder, "signer.lock").acquire(), None
        try:
            store = Store(folder / "signer.db", clock)
            engine, sealer = Engine(), HpkeSealer()
            files = known(folder, committee.committee)
            keyring = Keyring(store, ShareVault(folder / "keys", seated), engine, sealer, seated, files)
            await store.record_boot(peers.boot_id, committee.committee.epoch)
            await peers.clones.open(store)
            await keyring.load()
            log = log if log is not None else structlog.get_logger("tss")
            held = lock, files, seated, peers, store, keyring, engine, sealer
            node = cls(*held, clock, share_timeout, log)
            node.seats = Seats(node.committees, await store.starts())
            await node._nonces.load()
            await node.pause.load()
            await node._dkg_member.load()
            await node.key_work.member.load()
        except BaseException:
            if store is not None:
                await store.close()
            lock.release()
            raise
        return node

    async def start(self) -> None:
        """Begin to ask the others for what this node missed while it was away."""
        self._book.start()
        self.key_work.start()
        self.mender.start()
        self.audit.start()
        self.certificates.start()
        self._trimming.start()
        self._leading.start()
        self._catching_up = asyncio.create_task(self._catch_up())

    async def close(self) -> None:
        """Stop; the peers are closed by whoever started them."""
        if self._catching_up is not None:
            self._catching_up.cancel()
            with suppress(asyncio.CancelledError):
                await self._catching_up
        await self._leading.close()
        await self.mender.close()
        await self._trimming.close()
        await self.certificates.close()
        await self.audit.close()
        await self.key_work.close()
        await self._book.close()
        await self._runner.close()
        await self._nonces.save()
        await self.peers.clones.save()
        self._keyring.close()
        await self._store.close()
        self._lock.release()

    @property
    def boot_id(self) -> bytes:
        """16 bytes drawn at this start; no commitment of another boot can be signed with."""
        return self.peers.boot_id

    def use_approval(self, port: ApprovalPort) -> None:
        """Ask this port before anything but `test` is signed."""
        self._approvals.use(port)

    async def sign(
        self,
        purpose: str,
        payload: bytes,
        *,
        timeout: float = 30,
        epoch: int | None = None,
        own: bool = False,
    ) -> list[bytes]:
        """Coordinate one request: 64-byte signatures over what our port approves, in its order.

        `epoch` picks the key, also one that no longer serves; by default the newest that serves signs.
        `own` makes our share one of those that sign, as a rehearsal must.

        Raises SigningFailed with code refused, no-key, too-few-signers, timeout or too-large.
        """
        if epoch is not None and not own and self._leading.concerns(purpose, epoch):
            return await self._leading.sign(purpose, payload, epoch, timeout)
        return await self._runner.sign(purpose, payload, timeout, epoch, own=own)

    async def _sign(self, purpose: str, payload: bytes, timeout: float, epoch: int) -> list[bytes]:
        return await self.sign(purpose, payload, timeout=timeout, epoch=epoch)

    async def dkg(self, purpose: str) -> KeyInfo:
        """Make the key of a purpose, or finish the one begun; DkgFailed names culprits or who was missing."""
        return await self._relay.run(purpose)

    def keys(self) -> dict[str, KeyInfo]:
        """Per purpose the serving key, or the newest on its way."""
        return self._keyring.infos()

    def every_key(self) -> list[KeyInfo]:
        """All keys of this node, retired, removed and lost ones too."""
        return self._keyring.every_info()

    def public(self, purpose: str, epoch: int | None = None) -> GroupPublic | None:
        """The group key of a purpose and epoch that may sign, by default the newest that serves here.

        Of an earlier epoch also one that only others hold shares of, once one of them has told of it.
        """
        key = self._keyring.serving(purpose) if epoch is None else self._keyring.signing(purpose, epoch)
        if key is None and epoch is not None:
            return self._leading.public(purpose, epoch)
        return None if key is None else key.info.public

    def holders(self, purpose: str, epoch: int) -> tuple[int, ...]:
        """Who of the present committee holds a share of this key, by number, ascending; none for an unknown key."""
        key = self._keyring.signing(purpose, epoch)
        if key is None:
            return self._leading.holders(purpose, epoch)
        return staying(key.committee, self.committee, key.info.public.verifying_shares)

    async def activate(self, purposes: Iterable[str], epoch: int) -> None:
        """Verified → active for the keys of an epoch, once its coins may come; KeyFault when one is missing."""
        await self._keyring.activate(list(purposes), epoch)

    async def retire(self, purpose: str, epoch: int) -> None:
        """A key that serves becomes a retiring one: it signs on, a later one comes first.

        Nothing happens when it retires already, is over, is not verified, or is not here.
        """
        await self.key_work.retire(purpose, epoch)

    def use_retirement(self, guard: RetirementGuard) -> None:
        """Ask this before a share is wiped: None, or the sentence that says what the key still has to do."""
        self.key_work.guard = guard

    def sessions(self) -> list[SessionInfo]:
        """The signing sessions that this node coordinates, and the last that ended."""
        return self._runner.sessions()

    async def request(self, request_id: bytes) -> RequestRow | None:
        """A request as it was first seen here, whole, so that this node can lead it."""
        return await self._store.request(request_id)

    async def requests(self) -> list[RequestRow]:
        """Requests of the last day that were not brought to their end here, newest first, payloads left out."""
        return await self._handover.pending()

    async def named_request(self, start: str) -> bytes:
        """The id that begins with these 8 to 64 digits, of `requests`; UnknownRequest or AmbiguousRequest."""
        return await self._handover.named(start)

    async def take_over(self, request_id: bytes, *, timeout: float = 30) -> list[bytes]:
        """Lead a request that another member began, or get its signatures where they are there already.

        Raises UnknownRequest, and SigningFailed as `sign` does.
        """
        return await self._handover.take_over(request_id, timeout)

    async def evidence(self) -> list[EvidenceRow]:
        """Every proven fault that this node knows of, oldest first."""
        return await self._book.all()

    async def nonces(self) -> list[BootCounts]:
        """What became of the nonces of each key in each boot, newest boot first."""
        return await self._nonces.all()

    async def attempts(self) -> list[AttemptRow]:
        """The last key generations that are under way or failed, newest first, transcripts left out."""
        return await self._store.recent_attempts(_ATTEMPTS)

    async def rounds(self) -> dict[int, list[Round]]:
        """Who is waited for in key work that is under way, by the member that drives it and says so."""
        return await self._rounds.of(self._dkg_member.relays | self.key_work.member.relays)

    def places(self) -> list[Place]:
        """What key work this node takes part in just now, who drives it, and who waits to drive."""
        return self._dkg_member.turns.places() + self.key_work.member.turns.places()

    @property
    def session_counts(self) -> Counter[tuple[str, int, str]]:
        """How many signing runs of this node ended since its start, by purpose, key epoch, and done or failed."""
        return self._runner.counts

    @property
    def verdict_counts(self) -> Counter[tuple[str, int, bool]]:
        """How many requests were answered since this start, by purpose, key epoch and whether approved."""
        return self._approvals.counts

    @property
    def clones(self) -> list[CloneAlarm]:
        """Every sign that two copies of a member, or of this node, run at once."""
        return self.peers.clones.alarms

    def copies(self) -> list[str]:
        """What is to be said of second copies of a node that were not started anew since, for health."""
        said: list[str] = []
        for alarm in self.clones:
            if not alarm.left:
                if alarm.present == self.boot_id:
                    said.append(f"{self.peers.name(alarm.member)} heard another copy of this node")
            elif self.peers.seen[alarm.member].boot_id == alarm.present:
                said.append(f"two copies of {self.peers.name(alarm.member)} were heard")
        return [f"{one}: stop both, find out why, start one" for one in dict.fromkeys(said)]

    @property
    def evidence_counts(self) -> EvidenceCounts:
        """What became of the evidence that reached this node since its start."""
        return self._book.counts

    def host_sign(self, message32: bytes) -> bytes:
        """BIP340 under the host key, 64 bytes; only ever over the caller's own tagged hash."""
        return self.identity.sign(message32)

    async def _catch_up(self) -> None:
        while True:
            try:
                await self._late_keys.look()
                await self.peers.clones.save()
                await self._nonces.save()
            except Exception:
                self._log.exception("catching up failed")
            await asyncio.sleep(_CATCH_UP_SECONDS)
