"""Nodes that die: one outright, one in the middle of a signing session."""

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from regtest.command import attempt
from regtest.operators import Node
from regtest.story.keys import sign_test
from regtest.story.scene import Scene

TRIES = 12


class NoSession(Exception):
    """No session with the frozen node came up in many tries."""


def pending_on(driver: Node, victim: Node) -> str | None:
    """The open session of a driver that waits for the victim's share, if there is one."""
    for session in driver.admin.get("/v1/tss/sessions")["sessions"]:
        if session["state"] == "open" and victim.name in session["pending"]:
            return str(session["id"])
    return None


def kill_in_session(scene: Scene, victim: Node, drivers: list[Node]) -> tuple[str, Node, Any]:
    """Freeze a node, have others sign until a session waits for its share, kill it then.

    Returns the text, the driver and what its command printed: the signature that came all the same.
    """
    for driver in drivers:  # so that all hold fresh commitments of the victim, as in any busy minute
        sign_test(driver, "mint", f"before {victim.name} freezes, by {driver.name}")
    victim.process.freeze()
    with ThreadPoolExecutor(1) as pool:
        for count in range(TRIES):
            driver = drivers[count % len(drivers)]
            text = f"signed without {victim.name}, try {count}"
            signing = pool.submit(sign_test, driver, "mint", text)
            if session := _session_while(signing, driver, victim):
                victim.process.kill()
                scene.tell.say(f"{victim.name} was killed while session {session[:16]}… waited for its share")
                return text, driver, signing.result()
            signing.result()
    raise NoSession(f"no session waited for {victim.name} in {TRIES} tries: see the logs")


def _session_while(signing: "Future[Any]", driver: Node, victim: Node) -> str | None:
    """The session that waits for the victim, seen before the signature was complete."""
    while not signing.done():
        if found := pending_on(driver, victim):
            return found
    return None


def failure(node: Node, purpose: str, text: str) -> str:
    """What `sign-test` says when it fails; empty when it does not."""
    result = attempt("tss", "sign-test", "--dir", node.folder, "--key", purpose, text)
    return result.err.strip() if result.status == 1 else ""
