"""Reorgs as pages for people: made here, no scripts, nothing loaded from elsewhere.

The policy that goes with each page names the style by its hash, so that nothing else in it could act even if a
name or hash were not escaped.
"""

import base64
import hashlib
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from html import escape

from aiohttp import web

from anchor.api_wire import BranchBlock, ReorgDetail, ReorgEntry, Reorgs, TouchedView
from anchor.headers.picture import STYLE as FORK_STYLE
from anchor.headers.picture import Drawn, Fork, draw

_STYLE = (
    """
:root{color-scheme:light dark}
body{font:15px/1.5 system-ui,sans-serif;max-width:78rem;margin:0 auto;padding:1rem 1.2rem}
body{background:#fff;color:#1b2733}
h1{font-size:1.4rem;margin:.2rem 0}h2{font-size:1.1rem;margin-top:1.6rem}a{color:#0b5cad}
code{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;font-size:.86rem}
table{border-collapse:collapse;width:100%}
th,td{text-align:left;padding:.35rem .6rem;border-bottom:1px solid #d5dde5}
th{font-weight:600;color:#5b6b7a}
.list td:nth-child(-n+6){white-space:nowrap}.wide{overflow-x:auto}.dim{color:#5b6b7a}
.level{display:inline-block;padding:0 .5rem;border-radius:.6rem;color:#fff;font-size:.85rem;font-weight:600}
.info{background:#5b6b7a}.warning{background:#a36a00}.page{background:#b3541e}.pause{background:#a3201a}
.waiting{color:#a36a00}.gone{color:#a3201a;font-weight:600}.confirmed{color:#14663a}.replaced{color:#14663a}
@media (prefers-color-scheme:dark){body{background:#12181f;color:#dde6ee}a{color:#7db8f0}
th,.dim{color:#93a5b5}th,td{border-color:#2b3742}.waiting{color:#f0b64a}.gone{color:#ff8a80}
.confirmed,.replaced{color:#6fdda0}}
"""
    + FORK_STYLE
)


def _hash(style: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()}'"


