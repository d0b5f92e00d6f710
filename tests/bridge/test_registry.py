"""Deposit addresses over real peers and a real bitcoind: who must store them, who is late, who lies."""

import asyncio

import pytest

from anchor.btc.codec import Writer
from anchor.btc.ids import display
from bridge import registry
from bridge.deposit import states as dst
from bridge.deposit.address import DepositFault, DepositParams
from bridge.registry import NotStored
from regtest.bitcoind import Bitcoind
from tests.anchor.rollup.rollup_world import ALICE, Whole
from tests.bridge.office import PARAMS, office
from tss.envelope import MAX_BODY
from tss.peers import PeerRefused

FIRST = b"\0\0\0\x01"  # the key epoch that a bridge begins with
USER = Whole.named("user").x


def params_of(name: str, delay: int = PARAMS.reclaim_delay) -> DepositParams:
    return DepositParams(ALICE.x, Whole.named(name).x, delay)


def test_all_addresses_that_a_node_keeps_fit_one_answer_to_a_peer():
    assert 4 + registry.MAX_ADDRESSES * registry.ADDRESS_SIZE <= MAX_BODY


async def test_an_address_is_shown_only_once_enough_nodes_store_it(tmp_path, bitcoind: Bitcoind):
    async with office(tmp_path, bitcoind) as it:
        alice, bob, carol = it.nodes
        params, derived, _ = await alice.active.registry.issue(ALICE.x, USER)
        for node in it.nodes:
            assert (await node.store.params())[derived.script_pubkey] == (params.encode(), 1)
        await carol.down()
        await alice.active.registry.issue(ALICE.x, params_of("second").user_key)
        await bob.down()
        with pytest.raises(NotStored, match="only 1 of the 2 nodes needed"):
            await alice.active.registry.issue(ALICE.x, params_of("third").user_key)
        # who was away learns all of it at its start, from whoever is there; also what was never shown
        await carol.up()
        assert await carol.store.params() == await alice.store.params()
        assert len(await carol.store.params()) == 3


async def test_a_peer_cannot_store_what_is_no_address_of_this_bridge(tmp_path, bitcoind: Bitcoind):
    async with office(tmp_path, bitcoind) as it:
        mallory, honest = it.nodes[0], it.nodes[1]
        target = honest.seat.peers.index
        off_curve = b"\xff" * 32 + USER + PARAMS.reclaim_delay.to_bytes(2, "big")
        whole, wrong = params_of("x").encode() + FIRST, params_of("x", 7).encode() + FIRST
        unknown = [params_of("x").encode() + epoch.to_bytes(4, "big") for epoch in (0, 2, (1 << 32) - 1)]
        for body in (b"", b"x" * 70, whole[:-1], whole + b"\0", wrong, off_curve + FIRST, *unknown):
            with pytest.raises(PeerRefused) as refused:
                await mallory.seat.peers.call(target, registry.STORE, body)
            assert refused.value.code == "bad-params"
        for user_key, recipient in ((b"\xff" * 32, ALICE.x), (USER, b"\xff" * 32)):
            with pytest.raises(DepositFault):
                await honest.active.registry.issue(recipient, user_key)
        assert await honest.store.params() == {}
        good, bad = params_of("good").encode() + FIRST, params_of("bad", 9).encode() + FIRST
        later = params_of("later").encode() + b"\0\0\0\x02"
        for answer in (
            b"",
            b"\xff" * 20,
            Writer().count(2).fixed(good).done(),
            Writer().count(1).fixed(bad).done(),
            Writer().count(1).fixed(later).done(),
        ):

            async def lie(_member: int, _body: bytes, said: bytes = answer) -> bytes:
                return said

            mallory.seat.peers._handlers[registry.LIST] = lie
            assert await honest.active.registry.catch_up() == 0
        assert await honest.store.params() == {}


async def test_a_full_node_takes_no_more_but_what_a_batch_has_swept(
    tmp_path, bitcoind: Bitcoind, monkeypatch
):
    async with office(tmp_path, bitcoind) as it:
        monkeypatch.setattr(registry, "MAX_ADDRESSES", 1)
        book = it.nodes[0].active.registry
        assert await book.learn(params_of("first"))
        it.pay(it.script_of(params_of("first")), "0.01")
        it.mine()
        await it.round(0)  # it is paid, so it stays
        assert not await book.learn(params_of("first")), "known is no news, and no refusal"
        with pytest.raises(DepositFault, match="ask another one"):
            await book.learn(params_of("second"))
        assert await book.learn(params_of("swept"), swept=True)


