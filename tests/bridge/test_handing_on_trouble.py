"""A committee hands on while Bitcoin turns back, nodes die, and those who left go on running."""

import shutil
from pathlib import Path
from typing import Any

import pytest

from anchor.btc.ids import OutPoint, display
from bridge.deposit import states as dst
from bridge.registry import STORE, NotStored
from bridge.treasury import manifest as manifests
from regtest.bitcoind import Bitcoind
from tests.anchor.rollup.rollup_world import ALICE, Whole
from tests.bridge.handing_on import handed_on, moved, next_committee, rotated, succeed
from tests.bridge.office import PARAMS, Office, OfficeNode, office
from tss.dkg_relay import DkgFailed
from tss.peers import PeerRefused
from tss.signing.approval import Approved, Refused


def minted(it: Office, *outpoints: OutPoint) -> bool:
    return all(o in it.rollup.state.minted for o in outpoints)


async def batches(node: OfficeNode, purpose: str) -> set[bytes]:
    return {p.id for p in await node.anchors.packages(purpose, signed=True)}


def port(node: OfficeNode) -> Any:
    return node.seat.node._approvals._port


async def facts(node: OfficeNode) -> tuple[Any, ...]:
    """What a node says of the bridge's value and keys."""
    active = node.active
    rows = {(r.outpoint, r.epoch, r.state["state"]) for r in await node.store.deposits()}
    view = active.view
    named = (active.keys, active.address_epoch, active.retires(1), active.moving.live())
    return (view.treasury, view.lanes, view.rotations, active.totals(), rows, *named)


async def test_what_a_reorg_undoes_of_a_move_goes_out_again_with_the_same_bytes_and_an_observer_sees_all(
    tmp_path: Path, bitcoind: Bitcoind
) -> None:
    async with office(tmp_path, bitcoind) as it:
        first = await it.deposit()
        await it.swept()
        await it.credited(first)
        await next_committee(it, {"carol": "dora"})
        await succeed(it)
        await rotated(it)
        rotation = it.views()[0].rotations[0].found.txid
        it.reorg(1, 2)
        await it.until(lambda: all(not v.rotations for v in it.views()), "the lane to be on its old key")
        assert all(v.lane(0).epoch == 1 for v in it.views())
        await rotated(it)
        assert [r.found.txid for r in it.views()[0].rotations] == [rotation]
        it.mine(PARAMS.k - 1)
        await moved(it)
        move = it.views()[0].treasury.batches[-1].txid
        it.reorg(1, 2)
        await it.until(lambda: all(v.treasury.epoch == 1 for v in it.views()), "the treasury to be back")
        assert all(n.active.retires(1) is None for n in it.nodes)
        await it.until(lambda: display(move) in it.mempool(), "the same move in the mempool")
        await moved(it)
        assert it.views()[0].treasury.batches[-1].txid == move
        for node in it.nodes[:2]:
            assert len(await batches(node, "treasury")) == 2, "one sweep, one move: nothing was signed anew"
        it.mine(PARAMS.k - 1)
        await it.until(lambda: all(n.active.address_epoch == 2 for n in it.nodes), "addresses of the new key")
        second = await it.deposit()
        await it.swept()
        it.mine(PARAMS.k - 1)
        await it.until(lambda: minted(it, first, second) or it.rollup.block(), "both credits")
        await it.round()
        # who has nothing but the activation record, Bitcoin and the rollup comes to the same
        late = it.nodes[2]
        await late.down()
        (late.seat.folder / "node.db").unlink()
        shutil.rmtree(late.seat.folder / "headers")
        await late.seat.up()
        await late.open()
        await late.follow(it.signed, sign=False)
        for _ in range(2):
            await late.round()
        assert await facts(late) == await facts(it.nodes[0])


