"""Talks to a rollup over HTTP; every answer is parsed into types, every refusal keeps its code."""

from collections.abc import Callable, Sequence
from typing import Any, Self, TypeVar

import aiohttp
import msgspec

from anchor.btc.codec import CodecError
from anchor.rollup.activation import SignedActivation
from anchor.rollup.block import Block, CertifiedBlock, Vote
from anchor.rollup.genesis import Genesis
from anchor.rollup.succession import SignedSuccession
from anchor.rollup_wire import (
    AccountView,
    Blocks,
    DecidedView,
    EpochView,
    Handover,
    Proposal,
    ReorgView,
    Standing,
    Status,
    Submission,
    Submitted,
    TransactionView,
    Voted,
    Votes,
    WithdrawalView,
)

MAX_ANSWER = 16 << 20
_T = TypeVar("_T")


class RollupError(Exception):
    """Anything that went wrong between us and the rollup; the sentence names the next move."""


class RollupUnreachable(RollupError):
    """No answer, or none that a rollup gives."""


class RollupRefused(RollupError):
    """The rollup said no: `status` of HTTP, `code`, `retryable` and `remedy` as in its problem+json."""

    def __init__(self, status: int, problem: dict[str, Any]) -> None:
        self.status = status
        self.code = str(problem.get("code", "http_error"))
        self.detail = str(problem.get("detail") or problem.get("title") or f"HTTP {status}")
        self.retryable = bool(problem.get("retryable", status >= 500))
        self.remedy = str(problem.get("remedy", ""))
        super().__init__(f"the rollup refused ({self.code}): {self.detail}")


