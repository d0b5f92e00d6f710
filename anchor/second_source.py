"""A second opinion on Bitcoin's chain: another node's headers, validated like our own, compared by work.

Nothing of it moves our own chain. A second source can be another bitcoind or a btcd (JSON-RPC), a committee node
(its public port), or any node of Bitcoin's network (P2P). That it is silent, behind or apart is told, never raised.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import parse_qs, unquote, urlsplit

import structlog

from anchor.bitcoind import Bitcoind, NodeError
from anchor.btc.hashing import sha256d
from anchor.btc.header import HEADER_SIZE
from anchor.btc.ids import BlockHash, display
from anchor.btc.network import Network
from anchor.header_source import (
    BitcoindSource,
    HeaderSource,
    HttpSource,
    SourceError,
    Stranger,
    pull,
    split,
    take,
)
from anchor.headers.chain import Deferred, HeaderAt, HeaderChain, branch
from anchor.headers.orphans import Orphans
from anchor.headers.rules import HeaderRefused
from anchor.peer import MOST, Peer, connected

PATIENCE = 60.0  # seconds that one look may take
LAGGING = 6  # blocks behind ours that are worth a word: it is no witness then
TRANSIENT = 2  # blocks that a source may be apart or ahead without a word: news travels for some seconds
APART = 100_000  # headers of another branch that are held; whoever has more is not followed further
SEEN = 100  # of the newest headers that a look reports as seen at most
FRESH = 6  # of them at least
NEAR = 144  # blocks below our tip at which a branch may leave ours and be seen: old ones are cheap to make up

log = structlog.get_logger("anchor.second_source")

_FORMS = (
    "a second source is p2p://host[:port], http://host:port?cookie=FILE or "
    "http://user@host:port?password_file=FILE (the RPC of a bitcoind or btcd), or node+http://host:port"
)


class Follows(Protocol):
    """Brings a view towards a source's chain."""

    name: str

    async def follow(self, view: HeaderChain, now: int) -> HeaderAt | None:
        """Add what the view lacks; return the source's tip as far as it is valid, None when unknown.

        Raises SourceError, NodeError or HeaderRefused.
        """
        ...

    async def close(self) -> None:
        """Close the connections."""
        ...


@dataclass(frozen=True, slots=True)
class Opinion:
    """What a second source says of our chain, by work.

    `relation`: same, behind, ahead (its chain contains our tip), apart, or silent. `differs` is a sentence when
    somebody should look; `data` tells more of it (JSON-able). `seen`: the newest headers of its chain, unless
    it left ours long ago, `height` its tip's. It holds no header: those of another branch would stay with it.
    """

    relation: str
    differs: str | None = None
    data: dict[str, Any] = field(default_factory=dict)
    seen: tuple[BlockHash, ...] = ()
    height: int | None = None


class SecondSource:
    """One second source, looked at again and again.

    `silence`: how many looks in a row may fail until that is worth a word.
    """

    def __init__(self, source: Follows, *, clock: Callable[[], float], silence: int = 3) -> None:
        self._source, self._clock, self._silence = source, clock, silence
        self._failed = 0

    @property
    def name(self) -> str:
        """The source's address, without credentials."""
        return self._source.name

    async def close(self) -> None:
        """Close the connections."""
        await self._source.close()

    async def look(self, chain: HeaderChain) -> Opinion:
        """Ask the source and compare its chain with ours; never raises what the source did."""
        try:
            async with asyncio.timeout(PATIENCE):
                # A fork of our chain: what is only there is gone afterwards, so nothing piles up.
                theirs = await self._source.follow(chain.fork(), int(self._clock()))
        except HeaderRefused as fault:
            return self._odd(f"gives a header that breaks the rules: {fault}", rule=fault.rule)
        except Stranger:
            return self._odd("has no header in common with our chain: one of the two is of another network")
        except (SourceError, NodeError, TimeoutError, ValueError, KeyError, TypeError) as fault:
            return self._silent(str(fault) or type(fault).__name__)
        if theirs is None:
            return self._silent("it gave no header that follows one of ours")
        self._failed = 0
        return compare(chain, theirs, self.name)

    def _silent(self, why: str) -> Opinion:
        self._failed += 1
        log.info("second_source_silent", source=self.name, looks=self._failed, error=why)
        if self._failed < self._silence:
            return Opinion("silent")
        return Opinion("silent", f"{self.name} does not answer: {why}", {"relation": "silent"})

    def _odd(self, what: str, **data: str) -> Opinion:
        self._failed = 0
        return Opinion("apart", f"{self.name} {what}", {"relation": "apart", **data})


