"""What befalls a member's machine, done to real processes: old copies, second processes, full disks, clocks.

Each begins and ends with a committee of three that signs, two needed, and the key `shared`. After each the victim's
share signs again, whoever leads, and no key is stuck. What left is counted at the end, over everything.
"""

import asyncio
import resource
import signal
import subprocess
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.soak.committee import PATIENCE, Counts, Node
from tests.soak.faults import SoakFault

_HOUR = 3600.0
_KEY = "shared"


@dataclass
class Troubles:
    """A running committee of three; the last one is the victim."""

    nodes: list[Node]
    counts: Counts
    say: Callable[[str], None]
    texts: int = 0

    @property
    def victim(self) -> Node:
        return self.nodes[2]

    async def begin(self) -> None:
        await self.nodes[0].persist("/v1/tss/dkg", purpose=_KEY)
        await self.whole("the beginning")

    async def sign(self, by: Node) -> None:
        self.texts += 1
        await by.sign(_KEY, f"trouble {self.texts}")
        self.counts.signatures += 1

    async def whole(self, where: str) -> None:
        """Everybody hears everybody, and the victim's share signs: bob is frozen, so that it is needed."""
        alice, bob, victim = self.nodes
        try:
            for node in self.nodes:
                await node.until_up({other.name for other in self.nodes if other is not node})
            for leader in (victim, alice):
                async with frozen(bob):
                    await self.sign(leader)
                await leader.until_up({bob.name})
        except (SoakFault, TimeoutError) as fault:
            raise SoakFault(f"{where}: {fault}") from fault

    def done(self, name: str, how: str) -> None:
        self.counts.troubles[name] = how
        self.say(f"{name}: {how}")

    async def keys_work(self, number: int, where: str) -> None:
        """A key is made, refreshed and repaired."""
        alice, _, victim = self.nodes
        try:
            await alice.persist("/v1/tss/dkg", purpose=f"trouble-{number}")
            for path, node in (("refresh", alice), ("repair", victim)):
                await node.persist(f"/v1/tss/{path}", purpose=_KEY)
        except SoakFault as fault:
            raise SoakFault(f"{where}: {fault}") from fault

    async def older_database(self, folder: Path) -> None:
        """A copy of the victim's database is put back in the middle of a session."""
        alice, bob, victim = self.nodes
        copy = folder / "older.db"
        victim.copy_database(copy)
        async with frozen(bob):
            for _ in range(3):
                await self.sign(alice)
            await self._in_mid_session(alice, victim)
            await victim.kill()
            victim.replace_database(copy)
            await victim.start()
            await victim.until_up({alice.name})
            await self.sign(alice)
        await self.whole("an older database in mid-session")
        victim.copy_database(copy)
        await alice.persist("/v1/tss/refresh", purpose=_KEY)
        async with frozen(bob):
            await self.sign(alice)
        await victim.kill()
        victim.replace_database(copy)
        await victim.start()
        await self.whole("a database from before a refresh")
        self.done("older database", "put back in mid-session, and once from before a refresh")

    async def _in_mid_session(self, alice: Node, victim: Node) -> None:
        """Alice waits for shares of the victim, which does not run."""
        for _ in range(20):
            async with frozen(victim):
                asked = asyncio.create_task(
                    alice.ask("POST", "/v1/tss/sign-test", key=_KEY, text=f"cut off {self.texts}")
                )
                self.texts += 1
                while not asked.done():
                    _, told = await alice.ask("GET", "/v1/tss/sessions")
                    if any(victim.name in one["pending"] for one in told.get("sessions", [])):
                        victim.signal(signal.SIGKILL)
                        await asked
                        return
            await alice.until_up({victim.name})
            await self.sign(alice)
        raise SoakFault("no session ever waited for the victim")

    async def second_process(self) -> None:
        """Another process on the victim's folder: refused, and the first one does not mind."""
        second = await self.victim.spawn()
        try:
            _, said = await asyncio.wait_for(second.communicate(), PATIENCE)
        except TimeoutError:
            second.kill()
            raise SoakFault("two processes run on one folder") from None
        if second.returncode == 0 or b"FolderInUse" not in said:
            raise SoakFault(f"the second process ended with {second.returncode}: {said[-500:]!r}")
        await self.whole("a second process on the folder")
        self.done("two processes on one folder", "the second one was refused")

    async def full_disk(self, name: str, fill: Callable[[Node], AbstractAsyncContextManager[None]]) -> None:
        """No share leaves a member that cannot write; it serves again once it can, without a restart."""
        alice, bob, victim = self.nodes
        before = len(victim.left())
        async with fill(victim):
            async with frozen(bob):
                status, told = await alice.ask("POST", "/v1/tss/sign-test", key=_KEY, text=f"full {name}")
            if status == 200 or len(victim.left()) != before:
                raise SoakFault(f"{name}: a share left that cannot be remembered: {told}")
            await alice.until_up({bob.name})
            await self.sign(alice)
            for path, body in (("dkg", {"purpose": f"full-{before}"}), ("refresh", {"purpose": _KEY})):
                status, told = await alice.ask("POST", f"/v1/tss/{path}", **body)
                if status == 200 or victim.name not in told.get("detail", ""):
                    raise SoakFault(f"{name}: {path} without the victim's disk: {status} {told}")
            await self.sign(bob)
        await self.whole(name)
        await self.keys_work(before, name)
        await alice.persist("/v1/tss/dkg", purpose=f"full-{before}")
        await self.whole(f"{name}, and key work")
        self.done(name, "no share left it, the others signed, it came back by itself")

    async def clock_jump(self) -> None:
        """An hour ahead: one member alone, then all; and back, with a restart before and after."""
        alice, bob, victim = self.nodes
        for ahead in (_HOUR, -_HOUR):
            await set_clock(ahead, victim)
            async with asyncio.timeout(PATIENCE):
                while victim.name in await alice.up():
                    await asyncio.sleep(0.05)
            await self.sign(alice)
            await self.sign(bob)
            await set_clock(0.0, victim)
            await self.whole(f"the victim's clock {ahead:+g} s")
        for number, ahead in enumerate((_HOUR, 0.0)):
            await set_clock(ahead, *self.nodes)
            where = f"all clocks at {ahead:+g} s"
            await self.whole(where)
            await self.keys_work(900 + 10 * number, where)
            await victim.kill()
            await victim.start(ahead=ahead)
            await self.whole(f"{where}, after a restart")
            await self.keys_work(905 + 10 * number, where)
        self.done("clock jump of an hour", "one member's and all members', forth and back")


