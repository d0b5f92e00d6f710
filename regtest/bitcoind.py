"""One real bitcoind on regtest, as a handle: start, ask, stop, kill, start again.

Everything listens on 127.0.0.1 only. A process that ends in whatever way takes its bitcoinds with it.
"""

import contextlib
import re
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bitcoinrpc.authproxy import AuthServiceProxy, JSONRPCException

from regtest import core, orphans
from regtest.ports import Port
from regtest.waiting import wait_until

FLAGS = (
    *("-regtest", "-server=1", "-listen=1", "-txindex=0", "-rest=1"),
    *("-dnsseed=0", "-discover=0", "-fixedseeds=0", "-natpmp=0", "-listenonion=0", "-i2pacceptincoming=0"),
    *("-rpcbind=127.0.0.1", "-rpcallowip=127.0.0.1", "-rpcthreads=8", "-v2transport=0"),
    *("-printtoconsole=0", "-dbcache=8", "-maxmempool=64", "-par=1", "-maxsigcachesize=4"),
    "-fallbackfee=0.0001",
    "-maxtipage=4000000000",  # never "in initial block download", where Core neither relays nor announces
    "-whitelist=noban,relay,in,out@127.0.0.1",  # relays transactions at once, not after a random pause
)
WARMING_UP = -28  # Core's RPC_IN_WARMUP
UNAUTHORIZED = -342  # python-bitcoinrpc's word for an empty 401: the cookie is still the last run's
TRIES = 3  # a port may be lost to a stranger between our look and bitcoind's bind


class BitcoindError(Exception):
    """A bitcoind did not start or stop; the sentence says why, with the last lines of its log."""


