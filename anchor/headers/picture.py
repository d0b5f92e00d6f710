"""A picture of a reorg: where the chain forked, the branch that was left, the branch that was taken. SVG as text.

The classes are coloured by `STYLE`; without it the picture is black on white and still says everything.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT, GAP, MARGIN = 96, 60, 26, 24  # of a block, between two, around the picture
LANES = {"new": 70, "common": 160, "old": 250}  # upper edges, in pixels
ITEM, MOST_ITEMS = 17, 4  # height of a line of what a block held, and how many of them are named

STYLE = """
.fork{background:#fff;font:12px ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
.fork text{fill:#1b2733}.fork .dim{fill:#5b6b7a}.fork .head{font-size:13px;font-weight:700}
.fork .box{fill:#eef2f6;stroke:#8296a8;stroke-width:1.5}
.fork .new .box{fill:#e3f4ea;stroke:#1f8a4c}.fork .new .head{fill:#14663a}
.fork .old .box{fill:#fdeceb;stroke:#c0392b;stroke-dasharray:5 3}.fork .old .head{fill:#9c2b20}
.fork .line{fill:none;stroke:#8296a8;stroke-width:2}
.fork .new .line{stroke:#1f8a4c}.fork .old .line{stroke:#c0392b;stroke-dasharray:5 3}
.fork .item{fill:#7a2018}
@media (prefers-color-scheme:dark){.fork{background:#12181f}.fork text{fill:#dde6ee}.fork .dim{fill:#93a5b5}
.fork .box{fill:#1e2832;stroke:#5d7183}.fork .new .box{fill:#123322;stroke:#39b36f}.fork .new .head{fill:#6fdda0}
.fork .old .box{fill:#3a1a17;stroke:#e06c5f}.fork .old .head{fill:#ff9a8d}.fork .item{fill:#ffb4aa}}
"""


@dataclass(frozen=True, slots=True)
class Drawn:
    """A block of the picture: height, hash in display order, its time as text, and what it held of ours."""

    height: int
    hash: str
    time: str
    items: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Fork:
    """A reorg to be drawn: the last blocks that both share, then both branches, lowest block first.

    So many `hidden` ones are left out in a branch's middle.
    """

    shared: Sequence[Drawn]
    old: Sequence[Drawn]
    new: Sequence[Drawn]
    old_hidden: int = 0
    new_hidden: int = 0


def draw(fork: Fork, *, style: bool = True) -> str:
    """Return the picture as one SVG element; with `style` it carries its own colours."""
    common = fork.shared
    columns = len(common) + max(_columns(fork.old, fork.old_hidden), _columns(fork.new, fork.new_hidden))
    lines = max((min(len(b.items), MOST_ITEMS + 1) for b in fork.old), default=0)
    width = 2 * MARGIN + columns * (WIDTH + GAP)
    height = LANES["old"] + HEIGHT + lines * ITEM + 24
    lost, won = len(fork.old) + fork.old_hidden, len(fork.new) + fork.new_hidden
    title = f"Fork{_above(common)}: {lost} {_blocks(lost)} lost, {won} {_blocks(won)} won"
    start = MARGIN + len(common) * (WIDTH + GAP)
    parts = [
        (
            f'<svg class="fork" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
            f'height="{height}" role="img" aria-label="{escape(title)}">'
        ),
        f"<style>{STYLE}</style>" if style else "",
        f'<rect class="paper" width="{width}" height="{height}" fill="none"/>',
        f'<text class="head" x="{MARGIN}" y="32">{escape(title)}</text>',
        _row("common", common, 0, MARGIN, "shared", None),
        _row("new", fork.new, fork.new_hidden, start, f"won: {won} {_blocks(won)}", "up"),
        _row("old", fork.old, fork.old_hidden, start, f"lost: {lost} {_blocks(lost)}", "down"),
        "</svg>",
    ]
    return "".join(parts)


def _above(shared: Sequence[Drawn]) -> str:
    return f" above block {shared[-1].height}" if shared else ""


def _columns(blocks: Sequence[Drawn], hidden: int) -> int:
    return len(blocks) + bool(hidden)


def _row(lane: str, blocks: Sequence[Drawn], hidden: int, left: int, label: str, bend: str | None) -> str:
    """One lane of boxes; `bend` says how it leaves the fork."""
    if not blocks:
        return ""
    y, middle = LANES[lane], LANES["common"] + HEIGHT // 2
    parts = [f'<g class="{lane}"><text class="head" x="{left}" y="{y - 10}">{escape(label)}</text>']
    if bend is not None:
        here = y + HEIGHT // 2
        parts.append(
            f'<path class="line" d="M{left - GAP} {middle}C{left - GAP // 2} {middle} {left - GAP // 2} {here} '
            f'{left} {here}"/>'
        )
    x, gap_after = left, (len(blocks) + 1) // 2 if hidden else 0
    for number, block in enumerate(blocks):
        if number:
            parts.append(_link(x - GAP, x, y))
        parts.append(_box(block, x, y, items=lane == "old"))
        x += WIDTH + GAP
        if number + 1 == gap_after:
            parts += [_link(x - GAP, x, y), _dots(hidden, x, y)]
            x += WIDTH + GAP
    return "".join([*parts, "</g>"])


def _link(start: int, end: int, y: int) -> str:
    return f'<path class="line" d="M{start} {y + HEIGHT // 2}H{end}"/>'


def _box(block: Drawn, x: int, y: int, *, items: bool) -> str:
    centre = x + WIDTH // 2
    texts = [
        f'<rect class="box" x="{x}" y="{y}" width="{WIDTH}" height="{HEIGHT}" rx="7" fill="none" stroke="black"/>',
        f'<text class="head" x="{centre}" y="{y + 19}" text-anchor="middle">{block.height}</text>',
        f'<text x="{centre}" y="{y + 36}" text-anchor="middle">…{escape(block.hash[-8:])}</text>',
        f'<text class="dim" x="{centre}" y="{y + 52}" text-anchor="middle">{escape(block.time)}</text>',
    ]
    shown = list(block.items[:MOST_ITEMS])
    if len(block.items) > MOST_ITEMS:
        shown.append(f"and {len(block.items) - MOST_ITEMS} more")
    for number, text in enumerate(shown if items else ()):
        at = y + HEIGHT + 15 + number * ITEM
        texts.append(f'<text class="item" x="{centre}" y="{at}" text-anchor="middle">{escape(text)}</text>')
    title = f"<title>block {block.height} {escape(block.hash)}</title>"
    return f"<g>{title}{''.join(texts)}</g>"


def _dots(hidden: int, x: int, y: int) -> str:
    centre = x + WIDTH // 2
    return (
        f'<text class="dim" x="{centre}" y="{y + 27}" text-anchor="middle">…</text>'
        f'<text class="dim" x="{centre}" y="{y + 44}" text-anchor="middle">{hidden} more</text>'
    )


def _blocks(count: int) -> str:
    return "block" if count == 1 else "blocks"
