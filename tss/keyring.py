"""The keys of this node: certified rows of signer.db, shares in the vault, handles in the engine.

A key's states (DESIGN section 4): certified, acked, verified, active, retired. Only verified and active ones
serve; a DKG adds a row beside them and never touches one.
"""

from dataclasses import dataclass, replace
from typing import Final

import structlog

from tss.dkg.committee import Committee
from tss.dkg.participant import restore
from tss.dkg.ports import Identity, Sealer
from tss.dkg.transcript import RecoveryData
from tss.frost.engine import Engine, GroupPublic, KeyShare
from tss.frost.errors import FrostError
from tss.store import KeyRow, Store
from tss.vault import ShareVault, VaultFault, wipe

SERVING: Final = frozenset({"verified", "active"})


class KeyFault(Exception):
    """A key that cannot be taken up, or not moved to a state; the sentence names the next move."""


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """What may be told of a key; `public.x_only` is what signatures verify under on the internal path."""

    purpose: str
    epoch: int
    state: str
    public: GroupPublic


@dataclass(frozen=True, slots=True)
class Key:
    """A key with our share of it."""

    sid: bytes
    info: KeyInfo
    share: KeyShare
    recovery: RecoveryData
    proof: bytes


class Keyring:
    """All keys by session id, and the serving one of each purpose."""

    def __init__(
        self, store: Store, vault: ShareVault, engine: Engine, sealer: Sealer, identity: Identity
    ) -> None:
        self._store = store
        self._vault = vault
        self._engine = engine
        self._sealer = sealer
        self._identity = identity
        self._keys: dict[bytes, Key] = {}
        self._log = structlog.get_logger("tss.keys")

    async def load(self) -> None:
        """Take up every stored key; a missing or damaged share file is restored from the recovery data."""
        for row in await self._store.keys():
            recovery = RecoveryData.decode(row.recovery)
            public = GroupPublic.decode(row.public)
            share = self._from_vault(row, public) or self._restored(recovery)
            info = KeyInfo(row.purpose, row.epoch, row.state, public)
            self._keys[row.sid] = Key(row.sid, info, share, recovery, row.proof)

    def close(self) -> None:
        """Wipe the shares and their nonces from memory."""
        for key in self._keys.values():
            key.share.close()
        self._keys = {}

    def get(self, sid: bytes) -> Key | None:
        """A key by its DKG session."""
        return self._keys.get(sid)

    def by_share_set(self, share_set: bytes) -> Key | None:
        """A key by what signing messages name (`GroupPublic.share_set`)."""
        return next((k for k in self._keys.values() if k.info.public.share_set == share_set), None)

    def of(self, purpose: str, epoch: int) -> list[Key]:
        """All certified keys of a purpose and epoch; more than one only while none is verified."""
        return [k for k in self._keys.values() if (k.info.purpose, k.info.epoch) == (purpose, epoch)]

    def serving(self, purpose: str) -> Key | None:
        """The newest verified or active key of a purpose."""
        keys = [k for k in self._keys.values() if k.info.purpose == purpose and k.info.state in SERVING]
        return max(keys, key=lambda k: k.info.epoch, default=None)

    def infos(self) -> dict[str, KeyInfo]:
        """Per purpose the serving key, or the newest one on its way."""
        found: dict[str, KeyInfo] = {}
        for key in sorted(self._keys.values(), key=lambda k: (k.info.state in SERVING, k.info.epoch)):
            found[key.info.purpose] = key.info
        return found

    async def accept(self, committee: Committee, recovery: RecoveryData, now: float) -> Key:
        """Take up a certified key: check all signatures, restore the share from the transcript once, store both.

        Raises DkgFault when the data is not sound. Accepting the same key again changes nothing.
        """
        roster = recovery.transcript.roster
        known = self._keys.get(roster.sid)
        if known is not None:
            return known
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
        """Move a key to a state, in the store first."""
        key = self._keys[sid]
        await self._store.set_key_state(sid, state, proof)
        moved = replace(key, info=replace(key.info, state=state), proof=key.proof if proof is None else proof)
        self._keys[sid] = moved
        self._log.info("key state", purpose=key.info.purpose, epoch=key.info.epoch, state=state)
        return moved

    async def activate(self, purposes: list[str]) -> None:
        """Verified → active for the newest key of each purpose; KeyFault when one has none."""
        keys = {purpose: self.serving(purpose) for purpose in purposes}
        missing = [purpose for purpose, key in keys.items() if key is None]
        if missing:
            raise KeyFault(f"no verified key for {', '.join(missing)}: run `holdfast tss dkg` first")
        for key in keys.values():
            if key is not None and key.info.state == "verified":
                await self.set_state(key.sid, "active")

    def _save_share(self, purpose: str, epoch: int, share: KeyShare) -> None:
        # A share that serves is never replaced by one that does not yet.
        if any(key.info.state in SERVING for key in self.of(purpose, epoch)):
            return
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

    def _restored(self, recovery: RecoveryData) -> KeyShare:
        share = restore(self._engine, self._sealer, self._identity, recovery)
        roster = recovery.transcript.roster
        self._log.info("share restored from recovery data", purpose=roster.purpose, epoch=roster.epoch)
        self._save_share(roster.purpose, roster.epoch, share)
        return share
