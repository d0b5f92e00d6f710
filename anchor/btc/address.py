"""Addresses: what people type and what scripts they stand for (BIP173, BIP350, base58check).

Both directions know the network and refuse the wrong one. Own code throughout: python-bitcoinlib's bech32
gives Taproot outputs the wrong checksum.
"""

from anchor.btc.hashing import sha256d
from anchor.btc.network import NETWORKS, Network

_CHARSET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_BECH32 = 1
_BECH32M = 0x2BC830A3
_GENERATOR = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_MAX_BASE58 = 40  # 25 bytes need at most 35 digits


class AddressError(ValueError):
    """Text that is no address of this network, or a script that has none."""


def _polymod(values: list[int]) -> int:
    check = 1
    for value in values:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ value
        for bit, generator in enumerate(_GENERATOR):
            if top >> bit & 1:
                check ^= generator
    return check


def _expand(hrp: str) -> list[int]:
    return [ord(c) >> 5 for c in hrp] + [0] + [ord(c) & 31 for c in hrp]


def bech32_encode(hrp: str, values: list[int], constant: int) -> str:
    """Return hrp, separator, 5-bit `values` and checksum; `constant` tells bech32 (1) from bech32m."""
    check = _polymod(_expand(hrp) + values + [0] * 6) ^ constant
    checksum = [check >> 5 * (5 - i) & 31 for i in range(6)]
    return hrp + "1" + "".join(_CHARSET[v] for v in values + checksum)


def bech32_decode(text: str) -> tuple[str, list[int], int]:
    """Return (lower-case hrp, 5-bit values, checksum constant). AddressError names what is wrong. BIP173."""
    if any(not 33 <= ord(c) <= 126 for c in text):
        raise AddressError("an address holds printable ASCII only, without spaces")
    if text.lower() != text and text.upper() != text:
        raise AddressError("an address is all lower case or all upper case")
    text = text.lower()
    split = text.rfind("1")
    if split < 1 or split + 7 > len(text) or len(text) > 90:
        raise AddressError("not an address: separator missing, or too short, or too long")
    hrp, body = text[:split], text[split + 1 :]
    if any(c not in _CHARSET for c in body):
        raise AddressError("not an address: a character that bech32 does not use")
    values = [_CHARSET.index(c) for c in body]
    constant = _polymod(_expand(hrp) + values)
    if constant not in (_BECH32, _BECH32M):
        raise AddressError("the checksum is wrong: copy the address again")
    return hrp, values[:-6], constant


def _regroup(values: list[int], source: int, target: int, *, pad: bool) -> list[int]:
    held, bits, out = 0, 0, []
    for value in values:
        held = held << source | value
        bits += source
        while bits >= target:
            bits -= target
            out.append(held >> bits & ((1 << target) - 1))
        held &= (1 << bits) - 1
    if pad and bits:
        out.append(held << (target - bits) & ((1 << target) - 1))
    elif not pad and (bits >= source or held):
        raise AddressError("the address carries stray bits at its end")
    return out


def _segwit_program(text: str, network: Network) -> tuple[int, bytes]:
    hrp, values, constant = bech32_decode(text)
    if hrp != network.hrp:
        known = [net.name for net in NETWORKS.values() if net.hrp == hrp]
        whose = f"an address of {' or '.join(known)}" if known else f"no Bitcoin address (prefix {hrp!r})"
        raise AddressError(f"{whose}: this is {network.name}, whose addresses start with {network.hrp}1")
    if not values or values[0] > 16:
        raise AddressError("no such witness version")
    version, program = values[0], bytes(_regroup(values[1:], 5, 8, pad=False))
    if not 2 <= len(program) <= 40 or (version == 0 and len(program) not in (20, 32)):
        raise AddressError(f"a witness program of version {version} cannot have {len(program)} bytes")
    if constant != (_BECH32M if version else _BECH32):
        raise AddressError("the checksum is of the wrong kind for this witness version (BIP350)")
    return version, program


def _base58_decode(text: str) -> bytes:
    if not 0 < len(text) <= _MAX_BASE58:
        raise AddressError("not an address: wrong length")
    value = 0
    for c in text:
        digit = _BASE58.find(c)
        if digit < 0:
            raise AddressError(f"not an address: the character {c!r} does not belong")
        value = value * 58 + digit
    zeros = len(text) - len(text.lstrip("1"))
    data = bytes(zeros) + value.to_bytes((value.bit_length() + 7) // 8, "big")
    if len(data) != 25 or sha256d(data[:-4])[:4] != data[-4:]:
        raise AddressError("the checksum is wrong: copy the address again")
    return data[:-4]


def _base58_encode(payload: bytes) -> str:
    data = payload + sha256d(payload)[:4]
    value, digits = int.from_bytes(data, "big"), ""
    while value:
        value, digit = divmod(value, 58)
        digits = _BASE58[digit] + digits
    return "1" * (len(data) - len(data.lstrip(b"\0"))) + digits


def script_of(address: str, network: Network) -> bytes:
    """Return the scriptPubKey that `address` stands for on `network`.

    Knows every witness version (BIP350) and base58 P2PKH and P2SH. Raises AddressError for anything else and
    for an address of another network. (testnet3, testnet4 and signet share their spelling.)
    """
    if (
        address.lower().startswith(tuple(net.hrp + "1" for net in NETWORKS.values()))
        or len(address) > _MAX_BASE58
    ):
        version, program = _segwit_program(address, network)
        return bytes([0x50 + version if version else 0, len(program)]) + program
    payload = _base58_decode(address)
    if payload[0] == network.p2pkh_version:
        return b"\x76\xa9\x14" + payload[1:] + b"\x88\xac"
    if payload[0] == network.p2sh_version:
        return b"\xa9\x14" + payload[1:] + b"\x87"
    raise AddressError(f"an address of another network: this is {network.name}")


def address_of(script: bytes, network: Network) -> str:
    """Return the address of a scriptPubKey on `network`. AddressError for scripts that have none."""
    size = len(script)
    if 4 <= size <= 42 and script[1] == size - 2 and (script[0] == 0 or 0x51 <= script[0] <= 0x60):
        version = script[0] - 0x50 if script[0] else 0
        if version or size in (22, 34):
            values = [version, *_regroup(list(script[2:]), 8, 5, pad=True)]
            return bech32_encode(network.hrp, values, _BECH32M if version else _BECH32)
    if size == 25 and script[:3] == b"\x76\xa9\x14" and script[23:] == b"\x88\xac":
        return _base58_encode(bytes([network.p2pkh_version]) + script[3:23])
    if size == 23 and script[:2] == b"\xa9\x14" and script[22:] == b"\x87":
        return _base58_encode(bytes([network.p2sh_version]) + script[2:22])
    raise AddressError(f"a script of {size} bytes without an address: {script[:8].hex()}…")
