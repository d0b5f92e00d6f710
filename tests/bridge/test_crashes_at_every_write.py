"""A node that dies before and after each durable write ends where the others are, and nothing happens twice."""

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from anchor.btc.tx import TxOut
from anchor.outbox import states as st
from bridge.deposit import states as dst
from bridge.withdrawal import states as wst
from regtest.bitcoind import Bitcoind
from tests.anchor.rollup.rollup_world import ALICE, Whole
from tests.bridge.handing_on import next_committee
from tests.bridge.office import PARAMS, Office, OfficeNode, office

PAYEE = b"\x00\x14" + bytes(range(20))
USER = Whole.named("user")
STORIES = 2  # enough to die before and after each kind of write
WRITES = {
    "anchors": ("add_rollup_blocks", "add_package", "sign_package", "save_state"),
    "store": (
        "add_params",
        "connect_block",
        "disconnect_above",
        "save_deposit",
        "save_withdrawal",
        "add_manifest",
    ),
}


class Killed(BaseException):
    """The process is gone: nothing may catch this and go on."""


class Mortal:
    """Kills one node at each kind of write once before it is durable and once after."""

    def __init__(self, it: Office, node: OfficeNode) -> None:
        self.it, self.node = it, node
        self.done: Counter[str] = Counter()
        self.dead = False
        self.arm()

    def arm(self) -> None:
        for part, names in WRITES.items():
            for name in names:
                target = getattr(self.node, part)
                setattr(target, name, self.wrap(name, getattr(target, name)))

    def wrap(self, name: str, write: Callable[..., Any]) -> Callable[..., Any]:
        async def wrapped(*args: Any, **named: Any) -> Any:
            if self.dead:
                raise Killed
            label = f"{name} {_kind(name, args)}"
            times = self.done[label]
            if times == 0:
                self.die(label)
            result = await write(*args, **named)
            if times == 1:
                self.die(label)
            return result

        return wrapped

    def die(self, label: str) -> None:
        self.done[label] += 1
        self.dead = True
        raise Killed(label)

    async def turn(self) -> None:
        """One turn of all nodes; a node that died starts again."""
        for node in self.it.nodes:
            try:
                await node.round()
            except Killed:
                assert node is self.node
        await asyncio.sleep(0.01)
        if self.dead:  # perhaps in a session's task
            await self.bury()
            self.dead = False
            await self.revive()

    async def bury(self) -> None:
        """Take the node down; a peer's call that died with it may say so once more while its port closes."""
        for _ in range(8):
            try:
                await self.node.down()
            except Killed:
                continue
            return
        raise AssertionError("the dead node's port does not close")

    async def revive(self) -> None:
        await self.node.seat.up()
        await self.node.open()
        self.arm()
        while True:
            try:
                await self.node.follow(self.it.signed)
            except Killed:  # at its start
                self.dead = False
                if self.node.active is not None:
                    await self.node.active.close()
                await self.bury()
                await self.node.seat.up()
                await self.node.open()
                self.arm()
                continue
            break
        others = [n.seat.peers.index for n in self.it.nodes if n is not self.node]
        await self.node.seat.peers.until_heard(others, 10)

    async def until(self, condition: Callable[[], Any], what: str) -> None:
        for _ in range(300):
            if condition():
                return
            self.it.now += 1.0
            await self.turn()
        raise AssertionError(f"in vain: {what}; died at {dict(self.done)}")

    async def rollup_until(self, condition: Callable[[], Any], what: str) -> None:
        for _ in range(60):
            if condition():
                return
            await self.it.nodes[1].feed.sync()
            self.it.rollup.block()
            for _ in range(3):
                self.it.now += 1.0
                await self.turn()
        raise AssertionError(f"in vain: {what}; died at {dict(self.done)}")


def _kind(name: str, args: tuple[Any, ...]) -> str:
    match name:
        case "save_state" | "save_deposit" | "save_withdrawal":
            return str(args[1]["state"])
        case "add_package" | "sign_package":
            return f"{args[0].purpose} {args[0].payload[:1].hex()}"  # its kind, too
        case _:
            return ""


def settled(it: Office) -> bool:
    return all(w.settled for w in it.rollup.state.withdrawals.values()) and bool(it.rollup.state.withdrawals)


