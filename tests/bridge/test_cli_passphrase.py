"""The passphrase and the words as an operator gives and sees them: descriptors, credentials, terminals."""

import contextlib
import os
import pty
import re
import sys

import pytest

from tests.bridge.commands import OTHER, SECRET, holdfast, init_words, on_terminal
from tss import identity
from tss.vault import Sealed
from tss.words import to_words


def test_init_seals_the_host_key_under_the_passphrase_of_a_descriptor(tmp_path):
    holdfast(*init_words(tmp_path / "a"), given={"--passphrase-fd": SECRET + "\n"})
    path = tmp_path / "a" / "keys" / "host.key"
    assert Sealed.is_one(path.read_bytes())
    assert path.stat().st_mode & 0o777 == 0o600
    loaded = identity.load(tmp_path / "a", lambda: bytearray(SECRET.encode()))
    assert loaded.sealed
    assert "redacted" in repr(loaded)


def test_init_asks_twice_on_a_terminal_without_showing_what_is_typed(tmp_path):
    shown = on_terminal(init_words(tmp_path / "a"), ("New passphrase", SECRET), ("again", SECRET))
    assert SECRET not in shown
    assert identity.load(tmp_path / "a", lambda: bytearray(SECRET.encode())).sealed
    shown = on_terminal(init_words(tmp_path / "b"), ("New passphrase", SECRET), ("again", OTHER), status=2)
    assert "the two differ" in shown
    assert not (tmp_path / "b").exists()


def test_init_takes_systemds_credential(tmp_path, monkeypatch):
    (tmp_path / "credentials").mkdir()
    (tmp_path / "credentials" / "holdfast-passphrase").write_text(SECRET + "\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "credentials"))
    holdfast(*init_words(tmp_path / "a"))
    assert identity.load(tmp_path / "a", lambda: bytearray(SECRET.encode())).sealed


def test_without_a_passphrase_nothing_is_made_and_an_open_key_is_for_regtest_only(tmp_path):
    _, err, _ = holdfast(*init_words(tmp_path / "a"), status=2)
    assert "--passphrase-fd N" in err
    assert "holdfast-passphrase" in err
    _, err, _ = holdfast(*init_words(tmp_path / "a"), given={"--passphrase-fd": "short\n"}, status=2)
    assert "at least 12 bytes" in err
    _, err, _ = holdfast(*init_words(tmp_path / "a"), given={"--passphrase-fd": "x" * 3000}, status=2)
    assert "more than 1024 bytes" in err
    _, err, _ = holdfast(*init_words(tmp_path / "a"), "--passphrase-fd", "77", status=2)
    assert "file descriptor 77 cannot be read" in err
    _, err, _ = holdfast(*init_words(tmp_path / "a", "mainnet"), "--no-passphrase", status=2)
    assert "regtest only" in err
    assert not (tmp_path / "a").exists()


def test_no_command_takes_a_passphrase_or_words_as_an_argument_or_from_the_environment(tmp_path):
    from bridge.cli_node import node

    for name, one in node.commands.items():
        for option in one.params:
            secret = any(word in option.name for word in ("passphrase", "words"))
            assert not secret or option.is_flag or option.name.endswith("_fd"), (name, option.name)
            assert not secret or option.envvar is None


def test_the_passphrase_is_changed_in_one_file_and_a_wrong_one_changes_nothing(tmp_path):
    folder = tmp_path / "a"
    holdfast(*init_words(folder), given={"--passphrase-fd": SECRET})
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    change = ("node", "passphrase", "--dir", folder)
    wrong = {"--passphrase-fd": "not the passphrase", "--new-passphrase-fd": OTHER}
    _, err, _ = holdfast(*change, given=wrong, status=2)
    assert len(err.strip().splitlines()) == 1
    assert "the passphrase is wrong: nothing was changed" in err
    assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before
    holdfast(*change, given={"--passphrase-fd": SECRET, "--new-passphrase-fd": OTHER})
    after = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    assert [p.name for p in after if after[p] != before[p]] == ["host.key"]
    with pytest.raises(identity.IdentityFault, match="the passphrase is wrong"):
        identity.load(folder, lambda: bytearray(SECRET.encode()))
    identity.load(folder, lambda: bytearray(OTHER.encode()))


def test_an_open_folder_of_the_first_release_is_put_under_a_passphrase(tmp_path):
    folder = tmp_path / "a"
    holdfast(*init_words(folder), "--no-passphrase")
    secret = bytes.fromhex((folder / "keys" / "host.key").read_text())
    out, _, _ = holdfast("node", "passphrase", "--dir", folder, given={"--new-passphrase-fd": SECRET})
    assert "lay open" in out
    assert bytes(identity.load(folder, lambda: bytearray(SECRET.encode())).secret()) == secret
    assert secret not in (folder / "keys" / "host.key").read_bytes()
    shown = on_terminal(
        ("node", "passphrase", "--dir", folder),
        ("Present passphrase", SECRET),
        ("New passphrase", OTHER),
        ("again", OTHER),
    )
    assert "under the new passphrase" in shown


ASKING_IN_A_LOOP = """
import asyncio, signal
from tss import passphrase
async def main():
    asyncio.get_running_loop().add_signal_handler(signal.SIGINT, lambda: None)
    passphrase.prompt("Passphrase: ")
try:
    asyncio.run(main())
except KeyboardInterrupt:
    raise SystemExit(7)
"""


def test_ctrl_c_ends_the_question_also_inside_a_starting_node():
    child, terminal = pty.fork()
    if child == 0:
        os.execv(sys.executable, [sys.executable, "-c", ASKING_IN_A_LOOP])  # noqa: S606
    shown = b""
    while b"Passphrase" not in shown:
        shown += os.read(terminal, 100)
    os.write(terminal, b"half of it\x03")
    with contextlib.suppress(OSError):  # the terminal's end when the child has gone
        while os.read(terminal, 100):
            pass
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    os.close(terminal)


def test_backup_shows_the_words_once_on_a_terminal_and_never_on_stdout(tmp_path):
    folder, out = tmp_path / "a", tmp_path / "alice.json"
    holdfast(*init_words(folder), given={"--passphrase-fd": SECRET})
    me = identity.load(folder, lambda: bytearray(SECRET.encode()))
    words = to_words(me.secret())
    making = ("node", "backup", "--dir", folder, "-o", out)
    said, err, _ = holdfast(*making, given={"--passphrase-fd": SECRET}, status=2)
    assert "shown on a terminal only" in err
    said, err, given = holdfast(*making, given={"--passphrase-fd": SECRET}, collect="--words-fd")
    assert given.split() == words
    shown = on_terminal(making, ("Passphrase", SECRET), ("Are you alone", ""), ("in two places", ""))
    listed = re.findall(r"\d+\. ([a-z]{5})", shown)
    assert listed == words
    assert "\x1b[?1049h" in shown
    assert shown.index("\x1b[?1049l") > shown.rindex(words[-1]), "the screen with the words is left"
    everything = said + err + shown[shown.index("\x1b[?1049l") :] + out.read_text()
    everything += "".join(p.read_bytes().decode("latin-1") for p in folder.rglob("*") if p.is_file())
    assert not [word for word in words if re.search(rf"\b{word}\b", everything)]
