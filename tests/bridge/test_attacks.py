"""Attacks that once worked, each by who could try it; real nodes, keys and bitcoind."""

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from anchor.btc.network import MAINNET, REGTEST
from anchor.inscription.batch import AnchorBatch
from anchor.jsonrpc import Unreachable
from bridge import keeper
from bridge.active import Active
from bridge.ceremony import Consents
from bridge.limits import RateLimit
from bridge.store import BridgeStore
from bridge.treasury import manifest as manifests
from migrations.database import open_database
from migrations.upgrade import upgrade
from regtest.bitcoind import Bitcoind
from tests.bridge.office import PARAMS, Office, fund, office
from tests.bridge.test_malicious_leader import PAYEE
from tss.signing.approval import Approved, Refused


def port(it: Office, node: int) -> Any:
    """A node's approval port, as its tss asks it."""
    return it.nodes[node].seat.node._approvals._port


async def planned_payout(it: Office) -> bytes:
    """A payout that every node would sign now; the keepers stand still."""
    outpoint = await it.deposit()
    await it.swept()
    await it.credited(outpoint)
    for node in it.nodes:
        node.active.keepers.clear()
    it.rollup.lock(50_000, PAYEE)
    await it.blocks(4)
    planned = await it.nodes[0].active.treasury.plan()
    assert planned is not None
    return planned[1]


async def test_a_signer_whose_bitcoind_does_not_answer_signs_nothing(
    tmp_path: Path, bitcoind: Bitcoind
) -> None:
    async with office(tmp_path, bitcoind) as it:
        payout = await planned_payout(it)
        assert isinstance(await port(it, 1).approve("treasury", payout, 1), Approved)

        async def dead(*_: Any, **__: Any) -> Any:
            raise Unreachable("it was cut off")

        for name in ("best", "call", "batch"):
            setattr(it.nodes[1].client, name, dead)
        port(it, 1).look_again = lambda: asyncio.sleep(0)
        verdict = await port(it, 1).approve("treasury", payout, 1)
        assert isinstance(verdict, Refused)
        assert verdict.retryable
        assert "does not answer" in verdict.reason


async def test_a_signer_that_has_not_read_the_newest_block_signs_nothing(
    tmp_path: Path, bitcoind: Bitcoind
) -> None:
    async with office(tmp_path, bitcoind) as it:
        payout = await planned_payout(it)
        it.mine(only=[])
        port(it, 1).look_again = lambda: asyncio.sleep(0)
        verdict = await port(it, 1).approve("treasury", payout, 1)
        assert isinstance(verdict, Refused)
        assert "newest block" in verdict.reason


async def test_a_sequencer_that_hides_a_deep_reorg_does_not_keep_value_moving(
    tmp_path: Path, bitcoind: Bitcoind
) -> None:
    async with office(tmp_path, bitcoind) as it:
        await planned_payout(it)
        it.reorg(PARAMS.k + 2)
        for node in it.nodes:
            await node.round()
        for index, node in enumerate(it.nodes):
            assert "not on our bitcoind's chain" in (node.active.paused() or "")
            assert await node.active.treasury.plan() is None
            manifest = manifests.PayoutManifest(
                1,
                node.active.view.treasury.sequence + 1,
                node.active.view.treasury.tip,
                node.active.view.treasury.tip_value,
                node.active.view.treasury.previous,
                manifests.Sats(210),
                (manifests.Payout(b"w" * 32, PAYEE, manifests.Sats(50_000), manifests.Sats(1_000)),),
            )
            verdict = await port(it, index).approve("treasury", manifest.encode(), 1)
            assert isinstance(verdict, Refused)
            assert "paused" in verdict.reason


async def test_one_member_cannot_fill_the_others_with_copies_of_a_signed_batch(
    tmp_path: Path, bitcoind: Bitcoind
) -> None:
    async with office(tmp_path, bitcoind) as it:
        await it.blocks(PARAMS.range_length + 2)
        await it.until(lambda: len(it.mempool()) == 2, "an anchor")
        victim = it.nodes[1]
        await victim.round()
        [package] = await it.nodes[0].anchors.packages("anchor", signed=True)
        batch = AnchorBatch.decode(package.payload)
        index = victim.seat.peers.index
        for number in range(8):
            junk = tuple(number.to_bytes(4, "big") + bytes(60_000) for _ in batch.evidence)
            copy = replace(package, payload=replace(batch, evidence=junk).encode())
            await it.nodes[0].seat.peers.call(index, keeper.SIGNED, keeper.encode_package(copy))
        assert len(await victim.anchors.packages("anchor", signed=True)) == 1