def compare(chain: HeaderChain, theirs: HeaderAt, name: str) -> Opinion:
    """Say how a source's tip stands to ours. Both are headers of one tree."""
    ours = chain.tip
    fork = chain.fork_point(ours, theirs)
    lost, gained = ours.height - fork.height, theirs.height - fork.height
    seen = _newest(theirs, fork) if not gained or lost <= NEAR else ()
    if theirs is ours:
        return Opinion("same", None, {}, seen, theirs.height)
    relation = "behind" if not gained else "ahead" if not lost else "apart"
    data: dict[str, Any] = {
        "relation": relation,
        "fork_height": fork.height,
        "fork": display(fork.hash),
        "theirs": gained,
        "ours": lost,
        "work_theirs": f"{theirs.work - fork.work:x}",
        "work_ours": f"{ours.work - fork.work:x}",
    }
    if relation == "behind" and lost > LAGGING:
        text = f"{name} is {lost} blocks behind our tip: see whether it is stuck, it is no witness"
    elif gained < TRANSIENT and lost <= LAGGING and (lost < TRANSIENT or theirs.work <= ours.work):
        return Opinion(relation, None, data, seen, theirs.height)
    elif relation == "ahead":
        text = f"{name} has {gained} blocks upon our tip {ours.height}: see whether our bitcoind has peers"
    else:
        there = "1 block" if gained == 1 else f"{gained} blocks"
        weight = "more" if theirs.work > ours.work else "less" if theirs.work < ours.work else "as much"
        text = (
            f"{name} is on another branch since height {fork.height}, {there} there against our {lost}, "
            f"with {weight} work: find out which of the two the network follows"
        )
    return Opinion(relation, text, data, seen, theirs.height)


def _newest(tip: HeaderAt, fork: HeaderAt) -> tuple[BlockHash, ...]:
    lowest = tip.ancestor(max(tip.height - min(max(tip.height - fork.height, FRESH), SEEN), tip.root))
    return tuple(at.hash for at in branch(tip, lowest))


class BySource:
    """Follows a node that answers by height: bitcoind, btcd, a committee node."""

    def __init__(self, name: str, source: HeaderSource, close: Callable[[], Any]) -> None:
        self.name, self._source, self._close = name, source, close

    async def close(self) -> None:
        """Close the connections."""
        await self._close()

    async def follow(self, view: HeaderChain, now: int) -> HeaderAt | None:
        """Read pages until its tip is known."""
        height, block = await self._source.tip()
        last = view.get(block)
        if last is not None:
            return last
        taken = 0
        async for page in pull(view, self._source, height):
            ended = not take(view, page, now)
            last = _last_known(view, page) or last
            taken += len(page) // HEADER_SIZE
            if ended or taken > APART:
                break
        return view.get(block) or last


