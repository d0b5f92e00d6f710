"""Script bytes: the opcodes we write, minimal pushes, and a careful reader of what others wrote."""

from collections.abc import Iterator

OP_0 = 0x00
OP_PUSHDATA1 = 0x4C
OP_PUSHDATA2 = 0x4D
OP_PUSHDATA4 = 0x4E
OP_1NEGATE = 0x4F
OP_1 = 0x51
OP_16 = 0x60
OP_IF = 0x63
OP_ENDIF = 0x68
OP_RETURN = 0x6A
OP_DROP = 0x75
OP_EQUALVERIFY = 0x88
OP_CHECKSIG = 0xAC
OP_CHECKSIGVERIFY = 0xAD
OP_CHECKLOCKTIMEVERIFY = 0xB1
OP_CHECKSEQUENCEVERIFY = 0xB2
OP_CHECKSIGADD = 0xBA

MAX_PUSH = 520  # consensus: MAX_SCRIPT_ELEMENT_SIZE, in tapscript too (BIP342)


class ScriptError(ValueError):
    """A script that cannot be written or read."""


def push(data: bytes) -> bytes:
    """Return the shortest script that pushes `data` (0 to 520 bytes). BIP62 rule 3; policy MINIMALDATA."""
    size = len(data)
    if size > MAX_PUSH:
        raise ScriptError(f"one push holds at most {MAX_PUSH} bytes, not {size}: split it")
    if size == 0:
        return bytes([OP_0])
    if size == 1 and 1 <= data[0] <= 16:
        return bytes([OP_1 + data[0] - 1])
    if data == b"\x81":
        return bytes([OP_1NEGATE])
    if size < OP_PUSHDATA1:
        return bytes([size]) + data
    if size <= 0xFF:
        return bytes([OP_PUSHDATA1, size]) + data
    return bytes([OP_PUSHDATA2]) + size.to_bytes(2, "little") + data


def number(value: int) -> bytes:
    """Return a script number: little-endian, sign in the top bit, no spare bytes. Zero is empty."""
    if value == 0:
        return b""
    data = bytearray(abs(value).to_bytes((abs(value).bit_length() + 7) // 8, "little"))
    if data[-1] & 0x80:
        data.append(0)
    if value < 0:
        data[-1] |= 0x80
    return bytes(data)


def push_number(value: int) -> bytes:
    """Return the shortest script that pushes the number `value`."""
    return push(number(value))


def p2tr(output_key: bytes) -> bytes:
    """Return the 34-byte scriptPubKey OP_1 <x-only output key>. BIP341."""
    if len(output_key) != 32:
        raise ScriptError(f"an output key has 32 bytes, this has {len(output_key)}")
    return bytes([OP_1, 32]) + output_key


def is_p2tr(script: bytes) -> bool:
    """Tell whether a scriptPubKey is a Taproot output."""
    return len(script) == 34 and script[:2] == bytes([OP_1, 32])


def op_return(data: bytes) -> bytes:
    """Return an unspendable output script that carries `data` in one push."""
    return bytes([OP_RETURN]) + push(data)


def operations(script: bytes) -> Iterator[tuple[int, bytes | None]]:
    """Yield (opcode, pushed bytes) of each operation; bytes are None for opcodes that are no data push.

    OP_1 to OP_16 and OP_1NEGATE count as opcodes without data. ScriptError at a push that is cut short.
    """
    at = 0
    while at < len(script):
        opcode = script[at]
        at += 1
        if opcode > OP_PUSHDATA4:
            yield opcode, None
            continue
        size = opcode
        if opcode >= OP_PUSHDATA1:
            width = 1 << (opcode - OP_PUSHDATA1)
            if at + width > len(script):
                raise ScriptError(f"a push at byte {at - 1} lacks its length")
            size = int.from_bytes(script[at : at + width], "little")
            at += width
        if at + size > len(script):
            raise ScriptError(f"a push of {size} bytes is cut short")
        yield opcode, script[at : at + size]
        at += size
