"""What `peers.py` holds of each other member: where it is, what it said lately, how fast it answers."""

import asyncio
from dataclasses import dataclass, field

import aiohttp

from tss.envelope import ReplayWindow
from tss.peer_bounds import RoundTrips
from tss.peering import CommitteeMember

# Calls of ours to one member at once; the line takes more, so that pings are answered beside slow calls and a slow
# member is not taken for a dead one.
_AT_ONCE = 56


@dataclass(slots=True)
class Line:
    """One member's line; `retry_at` is on the monotonic clock."""

    index: int
    member: CommitteeMember
    session: aiohttp.ClientSession
    window: ReplayWindow
    failures: int = 0
    retry_at: float = 0.0
    in_flight: int = 0
    lane: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_AT_ONCE))
    times: RoundTrips = field(default_factory=RoundTrips)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