class ByPeer:
    """Follows a node of Bitcoin's network; what it sends out of order is held within bounds."""

    def __init__(self, host: str, port: int, network: Network) -> None:
        self.name = f"p2p://{host}:{port}"
        self._host, self._port, self._network = host, port, network
        self.orphans = Orphans()

    async def close(self) -> None:
        """Nothing stays open between looks."""

    async def follow(self, view: HeaderChain, now: int) -> HeaderAt | None:
        """Ask what it has behind what we know until no more comes; its tip is the last header that it gave."""
        async with connected(self._host, self._port, self._network, seconds=PATIENCE) as peer:
            raw = await _first_page(peer, view)
            last, taken = self._take(view, raw, now), len(raw) // HEADER_SIZE
            while last is not None and len(raw) == MOST * HEADER_SIZE and taken <= APART:
                raw = await peer.headers_after(locator(last))
                last, taken = self._take(view, raw, now) or last, taken + len(raw) // HEADER_SIZE
            return last

    def _take(self, view: HeaderChain, raw: bytes, now: int) -> HeaderAt | None:
        """Add what came; return the last of it that has a place, None when none has."""
        if not raw:
            return None
        if _linked(raw) and view.get(BlockHash(raw[4:36])) is not None:
            take(view, raw, now)
        else:
            for header in split(raw, MOST):
                if any(isinstance(done, Deferred) for done in self.orphans.offer(view, header, now)):
                    break
        return _last_known(view, raw)


async def _first_page(peer: Peer, view: HeaderChain) -> bytes:
    """Ask behind the header below our tip, so that a peer with the same tip says so; further back if it lags."""
    back = 1
    while (below := view.at_height(max(view.tip.height - back, view.start.height))) is not None:
        if (raw := await peer.headers_after(locator(below))) or below is view.start:
            return raw
        back *= 4
    return b""


def open_source(url: str, network: Network, *, clock: Callable[[], float]) -> SecondSource:
    """Return the second source that a URL names. ValueError says what a URL looks like.

    `p2p://host[:port]`; `http://host:port?cookie=FILE` or `http://user@host:port?password_file=FILE` for the RPC of
    a bitcoind or btcd; `node+http://host:port` for a committee node's public port.
    """
    parts = urlsplit(url)
    host, port = parts.hostname, parts.port
    if parts.scheme == "p2p" and host:
        return SecondSource(ByPeer(host, port or network.rpc_port + 1, network), clock=clock)
    name = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    if parts.scheme in ("node+http", "node+https") and host:
        node = HttpSource(name.removeprefix("node+"))
        return SecondSource(BySource(name, node, node.close), clock=clock)
    if parts.scheme not in ("http", "https") or not host or parts.password is not None:
        raise ValueError(_FORMS)
    client = _client(name, parts.username, parse_qs(parts.query))
    source = BitcoindSource(client)

    async def close() -> None:
        await source.close()
        await client.close()

    return SecondSource(BySource(name, source, close), clock=clock)


def _client(name: str, user: str | None, query: dict[str, list[str]]) -> Bitcoind:
    match user, query:
        case None, {"cookie": [path], **rest} if not rest:
            return Bitcoind(name, cookie=Path(path))
        case str(), {"password_file": [path], **rest} if not rest:
            try:
                password = Path(path).read_text(encoding="utf-8").partition("\n")[0]
            except (OSError, UnicodeDecodeError) as error:
                raise ValueError(f"{path} cannot be read ({error}): give the password's file") from error
            return Bitcoind(name, user=unquote(user), password=password)
    raise ValueError(_FORMS)


def _last_known(view: HeaderChain, raw: bytes) -> HeaderAt | None:
    for at in range(len(raw) - HEADER_SIZE, -1, -HEADER_SIZE):
        if (node := view.get(BlockHash(sha256d(raw[at : at + HEADER_SIZE])))) is not None:
            return node
    return None


def _linked(raw: bytes) -> bool:
    hashes = [sha256d(raw[i : i + HEADER_SIZE]) for i in range(0, len(raw) - HEADER_SIZE, HEADER_SIZE)]
    return all(raw[i * HEADER_SIZE + 84 : i * HEADER_SIZE + 116] == one for i, one in enumerate(hashes))


def locator(tip: HeaderAt) -> list[BlockHash]:
    """Return hashes of a branch from its tip down, ten close together, then ever farther apart, its root last."""
    found, height, step = list[BlockHash](), tip.height, 1
    while height > tip.root and len(found) < 64:
        at = tip.ancestor(height)
        assert at is not None
        found.append(at.hash)
        step *= 2 if len(found) >= 10 else 1
        height -= step
    root = tip.ancestor(tip.root)
    assert root is not None
    return [*found, root.hash]
