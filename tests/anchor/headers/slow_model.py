"""The header rules once more: slow, plain, from the BIPs and Core's sources, sharing nothing with `anchor`.

A chain is a list of 80-byte strings from genesis on. Everything is computed anew for every header, targets as exact
fractions; the answer is the set of *all* rules that a header breaks.
"""

from dataclasses import dataclass
from fractions import Fraction
from hashlib import sha256


@dataclass(frozen=True)
class Parameters:
    """One network: `least_versions` are (height, version) pairs, `limit` the easiest target."""

    limit: int
    blocks_per_period: int
    seconds_per_block: int
    twenty_minutes: bool
    never_retargets: bool
    bip94: bool
    least_versions: tuple[tuple[int, int], ...]


def number(raw: bytes, start: int, size: int = 4) -> int:
    return int.from_bytes(raw[start : start + size], "little")


def seconds(raw: bytes) -> int:
    return number(raw, 68)


def compact(raw: bytes) -> int:
    return number(raw, 72)


def decode(bits: int) -> int | None:
    """The target behind compact bits, None when they stand for none: BIP-less, from the wiki's formula."""
    exponent, sign, mantissa = bits // 2**24, bits // 2**23 % 2, bits % 2**23
    value = Fraction(mantissa) * Fraction(256) ** (exponent - 3)
    whole = value.numerator // value.denominator
    return None if whole == 0 or sign or whole >= 2**256 else whole


def encode(target: int) -> int:
    """The compact bits of a target: as many bytes as it takes with the sign bit free, cut to the first three."""
    size = 1
    while target >= 2 ** (8 * size - 1):
        size += 1
    digits = target.to_bytes(size + 3, "big")[3:] + bytes(3)
    return size * 2**24 + int.from_bytes(digits[:3], "big")


def wanted_bits(rules: Parameters, chain: list[bytes], time: int) -> int:
    height, last, easiest = len(chain), chain[-1], encode(rules.limit)
    if rules.never_retargets:
        return compact(chain[0])
    if height % rules.blocks_per_period:
        if not rules.twenty_minutes:
            return compact(last)
        if time - seconds(last) > 2 * rules.seconds_per_block:
            return easiest
        period = chain[height - height % rules.blocks_per_period :]
        hard = [one for one in period if compact(one) != easiest]
        return compact(hard[-1] if hard else period[0])
    first = chain[height - rules.blocks_per_period]
    usual = rules.blocks_per_period * rules.seconds_per_block
    took = Fraction(seconds(last) - seconds(first))
    took = max(took, Fraction(usual, 4))
    took = min(took, Fraction(usual * 4))
    base = decode(compact(first if rules.bip94 else last))
    assert base is not None
    return encode(int(min(Fraction(rules.limit), base * took / usual)))


def broken(rules: Parameters, chain: list[bytes], header: bytes) -> set[str]:
    """All rules that `header` breaks upon `chain`; empty when it is valid."""
    found = set()
    height, last = len(chain), chain[-1]
    name = sha256(sha256(header).digest()).digest()
    if header[4:36] != sha256(sha256(last).digest()).digest():
        found.add("parent")
    if compact(header) != wanted_bits(rules, chain, seconds(header)):
        found.add("bits")
    target = decode(compact(header))
    if target is None or target > rules.limit:
        found.add("bits")
    elif number(name, 0, 32) > target:
        found.add("work")
    past = sorted(map(seconds, chain[-11:]))
    if seconds(header) <= past[len(past) // 2]:
        found.add("median-time")
    if rules.bip94 and height % rules.blocks_per_period == 0 and seconds(header) < seconds(last) - 600:
        found.add("timewarp")
    version = number(header, 0)
    version -= 2**32 if version >= 2**31 else 0
    if any(height >= since and version < least for since, least in rules.least_versions):
        found.add("version")
    return found