async def test_an_old_key_is_wiped_only_after_its_addresses_are_over(
    tmp_path: Path, bitcoind: Bitcoind
) -> None:
    async with office(tmp_path, bitcoind) as it:
        _, old, _ = await it.nodes[0].active.registry.issue(ALICE.x, Whole.named("old").x)

        async def finish(words: str) -> None:
            work = it.nodes[0].seat.node.key_work
            for purpose in ("treasury", "anchor", "mint"):
                with pytest.raises(DkgFailed, match=words):
                    await work.move(purpose, 1, "retired")

        await next_committee(it, {"carol": "dora"})
        for node in it.nodes:
            await node.seat.node.retire("treasury", 1)  # whatever an operator has said
            await node.seat.node.retire("anchor", 1)
            await node.seat.node.retire("mint", 1)
        await finish("serves the bridge")
        await succeed(it)
        await finish("rotation anchor to epoch 2 is not final")
        await rotated(it)
        it.mine(PARAMS.k - 1)
        await moved(it)
        await finish("move to epoch 2 is not final")
        it.mine(PARAMS.k - 1)
        await it.until(lambda: it.nodes[0].active.address_epoch == 2, "addresses of the new key")
        over = it.nodes[0].active.retires(1)
        await finish(f"until Bitcoin height {over}")
        it.mine(over - it.views()[0].height)
        await it.round()
        await finish(f"until Bitcoin height {over}")
        late = it.pay(old.script_pubkey, "0.02")
        it.mine()
        await it.round()
        [row] = [r for r in await it.nodes[0].store.deposits() if r.outpoint == late.encode()]
        state = dst.decode(row.state)
        assert isinstance(state, dst.Rejected)
        assert f"height {over}" in state.reason
        for node in it.nodes[:2]:
            for purpose in ("treasury", "anchor", "mint"):
                info = await node.seat.node.key_work.move(purpose, 1, "retired")
                assert info.state == "retired"
        for node in it.nodes:
            assert node.active.moving.live() == (2,)
        # the bridge lives on without the old shares, after a restart, too
        bob = it.nodes[1]
        await bob.down()
        await bob.up()
        await bob.seat.peers.until_heard((1, 3), 10)
        with pytest.raises(NotStored, match="still reading blocks and may miss a change of keys"):
            await it.deposit_from(1)
        await it.round()
        new = await it.deposit_from(1)
        await it.swept()
        it.mine(PARAMS.k - 1)
        await it.until(lambda: minted(it, new) or it.rollup.block(), "the credit")
        [row] = [r for r in await it.nodes[0].store.deposits() if r.outpoint == late.encode()]
        assert isinstance(dst.decode(row.state), dst.Rejected | dst.Reclaimable)


async def test_each_key_signs_only_what_is_under_it_and_who_left_signs_nothing(
    tmp_path: Path, bitcoind: Bitcoind
) -> None:
    async with office(tmp_path, bitcoind) as it:
        _, old, _ = await it.nodes[0].active.registry.issue(ALICE.x, Whole.named("old").x)
        [carol] = await next_committee(it, {"carol": "dora"})
        await handed_on(it)
        await it.until(lambda: all(n.active.able() == {1, 2} for n in it.nodes), "newcomers to hear of key 1")
        paid = it.pay(old.script_pubkey, "0.02")
        new = await it.deposit()
        # the first leader dies between the sessions of two keys: what was signed stays so, and all is put together
        asked: list[int] = []
        for node in it.nodes:
            node.seat.node.sign = _dying(node.seat.node.sign, asked)
        await it.until(it.mempool, "a batch under two keys", passing=1.0)
        assert asked[:2] == [2, 1], "the tip's key first"
        [package] = [
            p for p in await it.nodes[0].anchors.packages("treasury", signed=True) if p.sequence == 2
        ]
        payload = package.payload
        assert {d.outpoint for d in manifests.decode(payload).deposits} == {paid, new}
        both = [await port(it.nodes[0]).approve("treasury", payload, epoch) for epoch in (1, 2)]
        assert [len(said.messages) for said in both if isinstance(said, Approved)] == [1, 2]
        for epoch in (0, 3, 1 << 31):
            said = await port(it.nodes[0]).approve("treasury", payload, epoch)
            assert isinstance(said, Refused)
            assert "nothing in this request is signed under the key" in said.reason
            assert not said.retryable
        it.mine()
        await it.until(lambda: it.views()[0].treasury.sequence == 2, "the batch's block")
        third = await it.deposit()
        await it.round()
        _, plain = await it.nodes[0].active.treasury.plan()
        assert [d.outpoint for d in manifests.decode(plain).deposits] == [third]
        assert isinstance(await port(it.nodes[1]).approve("treasury", plain, 1), Refused)
        it.mine(PARAMS.k)
        await it.blocks(10)
        bob, statements = it.nodes[1], [payload for payload, _ in it.nodes[1].active.book.wanted()]
        _, ranges = await bob.active.lanes.plan()
        assert statements
        for purpose, payload in (("mint", statements[0]), ("anchor", ranges)):
            said = [await port(bob).approve(purpose, payload, epoch) for epoch in (1, 2)]
            assert [type(each) for each in said] == [Refused, Approved], said
        # carol's node still runs on the committee file of epoch 1
        await carol.seat.up()
        await carol.open()
        await carol.follow(it.signed)
        await carol.round()
        assert "handed on to the committee of epoch 2" in str(carol.active.moving.outdated())
        for epoch in (1, 2):
            said = await port(carol).approve("treasury", plain, epoch)
            assert isinstance(said, Refused)
            assert "handed on to the committee of epoch 2" in said.reason
        assert not carol.active.keepers["treasury"]._signing
        await carol.down()