class RollupClient:
    """A client of one sequencer; safe to share between tasks of one event loop.

    `url` is the root of its API. A `session` that is passed in is not closed here. `timeout` in seconds.
    """

    def __init__(
        self, url: str, *, session: aiohttp.ClientSession | None = None, timeout: float = 15.0
    ) -> None:
        self.url = url.rstrip("/")
        self._session, self._own = session, session is None
        self._timeout = timeout

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections, if they are ours."""
        if self._own and self._session is not None:
            await self._session.close()
            self._session = None

    async def genesis(self) -> Genesis:
        """The rollup's genesis as it claims it: compare its hash with the one you know."""
        data = await self._get("/v1/genesis")
        return Genesis.from_json(data)

    async def status(self) -> Status:
        """Heights, view of Bitcoin, supply and escrow."""
        return await self._read("/v1/status", Status)

    async def blocks(self, after: int, limit: int = 100, *, wait: float = 0) -> list[CertifiedBlock]:
        """Certified blocks above height `after`, lowest first; waits up to `wait` seconds for the first one.

        Nothing is checked here: see `anchor.finality.votes.check_certified` and `transitions.check_block`.
        """
        return (await self.page(after, limit, wait=wait))[0]

    async def page(
        self, after: int, limit: int = 100, *, wait: float = 0
    ) -> tuple[list[CertifiedBlock], int]:
        """As `blocks`, and the height of the newest block that the rollup says is certified."""
        query = {"after": str(after), "limit": str(limit), "wait": str(int(wait * 1000))}
        page = await self._read("/v1/blocks", Blocks, query, wait=wait)
        return [self._decoded(CertifiedBlock.decode, raw) for raw in page.blocks], page.certified_height

    async def hand_over(self, blocks: Sequence[CertifiedBlock]) -> int:
        """Give a sequencer certified blocks that it lacks; return the height of its newest one afterwards."""
        body = Handover([block.encode().hex() for block in blocks])
        return self._typed(await self._post("/v1/blocks", body), Voted).certified_height

    async def proposal(self, height: int, *, wait: float = 0) -> Block | None:
        """The block that waits for votes, if its height is at least `height`; waits up to `wait` seconds."""
        query = {"height": str(height), "wait": str(int(wait * 1000))}
        data = await self._get("/v1/proposal", query, wait=wait)
        if not data:
            return None
        return self._decoded(Block.decode, self._typed(data, Proposal).block)

    async def vote(self, votes: Sequence[Vote], block: Block | None = None) -> int:
        """Hand in votes; return the height of the newest certified block.

        `block` is what they are for, where the sequencer said that it does not know it.
        """
        body = Votes([vote.encode().hex() for vote in votes], None if block is None else block.encode().hex())
        return self._typed(await self._post("/v1/votes", body), Voted).certified_height

    async def submit(self, tx: bytes) -> bytes:
        """Hand in an encoded transaction; return its id. RollupRefused says why not."""
        done = self._typed(await self._post("/v1/transactions", Submission(tx.hex())), Submitted)
        return bytes.fromhex(done.txid)

    async def account(self, key: bytes) -> AccountView:
        """Balance and nonces of a rollup key; zeros when it was never used."""
        return await self._read(f"/v1/accounts/{key.hex()}", AccountView)

    async def withdrawal(self, withdrawal_id: bytes) -> WithdrawalView | None:
        """A withdrawal, None when there is none with this id."""
        data = await self._maybe(f"/v1/withdrawals/{withdrawal_id.hex()}")
        return None if data is None else self._typed(data, WithdrawalView)

    async def transaction(self, txid: bytes) -> TransactionView | None:
        """Where a transaction is, None when it is unknown."""
        data = await self._maybe(f"/v1/transactions/{txid.hex()}")
        return None if data is None else self._typed(data, TransactionView)

    async def activation(self) -> SignedActivation | None:
        """The activation record, None before it was taken. Signatures are not checked here."""
        data = await self._maybe("/v1/activation")
        return None if data is None else SignedActivation.from_json(data)

    async def reorgs(self) -> list[ReorgView]:
        """Every reorg in the rollup's view, oldest first."""
        return await self._read("/v1/reorgs", list[ReorgView])

    async def pause(self) -> Standing:
        """Whether value moves, and if not, what the operators are to decide about."""
        return await self._read("/v1/pause", Standing)

    async def decisions(self) -> list[DecidedView]:
        """Every decision of the operators, oldest first."""
        return await self._read("/v1/decisions", list[DecidedView])

    async def epochs(self) -> list[EpochView]:
        """Every key epoch, oldest first. Only the rollup's word: a follower's state has it from the blocks."""
        return await self._read("/v1/epochs", list[EpochView])

    async def succession(self, epoch: int) -> SignedSuccession | None:
        """The record that began an epoch, None where there is none. Signatures are not checked here."""
        data = await self._maybe(f"/v1/successions/{epoch}")
        return None if data is None else SignedSuccession.from_json(data)

    # Inside

    def _decoded(self, decode: Callable[[bytes], _T], text: str) -> _T:
        try:
            return decode(bytes.fromhex(text))
        except (CodecError, ValueError) as error:
            raise RollupUnreachable(f"{self.url} sent a block that cannot be read: {error}") from error

    def _typed(self, data: bytes, kind: type[_T]) -> _T:
        try:
            return msgspec.json.decode(data, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise RollupUnreachable(
                f"{self.url} does not speak like a rollup ({error}): check the URL"
            ) from error

    async def _read(
        self, path: str, kind: type[_T], query: dict[str, str] | None = None, *, wait: float = 0
    ) -> _T:
        return self._typed(await self._get(path, query, wait=wait), kind)

    async def _maybe(self, path: str) -> bytes | None:
        try:
            return await self._get(path)
        except RollupRefused as refused:
            if refused.status == 404:
                return None
            raise

    async def _get(self, path: str, query: dict[str, str] | None = None, *, wait: float = 0) -> bytes:
        return await self._ask("GET", path, wait=wait, params=query)

    async def _post(self, path: str, body: msgspec.Struct) -> bytes:
        headers = {"Content-Type": "application/json"}
        return await self._ask("POST", path, data=msgspec.json.encode(body), headers=headers)

    async def _ask(self, method: str, path: str, *, wait: float = 0, **options: Any) -> bytes:
        if self._session is None:
            self._session = aiohttp.ClientSession(trust_env=False)
        timeout = aiohttp.ClientTimeout(total=self._timeout + wait)
        try:
            async with self._session.request(method, self.url + path, timeout=timeout, **options) as response:
                data = await self._body(response)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            why = str(error) or type(error).__name__
            raise RollupUnreachable(
                f"the rollup at {self.url} does not answer ({why}): start it, or correct the URL"
            ) from error
        if response.status >= 400:
            raise RollupRefused(response.status, _problem(data))
        return data

    async def _body(self, response: aiohttp.ClientResponse) -> bytes:
        data = bytearray()
        async for chunk in response.content.iter_any():
            data += chunk
            if len(data) > MAX_ANSWER:
                raise RollupUnreachable(f"{self.url} answered with more than {MAX_ANSWER} bytes")
        return bytes(data)


def _problem(data: bytes) -> dict[str, Any]:
    try:
        found = msgspec.json.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return {}
    return found if isinstance(found, dict) else {}
