"""Headers inside rollup blocks: append-only bundles that anybody can replay.

A bundle extends whatever branch it names; the tip turns when that branch has more work. So a long reorg spreads
over several blocks, and no rollup block is ever rewound.
"""

from dataclasses import dataclass
from typing import Self

from anchor.btc.codec import CodecError, Reader, Writer
from anchor.btc.header import HEADER_SIZE, Header
from anchor.btc.ids import BlockHash, display
from anchor.headers.chain import HeaderAt, HeaderChain, Known, Reorg, branch
from anchor.headers.rules import HeaderRefused

MAX_HEADERS_PER_BUNDLE = 2000


class BundleRefused(Exception):
    """A bundle that lies or does not fit; `rule` is one word, `reason` a sentence. Nothing was changed.

    Rules: empty, too-long, size, fork, fork-height, parent, repeated, tip, work, stranger, and header:<rule>.
    """

    def __init__(self, rule: str, reason: str) -> None:
        super().__init__(f"header bundle refused ({rule}): {reason}")
        self.rule, self.reason = rule, reason


@dataclass(frozen=True, slots=True)
class Bundle:
    """Headers upon a known one, and what the view looks like afterwards.

    `fork_height`, `fork_hash`: the known header that the first one extends; `headers`: 80 raw bytes each;
    `new_tip`, `new_work`: the view's tip after this bundle and its total work (below 2^256).
    """

    fork_height: int
    fork_hash: BlockHash
    headers: tuple[bytes, ...]
    new_tip: BlockHash
    new_work: int

    def encode(self) -> bytes:
        """Return fork height u32 | fork hash 32 | count u32 | headers | new tip 32 | new work 32, big-endian."""
        out = Writer().u32(self.fork_height).fixed(self.fork_hash, 32).count(len(self.headers))
        for raw in self.headers:
            out.fixed(raw, HEADER_SIZE)
        return out.fixed(self.new_tip, 32).fixed(self.new_work.to_bytes(32, "big")).done()

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read what `encode` wrote and nothing else. Raises CodecError; at most 2000 headers."""
        reader = Reader(data)
        height, fork = reader.u32(), BlockHash(reader.fixed(32))
        raws = tuple(reader.fixed(HEADER_SIZE) for _ in range(reader.count(MAX_HEADERS_PER_BUNDLE)))
        if not raws:
            raise CodecError("a bundle without headers is left out, not written")
        tip, work = BlockHash(reader.fixed(32)), int.from_bytes(reader.fixed(32), "big")
        reader.end()
        return cls(height, fork, raws, tip, work)


@dataclass(frozen=True, slots=True)
class Applied:
    """What a bundle did: how many headers came, the tip now, and the reorg when the tip left its branch."""

    added: int
    tip: HeaderAt
    reorg: Reorg | None


def apply(chain: HeaderChain, bundle: Bundle) -> Applied:
    """Add a bundle's headers to `chain`, all or none.

    Deterministic: no clock is asked. Raises BundleRefused naming the lie.
    """
    if not bundle.headers:
        raise BundleRefused("empty", "it carries no header")
    if len(bundle.headers) > MAX_HEADERS_PER_BUNDLE:
        raise BundleRefused("too-long", f"{len(bundle.headers)} headers, at most {MAX_HEADERS_PER_BUNDLE}")
    if any(len(raw) != HEADER_SIZE for raw in bundle.headers):
        raise BundleRefused("size", f"a header has {HEADER_SIZE} bytes")
    fork = chain.get(bundle.fork_hash)
    if fork is None:
        raise BundleRefused("fork", f"it extends {display(bundle.fork_hash)}, which the view does not know")
    if fork.height != bundle.fork_height:
        raise BundleRefused("fork-height", f"it extends height {fork.height} and claims {bundle.fork_height}")
    trial = chain.fork()
    below = bundle.fork_hash
    for raw in bundle.headers:
        below = _add(trial, Header.parse(raw), below)
    if trial.tip.hash != bundle.new_tip:
        raise BundleRefused(
            "tip", f"the view's tip becomes {trial.tip!r}, it claims {display(bundle.new_tip)}"
        )
    if trial.tip.work != bundle.new_work:
        raise BundleRefused(
            "work", f"the tip's work becomes {trial.tip.work:x}, it claims {bundle.new_work:x}"
        )
    old = chain.tip
    chain.become(trial)
    turned = trial.tip.ancestor(old.height) is not old
    return Applied(len(bundle.headers), trial.tip, trial.reorg(old, trial.tip) if turned else None)


def _add(trial: HeaderChain, header: Header, below: BlockHash) -> BlockHash:
    if header.parent != below:
        raise BundleRefused("parent", f"{display(header.hash)} does not extend the header before it")
    try:
        result = trial.add(header)
    except HeaderRefused as error:
        raise BundleRefused(f"header:{error.rule}", str(error)) from error
    if isinstance(result, Known):
        raise BundleRefused("repeated", f"the view already has {display(header.hash)}")
    return header.hash


def make(view: HeaderChain, own: HeaderChain, limit: int = MAX_HEADERS_PER_BUNDLE) -> Bundle | None:
    """Return the next bundle that brings `view` towards `own`'s tip; None when that would not change its tip.

    `limit` bounds the headers; a longer way takes several calls. Neither chain is changed. Raises BundleRefused
    "stranger" when the two share no header.
    """
    return towards(view, own.tip, limit)


def towards(view: HeaderChain, goal: HeaderAt, limit: int = MAX_HEADERS_PER_BUNDLE) -> Bundle | None:
    """As `make`, towards the branch that ends in `goal`."""
    if not 0 < limit <= MAX_HEADERS_PER_BUNDLE:
        raise ValueError(f"a bundle has 1 to {MAX_HEADERS_PER_BUNDLE} headers")
    if goal.work <= view.tip.work:
        return None  # same tip, a tie (first seen stays), or our node is behind
    fork = _last_shared(view, goal)
    top = goal.ancestor(min(goal.height, fork.height + limit))
    assert top is not None
    assert top is not fork, "a heavier tip has headers that the view lacks"
    headers = [node.header for node in branch(top, fork)][::-1]
    trial = view.fork()
    for header in headers:
        trial.add(header)
    raws = tuple(header.raw for header in headers)
    return Bundle(fork.height, fork.hash, raws, trial.tip.hash, trial.tip.work)


def _last_shared(view: HeaderChain, goal: HeaderAt) -> HeaderAt:
    low, high = max(view.start.height, goal.root), goal.height
    lowest = goal.ancestor(low)
    if lowest is None or view.get(lowest.hash) is None:
        raise BundleRefused("stranger", "the view and our chain share no header: check networks and starts")
    while low < high:
        middle = goal.ancestor((low + high + 1) // 2)
        assert middle is not None
        if view.get(middle.hash) is not None:
            low = middle.height
        else:
            high = middle.height - 1
    shared = goal.ancestor(low)
    assert shared is not None
    return shared