async def test_evidence_that_proves_nothing_gets_no_share(tmp_path: Path, bitcoind: Bitcoind) -> None:
    async with office(tmp_path, bitcoind) as it:
        for node in it.nodes:
            node.active.keepers.clear()
        await it.blocks(PARAMS.range_length + 2)
        planned = await it.nodes[0].active.lanes.plan()
        assert planned is not None
        batch = AnchorBatch.decode(planned[1])
        assert isinstance(await port(it, 1).approve("anchor", planned[1], 1), Approved)
        bad = replace(batch, evidence=tuple(b"\0" * len(e) for e in batch.evidence))
        verdict = await port(it, 1).approve("anchor", bad.encode(), 1)
        assert isinstance(verdict, Refused)
        assert "evidence" in verdict.reason


async def test_a_leader_cannot_burn_the_reserve_or_the_lane_with_fees(
    tmp_path: Path, bitcoind: Bitcoind
) -> None:
    async with office(tmp_path, bitcoind) as it:
        for node in it.nodes:
            node.active.keepers.clear()
        await it.deposit()
        await it.blocks(PARAMS.range_length + 2)
        await it.round()
        planned = await it.nodes[0].active.treasury.plan()
        assert planned is not None
        sweep = manifests.decode(planned[1])
        assert isinstance(await port(it, 1).approve("treasury", planned[1], 1), Approved)
        dear = replace(sweep, fee=manifests.Sats(225 * 200))
        assert "fee-too-high" in (await port(it, 1).approve("treasury", dear.encode(), 1)).reason
        lane = await it.nodes[0].active.lanes.plan()
        assert lane is not None
        batch = AnchorBatch.decode(lane[1])
        dear_commit = replace(batch, commit_fee=111 * 100)
        verdict = await port(it, 1).approve("anchor", dear_commit.encode(), 1)
        assert isinstance(verdict, Refused)
        assert "a commit pays 111 sat" in verdict.reason


async def test_a_clock_that_steps_back_stops_no_keeper(tmp_path: Path, bitcoind: Bitcoind) -> None:
    async with office(tmp_path, bitcoind) as it:
        await it.deposit()
        it.now -= 3600
        await it.until(it.mempool, "a sweep all the same")


async def test_an_activation_that_failed_once_can_be_tried_again(
    tmp_path: Path, bitcoind: Bitcoind, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with office(tmp_path, bitcoind, active=False) as it:
        treasury, lane = await fund(it)
        it.signed = await it.nodes[0].ceremony.propose(treasury, [lane])
        real = Active.start

        async def fails(_: Active) -> None:
            raise OSError(5, "Input/output error")

        monkeypatch.setattr(Active, "start", fails)
        with pytest.raises(OSError, match="Input/output"):
            await it.nodes[1].follow(it.signed)
        monkeypatch.setattr(Active, "start", real)
        assert (await it.nodes[1].follow(it.signed)).keepers


def test_a_caller_has_a_burst_then_a_rate_and_others_their_own() -> None:
    now = [0.0]
    limit = RateLimit(0.5, 3, lambda: now[0])
    assert [limit.wait("a") for _ in range(3)] == [0, 0, 0]
    assert limit.wait("a") == pytest.approx(2)
    assert limit.wait("b") == 0
    now[0] = 2.0
    assert limit.wait("a") == 0
    now[0] = -100.0
    assert limit.wait("b") == 0, "a clock that steps back gives nothing and takes nothing"


async def test_off_regtest_nothing_is_signed_without_consent(tmp_path: Path) -> None:
    upgrade("node", tmp_path / "node.db")
    engine = open_database(tmp_path / "node.db")
    try:
        store = BridgeStore(engine)
        consents = Consents(MAINNET, store, lambda: False)
        assert "must consent first" in (await consents.objects(b"\x01" * 32) or "")
        assert await store.document("activation-signed") is None
    finally:
        await engine.dispose()


async def test_a_node_signs_one_activation_record_and_another_only_with_its_operators_consent(
    tmp_path: Path,
) -> None:
    upgrade("node", tmp_path / "node.db")
    engine = open_database(tmp_path / "node.db")
    try:
        active: list[str] = []
        consents = Consents(REGTEST, BridgeStore(engine), lambda: bool(active))
        first, second = b"\x01" * 32, b"\x02" * 32
        assert await consents.objects(first) is None
        assert await consents.objects(first) is None, "the same one again, after a peer's time-out"
        assert "has signed another record" in (await consents.objects(second) or "")
        consents.given.add(second)
        assert await consents.objects(second) is None
        active.append("the record")
        assert "active already" in (await consents.objects(second) or "")
    finally:
        await engine.dispose()