async def test_a_payment_made_before_its_parameters_were_known_is_found_and_credited(
    tmp_path, bitcoind: Bitcoind
):
    async with office(tmp_path, bitcoind) as it:
        params = params_of("offline")
        outpoint = it.pay(it.script_of(params), "0.01")
        it.mine(2)
        await it.round()
        assert not await it.nodes[0].store.deposits()
        await it.nodes[0].active.registry.issue(params.recipient, params.user_key)
        assert await it.nodes[0].active.registry.look_back(params) == [outpoint.encode()]
        await it.round()
        [row] = await it.nodes[0].store.deposits()
        assert isinstance(dst.decode(row.state), dst.Confirmed)
        # only this node has looked: the others sign all the same, for they ask their own bitcoind
        for _ in range(30):
            it.now += 10
            if it.mempool():
                break
            await it.round()
            await asyncio.sleep(0.02)  # a session's messages travel
        await it.swept()
        await it.credited(outpoint)
        assert it.rollup.state.account(ALICE.x).balance == 999_000
        await it.blocks(2)
        for node in it.nodes:  # the others learn the deposit from the sweep's manifest
            [row] = await node.store.deposits()
            assert dst.name(dst.decode(row.state)) == "CREDITED"


async def test_a_search_that_runs_ahead_of_the_view_leaves_nothing_behind_after_a_reorg(
    tmp_path, bitcoind: Bitcoind
):
    async with office(tmp_path, bitcoind) as it:
        params = params_of("offline")
        outpoint = it.pay(it.script_of(params), "0.01")
        it.mine()  # nobody has gone round since
        await it.nodes[0].active.registry.issue(params.recipient, params.user_key)
        assert await it.nodes[0].active.registry.look_back(params) == [outpoint.encode()]
        it.reorg(1, 2)
        await it.round()
        for row in await it.nodes[0].store.deposits():
            assert row.height is None, "no block of the chain holds it"
        it.mine(only=[display(outpoint.txid)])
        await it.round()
        [row] = await it.nodes[0].store.deposits()
        assert row.height == it.views()[0].height


def listing(*names: str) -> bytes:
    out = Writer().count(len(names))
    for name in names:
        out.fixed(params_of(name).encode() + FIRST)
    return out.done()


async def test_a_long_list_is_taken_bit_by_bit_and_what_is_known_costs_nothing(
    tmp_path, bitcoind: Bitcoind, monkeypatch
):
    async with office(tmp_path, bitcoind) as it:
        mallory, honest = it.nodes[0], it.nodes[1]
        book, derived = honest.active.registry, []

        async def lie(_member: int, _body: bytes) -> bytes:
            return listing(*(f"user {n}" for n in range(7)))

        mallory.seat.peers._handlers[registry.LIST] = lie
        real = registry.output
        monkeypatch.setattr(registry, "output", lambda *of: derived.append(of) or real(*of))
        monkeypatch.setattr(registry, "AT_ONCE", 2)
        others, learning = 0, asyncio.create_task(book.catch_up())
        while len(derived) < 7:
            await asyncio.sleep(0)
            others += bool(derived)
        assert await learning == 7
        assert others >= 3, "others have their turn between"
        assert await book.catch_up() == 0
        assert len(derived) == 7


async def test_a_member_that_lists_what_nobody_asked_for_leaves_room_for_the_others(
    tmp_path, bitcoind: Bitcoind, monkeypatch
):
    async with office(tmp_path, bitcoind) as it:
        mallory, honest, third = it.nodes
        monkeypatch.setattr(registry, "MAX_ADDRESSES", 8)

        async def junk(_member: int, _body: bytes) -> bytes:
            return listing(*(f"junk {n}" for n in range(8)))

        async def true(_member: int, _body: bytes) -> bytes:
            return listing("one", "two", "three", "four")

        mallory.seat.peers._handlers[registry.LIST] = junk
        third.seat.peers._handlers[registry.LIST] = true
        assert await honest.active.registry.catch_up() == 8
        kept = {made.params for made in (await honest.store.params()).values()}
        assert {params_of(name).encode() for name in ("one", "two", "three", "four")} <= kept


async def test_a_member_that_asks_for_all_addresses_again_and_again_is_refused(tmp_path, bitcoind: Bitcoind):
    async with office(tmp_path, bitcoind) as it:
        mallory, target = it.nodes[0].seat.peers, it.nodes[1].seat.peers.index
        for _ in range(registry.LIST_BURST):
            await mallory.call(target, registry.LIST, b"")
        with pytest.raises(PeerRefused) as refused:
            await mallory.call(target, registry.LIST, b"")
        assert refused.value.code == "too-many"
        it.now += 1 / registry.LIST_RATE
        await mallory.call(target, registry.LIST, b"")
