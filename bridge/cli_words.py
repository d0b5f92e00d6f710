"""The host key's words between a person and this process: shown once on a terminal, typed in on one.

They never go to stdout, which may be a file; a program that handles them names a file descriptor of its own.
"""

import os
from typing import TYPE_CHECKING

from anchor.cli_tools import Failed

if TYPE_CHECKING:
    from tss.identity import HostIdentity

# The alternate screen has no scroll-back: when it is left, nothing of it remains in the window.
_OTHER_SCREEN, _BACK = "\x1b[?1049h\x1b[H", "\x1b[?1049l"
_A_ROW = 3


def show_words(identity: "HostIdentity", descriptor: int | None) -> None:
    """Show the words on the terminal until Enter, or write one line of them to a descriptor."""
    from tss.words import to_words

    words = to_words(identity.secret())
    if descriptor is not None:
        try:
            os.write(descriptor, (" ".join(words) + "\n").encode())
        except OSError as error:
            raise Failed(
                f"file descriptor {descriptor} cannot be written ({error.strerror}): open it"
            ) from error
        return
    terminal = _terminal(
        "the words are shown on a terminal only: run this on one, or name one with --words-fd"
    )
    try:
        _say(
            terminal,
            "Whoever reads the words has the share. Are you alone, with pen and paper? Enter goes on. ",
        )
        _line(terminal)
        _say(terminal, f"{_OTHER_SCREEN}The host key of {identity.name}, in {len(words)} words:\n\n")
        for start in range(0, len(words), _A_ROW):
            row = enumerate(words[start : start + _A_ROW], start + 1)
            _say(terminal, "   ".join(f"{number:>2}. {word}" for number, word in row) + "\n")
        _say(
            terminal,
            "\nThey are not shown again by themselves. Enter when they are on paper, in two places. ",
        )
        try:
            _line(terminal)
        finally:
            _say(terminal, _BACK)
    finally:
        os.close(terminal)


def read_words(descriptor: int | None) -> bytearray:
    """The secret that the words spell, from a descriptor or typed in; Failed names the word that is wrong."""
    from tss import passphrase
    from tss.words import MAX_TEXT, WORDS, WordsFault, from_words

    try:
        given = _typed(WORDS, MAX_TEXT) if descriptor is None else passphrase.read_all(descriptor, MAX_TEXT)
        try:
            return from_words(given)
        finally:
            passphrase.wipe(given)
    except (WordsFault, passphrase.PassphraseFault) as fault:
        raise Failed(str(fault), 2) from fault


def _typed(count: int, limit: int) -> bytearray:
    terminal = _terminal(
        "the words are typed on a terminal: run this on one, or name a descriptor with --words-fd"
    )
    given = bytearray()
    try:
        _say(terminal, f"{_OTHER_SCREEN}The {count} words from paper, in as many lines as you like:\n")
        try:
            while len(given.split()) < count and len(given) <= limit:
                line = _line(terminal)
                if not line:
                    break
                given += line + b"\n"
        finally:
            _say(terminal, _BACK)
    finally:
        os.close(terminal)
    return given


def _terminal(sentence: str) -> int:
    try:
        return os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError as error:
        raise Failed(sentence, 2) from error


def _say(terminal: int, text: str) -> None:
    os.write(terminal, text.encode())


def _line(terminal: int) -> bytearray:
    from tss import passphrase

    return passphrase.read_descriptor(terminal)
