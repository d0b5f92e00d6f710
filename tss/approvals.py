"""Who says yes: the port that the node was given, and tss itself for its own `test` signatures only."""

import asyncio
from collections import Counter

import structlog

from tss.frost.path import INTERNAL
from tss.key_proof import OUTRANKED, TEST, message_for_test, outranked, verify_payload
from tss.keyring import SIGNING, Key, Keyring, LostKey
from tss.pause import Pause
from tss.signing.approval import ApprovalPort, Approved, Refused
from tss.store import Store

_MAX_TEST = 1024
_SECONDS = 20.0


class Approvals:
    """Asks for every request, never remembers a yes."""

    def __init__(self, keyring: Keyring, store: Store, pause: Pause | None = None) -> None:
        self._keyring, self._store, self._pause = keyring, store, pause
        self.counts: Counter[tuple[str, int, bool]] = (
            Counter()
        )  # (purpose, key epoch, approved) since the start
        self._port: ApprovalPort | None = None
        self._log = structlog.get_logger("tss.approval")

    def use(self, port: ApprovalPort) -> None:
        """Ask this port for every purpose but `test`."""
        self._port = port

    async def ask(self, key: Key | LostKey, purpose: str, payload: bytes) -> Approved | Refused:
        """What may be signed under this key for this request, or why nothing; our share of it does not matter."""
        said = await self._ask(key, purpose, payload)
        if self._pause is not None and self._pause.now is not None:  # said meanwhile, it counts too
            said = Refused(f"signing is paused here: {self._pause.now.reason}", retryable=True)
        named = purpose if purpose == TEST else key.info.purpose
        self.counts[named, key.info.epoch, isinstance(said, Approved)] += 1
        return said

    async def _ask(self, key: Key | LostKey, purpose: str, payload: bytes) -> Approved | Refused:
        if purpose == TEST and isinstance(key, Key):
            return await self._test(key, payload)
        if key.info.purpose != purpose or key.info.state not in SIGNING:
            return Refused(
                f"the {key.info.purpose} key in state {key.info.state} signs no {purpose}", retryable=False
            )
        if self._port is None:
            return Refused(f"nothing on this node can judge {purpose} requests yet", retryable=True)
        try:
            async with asyncio.timeout(_SECONDS):
                return await self._port.approve(purpose, payload, key.info.epoch)
        except TimeoutError:
            return Refused(f"this node could not check the request within {_SECONDS:g} s", retryable=True)
        except Exception as error:
            self._log.exception("the approval port failed", purpose=purpose)
            return Refused(f"this node could not check the request ({type(error).__name__})", retryable=True)

    async def _test(self, key: Key, payload: bytes) -> Approved | Refused:
        head, zero, text = payload.partition(b"\0")
        if not zero or head != key.info.purpose.encode() or len(payload) > _MAX_TEST:
            return Refused(
                "a test names its key's purpose, a zero byte and at most 1000 bytes", retryable=False
            )
        if text.startswith(b"verify "):
            if payload != verify_payload(key.info.purpose, key.sid):
                return Refused("a test that begins with `verify` verifies its own key", retryable=False)
            if await outranked(self._keyring, self._store, key):
                return Refused(OUTRANKED, retryable=False)
        return Approved(((message_for_test(payload), INTERNAL),))
