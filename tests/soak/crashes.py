"""SIGKILL at every durable write, swept, in real processes over mutual TLS.

Three nodes, two of them enough. The victim is in one sweep the one that drives the work, in another one that only
takes part. It is killed right before and right after each of its durable writes; then it is started again,
the work is asked for again, and a signature is made with its share. Start-up and recovery have writes of their own:
a victim that is being started, after whatever happened to it before, is killed at each of them too.
"""

import asyncio
import signal
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

from tests.soak.committee import Counts, Node
from tests.soak.faults import SoakFault

_MOST_WRITES = 60
_QUIET = 4  # tries at numbers of writes that never came, before and after each, until a sweep is over


@dataclass(frozen=True)
class Work:
    """What is swept: how it is asked for, at whom, and by what name its key goes at kill number k.

    `cut` asks a dead victim's database whether it was cut off in the part of the work that a restart takes up.
    """

    name: str
    path: str
    body: Callable[[str], dict[str, Any]]
    own_key: bool = False  # each kill makes its own key; else all use one
    lost: bool = False  # the victim has lost its share before it begins
    wiped: bool = False  # the victim has lost its whole database before it begins
    cut: str = ""


DKG = Work(
    "key generation",
    "/v1/tss/dkg",
    lambda purpose: {"purpose": purpose},
    own_key=True,
    cut="SELECT count(*) FROM dkg_attempts WHERE state = 'sent'",
)
SIGN = Work("signing", "/v1/tss/sign-test", lambda purpose: {"key": purpose, "text": "soak"})
REFRESH = Work(
    "refresh",
    "/v1/tss/refresh",
    lambda purpose: {"purpose": purpose},
    cut="SELECT count(*) FROM rotations WHERE state IN ('signed', 'acked')",
)
REPAIR = Work(
    "repair",
    "/v1/tss/repair",
    lambda purpose: {"purpose": purpose},
    cut="SELECT count(*) FROM rotations WHERE state = 'signed'",
)
LOST = Work(
    "repair of a lost share",
    "/v1/tss/repair",
    lambda purpose: {"purpose": purpose},
    own_key=True,
    lost=True,
)
AGAIN = Work(
    "keys fetched again into an empty database",
    "/v1/tss/dkg",
    lambda purpose: {"purpose": purpose},
    own_key=True,
    wiped=True,
)


