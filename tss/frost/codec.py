"""The one canonical byte form of everything that tss hashes, signs or sends.

Big-endian, no padding, no optional fields: a value has exactly one encoding and a reader refuses all others.
"""

from typing import Self


class DecodeError(ValueError):
    """The bytes are not the canonical form of what was expected: drop them, ask the sender again."""


class Writer:
    """Appends fields; a value that does not fit its field is our own bug and fails an assertion."""

    __slots__ = ("_parts",)

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def uint(self, value: int, size: int) -> Self:
        """Append an unsigned integer of `size` bytes."""
        assert 0 <= value < 1 << (8 * size), f"{value} does not fit {size} bytes"
        self._parts.append(value.to_bytes(size, "big"))
        return self

    def u8(self, value: int) -> Self:
        """Append one byte."""
        assert 0 <= value <= 0xFF, f"{value} does not fit a byte"
        self._parts.append(value.to_bytes(1, "big"))
        return self

    def u16(self, value: int) -> Self:
        """Append two bytes."""
        assert 0 <= value <= 0xFFFF, f"{value} does not fit 2 bytes"
        self._parts.append(value.to_bytes(2, "big"))
        return self

    def u32(self, value: int) -> Self:
        """Append four bytes."""
        return self.uint(value, 4)

    def u64(self, value: int) -> Self:
        """Append eight bytes."""
        return self.uint(value, 8)

    def flag(self, value: bool) -> Self:
        """Append 00 or 01."""
        return self.u8(1 if value else 0)

    def raw(self, data: bytes, size: int) -> Self:
        """Append exactly `size` bytes."""
        assert len(data) == size, f"{len(data)} bytes where {size} belong"
        self._parts.append(bytes(data))
        return self

    def var(self, data: bytes, limit: int) -> Self:
        """Append a u32 length and at most `limit` bytes."""
        assert len(data) <= limit, f"{len(data)} bytes exceed the limit of {limit}"
        self._parts += (len(data).to_bytes(4, "big"), bytes(data))
        return self

    def text(self, value: str, limit: int) -> Self:
        """Append UTF-8 text of at most `limit` bytes."""
        return self.var(value.encode(), limit)

    def done(self) -> bytes:
        """Everything appended so far."""
        return b"".join(self._parts)


class Reader:
    """Takes fields off in order; every mismatch raises DecodeError, nothing is guessed."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes, limit: int) -> None:
        if len(data) > limit:
            raise DecodeError(f"{len(data)} bytes exceed the limit of {limit}")
        self._data = bytes(data)
        self._at = 0

    def raw(self, size: int) -> bytes:
        """Take exactly `size` bytes."""
        end = self._at + size
        if end > len(self._data):
            raise DecodeError(f"truncated: {size} bytes wanted, {len(self._data) - self._at} left")
        taken = self._data[self._at : end]
        self._at = end
        return taken

    def uint(self, size: int) -> int:
        """Take an unsigned integer of `size` bytes."""
        return int.from_bytes(self.raw(size), "big")

    def u8(self) -> int:
        """Take one byte."""
        return self.uint(1)

    def u16(self) -> int:
        """Take two bytes."""
        return self.uint(2)

    def u32(self) -> int:
        """Take four bytes."""
        return self.uint(4)

    def u64(self) -> int:
        """Take eight bytes."""
        return self.uint(8)

    def flag(self) -> bool:
        """Take 00 or 01; any other byte is refused."""
        value = self.u8()
        if value > 1:
            raise DecodeError(f"a flag is 0 or 1, not {value}")
        return value == 1

    @property
    def left(self) -> int:
        """How many bytes are still to be taken."""
        return len(self._data) - self._at

    def between(self, value: int, low: int, high: int, what: str) -> int:
        """Pass `value` on when low ≤ value ≤ high."""
        if not low <= value <= high:
            raise DecodeError(f"{what} is {value}, allowed are {low} to {high}")
        return value

    def var(self, limit: int) -> bytes:
        """Take a u32 length and that many bytes, at most `limit`."""
        return self.raw(self.between(self.u32(), 0, limit, "a length"))

    def text(self, limit: int) -> str:
        """Take UTF-8 text of at most `limit` bytes."""
        try:
            return self.var(limit).decode()
        except UnicodeDecodeError as error:
            raise DecodeError("text is not UTF-8") from error

    def finish(self) -> None:
        """Refuse trailing bytes."""
        if self._at != len(self._data):
            raise DecodeError(f"{len(self._data) - self._at} bytes follow the end")
