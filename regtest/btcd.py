"""One real btcd on regtest: a node whose rules are other people's code than Bitcoin Core's.

Built by Go from its pinned version into the user's cache folder when it is first wanted; Go checks what it fetches
against its checksum database. Nothing of Holdfast needs it: it is a second source for tests.
"""

import fcntl
import os
import shutil
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Self

from regtest import orphans
from regtest.core import cache_folder
from regtest.ports import Port

VERSION = "v0.26.2"
MODULE = "github.com/btcsuite/btcd"
USER = PASSWORD = "holdfast"  # noqa: S105  a regtest node on 127.0.0.1


class NoBtcd(Exception):
    """There is no btcd and none can be built; the sentence says why."""


def ensure(*, seconds: float = 300) -> Path:
    """Return `$BTCD`, or the cached build, which is made now when it is missing. Raises NoBtcd."""
    if named := os.environ.get("BTCD"):
        return Path(named)
    folder = cache_folder() / f"btcd-{VERSION}"
    binary = folder / "btcd"
    if binary.exists():
        return binary
    go = shutil.which("go")
    if go is None:
        raise NoBtcd("there is no Go to build btcd with: install it, or set BTCD to a btcd's path")
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not binary.exists():  # another process may have built it meanwhile
            _build(go, folder, seconds)
    return binary


def _build(go: str, folder: Path, seconds: float) -> None:
    command = [go, "install", f"{MODULE}@{VERSION}"]
    try:
        subprocess.run(
            command,
            cwd=folder,
            env=os.environ | {"GOBIN": str(folder)},
            check=True,
            capture_output=True,
            text=True,
            timeout=seconds,
        )
    except subprocess.CalledProcessError as error:
        raise NoBtcd(f"Go could not build btcd {VERSION}: {error.stderr.strip()[-300:]}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise NoBtcd(f"Go could not build btcd {VERSION}: {error}") from error


class Btcd:
    """A btcd process with its folder and ports; its regtest chain is empty at every start.

    `peer`: the address of a node that it connects to, and to no other.
    """

    def __init__(self, binary: Path, folder: Path, peer: str | None = None) -> None:
        self._binary, self._folder, self._peer = binary, folder, peer
        self._ports = [Port(), Port()]
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def rpc(self) -> str:
        """Address of its JSON-RPC, `127.0.0.1:port`; USER and PASSWORD log in."""
        return f"127.0.0.1:{self._ports[0].number}"

    @property
    def p2p(self) -> str:
        """Address for peers, `127.0.0.1:port`."""
        return f"127.0.0.1:{self._ports[1].number}"

    @property
    def running(self) -> bool:
        """Whether the process is alive."""
        return self._process is not None and self._process.poll() is None

    def __enter__(self) -> Self:
        """Start it, without waiting until it answers."""
        self._folder.mkdir(parents=True, exist_ok=True)
        flags = [
            *("--configfile=/dev/null", "--regtest", "--notls", "--nodnsseed", "--norelaypriority"),
            *(f"--datadir={self._folder}", f"--logdir={self._folder / 'log'}"),
            *(f"--rpcuser={USER}", f"--rpcpass={PASSWORD}"),
            *(f"--rpclisten=127.0.0.1:{self._ports[0].number}", f"--listen={self.p2p}"),
        ]
        if self._peer is not None:
            flags.append(f"--connect={self._peer}")
        with (self._folder / "console.log").open("wb") as console:
            self._process = subprocess.Popen(
                [self._binary, *flags],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        orphans.guard(self._process.pid)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it and give its ports back."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(timeout=30)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            orphans.forget(self._process.pid)
            self._process = None
        for port in self._ports:
            port.release()
