"""Which ranges a lane's anchors cover: root-only anchors carry a count and a root, and ranges are cut alike by all.

So whoever follows the rollup finds the records of an anchor again from its leaf count, and the root proves that
they are the ones. An anchor whose root does not fit is a conflict: nothing more is anchored upon it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from anchor.inscription.payload import Payload
from anchor.proofs import tree
from anchor.proofs.manifest import leaves_of, manifest_of
from anchor.proofs.records import Record


@dataclass(frozen=True, slots=True)
class Coverage:
    """How far a lane's anchors reach into the ranges.

    `spans[i]` is (start, stop) of anchor i among the ranges; `waits` tells that the newest anchors cover ranges
    which are not final here yet; `conflict` says which anchor does not fit.
    """

    spans: tuple[tuple[int, int], ...]
    waits: bool = False
    conflict: str | None = None

    @property
    def next(self) -> int:
        """Index of the first range that no anchor covers."""
        return self.spans[-1][1] if self.spans else 0


def cover(
    payloads: Sequence[Payload], ranges: Sequence[Record], first_root: bytes, known: Coverage | None = None
) -> Coverage:
    """Match a lane's anchors, oldest first, with the ranges of its one rollup.

    `known` is an earlier answer for a prefix of `payloads`, so that only new anchors are hashed.
    """
    spans = list(known.spans[: len(payloads)]) if known is not None else []
    previous = payloads[len(spans) - 1].root if spans else first_root
    at = spans[-1][1] if spans else 0
    for payload in payloads[len(spans) :]:
        stop = at + payload.count - 1
        if stop > len(ranges):
            return Coverage(tuple(spans), waits=True)
        records = ranges[at:stop]
        manifest = manifest_of(previous, payload.lane, payload.sequence, records) if records else None
        if manifest is None or tree.root(leaves_of(manifest, records)) != payload.root:
            return Coverage(
                tuple(spans), conflict=f"anchor {payload.sequence} does not cover the next ranges"
            )
        spans.append((at, stop))
        previous, at = payload.root, stop
    return Coverage(tuple(spans))
