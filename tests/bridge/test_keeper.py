"""The keeper over real parts: who leads, what is sent again, what a peer may bring, what a crash leaves."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from anchor.btc.ids import display
from anchor.outbox import states as st
from anchor.store import StoredPackage
from bridge import keeper
from bridge.treasury import manifest as manifests
from bridge.treasury.builder import assemble, build
from bridge.treasury.keys import TreasuryKeys
from regtest.bitcoind import Bitcoind
from tests.bridge.office import POLICY, Office, OfficeNode, office
from tss.peers import PeerRefused
from tss.signing.slots import leader


class KilledError(Exception):
    """The process ends here."""


def order(it: Office, attempts: int = 12) -> list[int]:
    """Who leads the treasury's slot now, by attempt, counted from 0."""
    it_keeper = it.nodes[0].active.keepers["treasury"]
    slot = it_keeper.slot(it.views()[0].treasury.tip)
    return [leader(slot, attempt, len(it.nodes)) - 1 for attempt in range(attempts)]


async def stored(node: OfficeNode) -> list[StoredPackage]:
    return await node.anchors.packages("treasury", signed=True)


async def machine(node: OfficeNode, package: StoredPackage) -> st.State:
    [found] = [p for p in await stored(node) if p.id == package.id]
    return st.from_row(found.state or {})


async def rest(it: Office, *which: int, turns: int = 5) -> None:
    for _ in range(turns):
        await it.round(*which)
        await asyncio.sleep(0.01)


async def test_a_dead_leaders_slot_passes_on_by_time_out_and_only_then(
    tmp_path: Path, bitcoind: Bitcoind
) -> None:
    async with office(tmp_path, bitcoind) as it:
        turns = order(it)
        first = turns[0]
        change = next(attempt for attempt, who in enumerate(turns) if who != first)
        second = turns[change]
        rest_of = [i for i in range(3) if i != first]
        await it.deposit()
        await it.nodes[first].down()
        await rest(it, *rest_of)
        assert not it.mempool(), "it is not their turn"
        it.now += POLICY.leader_timeout * change - 1
        await rest(it, *rest_of)
        assert not it.mempool(), "a second too early"
        it.now += 2
        [third] = [i for i in rest_of if i != second]
        await rest(it, third)
        assert not it.mempool(), "the turn is another's"
        await it.until(it.mempool, "the next leader's batch", *rest_of)
        [package] = await stored(it.nodes[second])
        await it.until(lambda: it.nodes[third].active.library.raw, "the other's copy", third)
        assert [p.id for p in await stored(it.nodes[third])] == [package.id]
        # the dead one comes back, asks what is signed for the tip, and makes nothing of its own
        it.mine()
        await it.nodes[first].up()
        await it.until(lambda: len(it.views()) == 3 and it.views()[-1].treasury.sequence == 1, "all views")
        assert all(v.treasury.sequence == 1 for v in it.views())
        assert len(await it.nodes[first].anchors.packages("treasury")) <= 1


async def test_the_same_bytes_go_out_again_after_a_reorg_and_are_final_once(
    tmp_path: Path, bitcoind: Bitcoind
) -> None:
    async with office(tmp_path, bitcoind) as it:
        outpoint = await it.deposit()
        await it.swept()
        [package] = await stored(it.nodes[0])
        txid = it.views()[0].treasury.batches[0].txid
        await it.round()
        assert isinstance(await machine(it.nodes[0], package), st.Confirmed)
        it.reorg(1, 2)  # the sweep's block is gone, the deposit's stays
        await it.until(lambda: all(v.treasury.sequence == 0 for v in it.views()), "the tip to be the old one")
        await it.until(lambda: display(txid) in it.mempool(), "the same batch in the mempool")
        it.mine()
        await it.round()
        for node in it.nodes:
            assert [p.id for p in await stored(node)] == [package.id], "nothing was signed anew"
        await it.credited(outpoint)
        await it.round()
        assert isinstance(await machine(it.nodes[0], package), st.Final)
        assert it.rollup.state.supply == 1_000_000 - 1_000


async def test_of_two_leaders_rival_batches_one_confirms_and_everything_is_paid_once(
    tmp_path: Path, bitcoind: Bitcoind
) -> None:
    async with office(tmp_path, bitcoind) as it:
        one = await it.deposit()
        signers = [n.seat.node for n in it.nodes]
        await rest(it)
        [first] = await stored(it.nodes[0])
        manifest = manifests.decode(first.payload)
        rival = replace(manifest, fee=manifest.fee * 2).encode()
        signatures = tuple(await signers[1].sign("treasury", rival))
        package = replace(first, payload=rival, signatures=signatures)
        await it.nodes[1].active.keepers["treasury"].accept(package)
        await rest(it)
        mine_it = it.nodes[1].active.treasury.stages(rival)[0][0]
        raw = keeper_tx(it.nodes[1], rival, signatures)
        [other] = it.mempool()
        assert other != display(mine_it)
        it.mine(only=[raw])
        await rest(it)
        assert all(v.treasury.tip.txid == mine_it for v in it.views())
        assert isinstance(await machine(it.nodes[0], first), st.Superseded)
        assert not it.mempool()
        await it.credited(one)
        assert it.rollup.state.supply == 999_000
        assert list(it.rollup.state.minted) == [one]


def keeper_tx(node: OfficeNode, payload: bytes, signatures: tuple[bytes, ...]) -> str:
    batch = build(manifests.decode(payload), TreasuryKeys.of(node.active.activation))
    return assemble(batch, signatures).serialize().hex()


