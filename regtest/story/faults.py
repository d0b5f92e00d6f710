"""Nodes that die: one outright, one in the middle of a signing session; and their return."""

import json
from concurrent.futures import Future, ThreadPoolExecutor

from regtest import ceremony
from regtest.operators import Node
from regtest.story import anchors
from regtest.story.keys import is_signed
from regtest.story.scene import Scene

TRIES = 8


class NoSession(Exception):
    """No session with the frozen node came up in many tries."""


def kill(s: Scene, node: Node) -> None:
    """End a node as a power failure would."""
    node.process.kill()
    s.tell.say(f"{node.name} is killed")


def kill_in_session(s: Scene, victim: Node, drivers: list[Node]) -> None:
    """Freeze a node, have others sign until a session wants its share, kill it then: the signature comes.

    A driver takes no frozen node any more once it has noticed; who was not seen in time is thawed for another go.
    """
    key = ceremony.keys_of(drivers[0])["mint"]["group_key"]
    with ThreadPoolExecutor(1) as pool:
        for count in range(TRIES):
            for driver in drivers:  # so that all hold fresh commitments of the victim, as in any busy minute
                s.until(lambda driver=driver: _hears(driver, victim), f"{driver.name} to hear {victim.name}")  # type: ignore[misc]  # mypy infers no defaults
                _signed(driver, f"before {victim.name} freezes, {count}")
            victim.process.freeze()
            for driver in drivers:
                text, said = f"signed without {victim.name}, {count}", driver.process.log.stat().st_size
                signing = pool.submit(_signed, driver, text)
                session = _session_with(s, victim, driver, said, signing)
                if session is not None:
                    victim.process.kill()
                    s.tell.say(f"{victim.name} is killed while session {session}… wants its share")
                    held = is_signed(key, "mint", text, signing.result())
                    s.tell.check(held, f"{driver.name} and the two others signed all the same")
                    return
            victim.process.thaw()
    raise NoSession(f"no session wanted {victim.name} in {TRIES} tries: see the logs")


def _signed(driver: Node, text: str) -> str:
    """A `test` signature by the admin port: a command would take so long to start that the frozen is missed."""
    return str(driver.admin.post("/v1/tss/sign-test", {"key": "mint", "text": text})["signature"])


def _hears(driver: Node, victim: Node) -> bool:
    peers = driver.admin.get("/v1/tss/peers")["peers"]
    return any(peer["name"] == victim.name and peer["up"] for peer in peers)


def _session_with(s: Scene, victim: Node, driver: Node, said: int, signing: "Future[str]") -> str | None:
    """The session with the victim that a driver's log tells of after `said` bytes; None when none came."""
    member, ended = s.world.operators.index(victim) + 1, False
    while not ended:
        ended = signing.done()  # before the last look
        with driver.process.log.open("rb") as log:
            log.seek(said)
            for line in log.read().splitlines():
                if b'"session opens"' in line and line.endswith(b"}"):
                    told = json.loads(line)
                    if member in told["members"]:
                        return str(told["session"])
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
        s.until(lambda node=node: _height(node) >= reached, f"{node.name} to catch up")  # type: ignore[misc]  # mypy infers no defaults
        keys = ceremony.keys_of(node)
        held = [keys[purpose]["state"] for purpose in ceremony.PURPOSES]
        s.tell.equal(
            held, ["active"] * 3, f"{node.name} is back: three keys, final rollup block {_height(node)}"
        )


def _height(node: Node) -> int:
    return int(node.get("/v1/info")["rollup"]["final_height"])
