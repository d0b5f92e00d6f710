"""Backup, restore and rehearsal as an operator types them, with every mistake: real processes, real peers."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import time

from tests.bridge.commands import HOLDFAST, SECRET, command, on_terminal
from tests.tss.shells import committee_of, free_ports, until
from tests.tss.test_tss_cli import admin_site
from tss import identity
from tss.words import from_words, to_words


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
        await backed_up(alice, tmp_path / "alice.json")
        others = ("node", "rehearse", "--dir", bob.folder, "--recovery", tmp_path / "alice.json")
        _, err, _ = await command(*others, given={"--words-fd": alices}, status=2)
        assert "alice wrote this recovery file" in err
        assert "Traceback" not in err
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
        # Its own nonce row is gone, so the key comes as acked: it is proved once more, by itself.
        await until(lambda: bob.node.keys()["mint"].state == "verified", 60)


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
        back_again = identity.load(tmp_path / "new")
        assert bytes(back_again.secret()) == bytes(from_words(words))
        assert back_again.seated(bob.committee.committee).index == 2
        fingerprint = back_again.tls.fingerprint
        assert fingerprint != bob.identity.tls.fingerprint, "the lost machine's TLS key is not used again"
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
