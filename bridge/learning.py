"""What batches on the chain say that this node lacks: their manifests, and the deposits that sweeps took in.

A node may have been away while they were signed, and an observer signs nothing.
"""

from collections.abc import Mapping

from anchor.btc.ids import OutPoint
from anchor.rollup.activation import Activation
from anchor.store import AnchorStore
from bridge.keeper import Keeper
from bridge.library import Library
from bridge.registry import Registry
from bridge.treasury.manifest import SweepManifest
from bridge.watch import ChainView, ChainWatch


class Learning:
    """Fills the library and the registry from the chain's batches."""

    def __init__(
        self,
        activation: Activation,
        watch: ChainWatch,
        anchors: AnchorStore,
        library: Library,
        registry: Registry,
        keepers: Mapping[str, Keeper],
    ) -> None:
        self.activation, self.watch, self.anchors = activation, watch, anchors
        self.library, self.registry, self.keepers = library, registry, keepers
        self._learnt: set[bytes] = set()

    async def tick(self, view: ChainView) -> None:
        """Look once."""
        await self.registry.follow_epochs()
        await self._manifests(view)
        await self._deposits(view)

    async def _manifests(self, view: ChainView) -> None:
        """Manifests of batches on the chain that we lack: agreed to here, or signed while we were away."""
        coin = self.activation.treasury
        for batch in view.treasury.batches:
            if batch.content(self.library.decoded) is None:
                for package in await self.anchors.packages("treasury", tip=coin.encode()):
                    await self.library.add(package.payload)
                keeper = self.keepers.get("treasury")
                if batch.manifest_hash not in self.library.decoded and keeper is not None:
                    await keeper.fetch(coin)
            coin = OutPoint(batch.txid, 0)

    async def _deposits(self, view: ChainView) -> None:
        """Deposits that a sweep names and we have not seen: paid before we knew the address, or we observe.

        A deposit is swept before its reclaim delay is over, so only so many blocks are read again.
        """
        first: list[int] = []
        for batch in view.treasury.batches:
            manifest = self.library.decoded.get(batch.manifest_hash)
            if batch.txid in self._learnt or manifest is None:
                continue
            self._learnt.add(batch.txid)
            swept = manifest.deposits if isinstance(manifest, SweepManifest) else ()
            for deposit in swept:
                await self.registry.learn(deposit.params, deposit.epoch, swept=True)
            if not all(self.watch.sees(d.outpoint.encode()) for d in swept):
                first.append(max(self.activation.height, batch.height - self.activation.params.reclaim_delay))
        if first:
            await self.watch.read_again(min(first))
