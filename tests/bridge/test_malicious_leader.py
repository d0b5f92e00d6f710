"""What a member who leads a slot tries: every request but the true one gets no share from anybody else."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from anchor.btc.amounts import Height, Sats
from anchor.btc.ids import BlockHash, OutPoint, Txid
from anchor.inscription.batch import AnchorBatch, RotationBatch
from anchor.proofs.records import decode_record
from bridge.approvals import Approvals
from bridge.deposit.address import treasury_script
from bridge.treasury import certificates
from bridge.treasury import manifest as manifests
from bridge.treasury.builder import assemble, build, messages
from bridge.treasury.keys import TreasuryKeys
from bridge.treasury.manifest import PayoutManifest, SweepManifest
from regtest.bitcoind import Bitcoind
from tests.anchor.rollup.rollup_world import Whole
from tests.bridge.keys import SECOND
from tests.bridge.office import Office, OfficeNode, office
from tss.frost.path import INTERNAL, KEY_ONLY, key_with_root
from tss.node import SigningFailed
from tss.signing.approval import Approved, Refused

pytestmark = pytest.mark.asyncio(loop_scope="module")
PAYEE = b"\x00\x14" + bytes(range(20))
ELSEWHERE = OutPoint(Txid(b"\x11" * 32), 0)


@dataclass
class Stage:
    """A committee at rest with one true request of each kind to be made; nobody makes it by himself."""

    it: Office
    sweep: SweepManifest
    payout: PayoutManifest
    anchor: AnchorBatch
    mint: Any
    settle: Any

    def port(self, node: int) -> Approvals:
        return self.it.nodes[node].seat.node._approvals._port


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory, bitcoind_path: Path) -> AsyncIterator[Stage]:
    folder = tmp_path_factory.mktemp("malicious")
    bitcoind = Bitcoind(folder / "bitcoind", binary=bitcoind_path, wallet=True).start()
    bitcoind.ensure_wallet("miner")
    try:
        async with office(folder, bitcoind) as it:
            yield await _set(it)
    finally:
        bitcoind.close()


async def _set(it: Office) -> Stage:
    first = await it.deposit()
    await it.swept()
    await it.credited(first)
    it.rollup.lock(50_000, PAYEE)
    await it.blocks(3)
    await it.swept()  # batch 2 pays it; from now on the rollup hears nothing of Bitcoin
    await it.deposit(btc="0.02")
    await it.swept()  # batch 3
    it.mine(3)
    await it.round()
    for node in it.nodes:
        node.active.keepers.clear()
    await it.deposit(btc="0.03")
    await it.round()
    it.rollup.lock(60_000, PAYEE)
    await it.blocks(10, headers=False)
    desk = it.nodes[0].active.treasury
    _, payout = await desk.plan()
    desk._payable = lambda _facts: []
    _, sweep = await desk.plan()
    del desk._payable
    _, anchor = await it.nodes[0].active.lanes.plan()
    wanted = [certificates.decode(p) for p, _ in it.nodes[0].active.book.wanted()]
    mint, settle = sorted(wanted, key=lambda s: type(s).__name__)
    return Stage(
        it, manifests.decode(sweep), manifests.decode(payout), AnchorBatch.decode(anchor), mint, settle
    )


async def refused(stage: Stage, purpose: str, payload: bytes, word: str) -> None:
    for node in (1, 2):
        answer = await stage.port(node).approve(purpose, payload, 1)
        assert isinstance(answer, Refused), word
        assert word in answer.reason, answer.reason


async def test_the_true_requests_are_agreed_to_by_all(stage: Stage) -> None:
    true = [("treasury", m.encode()) for m in (stage.sweep, stage.payout)]
    true += [("mint", certificates.encode(s)) for s in (stage.mint, stage.settle)]
    true.append(("anchor", stage.anchor.encode()))
    for purpose, payload in true:
        answers = [await stage.port(node).approve(purpose, payload, 1) for node in range(3)]
        assert isinstance(answers[0], Approved), answers[0]
        assert answers[0] == answers[1] == answers[2], "all compute the same messages"
    assert isinstance(stage.sweep, SweepManifest)
    assert isinstance(stage.payout, PayoutManifest)


HEADS: Sequence[tuple[dict[str, Any], str]] = [
    ({"tip": ELSEWHERE}, "tip-moved"),
    ({"tip_value": 1_000_000_000}, "tip-value"),
    ({"sequence": 3}, "sequence"),
    ({"sequence": 5}, "sequence"),
    ({"epoch": 2}, "epoch"),
    ({"previous": bytes(32)}, "previous"),
    ({"fee": 0}, "fee-too-low"),
    ({"fee": 190_000}, "fee-too-high"),
]


@pytest.mark.parametrize(("lie", "code"), HEADS, ids=[f"{c}-{n}" for n, (_, c) in enumerate(HEADS)])
async def test_a_lie_about_the_treasurys_coin_or_fee_gets_no_share(
    stage: Stage, lie: dict[str, Any], code: str
) -> None:
    for true in (stage.sweep, stage.payout):
        await refused(stage, "treasury", replace(true, **lie).encode(), code)


async def test_a_lie_about_a_deposit_gets_no_share(stage: Stage) -> None:
    [item] = stage.sweep.deposits
    stranger = replace(item.params, recipient=Whole.named("mallory").x)
    rows = await stage.it.nodes[0].store.deposits()
    swept_before = OutPoint.decode(next(r.outpoint for r in rows if r.spent_by is not None))
    foreign = stage.it.views()[0].lanes[0].tip  # a coin of ours that is no deposit
    lies = [
        (replace(item, value=Sats(item.value * 2)), "deposit-value"),
        (replace(item, params=stranger), "deposit-script"),
        (replace(item, params=replace(item.params, user_key=Whole.named("m").x)), "deposit-script"),
        (replace(item, params=replace(item.params, delay=7)), "deposit-script"),
        (replace(item, epoch=0), "unbuildable"),
        (replace(item, fee_share=Sats(0)), "fee-share"),
        (replace(item, fee_share=Sats(item.value - 1)), "fee-share"),
        (replace(item, outpoint=ELSEWHERE), "deposit-unknown"),
        (replace(item, outpoint=swept_before), "deposit-unknown"),
        (replace(item, outpoint=foreign), "deposit-value"),
    ]
    for lie, code in lies:
        await refused(stage, "treasury", replace(stage.sweep, deposits=(lie,)).encode(), code)


async def test_a_move_that_no_rotation_anchor_asks_for_gets_no_share(stage: Stage) -> None:
    treasury = stage.it.views()[0].treasury
    move = treasury.move_to(SECOND, Sats(1_000))
    await refused(stage, "treasury", move.encode(), "rotation-not-final")
    further = replace(move, epoch=2, successor_epoch=3)
    await refused(stage, "treasury", further.encode(), "wrong-epoch")


async def test_a_lie_about_a_withdrawal_gets_no_share(stage: Stage) -> None:
    [item] = stage.payout.payouts
    own = treasury_script(stage.it.activation.treasury_key)
    paid = next(iter(stage.it.nodes[1].active.treasury_facts().paid()))
    lies = [
        (replace(item, amount=Sats(item.amount + 1)), "withdrawal-amount"),
        (replace(item, script=b"\x00\x14" + bytes(20)), "withdrawal-script"),
        (replace(item, script=own), "withdrawal-script"),
        (replace(item, fee_share=Sats(0)), "fee-share"),
        (replace(item, withdrawal=b"\x22" * 32), "withdrawal-unknown"),
        (replace(item, withdrawal=paid, amount=Sats(50_000)), "withdrawal-paid"),
    ]
    for lie, code in lies:
        roomy = replace(stage.payout, fee=Sats(500), payouts=(lie,))  # whatever size the lie has
        await refused(stage, "treasury", roomy.encode(), code)


async def test_a_lie_in_a_certificate_gets_no_share(stage: Stage) -> None:
    other = {"txid": Txid(b"\x33" * 32)}
    common: list[tuple[dict[str, Any], str]] = [
        ({"rollup_id": 8}, "wrong-rollup"),
        ({"genesis_hash": bytes(32)}, "wrong-rollup"),
        ({"epoch": 2}, "epoch"),
        (other, "batch-unknown"),
        ({"block_hash": BlockHash(b"\x44" * 32)}, "wrong-block"),
        ({"height": Height(1)}, "wrong-block"),
        ({"manifest_hash": b"\x55" * 32}, "wrong-manifest"),
        ({"fee": Sats(999)}, "wrong-content"),
    ]
    swap = {n: getattr(stage.settle, n) for n in ("txid", "block_hash", "height", "manifest_hash")}
    minted = next(iter(stage.it.rollup.state.minted))
    mint: list[tuple[dict[str, Any], str]] = [
        ({"amount": Sats(stage.mint.amount + 1)}, "wrong-content"),
        ({"recipient": Whole.named("mallory").x}, "wrong-content"),
        ({"outpoint": ELSEWHERE}, "not-in-batch"),
        ({"outpoint": minted}, "deposit-minted"),
        (swap, "wrong-manifest"),
    ]
    settle: list[tuple[dict[str, Any], str]] = [
        ({"paid": Sats(1)}, "wrong-content"),
        ({"script": b"\x00\x14" + bytes(20)}, "wrong-content"),
        ({"withdrawal": b"\x66" * 32}, "withdrawal-unknown"),
    ]
    for true, lies in ((stage.mint, common + mint), (stage.settle, common + settle)):
        for lie, code in lies:
            await refused(stage, "mint", certificates.encode(replace(true, **lie)), code)
    unpaid = replace(stage.settle, withdrawal=stage.payout.payouts[0].withdrawal)
    await refused(stage, "mint", certificates.encode(unpaid), "not-in-batch")


async def test_a_lie_about_an_anchor_gets_no_share(stage: Stage) -> None:
    true = stage.anchor
    record = decode_record(true.records[0])
    changed = replace(record, state_after=b"\x77" * 32)
    foreign = replace(record, rollup_id=8)
    later = replace(record, first=record.last + 1, last=record.last + 8)
    lies = [
        (replace(true, tip=ELSEWHERE), "the lane's tip is"),
        (replace(true, tip_value=Sats(true.tip_value + 1)), "the lane's tip is"),
        (replace(true, sequence=true.sequence + 1), "does not follow"),
        (replace(true, previous_root=b"\x01" * 32), "does not follow"),
        (replace(true, lane=1), "lane 1"),
        (replace(true, epoch=2), "epoch 2"),
    ]
    one = {"evidence": true.evidence[:1]}
    lies += [
        (replace(true, records=(r.encode(),), **one), "records differ") for r in (changed, foreign, later)
    ]
    for lie, words in lies:
        await refused(stage, "anchor", lie.encode(), words)


async def test_a_rotation_that_no_succession_asks_for_gets_no_share(stage: Stage) -> None:
    """A leader alone cannot hand a lane on, whatever keys he names: the rollup decides that."""
    true = stage.anchor
    place = (true.lane, true.sequence, true.epoch, true.tip, true.tip_value, true.previous_root)
    rotation = RotationBatch(*place, SECOND, stage.it.activation.rollup_id)
    lies = [
        (rotation, "no succession of key epoch 1 is final"),
        (replace(rotation, tip=ELSEWHERE), "the lane's tip is"),
        (replace(rotation, sequence=true.sequence + 1), "does not follow"),
        (replace(rotation, epoch=2, successor=replace(SECOND, epoch=3)), "epoch 2"),
    ]
    for lie, words in lies:
        await refused(stage, "anchor", lie.encode(), words)


async def test_a_batch_of_one_key_is_not_signed_by_another(stage: Stage) -> None:
    for purpose, payload in (("anchor", stage.anchor.encode()), ("mint", certificates.encode(stage.mint))):
        for epoch in (0, 2):
            answer = await stage.port(1).approve(purpose, payload, epoch)
            assert isinstance(answer, Refused)
            assert not answer.retryable


async def test_garbage_unknown_purposes_and_swapped_purposes_get_no_share(stage: Stage) -> None:
    true = {
        "treasury": stage.sweep.encode(),
        "anchor": stage.anchor.encode(),
        "mint": certificates.encode(stage.mint),
    }
    for purpose in ("", "test2", "Treasury", "host"):
        await refused(stage, purpose, true["treasury"], "signs nothing for the purpose")
    for purpose, own in true.items():
        others = [payload for other, payload in true.items() if other != purpose]
        for payload in (b"", b"\0", b"\xff" * 300, own[:-1], own + b"\0", *others):
            for node in (1, 2):
                answer = await stage.port(node).approve(purpose, payload, 1)
                assert isinstance(answer, Refused), (purpose, payload[:20])
                assert not answer.retryable


@dataclass
class Liar:
    """A member's changed program: it agrees to whatever it leads, with the messages that would pay."""

    node: OfficeNode

    async def approve(self, purpose: str, payload: bytes, _epoch: int) -> Approved | Refused:
        if purpose == "mint":
            return Approved(((certificates.decode(payload).message, INTERNAL),))
        batch = build(manifests.decode(payload), TreasuryKeys.of(self.node.active.activation))
        paths = [(m, KEY_ONLY if root is None else key_with_root(root)) for m, root in messages(batch)]
        return Approved(tuple(paths))


