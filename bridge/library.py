"""The manifests this node has, by hash: from requests it approved, batches that were signed, and the rollup."""

from collections.abc import Mapping

from bridge.store import BridgeStore
from bridge.treasury import manifest as manifests
from bridge.treasury.manifest import Manifest


class Library:
    """Manifests, stored and decoded once."""

    def __init__(self, store: BridgeStore) -> None:
        self.store = store
        self.raw: dict[bytes, bytes] = {}
        self.decoded: dict[bytes, Manifest] = {}
        self._unreadable: set[bytes] = set()

    async def load(self) -> None:
        """Take up what is stored."""
        for raw in (await self.store.manifests()).values():
            self._keep(raw)

    async def add(self, raw: bytes) -> None:
        """Store a manifest; ManifestFault when it is none."""
        digest = manifests.manifest_hash(raw)
        if digest not in self.raw:
            manifests.decode(raw)
            await self.store.add_manifest(digest, raw)
            self._keep(raw)

    async def add_carried(self, carried: Mapping[bytes, bytes]) -> None:
        """Store those that the rollup carries; it cannot read them, so one that is no manifest is passed over."""
        for digest in carried.keys() - self.raw.keys() - self._unreadable:
            try:
                await self.add(carried[digest])
            except manifests.ManifestFault:
                self._unreadable.add(digest)

    def _keep(self, raw: bytes) -> None:
        digest = manifests.manifest_hash(raw)
        self.raw[digest], self.decoded[digest] = raw, manifests.decode(raw)
