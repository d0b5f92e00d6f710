"""Ends the processes that we started when we ourselves end, however that happens: SIGKILL included.

A shell of a few lines waits on a pipe from us. The kernel closes the pipe when we die, and the shell then
kills what is still on its list. (The kernel's own parent-death signal fires when the starting *thread* ends:
too early.)
"""

import contextlib
import subprocess
import threading

WATCHER = """
trap '' INT TERM HUP
list=' '
while read -r verb pid; do
  case $verb in
    guard) list="$list$pid " ;;
    forget) case $list in *" $pid "*) list="${list%% $pid *} ${list#* $pid }" ;; esac ;;
  esac
done
[ "$list" = ' ' ] || kill -KILL $list 2>/dev/null
"""

_mutex = threading.Lock()
_watcher: "subprocess.Popen[bytes] | None" = None


def guard(pid: int) -> None:
    """Have this child killed when our process ends."""
    _tell("guard", pid)


def forget(pid: int) -> None:
    """Take a child off the list; call it right after reaping, while its number is nobody else's."""
    _tell("forget", pid)


def _tell(verb: str, pid: int) -> None:
    global _watcher  # noqa: PLW0603  one watcher per process, started when first needed
    with _mutex:
        if _watcher is None or _watcher.poll() is not None:
            _watcher = subprocess.Popen(
                ["/bin/sh", "-c", WATCHER],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C must not reach it
            )
        assert _watcher.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            _watcher.stdin.write(f"{verb} {pid}\n".encode())
            _watcher.stdin.flush()
