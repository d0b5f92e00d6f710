"""Signatures under a key that this node holds no share of: a member that holds one is asked to lead.

After a committee changed, old keys are held by those who stayed; who came has a say in what they sign, as a planner
and as a judge, but no share. It learns what is public of such a key from any holder, checked against the committee
files in its folder, and asks holders, one after the other, to lead its requests. The holder asks its own approval
port, as for any other; what it brings is checked here.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import suppress
from hashlib import sha256
from itertools import product

import structlog

from tss.approvals import Approvals
from tss.dkg.committee import Committee
from tss.dkg.faults import DkgFault
from tss.dkg.transcript import RecoveryData
from tss.frost.codec import DecodeError
from tss.frost.engine import Engine, GroupPublic, verify
from tss.frost.errors import FrostError
from tss.handover import Handed, Sign
from tss.key_proof import HELD, TEST, HeldKey, KeyProof, held_request
from tss.key_types import ABANDONED
from tss.keyring import OVER, KeyInfo, Keyring, LostKey
from tss.peers import PeerError, Peers, Refuse
from tss.rotation.chain import Chain
from tss.rotation.succession import staying
from tss.signing.approval import Approved, Refused
from tss.signing.slots import request_id
from tss.signing_runner import SigningFailed

LEAD = "tss.sign.lead"

_PURPOSES = ("treasury", "anchor", "mint")
_LEAD_SECONDS = 25.0
_AT_ONCE = 4  # led for one member
_LEAST_SECONDS = 2.0
_LOOK_SECONDS = 1.0  # at first, then twice as long each time
_IDLE_SECONDS = 30.0


class Leading:
    """Knows the keys of earlier epochs that others hold, has them sign, and leads for who holds no share."""

    def __init__(
        self,
        engine: Engine,
        committees: Sequence[Committee],
        peers: Peers,
        keyring: Keyring,
        approvals: Approvals,
        sign: Sign,
    ) -> None:
        """`committees` are those of all epochs that the folder vouches for, the present one the last."""
        self._engine, self._committee = engine, committees[-1]
        self._earlier = {one.epoch: one for one in committees[:-1]}
        self._peers, self._keyring, self._approvals, self._sign = peers, keyring, approvals, sign
        self._found: dict[tuple[str, int], LostKey] = {}
        self._led: Counter[int] = Counter()
        self._task: asyncio.Task[None] | None = None
        self._log = structlog.get_logger("tss.sign")

    def register(self, peers: Peers) -> None:
        """Answer LEAD."""
        peers.handle(LEAD, self._lead)

    def start(self) -> None:
        """Begin to ask for what is public of the earlier epochs' keys."""
        if self._earlier:
            self._task = asyncio.get_running_loop().create_task(self._learn())

    async def close(self) -> None:
        """Stop asking."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    def concerns(self, purpose: str, epoch: int) -> bool:
        """Whether a key is one of an earlier epoch that we hold no share of, though others may."""
        held = self._keyring.signing(purpose, epoch) is not None
        return not held and epoch in self._earlier and purpose in _PURPOSES and not self._over(purpose, epoch)

    def public(self, purpose: str, epoch: int) -> GroupPublic | None:
        """What is public of a key that we hold no share of, as far as it was learned."""
        key = self._found.get((purpose, epoch))
        return None if key is None else key.info.public

    def holders(self, purpose: str, epoch: int) -> tuple[int, ...]:
        """Who of the present committee holds a share of it."""
        key = self._found.get((purpose, epoch))
        if key is None:
            return ()
        return staying(key.committee, self._committee, key.info.public.verifying_shares)

    async def sign(self, purpose: str, payload: bytes, epoch: int, timeout: float) -> list[bytes]:
        """Signatures by a key of others, over what our own port approves; SigningFailed as `TssNode.sign`."""
        if (purpose, epoch) not in self._found:
            await self._ask(purpose, epoch)
        key = self._found.get((purpose, epoch))
        if key is None:
            reason = (
                f"this node holds no share of a {purpose} key of epoch {epoch}, and nobody up told of one"
            )
            raise SigningFailed("no-key", reason, retryable=True)
        approval = await self._approvals.ask(key, purpose, payload)
        if isinstance(approval, Refused):
            reason = f"this node refuses: {approval.reason}"
            raise SigningFailed("refused", reason, retryable=approval.retryable)
        body, said, deadline = Handed(purpose, epoch, payload, b"").encode(), list[str](), _now() + timeout
        asked = self._in_turn(self.holders(purpose, epoch), request_id(purpose, payload, epoch))
        for left, member in zip(range(len(asked), 0, -1), asked, strict=True):
            patience = max(_LEAST_SECONDS, (deadline - _now()) / left)  # nobody who is silent takes it all
            try:
                answer = await self._peers.call(member, LEAD, body, timeout=patience)
            except PeerError as error:
                said.append(error.reason)
                continue
            signatures = _checked(key.info.public, approval, answer)
            if signatures is not None:
                return signatures
            said.append(f"{self._peers.name(member)} brought signatures that are not valid")
        who = "; ".join(said) or "nobody who holds a share is in this committee"
        reason = (
            f"this node holds no share of the {purpose} key of epoch {epoch} and nobody led for it: {who}"
        )
        raise SigningFailed("too-few-signers", reason, retryable=True)

    def _in_turn(self, holders: Iterable[int], request: bytes) -> list[int]:
        """Who is up first, and then another one first for each request."""

        def rank(member: int) -> tuple[bool, bytes]:
            turn = sha256(request + member.to_bytes(2, "big")).digest()
            return self._peers.seen[member].down is not None, turn

        return sorted((member for member in holders if member != self._peers.index), key=rank)

    async def _lead(self, member: int, body: bytes) -> bytes:
        try:
            wanted = Handed.decode(body)
        except DecodeError as error:
            raise Refuse("malformed", str(error)) from error
        if wanted.purpose == TEST or self._keyring.signing(wanted.purpose, wanted.epoch) is None:
            raise Refuse("no-key", f"we lead no {wanted.purpose} request of epoch {wanted.epoch}")
        if self._led[member] >= _AT_ONCE:
            raise Refuse("busy", f"{_AT_ONCE} requests of yours are led here now: ask later")
        self._led[member] += 1
        try:
            made = await self._sign(wanted.purpose, wanted.payload, _LEAD_SECONDS, wanted.epoch)
        except SigningFailed as failed:
            raise Refuse(failed.code, failed.reason) from failed
        finally:
            self._led[member] -= 1
        return b"".join(made)

    async def _learn(self) -> None:
        pause = _LOOK_SECONDS
        while True:
            try:
                for purpose, epoch in product(_PURPOSES, self._earlier):
                    if (purpose, epoch) not in self._found and self.concerns(purpose, epoch):
                        await self._ask(purpose, epoch)
            except Exception:
                self._log.exception("learning of earlier keys failed")
            await asyncio.sleep(pause)
            pause = min(2 * pause, _IDLE_SECONDS)

    def _over(self, purpose: str, epoch: int) -> bool:
        infos = [info for info in self._keyring.every_info() if info.state != ABANDONED]
        return any((i.purpose, i.epoch) == (purpose, epoch) and i.state in OVER for i in infos)

    async def _ask(self, purpose: str, epoch: int) -> None:
        """Learn of a key from any holder."""
        question = held_request(purpose, epoch)
        for member, answer in (await self._peers.gather(HELD, question, timeout=5)).items():
            if isinstance(answer, PeerError) or not answer:
                continue
            try:
                key = await asyncio.to_thread(self._read, purpose, epoch, answer)
            except (ValueError, DkgFault, FrostError) as error:
                self._log.info("a peer's key was not taken", member=self._peers.name(member), why=str(error))
                continue
            self._found[purpose, epoch] = key
            return

    def _read(self, purpose: str, epoch: int, answer: bytes) -> LostKey:
        """The key that an answer proves; ValueError, DkgFault or FrostError when it proves none."""
        held = HeldKey.decode(answer)
        chain = Chain(RecoveryData.decode(held.recovery))
        public, roster = chain.check(self._engine), chain.base.transcript.roster
        if (roster.purpose, roster.epoch) != (purpose, epoch):
            raise DecodeError("it is another key than was asked for")
        if chain.committee.hash != self._earlier[epoch].hash:
            raise DecodeError(f"it was made by another committee than this folder's of epoch {epoch}")
        # Its n-of-n signature tells the one key that serves from others that were certified beside it.
        key = LostKey(roster.sid, KeyInfo(purpose, epoch, "retiring", public), chain, held.proof)
        if not KeyProof.decode(held.proof).holds_for(key):
            raise DecodeError("its proof is no signature of all members")
        return key


def _checked(public: GroupPublic, approved: Approved, answer: bytes) -> list[bytes] | None:
    signatures = [answer[at : at + 64] for at in range(0, len(answer), 64)]
    if len(signatures) != len(approved.messages):
        return None
    for (message, path), signature in zip(approved.messages, signatures, strict=True):
        if not verify(public.output_key(path)[0], message, signature):
            return None
    return signatures


def _now() -> float:
    return asyncio.get_running_loop().time()
