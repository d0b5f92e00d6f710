"""The keys of this node: certified rows of signer.db, shares in the vault, handles in the engine.

A key's states (DESIGN section 4): certified, acked, verified, active, retiring, retired; removed when a refresh
left this member out; abandoned while another committee file of its epoch lies in the folder than the one that made
it; lost when neither vault nor recovery data give its share. Verified and active ones serve; a
DKG adds a row beside them and never touches one. A refresh that is certified but not yet proved is *pending*: its
share is held beside the serving one, and signs when the others already use it.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace

import structlog

from tss.dkg.committee import Committee
from tss.dkg.faults import DkgFault, RestoreFault
from tss.dkg.key_states import PURPOSES, KeyStateFault, check_move, unserved
from tss.dkg.participant import restore
from tss.dkg.ports import Identity, Sealer
from tss.dkg.transcript import RecoveryData
from tss.files import sync_folder
from tss.frost.codec import DecodeError
from tss.frost.engine import Engine, GroupPublic, KeyShare
from tss.frost.errors import FrostError
from tss.key_types import ABANDONED, OVER, SERVING, SIGNING, Key, KeyInfo, LostKey
from tss.rotation.chain import Chain
from tss.rotation.link import Link
from tss.rotation_store import RotationRow, RotationStore
from tss.store import KeyRow, Store
from tss.stored_keys import KeyFault, public_of, stored_chain
from tss.vault import ShareVault, VaultFault, wipe

__all__ = ["OVER", "SERVING", "SIGNING", "Key", "KeyFault", "KeyInfo", "Keyring", "LostKey"]

_GRACE_SECONDS = 3.0  # sessions under way end with the shares that they began with


class Keyring:
    """All keys by session id, and the serving one of each purpose."""

    def __init__(
        self,
        store: Store,
        vault: ShareVault,
        engine: Engine,
        sealer: Sealer,
        identity: Identity,
        committees: Iterable[Committee] = (),
    ) -> None:
        self._files = {committee.epoch: committee.hash for committee in committees}
        self._store = store
        self._vault = vault
        self._engine = engine
        self._sealer = sealer
        self._identity = identity
        self._keys: dict[bytes, Key] = {}
        self._pending: dict[bytes, Key] = {}
        self._lost: dict[bytes, LostKey] = {}
        self._damaged: dict[bytes, KeyInfo] = {}
        self._over: dict[bytes, KeyInfo] = {}
        self._leaving: dict[KeyShare, asyncio.TimerHandle] = {}
        self.wiped: Callable[[bytes], object] = (
            bool  # hears of share sets whose share, and nonces, left memory
        )
        self.proving = asyncio.Lock()  # held over: may this key be proved here, and writing that we did so
        self._rotations = RotationStore(store, time.time)
        self._log = structlog.get_logger("tss.keys")

    async def load(self, only: bytes | None = None) -> None:
        """Take up all stored keys, or one; shares that are gone come from recovery data. KeyFault: unreadable."""
        if only is None:
            await self._place_all()
        for row in await self._store.keys():
            if only not in (None, row.sid):
                continue
            try:
                await self._load(row)
            except (
                DecodeError,
                FrostError,
            ) as fault:  # what lies there says nothing: `Mender` fetches it anew
                self._log.error("key damaged", purpose=row.purpose, epoch=row.epoch, why=str(fault))
                self._damaged[row.sid] = KeyInfo(row.purpose, row.epoch, "lost", public_of(row))
        for info in self._over.values():  # of one that ended in the moment in which the process died
            if not self.of(info.purpose, info.epoch):
                self._wipe_file(info)

    async def _place_all(self) -> None:
        """Abandon the keys of a committee file that came to nothing, and take those up again whose file is back.

        Only where another file of the same epoch lies in the folder. In this order: of an epoch one key serves.
        """
        ours: list[KeyRow] = []
        for row in await self._store.keys():
            with suppress(DecodeError, FrostError):  # `_load` finds it damaged
                made_by = RecoveryData.decode(row.recovery).transcript.committee.hash
                if self._files.get(row.epoch, made_by) == made_by:
                    ours.append(row)
                elif row.state not in OVER:
                    self._log.warning("key abandoned", purpose=row.purpose, epoch=row.epoch)
                    await self._store.set_key_state(row.sid, ABANDONED)
        for row in ours:
            if row.state == ABANDONED:
                await self._store.set_key_state(row.sid, "verified" if row.proof else "acked")

    async def _load(self, row: KeyRow) -> None:
        info = KeyInfo(row.purpose, row.epoch, row.state, public_of(row))
        if row.state in OVER:
            self._over[row.sid] = info
            return
        chain = await stored_chain(self._engine, self._rotations, row)
        try:
            share = self._from_vault(row, info.public) or self._restored(chain, info.public)
        except DkgFault as fault:
            self._log.error("share lost", purpose=row.purpose, epoch=row.epoch, why=str(fault))
            lost = replace(info, state="lost")
            self._lost[row.sid] = LostKey(row.sid, lost, chain, row.proof)
            return
        key = Key(row.sid, info, share, chain.base, row.proof, chain.links, chain.repairs)
        self._keys[row.sid] = key
        await self._load_pending(key)

    async def mended(self, sid: bytes, chain: Chain) -> bool:
        """The store holds whole recovery data of a key again: use them. False when the key moved on meanwhile."""
        key = self._keys.get(sid)
        if key is None:
            await self.load(sid)
            for there in (self._lost, self._damaged) if sid in self._keys else ():
                there.pop(sid, None)
            return sid in self._keys
        if chain.check(self._engine) != key.info.public:
            return False
        self._keys[sid] = replace(key, recovery=chain.base, links=chain.links)
        return True

    def close(self) -> None:
        """Wipe the shares and their nonces from memory."""
        for timer in self._leaving.values():
            timer.cancel()
        held = [key.share for key in (*self._keys.values(), *self._pending.values())]
        for share in (*held, *self._leaving):
            share.close()
        self._keys, self._pending, self._leaving = {}, {}, {}

    def get(self, sid: bytes) -> Key | None:
        """A key by its DKG session."""
        return self._keys.get(sid)

    def by_share_set(self, share_set: bytes) -> Key | None:
        """A key by what signing messages name (`GroupPublic.share_set`), or one with its pending share."""
        serving = (k for k in self._keys.values() if k.info.public.share_set == share_set)
        return next(serving, self._pending.get(share_set))

    def pending(self, sid: bytes) -> list[Key]:
        """A key with each of its pending shares, by ascending attempt."""
        held = [key for key in self._pending.values() if key.sid == sid]
        return sorted(held, key=lambda key: (key.links[-1].roster.plan.attempt, key.links[-1].sid))

    def lost(self, purpose: str) -> LostKey | None:
        """The newest key of a purpose whose share is lost."""
        keys = [key for key in self._lost.values() if key.info.purpose == purpose]
        return max(keys, key=lambda key: key.info.epoch, default=None)

    def settled(self, purpose: str, epoch: int) -> bool:
        """Whether nothing is to be learned of a key: its share is lost, or it is over here."""
        over = [info for info in self._over.values() if info.state != ABANDONED]
        known = [*over, *self._damaged.values(), *(key.info for key in self._lost.values())]
        return any((info.purpose, info.epoch) == (purpose, epoch) for info in known)

    def find_lost(self, sid: bytes) -> LostKey | None:
        """A lost key by its DKG session."""
        return self._lost.get(sid)

    def all(self) -> list[Key]:
        """Every key with a share, oldest epoch first."""
        return sorted(self._keys.values(), key=lambda key: (key.info.epoch, key.info.purpose))

    def of(self, purpose: str, epoch: int) -> list[Key]:
        """All certified keys of a purpose and epoch; more than one only while none is verified."""
        return [k for k in self._keys.values() if (k.info.purpose, k.info.epoch) == (purpose, epoch)]

    def serving(self, purpose: str) -> Key | None:
        """The newest verified or active key of a purpose; while there is none, the one that retires."""
        keys = [k for k in self._keys.values() if k.info.purpose == purpose and k.info.state in SIGNING]
        return max(keys, key=lambda k: (k.info.state in SERVING, k.info.epoch), default=None)

    def signing(self, purpose: str, epoch: int) -> Key | None:
        """The key of a purpose and epoch that may sign: verified, active or retiring."""
        return next((key for key in self.of(purpose, epoch) if key.info.state in SIGNING), None)

    def why_none(self, purpose: str) -> str:
        """A sentence for a purpose that nothing serves, with the next move."""
        info = self.infos().get(purpose)
        return unserved(purpose) if info is None else unserved(purpose, info.epoch, info.state)

    def never(self, purpose: str) -> bool:
        """Whether nothing will serve a purpose by waiting: no key is for it, or ours is over."""
        info = self.infos().get(purpose)
        return purpose not in PURPOSES if info is None else info.state in OVER

    def infos(self) -> dict[str, KeyInfo]:
        """Per purpose the serving key, or the newest one on its way."""
        found: dict[str, KeyInfo] = {}
        held = [k.info for k in self._keys.values()] + [k.info for k in self._lost.values()]
        for info in sorted(
            [*self._over.values(), *self._damaged.values(), *held],
            key=lambda i: (i.state in SERVING, i.epoch),
        ):
            found[info.purpose] = info
        return found

    def every_info(self) -> list[KeyInfo]:
        """What may be told of all keys, those that are over and lost ones too, by purpose and epoch."""
        held = [replace(key.info, generation=len(key.links)) for key in self._keys.values()]
        lost = [replace(key.info, generation=key.chain.generation) for key in self._lost.values()]
        return sorted(
            [*held, *lost, *self._damaged.values(), *self._over.values()],
            key=lambda info: (info.purpose, info.epoch),
        )

    async def accept(self, committee: Committee, recovery: RecoveryData, now: float) -> Key:
        """Take up a certified key: check all signatures, restore the share from the transcript once, store both.

        Raises DkgFault when the data is not sound. Accepting the same key again changes nothing.
        """
        roster = recovery.transcript.roster
        known = self._keys.get(roster.sid)
        if known is not None:
            return known
        if roster.sid in self._lost or roster.sid in self._damaged:
            raise KeyFault(f"our share is lost: run `holdfast tss repair --purpose {roster.purpose}`")
        if roster.sid in self._over:
            raise KeyFault(f"this key is {self._over[roster.sid].state} here and is not taken up again")
        if recovery.transcript.committee.hash != committee.hash:
            raise KeyFault("this key was made by another committee file: compare its words with the others")
        share = restore(self._engine, self._sealer, self._identity, recovery)
        self._save_share(roster.purpose, roster.epoch, share)
        row = KeyRow(
            roster.sid,
            roster.purpose,
            roster.epoch,
            "acked",
            share.public.encode(),
            recovery.encode(),
            b"",
            now,
        )
        await self._store.insert_key(row)
        info = KeyInfo(row.purpose, row.epoch, row.state, share.public)
        key = self._keys.setdefault(row.sid, Key(row.sid, info, share, recovery, b""))
        self._log.info("key accepted", purpose=row.purpose, epoch=row.epoch, key=share.public.x_only.hex())
        return key

    async def set_state(self, sid: bytes, state: str, proof: bytes | None = None) -> Key:
        """Move a key to a state, in the store first; KeyFault when no key moves so."""
        key = self._keys[sid]
        _check_move(key, state)
        await self._store.set_key_state(sid, state, proof)
        moved = replace(key, info=replace(key.info, state=state), proof=key.proof if proof is None else proof)
        self._keys[sid] = moved
        self._log.info("key state", purpose=key.info.purpose, epoch=key.info.epoch, state=state)
        return moved

    def hold(self, pending: Key) -> None:
        """Keep a refreshed share beside the serving one until it is proved; its row is stored already."""
        self._pending[pending.info.public.share_set] = pending

    def take_up(self, key: Key) -> None:
        """Serve with these shares from now on; the store says so already. What they replace is wiped."""
        old = self._keys.get(key.sid)
        self._lost.pop(key.sid, None)
        self._pending.pop(key.info.public.share_set, None)
        self._keys[key.sid] = key
        self._write_share(key.info.purpose, key.info.epoch, key.share)
        if old is not None and old.share is not key.share:
            self._leave(old.share)
        attempt = key.links[-1].roster.plan.attempt if key.links else 0
        for other in self.pending(key.sid):
            plan = other.links[-1].roster.plan
            sibling = len(other.links) == len(key.links)
            if len(other.links) < len(key.links) or (sibling and plan.attempt <= attempt):
                self._pending.pop(other.info.public.share_set).share.close()
        self._log.info("shares taken up", purpose=key.info.purpose, generation=len(key.links))

    def repaired(self, key: Key) -> None:
        """The same share with one more repair in its recovery data."""
        self._keys[key.sid] = key

    async def end(self, sid: bytes, state: str) -> None:
        """Move a key to retired or removed: its row stays, its shares are wiped, here and in the vault."""
        assert state in OVER, "a key ends retired or removed"
        _check_move(self._keys[sid], state)
        await self._store.set_key_state(sid, state)
        key = self._keys.pop(sid)
        for other in [key, *self.pending(sid)]:
            self._pending.pop(other.info.public.share_set, None)
            other.share.close()
            self.wiped(other.info.public.share_set)
        self._over[sid] = replace(key.info, state=state)
        self._wipe_file(key.info)
        self._log.info("key ended", purpose=key.info.purpose, epoch=key.info.epoch, state=state)

    def _wipe_file(self, info: KeyInfo) -> None:
        path = self._vault.path(info.purpose, info.epoch)
        if path.exists():
            path.unlink()
            sync_folder(path.parent)

    async def activate(self, purposes: list[str], epoch: int) -> None:
        """Verified → active for the key of an epoch of each purpose; KeyFault when one has none."""
        keys = {purpose: self.signing(purpose, epoch) for purpose in purposes}
        missing = [purpose for purpose, key in keys.items() if key is None]
        if missing:
            names = ", ".join(missing)
            raise KeyFault(f"no verified key of epoch {epoch} for {names}: run `holdfast tss dkg` first")
        for key in keys.values():
            if key is not None and key.info.state == "verified":
                await self.set_state(key.sid, "active")

    def _leave(self, share: KeyShare) -> None:
        def wipe_now() -> None:
            self._leaving.pop(share, None)
            share.close()
            self.wiped(share.public.share_set)

        self._leaving[share] = asyncio.get_running_loop().call_later(_GRACE_SECONDS, wipe_now)

    def _save_share(self, purpose: str, epoch: int, share: KeyShare) -> None:
        # A share that serves is never replaced by one that does not yet.
        if any(key.info.state in SERVING for key in self.of(purpose, epoch)):
            return
        self._write_share(purpose, epoch, share)

    def _write_share(self, purpose: str, epoch: int, share: KeyShare) -> None:
        secret = share.export_secret()
        try:
            self._vault.save(purpose, epoch, secret)
        finally:
            wipe(secret)

    def _from_vault(self, row: KeyRow, public: GroupPublic) -> KeyShare | None:
        secret = None
        try:
            secret = self._vault.load(row.purpose, row.epoch)
            return (
                None
                if secret is None
                else self._engine.import_share(self._identity.index, bytes(secret), public)
            )
        except (FrostError, VaultFault) as error:
            self._log.warning("share file set aside", purpose=row.purpose, epoch=row.epoch, why=str(error))
            return None
        finally:
            if secret is not None:
                wipe(secret)

    def _restored(self, chain: Chain, public: GroupPublic) -> KeyShare:
        share = chain.restore(self._engine, self._sealer, self._identity)
        if share.public != public:
            raise RestoreFault("the recovery data ends before the refresh that counts: repair the share")
        roster = chain.base.transcript.roster
        self._log.info("share restored from recovery data", purpose=roster.purpose, epoch=roster.epoch)
        self._save_share(roster.purpose, roster.epoch, share)
        return share

    async def _load_pending(self, key: Key) -> None:
        for row in await self._rotations.of_key(key.sid, "acked"):
            try:
                self._load_one_pending(key, row)
            except (DecodeError, DkgFault, FrostError) as fault:
                self._log.error("refresh damaged", purpose=key.info.purpose, why=str(fault))

    def _load_one_pending(self, key: Key, row: RotationRow) -> None:
        link = Link.decode(row.body)
        if row.base != key.info.public.share_set or self._identity.index not in link.roster.plan.members:
            return
        chain = key.chain.with_link(link)
        share = chain.restore(self._engine, self._sealer, self._identity)
        self.hold(replace(key, info=replace(key.info, public=share.public), share=share, links=chain.links))


def _check_move(key: Key, state: str) -> None:
    try:
        check_move(f"the {key.info.purpose} key of epoch {key.info.epoch}", key.info.state, state)
    except KeyStateFault as fault:
        raise KeyFault(fault.reason) from fault