def _dying(sign: Any, asked: list[int]) -> Any:
    async def dies(purpose: str, payload: bytes, **more: Any) -> list[bytes]:
        if purpose == "treasury":
            asked.append(more["epoch"])
            if asked == [2, 1]:
                raise RuntimeError("the process ends here")
        return list(await sign(purpose, payload, **more))

    return dies


async def test_an_address_is_of_one_key_epoch_and_travels_with_it(tmp_path: Path, bitcoind: Bitcoind) -> None:
    async with office(tmp_path, bitcoind) as it:
        await next_committee(it, {"carol": "dora"})
        alice, bob, dora = it.nodes
        params, _, epoch = await alice.active.registry.issue(ALICE.x, Whole.named("u").x)
        assert epoch == 1
        assert alice.active.moving.pay_until() is None
        second = params.encode() + (2).to_bytes(4, "big")
        with pytest.raises(PeerRefused, match="key epoch 2 is not known here"):
            await bob.seat.peers.call(1, STORE, second)
        await succeed(it)
        until = alice.active.moving.pay_until()
        assert until == alice.active.view.height + 1 + PARAMS.reclaim_delay - 20, (
            "if it moves with the next block"
        )
        # Bitcoin and the rollup at odds about a key: no value moves
        assert bob.active.paused() is None
        bob.active.moving.fault = lambda: "other keys of epoch 2"
        assert bob.active.paused() == bob.active.treasury_facts().paused == "other keys of epoch 2"
        await bob.seat.peers.call(1, STORE, second)
        found = {
            known.epoch for known in (await alice.store.params()).values() if known.params == params.encode()
        }
        assert found == {1, 2}
        assert not [k for k in (await dora.store.params()).values() if k.epoch == 2]
        # paid to both before anybody else knew of the second: a look back finds what is there
        outputs = alice.active.registry.addresses(params)
        paid = [it.pay(outputs[n].script_pubkey, "0.01") for n in (1, 2)]
        it.mine()
        await it.round()
        await dora.active.registry.take(params)
        assert sorted(await dora.active.registry.look_back(params)) == sorted(o.encode() for o in paid)
        assert {r.epoch for r in await dora.store.deposits()} == {1, 2}
        # who was away when it was told learns it with its epoch
        await bob.down()
        (bob.seat.folder / "node.db").unlink()
        await bob.up()
        await bob.seat.peers.until_heard((1, 3), 10)
        await bob.round()
        assert await bob.store.params() == await alice.store.params()
