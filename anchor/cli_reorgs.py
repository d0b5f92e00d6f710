"""`holdfast anchor reorgs`: what Bitcoin took back, what of ours stood there, and what became of it."""

from collections import Counter
from datetime import UTC, datetime
from typing import Any

import click

from anchor.cli_http import HttpClient
from anchor.cli_tools import JSON, NODE, Failed, show

_NEXT = {
    "info": "nothing to do",
    "warning": "look at what it touched",
    "page": "find out why: compare the new tip with the other operators'",
    "pause": "compare the new tip with the other operators', then decide together: holdfast bridge decision --help",
}
_MOST = 12  # things named per reorg in the list; one reorg alone shows all


@click.command()
@click.argument("number", required=False, type=click.IntRange(min=1), metavar="[REORG]")
@NODE
@click.option("--limit", type=click.IntRange(1, 500), default=10, show_default=True)
@click.option("--before", type=click.IntRange(min=1), help="Only reorgs with a smaller number.")
@JSON
def reorgs(number: int | None, url: str, limit: int, before: int | None, as_json: bool) -> None:
    """Show the reorgs that a node has seen, newest first, or one of them with both branches.

    Examples: holdfast anchor reorgs --node http://127.0.0.1:8101;
    holdfast anchor reorgs 3 --node http://127.0.0.1:8101
    """
    client = HttpClient(url)
    try:
        if number is None:
            found = client.get("/v1/reorgs", limit=limit, before=before)
            text = "" if as_json else _list(found, client.get("/v1/health"), url)
        else:
            found = client.get(f"/v1/reorgs/{number}")
            text = "" if as_json else _one(found, client.get("/v1/health"), url)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise Failed(f"{url} does not answer like a node of this release: give its public URL") from error
    show(as_json, found, text)


def _list(found: dict[str, Any], health: dict[str, Any], url: str) -> str:
    tip = health["bitcoin"]
    lines = [f"now     Bitcoin block {tip['height']} …{tip['hash'][-12:]}", f"value   {_value(health)}"]
    lines += [
        f"alarm   {check['text']}"
        for check in health["checks"]
        if check["name"] == "headers" and not check["ok"]
    ]
    if not found["reorgs"]:
        return "\n".join([*lines, "", "This node has seen no reorg."])
    for entry in found["reorgs"]:
        lines += ["", *_entry(entry, _MOST, paused=health["paused"] is not None)]
    if found["next"] is not None:
        lines += ["", f"older ones: holdfast anchor reorgs --node {url} --before {found['next']}"]
    return "\n".join(lines)


def _value(health: dict[str, Any]) -> str:
    return "moves" if health["paused"] is None else f"PAUSED: {health['paused']}"


def _entry(entry: dict[str, Any], most: int, *, paused: bool) -> list[str]:
    won = entry["new_height"] - entry["fork_height"]
    advice = _NEXT.get(entry["level"], "")
    if entry["level"] == "pause" and not paused:
        advice = "value moves again"
    elif entry["level"] != "pause" and not entry["open"]:
        advice = "nothing to do any more"
    lines = [
        (
            f"reorg {entry['id']}  {entry['level'].upper()}  {_moment(entry['seen_at'])}: "
            f"{_blocks(entry['depth'])} lost, {_blocks(won)} won above block {entry['fork_height']}"
        ),
        f"  {advice}",
        f"  lost tip  {entry['old_height']} {entry['old_tip']}",
        f"  new tip   {entry['new_height']} {entry['new_tip']}",
    ]
    lines += [
        f"  {seen['source']} showed the lost tip {_clock(seen['old'])}, the new one {_clock(seen['new'])}"
        for seen in entry["seen"]
    ]
    return [*lines, *_touched(entry, most)]


def _touched(entry: dict[str, Any], most: int) -> list[str]:
    items = entry["touched"]
    if not items:
        return ["  nothing of ours stood in the lost blocks"]
    fates = Counter(item["outcome"] for item in items)
    counted = ", ".join(
        f"{fates[word]} {word}" for word in ("gone", "waiting", "replaced", "confirmed") if fates[word]
    )
    end = f"{entry['open']} not final yet" if entry["open"] else "all of it final"
    lines = [f"  of ours: {counted}; {end}"]
    # What needs somebody comes first.
    order = {"gone": 0, "waiting": 1, "replaced": 2, "confirmed": 3}
    items = sorted(items, key=lambda item: (order.get(item["outcome"], 0), item["height"], item["kind"]))
    for item in items[:most]:
        value = "" if item["value"] is None else f" {item['value']:,} sat"
        state = f" [{item['state']}]" if item["state"] else ""
        lines.append(f"    {item['kind']:<8}{_short(item['key'])}{value}: {item['text']}{state}")
    cut = entry["touched_count"] - min(len(items), most)
    if cut:
        lines.append(f"    and {cut} more: holdfast anchor reorgs {entry['id']}")
    return lines


def _one(found: dict[str, Any], health: dict[str, Any], url: str) -> str:
    entry, paused = found["reorg"], health["paused"] is not None
    picture = f"  picture  {url.rstrip('/')}/reorgs/{entry['id']}"
    return "\n".join([*_entry(entry, 1 << 30, paused=paused), "", *_fork(found), "", picture])


def _fork(found: dict[str, Any]) -> list[str]:
    """Draw both branches, one line each."""
    foot = f"  {found['reorg']['fork_height']} "
    new = _branch(found["new"], found["new_hidden"])
    old = _branch(found["old"], found["old_hidden"])
    blank = " " * len(foot)
    return [f"{blank} ┌─ {new}   won", f"{foot}─┤", f"{blank} └─ {old}   lost"]


def _branch(blocks: list[dict[str, Any]], hidden: int) -> str:
    names = [f"{block['height']} …{block['hash'][-6:]}" for block in blocks]
    if hidden:
        middle = len(names) // 2
        names[middle:middle] = [f"({hidden} more)"]
    return " ─ ".join(names)


def _short(key: str) -> str:
    return key if len(key) < 28 else f"{key[:10]}…{key[-10:]}"


def _blocks(count: int) -> str:
    return "1 block" if count == 1 else f"{count} blocks"


def _moment(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _clock(seconds: int | None) -> str:
    return "never as news" if seconds is None else f"at {datetime.fromtimestamp(seconds, UTC):%H:%M:%S}"