@dataclass
class Sweep:
    """A running committee of three, and what was done to it."""

    nodes: list[Node]
    counts: Counts
    say: Callable[[str], None]
    texts: int = 0
    quiet: int = 0
    pending: "asyncio.Task[tuple[int, dict[str, Any]]] | None" = None
    cuts: dict[str, int] = field(default_factory=dict)  # after which write the work was cut off half-way

    @property
    def victim(self) -> Node:
        return self.nodes[2]

    async def run(self, work: Work, *, drives: bool) -> None:
        """Kill the victim before and after its first, second, … durable write until it has no more."""
        alice, victim = self.nodes[0], self.victim
        driver = victim if drives else alice
        name = f"{work.name}, the victim {'drives' if drives else 'takes part'}"
        if not work.own_key:
            await alice.persist("/v1/tss/dkg", purpose="shared")
        async for at, after in self._every(name):
            purpose = f"k{'d' if drives else 'm'}{at}-{int(after)}" if work.own_key else "shared"
            if work.lost or work.wiped:
                purpose = f"{'l' if work.lost else 'w'}{purpose}"
                await self._lose(work, purpose)
            died = await self._once(work, purpose, driver, at, after=after)
            self._count(name, died=died)
            if died:
                if not drives and after and work.cut and self._cut_off(work):
                    self.cuts.setdefault(work.name, at)
                await self._restart()
                await self._recover(work, purpose, f"{name}, write {at}")

    async def _every(self, name: str) -> AsyncIterator[tuple[int, bool]]:
        """Each write, before and after it, until there are no more: a write may come late, or not every time."""
        self.counts.kills[name], self.quiet = 0, 0
        for at in range(1, _MOST_WRITES):
            for after in (False, True):
                yield at, after
                if self.quiet >= _QUIET:
                    self.say(f"{name}: {self.counts.kills[name]} kills")
                    return
        raise SoakFault(f"{name}: no end of durable writes")

    def _count(self, name: str, *, died: bool) -> None:
        self.counts.kills[name] += died
        self.quiet = 0 if died else self.quiet + 1

    async def starts(
        self, name: str, hurt: Callable[[], Any], mend: str = "", purpose: str = "shared"
    ) -> None:
        """Kill the victim at each durable write of a start, after `hurt` was done to its folder.

        `mend` is what its operator asks for afterwards, where the node does not come back by itself.
        """
        await self.nodes[0].persist("/v1/tss/dkg", purpose=purpose)
        async for at, after in self._every(name):
            await self.victim.kill()
            hurt()
            died = await self._dies_in_a_start(at, after=after)
            self._count(name, died=died)
            if died:
                await self._restart()
            await self._whole(purpose, f"{name}, write {at}", mend)

    async def recovery(self, work: Work) -> None:
        """Cut the work off half-way, then kill the victim again at each write by which it finds its way back."""
        cut = self.cuts.get(work.name)
        if cut is None:
            raise SoakFault(f"{work.name} was never cut off half-way: nothing to recover from")
        name = f"start after a {work.name} cut off half-way"
        async for at, after in self._every(name):
            purpose = f"r{at}-{int(after)}" if work.own_key else "shared"
            if not await self._once(work, purpose, self.nodes[0], cut, after=True):
                raise SoakFault(f"{name}: the victim did not die at write {cut} again")
            died = await self._dies_in_a_start(at, after=after, seconds=3.0, over=self.pending)
            self._count(name, died=died)
            if died:
                await self._restart()
            await self._recover(work, purpose, f"{name}, write {at}")

    async def _dies_in_a_start(
        self, at: int, *, after: bool, seconds: float = 0.5, over: "asyncio.Task[Any] | None" = None
    ) -> bool:
        """Start the victim with its death set; some writes come only when it has heard the others.

        It is given some seconds for them, or until the work that it was cut off from is `over`.
        """
        if not await self.victim.start(die_at=at, after=after):
            return True
        process = self.victim.process
        assert process is not None
        gone = asyncio.create_task(process.wait())
        wanted = {gone} if over is None or over.done() else {gone, over}
        await asyncio.wait(wanted, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.wait({gone}, timeout=0.3)
        if not gone.done():
            await self.victim.ask("POST", "/soak/arm", at=0, after=False)
            await asyncio.wait({gone}, timeout=0.05)  # death and our disarming may have met
            gone.cancel()
        return process.returncode is not None

    async def _restart(self) -> None:
        if not await self.victim.start():
            raise SoakFault("the victim died though nobody killed it")

    async def _lose(self, work: Work, purpose: str) -> None:
        """Make a key, then take the victim's database, or its share and what would give it back."""
        victim = self.victim
        await self.nodes[0].persist("/v1/tss/dkg", purpose=purpose)
        await self._heard(self.nodes[0])
        async with asyncio.timeout(30):
            while purpose not in await self._states("verified"):
                await asyncio.sleep(0.05)
        await victim.kill()
        (victim.folder / "keys" / f"{purpose}-1.share").unlink()
        if work.wiped:
            victim.replace_database(None)
        else:
            victim.settings = victim.settings | {"lose": purpose}
        await self._restart()
        if work.lost and purpose not in await self._states("lost"):
            raise SoakFault(f"the {purpose} share was not lost")
        await self._heard(victim)
        await self._heard(self.nodes[0])

    async def _states(self, state: str) -> set[str]:
        _, told = await self.victim.ask("GET", "/v1/tss/keys")
        return {key["purpose"] for key in told.get("keys", []) if key["state"] == state}

    async def _once(self, work: Work, purpose: str, driver: Node, at: int, *, after: bool) -> bool:
        """Whether the victim died. For a signature bob is frozen, else it would be made without the victim."""
        victim, bob = self.victim, self.nodes[1]
        assert victim.process is not None
        await victim.ask("POST", "/soak/arm", at=at, after=after)
        self.texts += 1
        body = work.body(purpose) | ({"text": f"soak {self.texts}"} if work is SIGN else {})
        if work is SIGN:
            bob.signal(signal.SIGSTOP)
        gone = asyncio.create_task(victim.process.wait())
        try:
            asked = asyncio.create_task(driver.ask("POST", work.path, **body))
            await asyncio.wait({asked, gone}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            bob.signal(signal.SIGCONT)
        # A key generation waits some seconds for the dead to come back, and then goes on.
        self.pending = asked
        if victim.process.returncode is None:
            await asked
        # A write may follow the answer, as the other members' news of it does.
        done, _ = await asyncio.wait({gone}, timeout=0.3)
        if not done:
            await victim.ask("POST", "/soak/arm", at=0, after=False)
            # Death and our disarming may have met.
            done, _ = await asyncio.wait({gone}, timeout=0.05)
            if not done:
                gone.cancel()
        return bool(done)

    def _cut_off(self, work: Work) -> bool:
        with closing(sqlite3.connect(self.victim.folder / "signer.db")) as db:
            return bool(db.execute(work.cut).fetchone()[0])

    async def _recover(self, work: Work, purpose: str, where: str) -> None:
        if self.pending is not None:
            await self.pending
        try:
            await self._heard(self.nodes[0])
            await self._heard(self.victim)
            if work.lost or work.wiped:
                await self.victim.persist(work.path, **work.body(purpose))
            elif work is not SIGN:
                await self.nodes[0].persist(work.path, **work.body(purpose))
        except (SoakFault, TimeoutError) as fault:
            raise SoakFault(f"{where}: {fault}") from fault
        await self._whole(purpose, where)

    async def _whole(self, purpose: str, where: str, mend: str = "") -> None:
        """The victim's share signs, whoever leads."""
        try:
            await self._heard(self.nodes[0])
            await self._heard(self.victim)
            if mend:
                await self.victim.persist(mend, purpose=purpose)
            for node in (self.victim, self.nodes[0]):
                self.texts += 1
                await node.sign(purpose, f"after {self.texts}")
                self.counts.signatures += 1
        except (SoakFault, TimeoutError) as fault:
            raise SoakFault(f"{where}: {fault}") from fault

    async def _heard(self, one: Node) -> None:
        await one.until_up({node.name for node in self.nodes if node is not one})


async def sweep_all(sweep: Sweep) -> None:
    """The whole list."""
    victim = sweep.victim
    for work in (SIGN, DKG, REFRESH, REPAIR):
        for drives in (False, True):
            await sweep.run(work, drives=drives)
    await sweep.run(LOST, drives=True)
    victim.settings.pop("lose", None)
    for work in (DKG, REFRESH, REPAIR):
        await sweep.recovery(work)
    share = victim.folder / "keys" / "shared-1.share"
    await sweep.starts("start", lambda: None)
    await sweep.starts("start without the share file", lambda: share.unlink(missing_ok=True))
    await sweep.run(AGAIN, drives=True)
    # A key of its own: the other one has been refreshed so often that to learn all of it again takes a minute.
    bare = "first start, no database"
    await sweep.starts(bare, lambda: victim.replace_database(None), "/v1/tss/dkg", purpose="unrefreshed")
