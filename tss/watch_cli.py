"""`holdfast tss watch`: a live view of members, keys, key generations and signing sessions."""

import json
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tss.cli_tools import FOLDER, Admin, table

if TYPE_CHECKING:
    from rich.console import RenderableType

_Rows = list[tuple[str, ...]]
_Table = tuple[str, tuple[str, ...], _Rows, str]  # title, columns, rows, what stands there without rows

_STEPS = {
    "open": "round 1: keys and nonces of all members",
    "sent": "round 2: the sealed shares are out",
    "signed": "round 3: this node signed the transcript, waiting for all",
    "failed": "failed",
}


@click.command()
@FOLDER
@click.option("--every", type=click.FloatRange(0.1, 60), default=0.5, show_default=True, help="Seconds.")
@click.option("--count", type=click.IntRange(1), help="End after so many looks.")
@click.option("--json", "as_json", is_flag=True, help="Print one line of JSON for each change.")
def watch(folder: Path, every: float, count: int | None, as_json: bool) -> None:
    """Follow the signer live: who answers, which keys serve, who is waited for; Ctrl-C ends it.

    Example: holdfast tss watch --dir ~/holdfast
    """
    admin = Admin(folder)
    with suppress(KeyboardInterrupt):
        if as_json:
            _stream(admin, every, count)
        else:
            _draw(admin, every, count)


def _stream(admin: Admin, every: float, count: int | None) -> None:
    before, looks = None, 0
    while count is None or looks < count:
        if looks:
            time.sleep(every)
        now = admin.get("/v1/tss/watch")
        if _settled(now) != before:
            before = _settled(now)
            click.echo(json.dumps(now))
        looks += 1


def _settled(now: dict[str, Any]) -> dict[str, Any]:
    """What counts as a change: round trips, clocks and seconds always move."""
    members = [{k: m[k] for k in ("name", "up", "why", "boot_id")} for m in now["members"]]
    places = [{k: p[k] for k in ("work", "driver", "waiting")} for p in now["places"]]
    return now | {"members": members, "places": places, "at": 0}


def _draw(admin: Admin, every: float, count: int | None) -> None:
    from rich.console import Console
    from rich.live import Live

    console, looks = Console(), 0
    if not console.is_terminal:
        click.echo(text_of(admin.get("/v1/tss/watch")))
        return
    with Live(console=console, screen=True, auto_refresh=False) as live:
        while count is None or looks < count:
            live.update(_picture(admin.get("/v1/tss/watch")), refresh=True)
            looks += 1
            time.sleep(every)


def _tables(now: dict[str, Any]) -> list[_Table]:
    members: _Rows = [
        (m["name"], "up" if m["up"] else m["why"], _ms(m["rtt"]), _ms(m["skew"]), m["version"] or "-")
        for m in now["members"]
    ]
    keys: _Rows = [
        (k["purpose"], str(k["epoch"]), k["state"], f"{k['threshold']} of {k['members']}")
        for k in now["keys"]
    ]
    attempts: _Rows = [
        (a["purpose"], str(a["attempt"]), a["relay"], a["reason"] or _STEPS.get(a["state"], a["state"]))
        for a in now["attempts"]
    ]
    rounds: _Rows = [
        (r["work"], r["purpose"], r["driver"], r["step"], ", ".join(r["waiting"]) or "nobody")
        for r in now["rounds"]
    ]
    places: _Rows = [
        (p["driver"], p["work"], f"{p['seconds']:.0f} s", ", ".join(p["waiting"]) or "nobody")
        for p in now["places"]
    ]
    sessions: _Rows = [
        (
            s["id"][:16],
            s["purpose"],
            str(s["epoch"]),
            s["state"],
            ", ".join(s["members"]),
            ", ".join(s["pending"]),
        )
        for s in now["sessions"]
    ]
    return [
        ("members", ("member", "state", "round trip", "clock", "release"), members, "no other members"),
        ("keys", ("key", "epoch", "state", "quorum"), keys, "no keys yet"),
        ("key generations", ("key", "attempt", "relay", "where it is"), attempts, "none"),
        (
            "key work that this node takes part in",
            ("driver", "is", "for", "who waits for a turn"),
            places,
            "none",
        ),
        (
            "rounds under way, as who drives them says",
            ("work", "key", "driver", "step", "waiting for"),
            rounds,
            "none",
        ),
        (
            "sessions led here",
            ("session", "purpose", "epoch", "state", "members", "waiting for"),
            sessions,
            "none yet",
        ),
    ]


def _head(now: dict[str, Any]) -> str:
    when = time.strftime("%H:%M:%S UTC", time.gmtime(now["at"]))
    paused = f", PAUSED: {now['paused']}" if now["paused"] else ""
    return f"{now['name']} at {when}{paused}"


def text_of(now: dict[str, Any]) -> str:
    """One look as plain text."""
    parts = [f"{title}\n{table(columns, rows, none)}" for title, columns, rows, none in _tables(now)]
    return "\n\n".join([_head(now), *parts])


def _picture(now: dict[str, Any]) -> "RenderableType":
    from rich.console import Group
    from rich.markup import escape
    from rich.table import Table
    from rich.text import Text

    drawn: list[RenderableType] = [Text(_head(now), style="bold")]
    for title, columns, rows, none in _tables(now):
        one = Table(*columns, title=title, title_justify="left", expand=True)
        for row in rows or [(none, *[""] * (len(columns) - 1))]:
            one.add_row(*map(escape, row))
        drawn.append(one)
    return Group(*drawn)


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.0f} ms"
