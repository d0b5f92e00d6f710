"""The one way in which Holdfast writes down what it hashes or signs.

Integers are big-endian and of fixed width, variable bytes carry a u32 length, text is UTF-8. There is exactly
one encoding of a value, and a reader that ends with `end()` accepts exactly that one.
"""

from typing import Self


class CodecError(ValueError):
    """Bytes that no writer of ours produces: cut short, too long, out of range or followed by more."""


class Writer:
    """Collects fields; every method returns the writer, so that calls can be chained."""

    __slots__ = ("_parts",)

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def _uint(self, value: int, size: int) -> Self:
        if not 0 <= value < 1 << (8 * size):
            raise CodecError(f"{value} does not fit {size} bytes")
        self._parts.append(value.to_bytes(size, "big"))
        return self

    def u8(self, value: int) -> Self:
        """Append one byte."""
        return self._uint(value, 1)

    def u16(self, value: int) -> Self:
        """Append two bytes, big-endian."""
        return self._uint(value, 2)

    def u32(self, value: int) -> Self:
        """Append four bytes, big-endian."""
        return self._uint(value, 4)

    def u64(self, value: int) -> Self:
        """Append eight bytes, big-endian."""
        return self._uint(value, 8)

    def count(self, value: int) -> Self:
        """Append how many items follow: a u32."""
        return self._uint(value, 4)

    def fixed(self, data: bytes, size: int | None = None) -> Self:
        """Append bytes whose length the format fixes; `size` has it checked (CodecError)."""
        if size is not None and len(data) != size:
            raise CodecError(f"{size} bytes wanted, {len(data)} given")
        self._parts.append(bytes(data))
        return self

    def var(self, data: bytes) -> Self:
        """Append a u32 length and the bytes."""
        return self._uint(len(data), 4).fixed(data)

    def text(self, value: str) -> Self:
        """Append text as UTF-8 with a u32 length in bytes. CodecError for lone surrogates."""
        try:
            return self.var(value.encode())
        except UnicodeEncodeError as error:
            raise CodecError("text that UTF-8 cannot say") from error

    def done(self) -> bytes:
        """Return everything written so far."""
        return b"".join(self._parts)


class Reader:
    """Reads the same fields with bounds; every method raises CodecError when the bytes do not allow it."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data = bytes(data)
        self._at = 0

    @property
    def left(self) -> int:
        """How many bytes remain."""
        return len(self._data) - self._at

    def fixed(self, size: int) -> bytes:
        """Read exactly `size` bytes."""
        if not 0 <= size <= self.left:
            raise CodecError(f"cut short at byte {self._at}: {size} wanted, {self.left} left")
        start, self._at = self._at, self._at + size
        return self._data[start : self._at]

    def u8(self) -> int:
        """Read one byte."""
        return self.fixed(1)[0]

    def u16(self) -> int:
        """Read two bytes, big-endian."""
        return int.from_bytes(self.fixed(2), "big")

    def u32(self) -> int:
        """Read four bytes, big-endian."""
        return int.from_bytes(self.fixed(4), "big")

    def u64(self) -> int:
        """Read eight bytes, big-endian."""
        return int.from_bytes(self.fixed(8), "big")

    def count(self, maximum: int) -> int:
        """Read how many items follow, at most `maximum`."""
        value = self.u32()
        if value > maximum:
            raise CodecError(f"{value} items at byte {self._at - 4}, at most {maximum} are allowed")
        return value

    def var(self, maximum: int) -> bytes:
        """Read a u32 length of at most `maximum` and that many bytes."""
        return self.fixed(self.count(maximum))

    def text(self, maximum: int) -> str:
        """Read UTF-8 text of at most `maximum` bytes."""
        try:
            return self.var(maximum).decode()
        except UnicodeDecodeError as error:
            raise CodecError(f"no UTF-8 text before byte {self._at}") from error

    def end(self) -> None:
        """Make sure that nothing remains."""
        if self.left:
            raise CodecError(f"{self.left} bytes follow the end")


class Encoded:
    """What can be read within a longer message, and so as a message of its own."""

    __slots__ = ()

    @classmethod
    def read(cls, r: Reader) -> Self:
        """Read the fields from a longer message; CodecError where they cannot be."""
        raise NotImplementedError  # each message reads its own fields

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read what `encode` wrote and nothing else; CodecError otherwise."""
        r = Reader(data)
        found = cls.read(r)
        r.end()
        return found
