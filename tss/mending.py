"""Recovery data that a disk damaged or lost, made whole from the other members'.

A share that serves is of no use for long without the transcripts it came from: no refresh can follow them and no
backup restores it. They are public, equal at all members and signed by all, so any copy that checks and leads to
our own group is as good as ours was; and with it and the host key a lost share comes back without anybody's help.
"""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

import structlog

from tss.backup import leads_to_its_key, stored_chains
from tss.dkg.committee import Committee
from tss.frost.engine import Engine
from tss.keyring import OVER, Keyring
from tss.peers import PeerError, Peers
from tss.recovery import RecoveryChain
from tss.rehearsal import HEADS, decode_heads, fetched_chain
from tss.rotation.chain import Chain
from tss.rotation_keys import row_of
from tss.rotation_store import RotationStore
from tss.store import Store

_SECONDS = 5.0


class Mender:
    """Looks at every key's stored chain once a start, and fetches those that do not hold until they do."""

    def __init__(
        self,
        engine: Engine,
        committees: Sequence[Committee],
        peers: Peers,
        keyring: Keyring,
        store: Store,
        clock: Callable[[], float],
    ) -> None:
        self._engine, self._committees, self._peers = engine, committees, peers
        self._keyring, self._store, self._clock = keyring, store, clock
        self._rotations = RotationStore(store, clock)
        self._task: asyncio.Task[None] | None = None
        self._log = structlog.get_logger("tss.keys")
        self.damaged: tuple[str, ...] = ()  # purposes

    def start(self) -> None:
        """Begin to look."""
        self._task = asyncio.get_running_loop().create_task(self._until_whole())

    async def close(self) -> None:
        """Stop."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def look(self) -> list[RecoveryChain]:
        """The keys in use whose recovery data do not hold or do not lead to their group."""
        used = [chain for chain in await stored_chains(self._store) if chain.state not in OVER]
        found = [chain for chain in used if not await asyncio.to_thread(leads_to_its_key, chain)]
        self.damaged = tuple(chain.purpose for chain in found)
        return found

    async def mend(self, damaged: RecoveryChain) -> bool:
        """Take a copy of one key's chain from whoever has one that leads to our group; whether there was one."""
        answers = await self._peers.gather(HEADS, b"", timeout=_SECONDS)
        for member, answer in answers.items():
            with suppress(PeerError, ValueError):
                heads = [] if isinstance(answer, PeerError) else decode_heads(answer)
                for head in heads:
                    if head.sid != damaged.sid:
                        continue
                    copy = await fetched_chain(self._peers, member, head, self._committees)
                    if copy is not None and await self._take(damaged, copy):
                        self._log.info(
                            "recovery data made whole", purpose=damaged.purpose, by=self._peers.name(member)
                        )
                        return True
        return False

    async def _take(self, damaged: RecoveryChain, copy: RecoveryChain) -> bool:
        groups = await asyncio.to_thread(copy.read().publics, self._engine)
        encoded = [group.encode() for group in groups]
        if damaged.public not in encoded or (copy.purpose, copy.epoch) != (damaged.purpose, damaged.epoch):
            return False
        # What the others did since comes as every refresh does that this node missed.
        chain = Chain.decode(copy.links[: encoded.index(damaged.public) + 1])
        rows = []
        for link, public in zip(chain.links, groups[1:], strict=False):
            known = await self._rotations.get(link.sid)
            proof = b"" if known is None else known.proof
            rows.append(row_of(link, 0, "proved", public, self._clock(), proof))
        await self._rotations.mend(damaged.sid, chain.base.encode(), rows)
        return await self._keyring.mended(damaged.sid, chain)

    async def _until_whole(self) -> None:
        while True:
            try:
                found: Sequence[RecoveryChain] = await self.look()
                if not found:
                    return
                for chain in found:
                    self._log.error("recovery data damaged", purpose=chain.purpose, epoch=chain.epoch)
                    await self.mend(chain)
                if not await self.look():
                    return
            except Exception:
                self._log.exception("mending recovery data failed")
            await asyncio.sleep(_SECONDS)
