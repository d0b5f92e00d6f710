"""Keys of this epoch that others hold finished while this node does not: it may have died before it heard."""

import time
from collections.abc import Callable

import structlog

from tss.dkg.committee import Committee
from tss.dkg.faults import DkgFault
from tss.dkg.transcript import RecoveryData
from tss.dkg_relay import DkgFailed, DkgRelay
from tss.frost.errors import FrostError
from tss.key_proof import HELD, HeldKey, KeyProof, KeyTopics, ProofNotOurs, held_request
from tss.keyring import KeyFault, Keyring
from tss.peers import PeerError, Peers
from tss.store import Store

_PROVE_AGAIN_SECONDS = 30.0


class LateKeys:
    """Asks who holds a key finished that is half-made here."""

    def __init__(
        self,
        committee: Committee,
        peers: Peers,
        keyring: Keyring,
        topics: KeyTopics,
        relay: DkgRelay,
        store: Store,
        clock: Callable[[], float],
    ) -> None:
        self._committee, self._peers, self._keyring, self._topics = committee, peers, keyring, topics
        self._relay, self._store, self._clock = relay, store, clock
        self._prove_after: dict[str, float] = {}
        self._log = structlog.get_logger("tss.keys")

    async def look(self) -> None:
        """Ask for every key that is half-made here."""
        for purpose in await self._unfinished():
            await self._learn(purpose)

    async def _unfinished(self) -> set[str]:
        epoch = self._committee.epoch
        begun = {row.purpose for row in await self._store.signed_attempts(epoch)}
        begun |= {info.purpose for info in self._keyring.every_info() if info.epoch == epoch}
        missing = {purpose for purpose in begun if self._keyring.signing(purpose, epoch) is None}
        return {purpose for purpose in missing if not self._keyring.settled(purpose, epoch)}

    async def _prove_again(self, purpose: str) -> None:
        """A key that came back without the row of our share in its proof: with all members up one is soon made."""
        away = any(info.down is not None for info in self._peers.seen.values())
        if away or time.monotonic() < self._prove_after.get(purpose, 0.0):
            return
        self._prove_after[purpose] = time.monotonic() + _PROVE_AGAIN_SECONDS
        try:
            await self._relay.run(purpose)
        except DkgFailed as failed:
            self._log.info("a key is not proved yet", purpose=purpose, why=failed.reason)

    async def _learn(self, purpose: str) -> None:
        answers = await self._peers.gather(HELD, held_request(purpose, self._committee.epoch), timeout=5)
        for member, answer in answers.items():
            if isinstance(answer, PeerError) or not answer:
                continue
            try:
                held = HeldKey.decode(answer)
                recovery = RecoveryData.decode(held.recovery)
                key = await self._keyring.accept(self._committee, recovery, self._clock())
                if held.proof:
                    await self._topics.adopt(key, KeyProof.decode(held.proof))
            except ProofNotOurs:
                await self._prove_again(purpose)
            except (ValueError, DkgFault, FrostError, KeyFault) as error:
                self._log.info("a peer's key was not taken", member=self._peers.name(member), why=str(error))
