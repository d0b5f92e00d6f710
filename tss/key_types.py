"""A key as the rest of tss sees it: what may be told of it, and whether this node holds a share."""

from dataclasses import dataclass
from typing import Final

from tss.dkg.committee import Committee
from tss.dkg.transcript import RecoveryData
from tss.frost.engine import GroupPublic, KeyShare
from tss.rotation.chain import Chain
from tss.rotation.link import Link

SERVING: Final = frozenset({"verified", "active"})
SIGNING: Final = SERVING | {"retiring"}
ABANDONED: Final = "abandoned"
OVER: Final = frozenset({"retired", "removed", ABANDONED})


@dataclass(frozen=True, slots=True)
class KeyInfo:
    """What may be told of a key; `public.x_only` is what signatures verify under on the internal path.

    `generation` counts its refreshes; only `Keyring.every_info` fills it in.
    """

    purpose: str
    epoch: int
    state: str
    public: GroupPublic
    generation: int = 0


@dataclass(frozen=True, slots=True)
class Key:
    """A key with our share of it."""

    sid: bytes
    info: KeyInfo
    share: KeyShare
    recovery: RecoveryData
    proof: bytes
    links: tuple[Link, ...] = ()
    repairs: tuple[Link, ...] = ()

    @property
    def committee(self) -> Committee:
        """The committee that made it; after a rotation not the one that the node serves."""
        return self.recovery.transcript.committee

    @property
    def chain(self) -> Chain:
        """The recovery data with all refreshes up to this share."""
        return Chain(self.recovery, self.links, self.repairs)


@dataclass(frozen=True, slots=True)
class LostKey:
    """A key whose share this node lost, or never held: what is public of it."""

    sid: bytes
    info: KeyInfo
    chain: Chain
    proof: bytes

    @property
    def committee(self) -> Committee:
        """The committee that made it."""
        return self.chain.committee
