"""The treasury's keys by key epoch: a batch is built under one, and may take in deposits paid to earlier ones."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Self

from anchor.rollup.activation import Activation
from anchor.rollup.succession import Epochs
from bridge.deposit.address import treasury_script


class UnknownEpoch(ValueError):
    """A key epoch that this node has heard of nothing about."""


@dataclass(frozen=True, slots=True)
class TreasuryKeys:
    """Group keys (33 bytes, parity first) of consecutive key epochs from `first` on; hashable."""

    first: int
    keys: tuple[bytes, ...]

    @classmethod
    def of(cls, known: Activation | Epochs) -> Self:
        """Those of an activation record alone, or of all epochs of a rollup."""
        if isinstance(known, Activation):
            return cls(known.epoch, (known.treasury_key,))
        return cls(known.first.number, tuple(epoch.treasury_key for epoch in known))

    def key(self, epoch: int) -> bytes:
        """The key of an epoch. UnknownEpoch otherwise."""
        if not self.first <= epoch < self.first + len(self.keys):
            raise UnknownEpoch(f"key epoch {epoch} is not known here: {self.first} to {self.latest} are")
        return self.keys[epoch - self.first]

    @property
    def latest(self) -> int:
        """The newest epoch known."""
        return self.first + len(self.keys) - 1

    def then(self, key33: bytes) -> "TreasuryKeys":
        """These and the key of the epoch after the newest."""
        return TreasuryKeys(self.first, (*self.keys, key33))

    @property
    def scripts(self) -> frozenset[bytes]:
        """The treasury's own scripts of all epochs known: no withdrawal goes to one."""
        return _scripts(self.keys)

    def by_epoch(self) -> Mapping[int, bytes]:
        """All of them."""
        return dict(enumerate(self.keys, self.first))


@lru_cache(maxsize=64)
def script_under(key33: bytes) -> bytes:
    """The treasury's own script under a group key, derived once. DepositFault when it is no key."""
    return treasury_script(key33)


@lru_cache(maxsize=64)
def _scripts(keys: tuple[bytes, ...]) -> frozenset[bytes]:
    return frozenset(map(script_under, keys))
