"""The command groups `anchor` and `rollup`, imported when they are asked for, so that each starts quickly."""

from importlib import import_module
from typing import Any

_GROUPS = {"anchor": "anchor.cli_anchor", "rollup": "anchor.rollup_cli"}


def __getattr__(name: str) -> Any:
    """Give a group."""
    if name in _GROUPS:
        return getattr(import_module(_GROUPS[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
