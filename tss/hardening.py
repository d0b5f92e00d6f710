"""What a signing process asks of the kernel: no core dumps, no debugger, memory that is not swapped or inherited.

`harden` is called once at the start of an operator's node, before any secret is read; `look` tells what really
holds now, from the kernel's own answers, for `node status`. Linux; elsewhere `look` says what is missing.

What this does not do: root on the machine reads everything; memory is locked whole only where the limit allows
it; Python copies bytes on its way through libraries, and those copies are freed, not wiped.
"""

import ctypes
import mmap
import os
import resource
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_PR_GET_DUMPABLE: Final = 3
_PR_SET_DUMPABLE: Final = 4
_MCL_CURRENT: Final = 1
_MCL_FUTURE: Final = 2
_MCL_ONFAULT: Final = 4
_MADV_WIPEONFORK: Final = 18
_CAP_IPC_LOCK: Final = 14
_OPEN_FILES: Final = 65_536

LINUX: Final = sys.platform == "linux"


@dataclass(frozen=True, slots=True)
class Hardening:
    """What holds for this process now; `locked` whether all its memory is kept out of swap."""

    core_dumps: bool
    dumpable: bool
    locked: bool
    umask: int

    @property
    def ok(self) -> bool:
        """Whether everything that can always be had is there; locked memory is best effort."""
        return not self.core_dumps and not self.dumpable and self.umask & 0o077 == 0o077

    @property
    def text(self) -> str:
        """One sentence, with the next move for what is missing."""
        parts = [
            "core dumps are possible: restart the node" if self.core_dumps else "no core dumps",
            "other processes may read its memory: restart the node" if self.dumpable else "not dumpable",
            "files are its owner's only" if self.umask & 0o077 == 0o077 else "its files are open to others",
            "memory is locked"
            if self.locked
            else "memory is not locked but for the host key: raise the limit (LimitMEMLOCK=infinity in the unit, "
            "or ulimit -l unlimited) or encrypt the swap",
        ]
        return "; ".join(parts)


def harden() -> Hardening:
    """Set what can be set, and tell what holds. Never fails: a kernel's no shows in the answer."""
    os.umask(0o077)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _raise_open_files()
    if LINUX:
        libc = ctypes.CDLL(None, use_errno=True)
        libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
        if _may_lock_all():  # under a limit, locking what comes later would make allocations fail
            libc.mlockall(_MCL_CURRENT | _MCL_FUTURE | _MCL_ONFAULT)
    return look()


def look() -> Hardening:
    """Ask the kernel how this process stands."""
    core = resource.getrlimit(resource.RLIMIT_CORE) != (0, 0)
    if not LINUX:
        return Hardening(core, dumpable=True, locked=False, umask=0)
    facts = _status()
    dumpable = ctypes.CDLL(None).prctl(_PR_GET_DUMPABLE, 0, 0, 0, 0) != 0
    locked = _kib(facts.get("VmLck", "0 kB")) > 0 and _locked_whole(facts)
    return Hardening(core, dumpable, locked, int(facts.get("Umask", "0"), 8))


class LockedSecret:
    """A secret on a page of its own: locked in memory, left out of dumps, zero in every forked child."""

    __slots__ = ("_page", "_size")

    def __init__(self, secret: bytearray) -> None:
        """Take the bytes over: `secret` is wiped."""
        assert 0 < len(secret) <= mmap.PAGESIZE, "a secret fits one page"
        self._page, self._size = _private_page(), len(secret)
        self._page[: self._size] = secret
        secret[:] = bytes(len(secret))

    def view(self) -> memoryview:
        """The bytes in place, read-only; all zero in a forked child and after `close`."""
        return memoryview(self._page)[: self._size].toreadonly()

    def close(self) -> None:
        """Wipe it now. Without it the page goes back to the kernel, which clears it, when nobody looks any more."""
        self._page[:] = bytes(mmap.PAGESIZE)

    def __repr__(self) -> str:
        return f"LockedSecret({self._size} bytes, redacted)"

    def __reduce__(self) -> str:
        raise TypeError("a secret never leaves its process")


def _private_page() -> mmap.mmap:
    page = mmap.mmap(-1, mmap.PAGESIZE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if LINUX:
        libc = ctypes.CDLL(None, use_errno=True)
        place = ctypes.c_char.from_buffer(page)
        libc.mlock(ctypes.c_void_p(ctypes.addressof(place)), ctypes.c_size_t(mmap.PAGESIZE))
        del place
        for advice in (mmap.MADV_DONTDUMP, _MADV_WIPEONFORK):
            try:
                page.madvise(advice)
            except OSError:  # an older kernel: the page is then as safe as any other
                continue
    return page


def _raise_open_files() -> None:
    """As many descriptors as may be had: the usual 1024 are fewer than 128 members' connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _may_lock_all() -> bool:
    soft, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if hard == resource.RLIM_INFINITY and soft != hard:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (hard, hard))
    capable = int(_status().get("CapEff", "0"), 16) >> _CAP_IPC_LOCK & 1
    return bool(capable) or hard == resource.RLIM_INFINITY


def _locked_whole(facts: dict[str, str]) -> bool:
    """All but what cannot be locked (the kernel's own mappings): locked size against address space."""
    return _kib(facts.get("VmLck", "0 kB")) * 2 > _kib(facts.get("VmSize", "0 kB"))


def _status() -> dict[str, str]:
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return {}
    pairs = (line.partition(":") for line in lines)
    return {name: value.strip() for name, _, value in pairs}


def _kib(text: str) -> int:
    return int(text.split(maxsplit=1)[0])
