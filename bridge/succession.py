"""How a committee hands the bridge on: a record, signed by every member of the next, then by the old mint key.

Every node makes the record itself, from its own committee file, its own verified keys and its own copy of the
rollup, so whoever proposes can only say when. What a node lets pass is stored before a signature exists: one
record per key epoch. A complete record is handed to all members, and each brings it to the rollup until it is
there.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, fields, replace

from structlog.typing import FilteringBoundLogger

from anchor.btc.codec import CodecError
from anchor.rollup.genesis import Genesis
from anchor.rollup.succession import Epochs, KeyEpoch, SignedSuccession, Succession, SuccessionRefused
from anchor.rollup.tx import Succeed
from anchor.rollup_client import RollupError, RollupRefused
from bridge.ceremony import PURPOSES
from bridge.store import BridgeStore
from bridge.treasury import certificates
from bridge.treasury.certificates import CertificateFault
from tss.node import SigningFailed, TssNode
from tss.peers import PeerError, Peers, Refuse

PROPOSE, PUBLISH = "bridge.succession", "bridge.succeeded"
_ASK_SECONDS, _SIGN_SECONDS = 20, 30


class SuccessionFault(Exception):
    """Why there is no succession yet; `code` is stable, the sentence names the next move."""

    def __init__(self, code: str, reason: str, *, retryable: bool = False) -> None:
        super().__init__(reason)
        self.code, self.reason, self.retryable = code, reason, retryable


@dataclass(frozen=True, slots=True)
class Bridge:
    """What the desk asks of the running bridge.

    `epochs` are those of this node's copy of the rollup, None before the activation; `hinders` says why no
    committee may hand on now; `submit` posts a transaction to the rollup.
    """

    genesis: Genesis
    epochs: Callable[[], Epochs | None]
    hinders: Callable[[], str | None]
    submit: Callable[[bytes], Awaitable[object]]


class SuccessionDesk:
    """This node's part in a succession. With `asks` its operator must consent first, as outside regtest."""

    def __init__(
        self,
        bridge: Bridge,
        tss: TssNode,
        peers: Peers,
        store: BridgeStore,
        *,
        asks: bool,
        log: FilteringBoundLogger,
    ) -> None:
        self.bridge, self.tss, self.peers, self.store = bridge, tss, peers, store
        self.asks, self.log = asks, log
        self.complete: SignedSuccession | None = None  # signed by all, not in our copy of the rollup yet
        self.refusal: str | None = None  # what the rollup last said of it

    def serve(self) -> None:
        """Answer the other members."""
        self.peers.handle(PROPOSE, self.on_propose)
        self.peers.handle(PUBLISH, self.on_publish)

    # The record

    def own(self) -> Succession:
        """The record that this node would sign. SuccessionFault says what is missing."""
        before, committee, genesis = self._latest(), self.tss.committee, self.bridge.genesis
        self._check_place(before)
        keys = []
        for purpose in PURPOSES:
            public = self.tss.public(purpose, committee.epoch)
            if public is None:
                raise SuccessionFault(
                    "no_key",
                    f"there is no verified {purpose} key of epoch {committee.epoch}: "
                    f"make it with `holdfast tss dkg --dir … --purpose {purpose}`",
                    retryable=True,
                )
            keys.append(public.group_key)
        record = Succession(
            genesis.rollup_id,
            genesis.hash,
            genesis.network,
            committee.epoch,
            before.record,
            committee.hash,
            tuple(member.host_key for member in committee.members),
            committee.threshold,
            *keys,
        )
        epochs = self.bridge.epochs()
        assert epochs is not None
        try:
            epochs.check_next(record)
        except SuccessionRefused as refused:
            raise SuccessionFault(refused.code, refused.reason) from refused
        return record

    def begun(self) -> KeyEpoch | None:
        """The epoch of our own committee file, when a succession has begun it in our copy of the rollup."""
        epochs, ours = self.bridge.epochs(), self.tss.committee
        known = None if epochs is None else epochs.get(ours.epoch)
        if known is None or known.since is None or known.committee_hash != ours.hash:
            return None
        return known

    def _latest(self) -> KeyEpoch:
        epochs = self.bridge.epochs()
        if epochs is None:
            raise SuccessionFault(
                "not_active",
                "the bridge is not active in this node's copy of the rollup: wait until it has read it",
                retryable=True,
            )
        return epochs.latest

    def _check_place(self, before: KeyEpoch) -> None:
        """Whether our committee file is the one after the latest epoch's."""
        ours = self.tss.committee
        if ours.epoch == before.number and ours.hash == before.committee_hash:
            raise SuccessionFault(
                "no_next_committee",
                f"epoch {before.number} is this committee's and has begun: for the next one, all members sign and "
                "accept a new committee file first (`holdfast tss rotate propose`, `accept`)",
            )
        if ours.epoch <= before.number:
            raise SuccessionFault(
                "left_behind",
                f"epoch {before.number} has begun, and this node's committee file is of epoch {ours.epoch}: accept "
                "the file of that epoch, when this node is in it",
            )
        if (ours.epoch, ours.previous) != (before.number + 1, before.committee_hash):
            raise SuccessionFault(
                "wrong_committee",
                f"this node's committee file, of epoch {ours.epoch}, does not succeed that of epoch {before.number}"
                ", the latest in this node's copy of the rollup: wait until it has read on, or compare the files",
                retryable=True,
            )

    def _check(self, record: Succession) -> None:
        """Return when it is what this node would make; SuccessionFault names the field otherwise."""
        own = self.own()
        for field in fields(Succession):
            ours, theirs = getattr(own, field.name), getattr(record, field.name)
            if ours != theirs:
                raise SuccessionFault(
                    "another_record",
                    f"the record says {field.name} = {_told(theirs)}, this node expects {_told(ours)}",
                )

    async def _agree(self, record: Succession) -> None:
        """Return once this node stands by a record, and stored that; SuccessionFault otherwise."""
        self._check(record)
        if (why := self.bridge.hinders()) is not None:
            raise SuccessionFault("not_now", why, retryable=True)
        digest, command = record.hash, f"`holdfast bridge epoch consent {record.hash.hex()}`"
        consented = await self.store.document(_consent(record.epoch)) == digest
        before = await self.store.document(_signed(record.epoch))
        if before not in (None, digest) and not consented:
            raise SuccessionFault(
                "signed_another",
                f"this node has signed another record for epoch {record.epoch}, {before.hex()}: "
                f"if that one came to nothing, the operator consents by {command}",
                retryable=True,
            )
        if self.asks and not consented:
            raise SuccessionFault("no_consent", f"the operator must consent first: {command}", retryable=True)
        await self.store.save_document(_signed(record.epoch), digest)

    async def consent(self, digest: bytes) -> Succession:
        """Keep the operator's word that this record may be signed: only for the one this node would make."""
        record = self.own()
        if record.hash != digest:
            raise SuccessionFault(
                "another_record",
                f"the record that this node would sign is {record.hash.hex()}: compare keys and committee words "
                "with the other operators before you consent",
            )
        await self.store.save_document(_consent(record.epoch), digest)
        return record

    # Signatures

    async def propose(self) -> SignedSuccession:
        """Make the record, collect every signature, hand it to all. SuccessionFault names who did not sign and why.

        Proposing again, after a crash or by somebody else, makes the same record.
        """
        before = self._latest()
        record = self.own()
        await self._agree(record)
        signed = SignedSuccession(record, await self._operators(record))
        try:
            signed.check_operators()
            payload = certificates.encode_succession(signed)
            (signature,) = await self.tss.sign("mint", payload, epoch=before.number, timeout=_SIGN_SECONDS)
            signed = replace(signed, mint_signature=signature)
            signed.verify(before)
        except SuccessionRefused as refused:
            raise SuccessionFault(refused.code, refused.reason) from refused
        except SigningFailed as failed:
            raise SuccessionFault(
                "no_mint_signature",
                f"the mint key of epoch {before.number} did not sign the succession: {failed}",
                retryable=True,
            ) from failed
        await self._keep(signed)
        await self.peers.gather(PUBLISH, signed.encode(), timeout=10)
        return signed

    async def _operators(self, record: Succession) -> tuple[bytes, ...]:
        answers = await self.peers.gather(PROPOSE, record.encode(), timeout=_ASK_SECONDS)
        signatures = []
        for index in range(1, len(record.host_keys) + 1):
            if index == self.peers.index:
                signatures.append(self.tss.host_sign(record.hash))
                continue
            answer = answers[index]
            if isinstance(answer, PeerError):
                raise SuccessionFault(
                    "not_signed",
                    f"{self.peers.name(index)} did not sign the succession: {answer}",
                    retryable=True,
                )
            signatures.append(answer)
        return tuple(signatures)

    async def on_propose(self, _member: int, body: bytes) -> bytes:
        """Sign a member's record with our host key, or refuse it by name."""
        try:
            record = Succession.decode(body)
            await self._agree(record)
        except CodecError as fault:
            raise Refuse("not-signed", str(fault)) from fault
        except SuccessionFault as fault:
            raise Refuse(fault.code.replace("_", "-"), fault.reason) from fault
        self.log.warning("succession signed", epoch=record.epoch, record=record.hash.hex())
        return self.tss.host_sign(record.hash)

    async def approve(self, payload: bytes, epoch: int) -> Succession:
        """Return the record that the mint key of `epoch` may sign. SuccessionFault otherwise."""
        try:
            signed = certificates.decode_succession(payload)
        except CertificateFault as fault:
            raise SuccessionFault("bad_record", str(fault)) from fault
        latest = self._latest()
        if epoch != latest.number:
            raise SuccessionFault(
                "wrong_epoch",
                f"a succession is signed by the mint key of the latest epoch, {latest.number}, not of {epoch}",
            )
        self._check(signed.succession)  # the field that differs says more than a signature that is wrong
        try:
            signed.check_operators()
        except SuccessionRefused as refused:
            raise SuccessionFault(refused.code, refused.reason) from refused
        await self._agree(signed.succession)
        return signed.succession

    # On its way to the rollup

    async def load(self) -> None:
        """Take up a complete record that the rollup had not taken when this node stopped."""
        epochs = self.bridge.epochs()
        stored = None if epochs is None else await self.store.document(_complete(epochs.latest.number + 1))
        if stored is not None:
            with suppress(CodecError):  # damaged: the others bring it, or it is proposed again
                self.complete = SignedSuccession.decode(stored)

    async def on_publish(self, _member: int, body: bytes) -> bytes:
        """Keep a complete record that a member brings."""
        try:
            signed = SignedSuccession.decode(body)
            if not self._known(signed):
                signed.verify(self._latest())
                await self._keep(signed)
        except (CodecError, SuccessionRefused, SuccessionFault) as fault:
            raise Refuse("bad-succession", str(fault)) from fault
        return b""

    async def bring(self) -> None:
        """Post the complete record while our copy of the rollup lacks it; nothing when there is none."""
        signed = self.complete
        if signed is None:
            return
        epochs = self.bridge.epochs()
        if epochs is not None and epochs.latest.number >= signed.succession.epoch:
            self.complete = self.refusal = None
            return
        try:
            await self.bridge.submit(Succeed(signed).encode())
        except RollupRefused as refused:  # perhaps another member's copy is under way
            self.refusal = f"{refused.code}: {refused.detail}"
        except RollupError as error:
            self.refusal = str(error)
        else:
            self.refusal = None

    def _known(self, signed: SignedSuccession) -> bool:
        epochs = self.bridge.epochs()
        begun = None if epochs is None else epochs.get(signed.succession.epoch)
        if begun is not None:
            return begun.record == signed.succession.hash
        return self.complete is not None and self.complete.succession == signed.succession

    async def _keep(self, signed: SignedSuccession) -> None:
        await self.store.save_document(_complete(signed.succession.epoch), signed.encode())
        self.complete = signed
        self.log.info("succession", epoch=signed.succession.epoch, record=signed.succession.hash.hex())


def _told(value: object) -> str:
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, tuple):
        return " ".join(key.hex()[:16] + "…" for key in value)
    return str(value)


def _signed(epoch: int) -> str:
    return f"succession-signed-{epoch}"


def _consent(epoch: int) -> str:
    return f"succession-consent-{epoch}"


def _complete(epoch: int) -> str:
    return f"succession-{epoch}"
