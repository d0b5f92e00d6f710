"""Nodes that die: one outright, one in the middle of a signing session; and their return."""

from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from regtest import ceremony
from regtest.operators import Node
from regtest.story import anchors
from regtest.story.keys import is_signed, sign_test
from regtest.story.scene import Scene

TRIES = 12


class NoSession(Exception):
    """No session with the frozen node came up in many tries."""


def kill(s: Scene, node: Node) -> None:
    """End a node as a power failure would."""
    node.process.kill()
    s.tell.say(f"{node.name} is killed")


def kill_in_session(s: Scene, victim: Node, drivers: list[Node]) -> None:
    """Freeze a node, have others sign until a session waits for its share, kill it then: the signature comes."""
    key = ceremony.keys_of(drivers[0])["mint"]["group_key"]
    for driver in drivers:  # so that all hold fresh commitments of the victim, as in any busy minute
        sign_test(driver, "mint", f"before {victim.name} freezes, by {driver.name}")
    victim.process.freeze()
    with ThreadPoolExecutor(1) as pool:
        for count in range(TRIES):
            driver = drivers[count % len(drivers)]
            text = f"signed without {victim.name}, try {count}"
            signing = pool.submit(sign_test, driver, "mint", text)
            session = _session_while(signing, driver, victim)
            if session is not None:
                victim.process.kill()
                s.tell.say(f"{victim.name} is killed while session {session[:16]}… waits for its share")
                held = is_signed(key, "mint", text, signing.result()["signature"])
                s.tell.check(held, f"{driver.name} and the two others signed all the same")
                return
            signing.result()
    raise NoSession(f"no session waited for {victim.name} in {TRIES} tries: see the logs")


def _session_while(signing: "Future[Any]", driver: Node, victim: Node) -> str | None:
    """The open session that waits for the victim, seen before the signature was complete."""
    while not signing.done():
        for session in driver.admin.get("/v1/tss/sessions")["sessions"]:
            if session["state"] == "open" and victim.name in session["pending"]:
                return str(session["id"])
    return None


def work_goes_on(s: Scene) -> None:
    """Those that are up sign and confirm an anchor that nobody had begun before."""
    old = anchors.pending(s)
    s.mined(*old)
    new = anchors.pending(s)
    s.mined(*new)
    s.tell.say(f"signed and confirmed by {', '.join(node.name for node in s.world.awake)} alone: {new[1]}")


def back(s: Scene, *nodes: Node) -> None:
    """Start nodes that were killed; they have their keys and catch up."""
    for node in nodes:
        node.start()
    for node in nodes:
        node.wait_ready()
    s.world.wait_seen()
    reached = s.status()["final_height"]
    for node in nodes:
        s.until(lambda node=node: _height(node) >= reached, f"{node.name} to catch up")  # type: ignore[misc]
        keys = ceremony.keys_of(node)
        held = [keys[purpose]["state"] for purpose in ceremony.PURPOSES]
        s.tell.equal(
            held, ["active"] * 3, f"{node.name} is back: three keys, final rollup block {_height(node)}"
        )


def _height(node: Node) -> int:
    return int(node.get("/v1/info")["rollup"]["final_height"])