async def test_bytes_that_bitcoind_refuses_are_planned_anew_without_what_is_gone(
    tmp_path: Path, bitcoind: Bitcoind
) -> None:
    async with office(tmp_path, bitcoind) as it:
        rpc, wallet = bitcoind.rpc, it.wallet
        good = await it.deposit(btc="0.03")
        spent_from = await it.deposit(btc="0.01")
        await it.until(it.mempool, "a sweep of both")
        [old] = await stored(it.nodes[0])
        # the second payment is replaced on another branch: its coin never was
        tx = rpc().decoderawtransaction(wallet().gettransaction(display(spent_from.txid))["hex"])
        height = rpc().getblockcount()
        rpc().invalidateblock(rpc().getblockhash(height))
        inputs = [{"txid": i["txid"], "vout": i["vout"], "sequence": 0xFFFFFFFD} for i in tx["vin"]]
        value = sum(o["value"] for o in tx["vout"])
        bare = wallet().createrawtransaction(inputs, {wallet().getnewaddress(): value - type(value)("0.001")})
        double = wallet().signrawtransactionwithwallet(bare)["hex"]
        it.mine(only=[double])
        it.mine(only=[])
        await it.until(lambda: it.views()[0].height == height + 1, "the new branch")
        await it.until(it.mempool, "a batch without it")
        [new] = [p for p in await stored(it.nodes[0]) if p.id != old.id]
        assert [d.outpoint for d in manifests.decode(new.payload).deposits] == [good]
        it.mine()
        await rest(it)
        assert isinstance(await machine(it.nodes[0], old), st.Superseded)


async def test_bytes_that_bitcoind_refuses_for_their_fee_are_not_signed_again_and_again(
    tmp_path: Path, new_bitcoind: Callable[..., Bitcoind]
) -> None:
    picky = new_bitcoind(wallet=True, extra=("-minrelaytxfee=0.00005",)).start()
    picky.ensure_wallet("miner")
    async with office(tmp_path, picky) as it:
        woken: list[None] = []
        for node in it.nodes:
            node.active.keepers["treasury"].wake = lambda: woken.append(None)
        await it.deposit()
        await rest(it, turns=10)
        assert not it.mempool()
        assert len(woken) == 1, "one signature wakes the node once, or it would never rest again"
        for node in it.nodes:
            assert len(await stored(node)) == 1
            assert "bitcoind refuses it" in str(node.active.keepers["treasury"].last_failure)


async def test_a_node_that_dies_between_signed_and_told_tells_at_its_next_start(
    tmp_path: Path, bitcoind: Bitcoind
) -> None:
    async with office(tmp_path, bitcoind) as it:
        first = order(it)[0]
        others = [n for i, n in enumerate(it.nodes) if i != first]
        await it.deposit()
        lead = it.nodes[first]

        async def killed(_package: StoredPackage) -> None:
            raise KilledError

        lead.active.keepers["treasury"].dispatch.share = killed
        with pytest.raises(KilledError):
            await it.until(lambda: False, "its death", first)
        [package] = await stored(lead)
        assert st.from_row(package.state) == st.Signed()
        assert not [p for n in others for p in await stored(n)]
        await lead.down()
        await lead.up()
        await lead.seat.peers.until_heard([n.seat.peers.index for n in others], 10)
        await lead.round()
        for node in others:
            assert [p.id for p in await stored(node)] == [package.id]
        assert len(it.mempool()) == 1


async def test_what_a_peer_brings_is_kept_only_when_its_signatures_prove_it(
    tmp_path: Path, bitcoind: Bitcoind
) -> None:
    async with office(tmp_path, bitcoind) as it:
        await it.deposit()
        await it.until(it.mempool, "a batch")
        [good] = await stored(it.nodes[0])
        mallory, honest = it.nodes[1].seat.peers, it.nodes[2]
        target = honest.seat.peers.index
        forged = replace(good, signatures=tuple(bytes(64) for _ in good.signatures or ()))
        short = replace(good, signatures=(good.signatures or ())[:1])
        other = replace(good, purpose="anchor")
        unknown = replace(good, purpose="mint")
        purposes = ("treasury", "anchor", "mint")
        before = [len(await honest.anchors.packages(p)) for p in purposes]
        garbage = [keeper.encode_package(p) for p in (forged, short, other, unknown)]
        whole = keeper.encode_package(good)
        garbage += [b"", b"\xff" * 40, whole[:-1], whole + b"\0"]
        for body in garbage:
            with pytest.raises(PeerRefused) as refused:
                await mallory.call(target, keeper.SIGNED, body)
            assert refused.value.code == "bad-package", (body[:20], refused.value)
        for body in (b"", b"\xff" * 9, keeper.Writer().text("treasury").done()):
            with pytest.raises(PeerRefused) as refused:
                await mallory.call(target, keeper.WANTED, body)
            assert refused.value.code == "bad-question"
        assert [len(await honest.anchors.packages(p)) for p in purposes] == before

        # the answer to our own question is a peer's word too
        manifest = manifests.decode(good.payload)
        payload = replace(manifest, fee=manifest.fee + 1).encode()
        signatures = tuple(await it.nodes[1].seat.node.sign("treasury", payload))
        fresh = replace(good, payload=payload, signatures=signatures)

        async def lie(_member: int, _body: bytes) -> bytes:
            return keeper.encode_packages([replace(fresh, purpose="anchor")])

        mallory._handlers[keeper.WANTED] = lie  # the evil member's own program
        await honest.active.keepers["treasury"].fetch(it.views()[0].treasury.tip)
        assert not await honest.anchors.packages("anchor")
        assert len(await stored(honest)) == before[0]
        it.mine()
        await it.until(lambda: it.views()[2].treasury.sequence == 1, "the honest node to go on")