async def test_killed_at_every_write_a_node_still_sweeps_mints_pays_and_settles_once(
    tmp_path: Path, bitcoind: Bitcoind
) -> None:
    async with office(tmp_path, bitcoind) as it:
        node = it.nodes[0]
        it.rollup.bitcoin = it.nodes[1].feed.chain  # of a node that lives
        mortal = Mortal(it, node)
        locks = []
        for story in range(STORIES):
            outpoint = await it.deposit_from(1)
            tip = it.nodes[1].active.view.treasury.tip
            await mortal.until(lambda tip=tip: it.spender(tip), "a sweep")
            it.mine(PARAMS.k)
            await mortal.rollup_until(lambda o=outpoint: o in it.rollup.state.minted, "the mint")
            locks.append(it.rollup.lock(50_000 + story, PAYEE))
            await mortal.rollup_until(lambda: locks[-1] in it.rollup.state.withdrawals, "the lock")
            tip = it.nodes[1].active.view.treasury.tip
            await mortal.rollup_until(lambda tip=tip: it.spender(tip), "a payout")
            it.mine(PARAMS.k)
            await mortal.rollup_until(lambda: settled(it), "the settlement")
        for _ in range(3):
            await mortal.turn()
        await _same(it)
        died = {label.split()[0] for label in mortal.done}
        assert {"sign_package", "save_state", "save_deposit", "save_withdrawal", "connect_block"} <= died
        assert it.rollup.state.account(ALICE.x).balance == STORIES * 999_000 - sum(
            50_000 + n for n in range(STORIES)
        )
        payees = [
            out.value
            for batch in it.nodes[1].active.view.treasury.batches
            for out in _outputs(it, batch.manifest_hash)
        ]
        assert sorted(payees) == [49_000 + n for n in range(STORIES)], "each withdrawal is paid once"
        assert sum(mortal.done.values()) >= 24, mortal.done


async def test_killed_at_every_write_of_a_move_a_node_still_hands_its_value_on_once(
    tmp_path: Path, bitcoind: Bitcoind
) -> None:
    async with office(tmp_path, bitcoind) as it:
        _, old, _ = await it.nodes[0].active.registry.issue(ALICE.x, USER.x)
        await next_committee(it, {"carol": "dora"})
        it.rollup.bitcoin = it.nodes[1].feed.chain  # of a node that lives
        mortal = Mortal(it, it.nodes[0])
        await it.nodes[1].successions.propose()
        await mortal.rollup_until(lambda: it.rollup.state.successions, "the succession")
        lives = it.nodes[1].active
        tip = lives.view.lane(0).tip
        await mortal.rollup_until(lambda: it.spender(tip), "the rotation")
        it.mine(PARAMS.k)
        tip = lives.view.treasury.tip
        await mortal.until(
            lambda: it.spender(tip) and mortal.done["sign_package treasury 03"] == 2, "the move"
        )
        it.mine(PARAMS.k)
        await mortal.until(lambda: lives.address_epoch == 2, "the move to be final")
        paid = it.pay(old.script_pubkey, "0.01")
        new = await it.deposit_from(1)
        tip = lives.view.treasury.tip
        await mortal.until(lambda: it.spender(tip), "a sweep")
        it.mine(PARAMS.k)
        await mortal.until(lambda: lives.view.treasury.tip != tip, "the sweep's block")
        tip = lives.view.treasury.tip
        if (
            len(lives.view.treasury.batches[-1].inputs) == 1
        ):  # planned while one of two was not confirmed there
            await mortal.until(lambda: it.spender(tip), "the other sweep")
            it.mine(PARAMS.k)
        await mortal.rollup_until(lambda: {paid, new} <= it.rollup.state.minted.keys(), "both mints")
        for _ in range(3):
            await mortal.turn()
        assert it.rollup.state.account(ALICE.x).balance == 2 * 999_000
        assert [b.move is not None for b in lives.view.treasury.batches].count(True) == 1
        assert len(lives.view.rotations) == 1
        books = [(n.active.view.treasury, n.active.view.lanes, n.active.totals()) for n in it.nodes]
        assert books[0] == books[1] == books[2]
        assert {"add_package anchor 02", "add_package treasury 03"} <= mortal.done.keys(), mortal.done


def _outputs(it: Office, digest: bytes) -> list[Any]:
    manifest = it.nodes[1].active.library.decoded[digest]
    return [TxOut(p.paid, p.script) for p in getattr(manifest, "payouts", ())]


async def _same(it: Office) -> None:
    """All nodes tell the same story, the one that died so often too."""
    books = []
    for node in it.nodes:
        rows = await node.store.deposits()
        deposits = sorted(
            (r.outpoint, r.value, r.height, r.spent_by, dst.name(dst.decode(r.state))) for r in rows
        )
        locks = sorted((i, type(wst.decode(w)).__name__) for i, w in (await node.store.withdrawals()).items())
        packages = [
            (p.purpose, p.sequence, p.id, type(st.from_row(p.state or {})).__name__)
            for purpose in ("treasury", "anchor")
            for p in await node.anchors.packages(purpose, signed=True)
        ]
        books.append((deposits, locks, sorted(packages), node.active.view.treasury))
    for book in books:
        assert book[0] == books[1][0]
        assert book[1] == books[1][1]
        assert set(book[2]) <= set(books[1][2]), "bytes it slept through are fetched if their tip comes back"
        assert book[3] == books[1][3]
