"""Looks at processes from outside."""

from pathlib import Path


def gone(pid: int) -> bool:
    """Whether no live process has this number (a zombie is not alive)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True
