"""Runs operators' commands as processes: with texts on descriptors, without a terminal, or on one of their own."""

import asyncio
import os
import pty
import select
import subprocess
import sys
import termios
import time

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
