"""Passphrase, backup, restore and rehearsal as an operator types them: real processes, descriptors, terminals."""

import asyncio
import contextlib
import json
import os
import pty
import re
import select
import shutil
import signal
import subprocess
import sys
import termios
import time

import pytest

from tests.tss.shells import committee_of, free_ports, until
from tests.tss.test_tss_cli import admin_site
from tss import identity
from tss.vault import Sealed
from tss.words import from_words, to_words

HOLDFAST = (sys.executable, "-c", "import sys; from bridge.cli import main; sys.exit(main())")
SECRET, OTHER = "correct horse battery", "staple of another kind"
WHERE = ("--bitcoind-url", "http://127.0.0.1:18443", "--cookie", "cookie", "--public-port", "9101")


def init_words(folder, network="regtest"):
    named = ("--dir", str(folder), "--name", "alice", "--network", network)
    return ("node", "init", *named, "--peer-host", "127.0.0.1", "--peer-port", "9301", *WHERE)


def holdfast(*words, status=0, given=(), tty=False, collect=None):
    """Run a command; `given` are texts for descriptors {flag: text}; returns (stdout, stderr, collected)."""
    fds, extra, readers = [], [], {}
    for flag, text in dict(given).items():
        read, write = os.pipe()
        os.write(write, text.encode())
        os.close(write)
        fds.append(read)
        extra += [flag, str(read)]
    if collect is not None:
        read, write = os.pipe()
        fds.append(write)
        extra += [collect, str(write)]
        readers[collect] = read
    done = subprocess.run(
        [*HOLDFAST, *map(str, words), *extra],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        pass_fds=fds,
        start_new_session=not tty,  # no controlling terminal: a prompt must refuse, never hang
        timeout=60,
        check=False,
    )
    for fd in fds:
        os.close(fd)
    collected = ""
    for read in readers.values():
        with os.fdopen(read) as stream:
            collected = stream.read()
    assert done.returncode == status, (words, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    return done.stdout, done.stderr, collected


async def command(*words, **more):
    return await asyncio.to_thread(holdfast, *words, **more)


def on_terminal(words, *answers, status=0):
    """Run a command on a terminal of its own, answer each prompt; returns all that the terminal showed."""
    child, terminal = pty.fork()
    if child == 0:  # the child becomes the command
        os.execv(HOLDFAST[0], [*HOLDFAST, *map(str, words)])  # noqa: S606
    shown, waiting, quiet_at = b"", list(answers), None
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        ready, _, _ = select.select([terminal], [], [], 0.2)
        if ready:
            try:
                part = os.read(terminal, 4096)
            except OSError:
                break
            if not part:
                break
            shown += part
        if waiting and waiting[0][0] in shown.decode(errors="replace")[quiet_at or 0 :]:
            asked, answer = waiting.pop(0)
            if "assphrase" in asked or "again" in asked:
                assert not termios.tcgetattr(terminal)[3] & termios.ECHO, "what is typed must not show"
            quiet_at = len(shown.decode(errors="replace"))
            os.write(terminal, answer.encode() + b"\n")
    _, code = os.waitpid(child, 0)
    os.close(terminal)
    assert os.waitstatus_to_exitcode(code) == status, shown.decode(errors="replace")
    assert not waiting, (waiting, shown)
    return shown.decode(errors="replace")


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


def operator_folder(seat):
    """What `node init` and `committee accept` leave, around a seat of the tests' committee."""
    peer, public = seat.identity.peer_url.rsplit(":", 1)[1], free_ports(1)[0]
    (seat.folder / "config.toml").write_text(
        f'[node]\nname = "{seat.identity.name}"\nnetwork = "regtest"\n'
        f'[bitcoind]\nurl = "http://127.0.0.1:1"\ncookie = "c"\n'
        f"[peer]\nport = {peer}\n[public]\nport = {public}\n"
    )
    (seat.folder / "committee.json").write_text(seat.committee.to_json())


async def backed_up(seat, out):
    operator_folder(seat)
    making = ("node", "backup", "--dir", seat.folder, "-o", out)
    return (await command(*making, collect="--words-fd"))[2]


async def test_backup_restore_and_rehearsal_by_command(tmp_path):
    async with committee_of(tmp_path, 3, 2) as seats:
        alice, bob, _carol = seats
        await alice.node.dkg("anchor")
        await until(lambda: all(seat.node.public("anchor") for seat in seats))
        file = tmp_path / "bob.json"
        words = await backed_up(bob, file)

        runner = await admin_site(bob)
        rehearsing = ("node", "rehearse", "--dir", bob.folder, "--recovery", file)
        out, err, _ = await command(*rehearsing, "--json", given={"--words-fd": words})
        assert json.loads(out) == {"name": "bob", "keys": ["anchor"], "words": True}
        assert "Traceback" not in err
        noted = json.loads((bob.folder / "backup.json").read_text())
        assert noted["rehearsal"]["words"]
        assert not (bob.folder / "rehearsal").exists()
        wrong = words.split()
        wrong[4] = "lusab" if wrong[4] != "lusab" else "babad"
        _, err, _ = await command(*rehearsing, given={"--words-fd": " ".join(wrong)}, status=2)
        assert "word 5 is wrong" in err
        alices = " ".join(to_words(alice.identity.secret()))
        _, err, _ = await command(*rehearsing, given={"--words-fd": alices}, status=1)
        assert "these words are not bob's host key" in err
        assert "without" not in (await command(*rehearsing, "--without-words"))[1]
        await runner.cleanup()
        (bob.folder / "admin.json").unlink()
        _, err, _ = await command(*rehearsing, given={"--words-fd": words}, status=1)
        assert "start it with `holdfast node run" in err

        await bob.down()
        bob.folder.rename(tmp_path / "lost")
        committee = tmp_path / "committee.json"
        committee.write_text(bob.committee.to_json())
        back = ("node", "restore", "--dir", bob.folder, "--recovery", file, "--committee", committee)
        sealed = {"--words-fd": words, "--passphrase-fd": SECRET}
        out, _, _ = await command(*back, given=sealed)
        assert "is bob again, with anchor 1" in out
        assert not list(tmp_path.glob("*.restoring"))
        bob.identity = identity.load(bob.folder, lambda: bytearray(SECRET.encode()))
        assert (bob.folder / "config.toml").read_bytes() == (tmp_path / "lost" / "config.toml").read_bytes()
        _, err, _ = await command(*back, given=sealed, status=2)
        assert "a restore makes a new folder" in err
        await bob.up()
        assert bob.node.keys()["anchor"].state == "verified"
        await until(lambda: alice.peers.seen[2].boot_id == bob.node.boot_id)


async def test_restore_refuses_an_older_state_than_the_others_hold_until_it_gets_theirs(tmp_path):
    async with committee_of(tmp_path, 3, 2) as seats:
        alice, bob, _carol = seats
        await alice.node.dkg("anchor")
        await until(lambda: all(seat.node.public("anchor") for seat in seats))
        old = tmp_path / "bob.json"
        words = await backed_up(bob, old)
        await alice.node.dkg("mint")
        await until(lambda: all(seat.node.public("mint") for seat in seats))
        newer = tmp_path / "alice.json"
        await backed_up(alice, newer)
        await bob.down()
        bob.folder.rename(tmp_path / "lost")
        committee = tmp_path / "committee.json"
        committee.write_text(bob.committee.to_json())
        back = ("node", "restore", "--dir", bob.folder, "--recovery", old, "--committee", committee)
        given = {"--words-fd": words, "--passphrase-fd": SECRET}
        _, err, _ = await command(*back, given=given, status=1)
        assert "holds the mint key of epoch 1, which this recovery file does not know" in err
        assert "--chains FILE" in err
        assert not bob.folder.exists()
        assert not list(tmp_path.glob("*.restoring"))
        _, err, _ = await command(*back, "--newest", "--offline", given=given, status=2)
        assert "give one of them" in err
        out, _, _ = await command(*back, "--chains", newer, given=given)
        assert "anchor 1, mint 1" in out
        shutil.rmtree(bob.folder)
        out, _, _ = await command(*back, "--newest", given=given)
        assert "anchor 1, mint 1" in out, "the same from the others themselves"
        bob.identity = identity.load(bob.folder, lambda: bytearray(SECRET.encode()))
        await bob.up()
        await until(lambda: alice.peers.seen[2].boot_id == bob.node.boot_id)
        assert bob.node.keys()["mint"].state == "acked", (
            "its own nonce row is gone: the key is proved once more"
        )
        await alice.node.dkg("mint")
        assert bob.node.keys()["mint"].state == "verified"


async def test_words_are_typed_on_a_terminal_in_as_many_lines_as_one_likes(tmp_path):
    async with committee_of(tmp_path, 2, 2) as seats:
        alice = seats[0]
        file, committee = tmp_path / "alice.json", tmp_path / "committee.json"
        words = (await backed_up(alice, file)).split()
        committee.write_text(alice.committee.to_json())
        back = ("node", "restore", "--dir", tmp_path / "new", "--recovery", file, "--committee", committee)
        typing = ("18 words from paper", "\n".join(" ".join(words[i : i + 6]) for i in (0, 6, 12)))
        new = (("New passphrase", SECRET), ("again", SECRET))
        shown = await asyncio.to_thread(on_terminal, (*back, "--offline"), typing, *new)
        assert "is alice again, with no key" in shown
        after = shown[shown.index("\x1b[?1049l") :]
        assert not set(words) & set(after.split()), "the screen with the words is left"
        assert identity.load(tmp_path / "new", lambda: bytearray(SECRET.encode())).sealed


async def test_a_restore_that_is_killed_is_done_again_from_the_beginning(tmp_path):
    async with committee_of(tmp_path, 3, 2) as seats:
        alice, bob, _carol = seats
        await alice.node.dkg("anchor")
        await until(lambda: all(seat.node.public("anchor") for seat in seats))
        file, committee = tmp_path / "bob.json", tmp_path / "committee.json"
        words = await backed_up(bob, file)
        committee.write_text(bob.committee.to_json())
        await bob.down()
        back = ("node", "restore", "--dir", tmp_path / "new", "--recovery", file, "--committee", committee)
        for until_there in ("member.json", "committee.json", "keys/host.key", "signer.db"):
            done = await asyncio.to_thread(killed_at, back, words, tmp_path / "new.restoring" / until_there)
            assert done == -signal.SIGKILL
            assert not (tmp_path / "new").exists(), "nothing half-made is ever in its place"
        await command(*back, given={"--words-fd": words, "--passphrase-fd": SECRET})
        assert not (tmp_path / "new.restoring").exists()
        assert identity.load(tmp_path / "new", lambda: bytearray(SECRET.encode())).sealed


def killed_at(words, paper, path):
    """Start a command and kill it as soon as a file is there; how it ended."""
    fds = []
    for text in (paper, SECRET):
        read, write = os.pipe()
        os.write(write, text.encode())
        os.close(write)
        fds.append(read)
    options = ("--words-fd", str(fds[0]), "--passphrase-fd", str(fds[1]))
    process = subprocess.Popen([*HOLDFAST, *map(str, words), *options], pass_fds=fds, stderr=subprocess.PIPE)
    while process.poll() is None and not path.exists():
        time.sleep(0.0005)
    process.kill()
    for fd in fds:
        os.close(fd)
    process.communicate()
    return process.returncode


async def test_restore_asks_somebody_unless_it_is_told_not_to(tmp_path):
    async with committee_of(tmp_path, 3, 2) as seats:
        alice, bob, _carol = seats
        await alice.node.dkg("anchor")
        await until(lambda: all(seat.node.public("anchor") for seat in seats))
        file, committee = tmp_path / "bob.json", tmp_path / "committee.json"
        words = await backed_up(bob, file)
        committee.write_text(bob.committee.to_json())
        for seat in seats:
            await seat.down()
        back = ("node", "restore", "--dir", tmp_path / "new", "--recovery", file, "--committee", committee)
        _, err, _ = await command(*back, "--no-passphrase", given={"--words-fd": words}, status=1)
        assert "no other member answers" in err
        assert not (tmp_path / "new").exists()
        await command(*back, "--no-passphrase", "--offline", given={"--words-fd": words})
        assert bytes(identity.load(tmp_path / "new").secret()) == bytes(from_words(words))
        (tmp_path / "bad.json").write_text(file.read_text().replace("anchor", "ancher"))
        for wrong, said in (
            ((tmp_path / "bad.json"), "was changed after bob"),
            (committee, "no recovery file"),
        ):
            again = (
                "node",
                "restore",
                "--dir",
                tmp_path / "x",
                "--recovery",
                wrong,
                "--committee",
                committee,
            )
            _, err, _ = await command(*again, given={"--words-fd": words}, status=2)
            assert said in err
        again = ("node", "restore", "--dir", tmp_path / "x", "--recovery", file, "--committee", file)
        assert "committee file that all signed" in (await command(*again, status=2))[1]
        assert [p.name for p in (tmp_path / "new" / "keys").glob("*.share")] == ["anchor-1.share"]
