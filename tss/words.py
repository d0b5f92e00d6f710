"""The host secret as 18 words on paper: 16 of it, 2 that notice what was misread.

A word is a proquint (arXiv:0901.4016), 16 bits as five letters that can be read aloud: "lusab". Words are symbols
of GF(2^16) modulo x^16 + x^12 + x^3 + x + 1, whose x is primitive. With w0 to w17 and x the field's generator

    w0 + w1 + ... + w17 = K1        w0 + x·w1 + ... + x^17·w17 = K2

K1 and K2 come from a tagged hash that names this form and its version. Any one or two wrong words, so also two
words in each other's place, break an equation; of a single wrong word the number is told.
"""

import re
from typing import Final

from tss.dkg.committee import CONSONANTS, VOWELS
from tss.frost.hashing import tagged_hash

SECRET_BYTES: Final = 32
WORDS: Final = 18
MAX_TEXT: Final = 1024
_DATA: Final = SECRET_BYTES // 2
_FIELD: Final = 0x1100B
_ORDER: Final = (1 << 16) - 1


class WordsFault(Exception):
    """Words that are not a host key's; the sentence says which to look at. It never repeats a word."""


def to_words(secret: bytes | bytearray | memoryview) -> list[str]:
    """Spell a 32-byte secret."""
    assert len(secret) == SECRET_BYTES, "a host secret has 32 bytes"
    data = [secret[i] << 8 | secret[i + 1] for i in range(0, SECRET_BYTES, 2)]
    first, second = _constants()
    for weight, symbol in zip(_WEIGHTS, data, strict=False):
        first ^= symbol
        second ^= _times(weight, symbol)
    # Two equations for the last two: a + b = first, x^16·a + x^17·b = second.
    low, high = _WEIGHTS[_DATA:]
    last = _times(second ^ _times(low, first), _inverse(low ^ high))
    return [_spell(symbol) for symbol in (*data, first ^ last, last)]


def from_words(text: str | bytes | bytearray) -> bytearray:
    """Read 18 words, in capitals or not, parted by spaces, commas, dashes or lines; numbers between are ignored.

    WordsFault names the word that is wrong. The caller wipes the 32 bytes.
    """
    if len(text) > MAX_TEXT:
        raise WordsFault(f"this is longer than {WORDS} words: give the words alone")
    plain = text if isinstance(text, str) else text.decode("ascii", "replace")
    found = re.findall(r"[^\W\d]+", plain.lower())
    if len(found) != WORDS:
        raise WordsFault(f"{len(found)} words came, a host key has {WORDS}: look for one left out or split")
    symbols = [_read(number, word) for number, word in enumerate(found, 1)]
    _check(symbols)
    return bytearray(b for symbol in symbols[:_DATA] for b in (symbol >> 8, symbol & 0xFF))


def _check(symbols: list[int]) -> None:
    first, second = _constants()
    for weight, symbol in zip(_WEIGHTS, symbols, strict=True):
        first ^= symbol
        second ^= _times(weight, symbol)
    if first == second == 0:
        return
    alone = [i for i, weight in enumerate(_WEIGHTS) if first and _times(weight, first) == second]
    if alone:
        raise WordsFault(
            f"word {alone[0] + 1} is wrong, or several are: compare it with the paper letter by letter"
        )
    raise WordsFault("several words are wrong or out of order: compare them with the paper one by one")


def _spell(symbol: int) -> str:
    return (
        CONSONANTS[symbol >> 12]
        + VOWELS[symbol >> 10 & 3]
        + CONSONANTS[symbol >> 6 & 15]
        + VOWELS[symbol >> 4 & 3]
        + CONSONANTS[symbol & 15]
    )


def _read(number: int, word: str) -> int:
    places = (CONSONANTS, VOWELS, CONSONANTS, VOWELS, CONSONANTS)
    if len(word) != len(places) or any(letter not in row for letter, row in zip(word, places, strict=True)):
        raise WordsFault(
            f"word {number} is none: five letters, of {CONSONANTS} and {VOWELS} in turn; read it again"
        )
    symbol = 0
    for letter, row in zip(word, places, strict=True):
        symbol = symbol * len(row) + row.index(letter)
    return symbol


def _constants() -> tuple[int, int]:
    seed = tagged_hash("holdfast/words/v1")
    return int.from_bytes(seed[:2], "big"), int.from_bytes(seed[2:4], "big")


def _times(a: int, b: int) -> int:
    product = 0
    while b:
        if b & 1:
            product ^= a
        a <<= 1
        if a > _ORDER:
            a ^= _FIELD
        b >>= 1
    return product


def _inverse(a: int) -> int:
    """a^(2^16 - 2)."""
    result, exponent = 1, _ORDER - 1
    while exponent:
        if exponent & 1:
            result = _times(result, a)
        a = _times(a, a)
        exponent >>= 1
    return result


def _weights() -> tuple[int, ...]:
    weights = [1]
    while len(weights) < WORDS:
        weights.append(_times(weights[-1], 2))
    return tuple(weights)


_WEIGHTS: Final = _weights()