async def test_a_liar_that_coordinates_gets_no_signature_below_the_threshold(stage: Stage) -> None:
    liar = stage.it.nodes[0]
    port, tss = stage.port(0), liar.seat.node
    [item] = stage.payout.payouts
    theirs = replace(item, script=b"\x51\x20" + Whole.named("mallory").x)
    steal = replace(stage.payout, fee=Sats(500), payouts=(theirs,))
    double = replace(stage.mint, amount=Sats(stage.mint.amount * 2))
    tss.use_approval(Liar(liar))
    try:
        for purpose, payload in (("treasury", steal.encode()), ("mint", certificates.encode(double))):
            with pytest.raises(SigningFailed) as failed:
                await tss.sign(purpose, payload)
            assert failed.value.code == "refused"
            assert "only 1 of the 2 signers needed" in str(failed.value)
    finally:
        tss.use_approval(port)


async def test_a_signer_behind_by_a_block_looks_once_more_and_agrees(
    tmp_path: Path, bitcoind: Bitcoind
) -> None:
    async with office(tmp_path, bitcoind) as it:
        stage = await _set(it)
        ahead, behind = it.nodes[0].active, it.nodes[1].active
        assert isinstance(await stage.port(1).approve("treasury", stage.sweep.encode(), 1), Approved)
        signed = await it.nodes[0].seat.node.sign("treasury", stage.sweep.encode())
        batch = assemble(build(stage.sweep, TreasuryKeys.of(it.activation)), signed)
        it.mine(only=[batch.serialize().hex()])
        await it.nodes[0].round()
        assert behind.view.height < ahead.view.height
        _, following = await ahead.treasury.plan()
        assert manifests.decode(following).sequence == stage.sweep.sequence + 1
        assert isinstance(await stage.port(1).approve("treasury", following, 1), Approved), (
            "it has looked again"
        )
        assert behind.view.height == ahead.view.height