_POLICY = (
    f"default-src 'none'; style-src {_hash(_STYLE)} {_hash(FORK_STYLE)}; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)


def respond(text: str, content_type: str) -> web.Response:
    """Answer with a page or a picture that may do nothing but be looked at."""
    headers = {
        "Content-Security-Policy": _POLICY,
        "X-Content-Type-Options": "nosniff",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
    }
    return web.Response(text=text, content_type=content_type, charset="utf-8", headers=headers)


def page_of_all(name: str, found: Reorgs, paused: str | None) -> str:
    """Return the page with every reorg, newest first."""
    if not found.reorgs:
        body = "<p>This node has seen no reorg.</p>"
    else:
        heads = ("", "when", "level", "lost", "above block", "new tip", "touched", "what became of it")
        body = _table(heads, [_summary(r) for r in found.reorgs], "list")
    if found.next is not None:
        body += f'<p><a href="/reorgs?before={found.next}">older ones</a></p>'
    if found.rollup:
        body += "<h2>As the rollup's blocks saw them</h2>" + _table(
            ("rollup block", "lost", "above block", "new tip"),
            [
                [
                    str(r.rollup_height),
                    str(r.depth),
                    str(r.fork_height),
                    f"{r.new_height} {_short(r.new_tip)}",
                ]
                for r in reversed(found.rollup)
            ],
        )
    return _page(f"Reorgs seen by {name}", _value(paused) + body)


def page_of_one(name: str, found: ReorgDetail, paused: str | None) -> str:
    """Return the page of one reorg with its picture."""
    r = found.reorg
    facts = [
        ["seen", _moment(r.seen_at)],
        ["level", _level(r.level)],
        ["fork", f"block {r.fork_height} <code>{escape(r.fork_hash)}</code>"],
        ["lost", f"{_count(r.depth, 'block')}, tip {r.old_height} <code>{escape(r.old_tip)}</code>"],
        [
            "won",
            (
                f"{_count(r.new_height - r.fork_height, 'block')}, tip {r.new_height} "
                f"<code>{escape(r.new_tip)}</code>"
            ),
        ],
        ["work", f"lost {_work(r.work_lost)}, gained {_work(r.work_gained)}"],
    ]
    parts = [
        _value(paused),
        '<p><a href="/reorgs">all reorgs</a></p>',
        f'<div class="wide">{draw(fork_of(found), style=False)}</div>',
        _table(("", ""), facts),
        "<h2>What it touched</h2>",
    ]
    if r.touched:
        heads = ("what", "which", "sat", "was in block", "what became of it", "state now")
        parts.append(_table(heads, [_touched(item) for item in r.touched]))
        open_ = f"{_count(r.open, 'thing')} not final yet." if r.open else "All of it is final."
        cut = r.touched_count - len(r.touched)
        more = f" {_count(cut, 'thing')} more not shown." if cut else ""
        parts.append(f'<p class="dim">{open_}{more}</p>')
    else:
        parts.append("<p>No anchor, deposit or payout of ours stood in these blocks.</p>")
    parts.append("<h2>Who saw the tips first</h2>")
    if r.seen:
        rows = [[escape(s.source), _moment(s.old), _moment(s.new)] for s in r.seen]
        parts.append(_table(("source", "old tip", "new tip"), rows))
    else:
        parts.append("<p>No source showed these tips while they were new.</p>")
    return _page(f"Reorg {r.id} seen by {name}", "".join(parts))


def _value(paused: str | None) -> str:
    if paused is None:
        return '<p class="confirmed">Value moves.</p>'
    return f'<p class="gone">Value does not move: {escape(paused)}</p>'


def fork_of(found: ReorgDetail) -> Fork:
    """Return what the picture of a reorg shows."""
    r, held = found.reorg, dict[int, Counter[str]]()
    for item in r.touched:
        held.setdefault(item.height, Counter())[item.kind] += 1
    items = {
        height: tuple(kind if n == 1 else f"{n} {kind}s" for kind, n in sorted(kinds.items()))
        for height, kinds in held.items()
    }
    return Fork(
        [_drawn(block, ()) for block in found.shared],
        [_drawn(block, items.get(block.height, ())) for block in found.old],
        [_drawn(block, ()) for block in found.new],
        found.old_hidden,
        found.new_hidden,
    )


def _drawn(block: BranchBlock, items: tuple[str, ...]) -> Drawn:
    return Drawn(
        block.height, block.hash, datetime.fromtimestamp(block.time, UTC).strftime("%H:%M:%S"), items
    )


def _summary(r: ReorgEntry) -> list[str]:
    kinds = Counter(item.kind for item in r.touched)
    fates = Counter(item.outcome for item in r.touched)
    what = ", ".join(_count(n, kind) for kind, n in sorted(kinds.items())) or "nothing of ours"
    fate = ", ".join(f'<span class="{word}">{n} {word}</span>' for word, n in sorted(fates.items()))
    return [
        f'<a href="/reorgs/{r.id}">{r.id}</a>',
        _moment(r.seen_at),
        _level(r.level),
        _count(r.depth, "block"),
        str(r.fork_height),
        f"{r.new_height} {_short(r.new_tip)}",
        what,
        fate + ("" if r.open or not r.touched else ", all final"),
    ]


def _touched(item: TouchedView) -> list[str]:
    key = item.key if len(item.key) < 24 else f"{item.key[:12]}…{item.key[-10:]}"
    return [
        escape(item.kind),
        f'<code title="{escape(item.key)}">{escape(key)}</code>',
        "" if item.value is None else f"{item.value:,}",
        str(item.height),
        f'<span class="{escape(item.outcome)}">{escape(item.text)}</span>',
        escape(item.state or ""),
    ]


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]], kind: str = "facts") -> str:
    """A table of cells that are HTML already."""
    head = "".join(f"<th>{text}</th>" for text in heads)
    body = "".join("<tr>" + "".join(f"<td>{cell}</td>" for cell in row) + "</tr>" for row in rows)
    table = f'<table class="{kind}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    return f'<div class="wide">{table}</div>'


def _page(title: str, body: str) -> str:
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta http-equiv="refresh" content="30">'
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head>"
        f"<body><h1>{escape(title)}</h1>{body}</body></html>"
    )


def _level(level: str) -> str:
    return f'<span class="level {escape(level)}">{escape(level)}</span>'


def _moment(seconds: int | None) -> str:
    if seconds is None:
        return '<span class="dim">not seen new</span>'
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _short(block: str) -> str:
    return f'<code title="{escape(block)}">…{escape(block[-10:])}</code>'


def _work(text: str) -> str:
    work = int(text, 16)
    return f"{work} hashes" if work < 10_000 else f"2<sup>{work.bit_length() - 1}</sup> hashes and more"


def _count(n: int, what: str) -> str:
    plural = f"{what}es" if what.endswith("ch") else f"{what}s"
    return f"{n} {what if n == 1 else plural}"