class Bitcoind:
    """A bitcoind process with its folder, ports and log: `start()` starts it, `close()` gives the ports back.

    `wallet` allows wallets (see `ensure_wallet`), `zmq` publishes the `sequence` topic, `extra` are further
    command-line flags. Not for several threads at once, except `rpc()`.
    """

    def __init__(
        self,
        datadir: Path,
        *,
        wallet: bool = False,
        zmq: bool = True,
        persist_mempool: bool = True,
        extra: tuple[str, ...] = (),
        binary: Path | None = None,
    ) -> None:
        """Describe a bitcoind; nothing runs yet. Without `binary`, `regtest.core` finds one."""
        self.datadir = datadir
        self.log = datadir / "regtest" / "debug.log"
        self.cookie = datadir / "regtest" / ".cookie"
        self.has_wallet = wallet
        self._zmq = zmq
        self._extra = (f"-persistmempool={persist_mempool:d}", f"-disablewallet={not wallet:d}", *extra)
        self._binary = binary
        self._ports: list[Port] = []
        self._process: subprocess.Popen[bytes] | None = None

    # Addresses; known once it was launched

    @property
    def rpc_url(self) -> str:
        """JSON-RPC and REST without credentials, `http://127.0.0.1:port`."""
        return f"http://127.0.0.1:{self._port(0)}"

    @property
    def url(self) -> str:
        """JSON-RPC with the cookie's credentials, which change at every start."""
        user, _, password = self.cookie.read_text().partition(":")
        return f"http://{user}:{password}@127.0.0.1:{self._port(0)}"

    @property
    def p2p(self) -> str:
        """Address for peers, `127.0.0.1:port`."""
        return f"127.0.0.1:{self._port(1)}"

    @property
    def zmq_url(self) -> str | None:
        """The `sequence` topic's address, `tcp://127.0.0.1:port`; None when switched off."""
        return f"tcp://127.0.0.1:{self._port(2)}" if self._zmq else None

    @property
    def pid(self) -> int | None:
        """The process number while it runs."""
        return self._process.pid if self._process is not None and self.running else None

    @property
    def running(self) -> bool:
        """Whether the process is alive."""
        return self._process is not None and self._process.poll() is None

    # Life

    def start(self, *, seconds: float = 60) -> Self:
        """Launch it and wait until it answers; BitcoindError with its own words when it does not."""
        self.launch()
        self.wait_ready(seconds=seconds)
        return self

    def launch(self) -> None:
        """Start the process without waiting, so that several can start at once; then call `wait_ready`."""
        if self.running:
            raise BitcoindError(f"The bitcoind in {self.datadir} runs already: stop it first.")
        self._reap()
        if self._binary is None:
            self._binary = core.find()
        if self._binary is None:
            raise BitcoindError("There is no bitcoind yet: run `make setup`, or set BITCOIND.")
        self.datadir.mkdir(parents=True, exist_ok=True)
        if not self._ports:
            self._ports = [Port() for _ in range(3)]
        with (self.datadir / "console.log").open("wb") as console:
            self._process = subprocess.Popen(
                [self._binary, f"-datadir={self.datadir}", *FLAGS, *self._addresses(), *self._extra],
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for us; we stop it in order
            )
        orphans.guard(self._process.pid)

    def wait_ready(self, *, seconds: float = 60) -> None:
        """Wait until RPC answers; a lost port is replaced, any other early end is a BitcoindError."""
        for _ in range(TRIES):
            try:
                wait_until(
                    lambda: not self.running or self._answers(),
                    f"the bitcoind in {self.datadir} to answer",
                    seconds=seconds,
                )
            except TimeoutError as error:
                self.kill()
                raise BitcoindError(f"{error} {self._last_words()}") from error
            if self.running:
                return
            if not re.search(r"Unable to bind|in use", self._console()):
                break
            self._release_ports()
            self.launch()
        self._reap()
        raise BitcoindError(f"The bitcoind in {self.datadir} ended while starting. {self._last_words()}")

    def stop(self, *, seconds: float = 60) -> None:
        """End it in order, so that wallet and mempool are written; a second call does nothing."""
        if self._process is None:
            return
        if self.running:
            self._process.terminate()
        try:
            self._process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise BitcoindError(
                f"The bitcoind in {self.datadir} took over {seconds:g} s to stop and was killed: see {self.log}."
            ) from None
        self._reap()

    def kill(self) -> None:
        """End it as a power failure would (SIGKILL)."""
        if self._process is not None:
            self._process.kill()
            self._reap()

    def restart(self) -> None:
        """Stop it in order and start it on the same folder and ports."""
        self.stop()
        self.start()

    def close(self) -> None:
        """Stop it and give its ports back."""
        try:
            self.stop()
        finally:
            self._release_ports()

    def __enter__(self) -> Self:
        """Start it when it does not run."""
        return self if self.running else self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop it and give its ports back."""
        self.close()

    # Asking

    def rpc(self, wallet: str | None = None, *, seconds: int = 60) -> Any:
        """Return a *fresh* python-bitcoinrpc proxy: use it for one call, or a few in a row, and drop it.

        A proxy is dead after an error or 30 idle seconds and is not thread-safe, so none is ever kept.
        Calls raise JSONRPCException with Core's code and message.
        """
        path = "" if wallet is None else f"/wallet/{wallet}"
        return AuthServiceProxy(self.url + path, timeout=seconds)

    def ensure_wallet(self, name: str) -> None:
        """Create the named wallet, or load it; it is loaded by itself at later starts."""
        if name in self.rpc().listwallets():
            return
        if name in {entry["name"] for entry in self.rpc().listwalletdir()["wallets"]}:
            self.rpc().loadwallet(name, True)
        else:
            self.rpc().createwallet(name, False, False, "", False, True, True)  # load_on_startup last

    def __repr__(self) -> str:
        return f"Bitcoind({str(self.datadir)!r}, pid={self.pid})"

    # Inside

    def _port(self, index: int) -> int:
        if not self._ports:
            raise BitcoindError(f"The bitcoind in {self.datadir} has no ports yet: start it first.")
        return self._ports[index].number

    def _addresses(self) -> list[str]:
        flags = [f"-rpcport={self._port(0)}", f"-bind={self.p2p}"]
        return [*flags, f"-zmqpubsequence={self.zmq_url}"] if self._zmq else flags

    def _answers(self) -> bool:
        try:
            self.rpc(seconds=5).getblockcount()
        except JSONRPCException as error:
            if error.code in (WARMING_UP, UNAUTHORIZED):
                return False
            raise
        except (OSError, ValueError):
            return False
        return True

    def _reap(self) -> None:
        if self._process is not None:
            self._process.wait()
            orphans.forget(self._process.pid)
            self._process = None

    def _release_ports(self) -> None:
        for port in self._ports:
            port.release()
        self._ports = []

    def _console(self) -> str:
        with contextlib.suppress(OSError):
            return (self.datadir / "console.log").read_text(errors="replace")
        return ""

    def _last_words(self) -> str:
        said = self._console().strip()
        if not said:
            with contextlib.suppress(OSError):
                said = "\n".join(self.log.read_text(errors="replace").splitlines()[-10:])
        return f"It said: {said or 'nothing'}"
