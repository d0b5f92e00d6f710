"""Certificates over real parts: never before the rollup takes them, posted after a crash, learnt by observers."""

import asyncio
from pathlib import Path

from anchor.rollup.tx import Mint, Settle, decode_tx
from bridge.deposit import states as dst
from regtest.bitcoind import Bitcoind
from tests.anchor.rollup.rollup_world import ALICE
from tests.bridge.office import PARAMS, POLICY, Office, office
from tss.signing.slots import leader

PAYEE = b"\x00\x14" + bytes(range(20))


def posted(it: Office, kind: type) -> list[bytes]:
    return [raw for raw in it.rollup.submitted if isinstance(decode_tx(raw), kind)]


async def rest(it: Office, *which: int, turns: int = 6) -> None:
    for _ in range(turns):
        await it.round(*which)
        await asyncio.sleep(0.01)


async def test_nothing_is_asked_for_before_the_sweep_is_final_in_the_rollups_own_view(
    tmp_path: Path, bitcoind: Bitcoind
) -> None:
    async with office(tmp_path, bitcoind) as it:
        outpoint = await it.deposit()
        await it.swept()
        for _ in range(PARAMS.k - 1):
            await it.blocks(1)
            await rest(it, turns=2)
            assert not posted(it, Mint), "not deep enough in the rollup's view"
            it.mine()
        await rest(it)
        assert all(n.active.book.wanted() for n in it.nodes), "final on our own chain"
        await it.blocks(2, headers=False)
        await rest(it)
        assert not posted(it, Mint), "the rollup does not know yet"
        await it.blocks(1)
        await it.until(lambda: posted(it, Mint), "the mint")
        await it.blocks(2)
        assert list(it.rollup.state.minted) == [outpoint]
        assert not it.rollup.rejected, "so a refusal is news"
        withdrawal = it.rollup.lock(100_000, PAYEE)
        await it.blocks(3)
        await it.swept()
        it.mine(PARAMS.k - 1)
        await rest(it)
        assert not posted(it, Settle)
        await it.blocks(1)
        await it.until(lambda: posted(it, Settle), "the settlement")
        await it.blocks(2)
        assert it.rollup.state.withdrawals[withdrawal].settled is not None
        assert it.rollup.state.escrow == 0


async def test_a_leader_that_died_is_followed_and_a_stored_signature_is_posted_without_a_new_session(
    tmp_path: Path, bitcoind: Bitcoind
) -> None:
    async with office(tmp_path, bitcoind) as it:
        outpoint = await it.deposit()
        await it.swept()
        it.mine(PARAMS.k - 1)
        slot = b"mint\0" + outpoint.encode()
        order = [leader(slot, attempt, 3) - 1 for attempt in range(12)]
        first = order[0]
        change = next(a for a, who in enumerate(order) if who != first)
        second = order[change]
        others = [i for i in range(3) if i != first]
        await it.nodes[first].down()
        it.rollup.bitcoin = it.nodes[second].feed.chain
        await rest(it, *others, turns=2)
        it.rollup.block()
        await rest(it, *others)
        assert not posted(it, Mint), "its leader is dead and the time is not over"
        # the next leader's post is lost after the signature was stored, and it dies
        active = it.nodes[second].active

        async def lost(_raw: bytes) -> None:
            raise asyncio.CancelledError

        active.certifier.submit = lost
        it.now += POLICY.leader_timeout * change + 1

        async def signatures() -> list[bytes]:
            states = [dst.decode(row.state) for row in await it.nodes[second].store.deposits()]
            return [s.signature for s in states if isinstance(s, dst.Minting) and s.signature]

        for _ in range(100):
            if await signatures():
                break
            await rest(it, second, turns=1)
        [signature] = await signatures()
        await it.nodes[second].down()
        [third] = [i for i in others if i != second]
        await it.nodes[third].down()
        await it.nodes[second].up()
        it.rollup.bitcoin = it.nodes[second].feed.chain
        await it.until(lambda: posted(it, Mint), "the stored certificate, although no quorum is up", second)
        assert {decode_tx(raw).signature for raw in posted(it, Mint)} == {signature}
        it.rollup.block()
        assert it.rollup.state.account(ALICE.x).balance == 999_000


async def test_while_the_rollup_is_paused_no_value_moves(tmp_path: Path, bitcoind: Bitcoind) -> None:
    async with office(tmp_path, bitcoind) as it:
        await it.deposit()
        await it.swept()
        it.mine(1)
        await it.blocks(1)  # the rollup sees k - 1 blocks above the deposit's
        it.reorg(PARAMS.k, PARAMS.k + 1)
        await rest(it, turns=2)
        await it.blocks(1)
        assert it.rollup.state.paused is not None
        await rest(it)
        it.mine(PARAMS.k + 1)
        await it.blocks(2)
        await rest(it)
        assert not posted(it, Mint)
        for node in it.nodes:
            assert await node.active.treasury.plan() is None
            assert "disconnected" in str(node.active.paused())
            [row] = await node.store.deposits()
            assert not isinstance(dst.decode(row.state), dst.Credited)


async def test_an_observer_learns_deposits_from_manifests_and_tells_what_operators_tell(
    tmp_path: Path, bitcoind: Bitcoind
) -> None:
    async with office(tmp_path, bitcoind) as it:
        watcher = it.nodes[2]
        await watcher.down()
        outpoint = await it.deposit()
        await it.until(lambda: it.spender(it.views()[0].treasury.tip), "a sweep", 0, 1, passing=1)
        it.mine(PARAMS.k)
        for _ in range(12):
            it.now += 5
            await it.nodes[0].feed.sync()
            it.rollup.block()
            await rest(it, 0, 1, turns=2)
        assert outpoint in it.rollup.state.minted
        # an observer: no key, no peer asked, a database of its own
        await watcher.seat.up()
        await watcher.open()
        watcher.active = None
        active = await watcher.follow(it.signed, sign=False)
        assert active.keepers == {}
        assert active.certifier is None
        await rest(it, 2)
        mine = await watcher.store.deposits()
        theirs = await it.nodes[0].store.deposits()
        assert [
            (r.outpoint, r.params, r.value, r.height, r.block, r.spent_by, r.spent_height) for r in mine
        ] == [(r.outpoint, r.params, r.value, r.height, r.block, r.spent_by, r.spent_height) for r in theirs]
        assert dst.name(dst.decode(mine[0].state)) == "CREDITED"
        assert active.totals() == it.nodes[0].active.totals()
        assert active.library.raw == it.nodes[0].active.library.raw
