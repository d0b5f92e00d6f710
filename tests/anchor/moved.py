"""A lane that two rotations handed on, as the sources of a node's HTTP."""

from anchor.api import Sources
from anchor.btc.network import REGTEST
from anchor.headers.chain import HeaderChain
from anchor.headers.rules import rules_of
from anchor.inscription.reader import FIRST_ROOT, AnchorFound, RotationFound, VoidFound
from anchor.proofs.coverage import cover
from tests.anchor.anchored import Anchored, Place, raw_blocks
from tests.anchor.inscription.batches import a_range
from tests.anchor.proofs.moving import Moving

RANGES = [a_range(number) for number in range(5)]


class Moved(Anchored):
    """The node's view of a `Moving` lane; `forgotten` records are not in its copy of the rollup."""

    it: Moving
    forgotten: frozenset[int] = frozenset()

    @classmethod
    def of(cls, it: Moving) -> "Moved":
        """Read the chain as it is now."""
        chain = HeaderChain(rules_of(REGTEST), it.core.headers[0])
        for header in it.core.headers[1:]:
            chain.add(header)
        made = cls(chain, it.activation, [], raw_blocks(it.core))
        made.it = it
        return made

    def placed(self, kind: type) -> list[Place]:
        """What was found of a kind, each in its block."""
        headers = self.it.core.headers
        return [Place(f, headers[f.height].hash) for f in self.it.found if isinstance(f, kind)]

    def sources(self) -> Sources:
        anchors = self.placed(AnchorFound)
        payloads = [place.found.payload for place in anchors]
        return Sources(
            REGTEST,
            3,
            self.chain,
            lambda: anchors,
            lambda: RANGES,
            lambda: cover(payloads, RANGES, FIRST_ROOT),
            self.block,
            lambda: self.activation.lanes,
            lambda: self.placed(RotationFound),
            lambda: [f for f in self.it.found if isinstance(f, VoidFound)],
            lambda: [s for epoch, s in self.it.successions.items() if epoch not in self.forgotten],
        )
