"""What the bridge stands on: a node's parts that are there before its activation and stay."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from structlog.typing import FilteringBoundLogger

from anchor.bitcoind import Bitcoind
from anchor.feed import HeaderFeed
from anchor.follower import Follower
from anchor.header_alarms import HeaderAlarm
from anchor.headers.finality import Policy
from anchor.rollup_client import RollupClient
from anchor.store import AnchorStore
from anchor.stream import Stream
from bridge.config import PolicySection
from bridge.store import BridgeStore
from bridge.succession import SuccessionDesk
from tss.node import TssNode
from tss.peers import Peers


@dataclass(frozen=True, slots=True)
class Signer:
    """What an operator has and an observer has not."""

    tss: TssNode
    peers: Peers
    index: int


@dataclass(frozen=True, slots=True)
class Ground:
    """What is there before the activation and stays."""

    bitcoind: Bitcoind
    feed: HeaderFeed
    follower: Follower
    rollup: RollupClient | None
    anchors: AnchorStore
    store: BridgeStore
    policy: PolicySection
    threshold: int
    committee_epoch: int
    committee_hash: bytes
    signer: Signer | None
    clock: Callable[[], float]
    wake: Callable[[], None]
    look_again: Callable[[], Awaitable[None]]
    log: FilteringBoundLogger
    depths: Policy | None = None  # None: k for every use
    stream: Stream | None = None
    tell: Callable[[HeaderAlarm], Awaitable[None]] | None = None  # None: alarms are kept and logged only
    successions: SuccessionDesk | None = None
