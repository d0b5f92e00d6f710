"""What a step asks of the shell, performed at least once after the state is stored."""

from dataclasses import dataclass
from typing import Literal

from anchor.btc.ids import Txid

Level = Literal["info", "warning", "page", "pause"]


@dataclass(frozen=True, slots=True)
class RequestSignature:
    """Ask the committee; equal requests have one id and are one request."""

    id: bytes
    purpose: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Share:
    """Bring the signed bytes to every member that can be reached; answer with `Shared`."""


@dataclass(frozen=True, slots=True)
class Submit:
    """Hand these transactions to the node, parents first. A child waits while its parent has an unconfirmed one."""

    txids: tuple[Txid, ...]


@dataclass(frozen=True, slots=True)
class SignAnew:
    """Plan the content again upon `survivor`, without inputs that are gone and without what its ancestors hold."""

    survivor: Txid
    reason: str


@dataclass(frozen=True, slots=True)
class Alarm:
    """Tell the operator; "pause" stops value."""

    level: Level
    text: str


Effect = RequestSignature | Share | Submit | SignAnew | Alarm