@asynccontextmanager
async def frozen(node: Node) -> AsyncIterator[None]:
    """Stop a process for a while, so that it is neither up nor known to be down."""
    node.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        if node.process is not None and node.process.returncode is None:
            node.signal(signal.SIGCONT)


async def set_clock(ahead: float, *nodes: Node) -> None:
    """Let clocks jump, all at the same moment as far as we can."""
    await asyncio.gather(*(node.ask("POST", "/soak/clock", ahead=ahead) for node in nodes))


@asynccontextmanager
async def no_room(node: Node) -> AsyncIterator[None]:
    """No file of the process can grow or be written: the limit of its size is 0."""
    assert node.process is not None
    _, most = resource.prlimit(node.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(node.process.pid, resource.RLIMIT_FSIZE, (0, most))
    try:
        yield
    finally:
        resource.prlimit(node.process.pid, resource.RLIMIT_FSIZE, (most, most))


@asynccontextmanager
async def ballast(node: Node) -> AsyncIterator[None]:
    """Fill the small file system that the node lives on to the last byte."""
    path = node.folder / "ballast"
    with path.open("wb", buffering=0) as file:
        for size in (65536, 4096, 512, 1):
            try:
                while file.write(b"x" * size) == size:
                    pass
            except OSError:
                continue
    try:
        yield
    finally:
        path.unlink()


def mount_small(folder: Path) -> str:
    """Mount a file system of 8 MiB there; why not, where that cannot be done."""
    folder.mkdir(parents=True)
    command = ("mount", "-t", "tmpfs", "-o", "size=8m,mode=0700", "holdfast-soak", str(folder))
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        return str(error)
    return "" if done.returncode == 0 else done.stderr.strip() or f"mount: exit {done.returncode}"


def unmount(folder: Path) -> None:
    """Undo `mount_small`."""
    subprocess.run(("umount", "-l", str(folder)), capture_output=True, check=False)
