"""What the kernel says of a hardened process: asked in processes of their own, read from /proc."""

import json
import os
import resource
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tss.hardening import Hardening, LockedSecret

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="asks Linux")

ROOT = Path(__file__).parents[2]


def child(program: str, *, limit: int | None = None) -> dict:
    """Run a program that prints one JSON line; with `limit`, without the right to lock more memory than that."""
    words = [sys.executable, "-c", textwrap.dedent(program)]
    if limit is not None:
        # prlimit of the child itself; the capability, which root may have, is given up first
        words[2] = textwrap.dedent(GIVE_UP).format(limit=limit) + words[2]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


GIVE_UP = """
import ctypes, resource
resource.setrlimit(resource.RLIMIT_MEMLOCK, ({limit}, {limit}))
libc = ctypes.CDLL(None)
libc.prctl(24, 14, 0, 0, 0)  # PR_CAPBSET_DROP CAP_IPC_LOCK
head, data = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
assert libc.capget(head, data) == 0
for word in (0, 1, 2):
    data[word] &= ~(1 << 14)
assert libc.capset(head, data) == 0
"""


def test_a_hardened_process_dumps_no_core_shows_no_memory_and_makes_private_files():
    told = child("""
        import json, os, tempfile
        from pathlib import Path
        from tss.hardening import harden, look
        before, after = look(), harden()
        folder = tempfile.mkdtemp()
        Path(folder, "f").write_text("")
        status = dict(l.split(":\\t", 1) for l in Path("/proc/self/status").read_text().splitlines() if ":\\t" in l)
        limits = Path("/proc/self/limits").read_text()
        print(json.dumps({
            "before": [before.core_dumps, before.dumpable], "ok": after.ok, "text": after.text,
            "same": look() == after, "mode": Path(folder, "f").stat().st_mode & 0o777,
            "core": [l for l in limits.splitlines() if "core" in l][0].split()[-3:-1],
            "umask": status["Umask"], "owner": os.stat("/proc/self/environ").st_uid,
        }))
    """)
    assert told["before"][1], "a fresh process is dumpable"
    assert told["ok"], told["text"]
    assert told["same"]
    assert told["mode"] == 0o600
    assert told["core"] == ["0", "0"]
    assert told["umask"] == "0077"
    assert told["owner"] == 0, "what /proc shows of it belongs to root"


def test_where_the_limit_forbids_locking_it_says_so_and_goes_on():
    told = child(
        """
        import json
        from tss.hardening import harden
        held = harden()
        big = bytearray(64 << 20)  # would fail if all that comes later had to be locked
        print(json.dumps({"ok": held.ok, "locked": held.locked, "text": held.text, "size": len(big)}))
        """,
        limit=64 << 10,
    )
    assert told["ok"], "locked memory is best effort"
    assert not told["locked"]
    assert "LimitMEMLOCK=infinity" in told["text"]


def test_where_it_may_all_memory_is_locked_without_growing():
    soft, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    status = Path("/proc/self/status").read_text()
    effective = int(next(x for x in status.splitlines() if x.startswith("CapEff")).split()[1], 16)
    if not effective >> 14 & 1 and hard != resource.RLIM_INFINITY:
        pytest.skip(f"this user may lock {soft} bytes only")
    told = child("""
        import json
        from pathlib import Path
        from tss.hardening import harden
        def rss():
            return int(Path("/proc/self/statm").read_text().split()[1])
        before = rss()
        held = harden()
        print(json.dumps({"locked": held.locked, "grown": rss() - before}))
    """)
    assert told["locked"]
    assert told["grown"] * resource.getpagesize() < 16 << 20


def test_a_locked_secret_is_gone_in_a_forked_child_and_after_close():
    told = child("""
        import json, os, sys
        from tss.hardening import LockedSecret
        secret = LockedSecret(bytearray(b"k" * 32))
        view = secret.view()
        read, write = os.pipe()
        if os.fork() == 0:
            os.write(write, bytes(secret.view()))
            os._exit(0)
        os.wait()
        inherited = os.read(read, 32)
        own = bytes(view)
        secret.close()
        print(json.dumps({"child": inherited.hex(), "own": own.hex(), "closed": bytes(view).hex()}))
    """)
    assert told["own"] == (b"k" * 32).hex()
    assert told["child"] == told["closed"] == bytes(32).hex()


def test_a_locked_secret_takes_the_bytes_over_and_tells_nothing():
    given = bytearray(b"s3cret" * 5)
    secret = LockedSecret(given)
    assert given == bytes(30)
    assert bytes(secret.view()) == b"s3cret" * 5
    assert "s3cret" not in repr(secret)
    with pytest.raises(TypeError):
        secret.view()[0] = 0
    with pytest.raises(TypeError, match="never leaves"):
        secret.__reduce__()
    maps = Path(f"/proc/{os.getpid()}/smaps").read_text()
    flags = [line for line in maps.splitlines() if line.startswith("VmFlags")]
    assert any({"wf", "dd", "lo"} <= set(line.split()) for line in flags), "wiped on fork, not dumped, locked"


def test_the_sentence_names_what_is_missing():
    bad = Hardening(core_dumps=True, dumpable=True, locked=False, umask=0o022)
    assert not bad.ok
    assert bad.text.count("restart the node") == 2
    assert "open to others" in bad.text
    assert Hardening(core_dumps=False, dumpable=False, locked=True, umask=0o077).ok
