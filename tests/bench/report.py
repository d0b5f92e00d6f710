"""What a bench found: rows with their goals, printed as a table and written as JSON under build/bench/."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median

BUILD = Path(__file__).parents[2] / "build" / "bench"


def p50(samples: Sequence[float]) -> float:
    return float(median(samples))


@dataclass(frozen=True)
class Row:
    """One figure; `goal` in the issue's words, `seen` is None where it could not be measured."""

    what: str
    goal: str
    seen: float | None
    unit: str
    met: bool | None  # None: no goal, for comparison only
    samples: list[float] = field(default_factory=list, repr=False)


def below(what: str, goal: str, seen: float, limit: float, unit: str, samples: Sequence[float] = ()) -> Row:
    """A figure that must not be above its limit."""
    return Row(what, goal, seen, unit, seen <= limit, list(samples))


def beside(what: str, seen: float, unit: str, samples: Sequence[float] = ()) -> Row:
    """A figure without a goal, that others are compared with."""
    return Row(what, "", seen, unit, None, list(samples))


def unmeasured(what: str, goal: str, why: str) -> Row:
    """A goal that could not be measured counts as missed."""
    return Row(f"{what} (not measured: {why})", goal, None, "", met=False)


def publish(name: str, rows: Sequence[Row]) -> None:
    """Print the table and the count, write the JSON."""
    BUILD.mkdir(parents=True, exist_ok=True)
    (BUILD / f"{name}.json").write_text(json.dumps([asdict(row) for row in rows], indent=1) + "\n")
    cells = [_cells(row) for row in rows]
    widths = [max(len(line[i]) for line in cells) for i in range(3)]
    print()
    for what, seen, verdict, goal in cells:
        print(f"{what:<{widths[0]}}  {seen:>{widths[1]}}  {verdict:<{widths[2]}}  {goal}".rstrip())
    met = sum(row.met is True for row in rows)
    print(f"\ngoals: {met} met, {sum(row.met is False for row in rows)} missed")


def _cells(row: Row) -> tuple[str, str, str, str]:
    seen = "-" if row.seen is None else f"{row.seen:,.4g} {row.unit}".strip()
    if row.seen is not None and row.seen >= 1000:
        seen = f"{row.seen:,.0f} {row.unit}".strip()
    return row.what, seen, {True: "met", False: "MISSED", None: ""}[row.met], row.goal
