"""Calls into the Rust library: buffers in, buffers out, codes into exceptions.

A call releases the interpreter lock; the library is thread-safe. Layouts are those of native/src/lib.rs.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from tss.frost._native import ffi, lib
from tss.frost.errors import MEMBER, EncodingFault, from_code

VERSION: Final = 2

if lib.holdfast_frost_abi_version() != VERSION:
    raise ImportError("tss.frost._native was built from other sources: run `make setup`")

C: Final[Any] = lib  # the entries, each called through `call`


def call(entry: Callable[..., int], *arguments: object) -> None:
    """Call an entry with `arguments` and a place for its error; raise that error if there is one."""
    error = ffi.new("HoldfastFrostError *")
    code = entry(*arguments, error)
    if code:
        culprits = tuple(error.culprits[i] for i in range(error.count))
        raise from_code(code, ffi.string(error.message).decode(), culprits)


def release(entry: Callable[..., int], handle: int) -> None:
    """Close a handle; nothing is raised, because this also runs at exit and after a fork (which is refused)."""
    entry(handle, ffi.NULL)


def given(data: bytes | bytearray | memoryview) -> tuple[Any, int]:
    """Pass bytes in without copying them: pointer and length."""
    return ffi.from_buffer("uint8_t[]", data), len(data)


def result(size: int) -> tuple[bytearray, tuple[Any, int]]:
    """Make a buffer for an output: what the caller reads and wipes, and its pointer and length."""
    buffer = bytearray(size)
    return buffer, (ffi.from_buffer("uint8_t[]", buffer, require_writable=True), size)


def handle_place() -> Any:
    """Make a place for a new handle; read it as `place[0]`."""
    return ffi.new("uint64_t *")


def flag_place() -> Any:
    """Make a place for a yes or no; read it as `place[0]`."""
    return ffi.new("int32_t *")


def number(value: int) -> int:
    """Pass a member number or count on; EncodingFault when it does not fit 16 bits."""
    if not 0 <= value <= 0xFFFF:
        raise EncodingFault(f"{value} is no member number or count: members are 1 to 128", code=MEMBER)
    return value


def packed(entries: Mapping[int, bytes | bytearray]) -> bytearray:
    """Lay out a map: (member u16, length u32, bytes)…, members ascending; wipe it when it holds secrets."""
    laid = bytearray(sum(6 + len(data) for data in entries.values()))  # its final size: growing leaves copies
    at = 0
    for member in sorted(entries):
        data = entries[member]
        laid[at : at + 6] = number(member).to_bytes(2, "big") + len(data).to_bytes(4, "big")
        laid[at + 6 : at + 6 + len(data)] = data
        at += 6 + len(data)
    return laid


def listed(members: Iterable[int]) -> bytes:
    """Lay out member numbers, ascending: u16 each."""
    return b"".join(number(member).to_bytes(2, "big") for member in sorted(members))


def wipe(buffer: bytearray) -> None:
    """Overwrite a secret with zeros."""
    buffer[:] = bytes(len(buffer))
