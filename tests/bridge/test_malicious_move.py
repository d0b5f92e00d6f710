"""What a member who leads tries while the committee hands on: the treasury goes nowhere but to the next key."""

from dataclasses import replace
from pathlib import Path

from anchor.btc.amounts import Sats
from bridge.treasury import manifest as manifests
from bridge.treasury.builder import assemble, build
from bridge.treasury.manifest import Manifest, MoveManifest, Payout, PayoutManifest, SweepManifest
from regtest.bitcoind import Bitcoind
from tests.bridge.handing_on import next_committee, rotated, succeed
from tests.bridge.keys import LATER
from tests.bridge.office import PARAMS, Office, office
from tss.signing.approval import Approved, Refused

PAYEE = b"\x00\x14" + bytes(range(20))


async def refused(it: Office, manifest: Manifest, word: str, epoch: int = 1) -> None:
    for node in it.nodes[1:]:
        answer = await node.seat.node._approvals._port.approve("treasury", manifest.encode(), epoch)
        assert isinstance(answer, Refused), word
        assert word in answer.reason, answer.reason


async def agreed(it: Office, manifest: Manifest, epoch: int) -> Approved:
    answers = [
        await n.seat.node._approvals._port.approve("treasury", manifest.encode(), epoch) for n in it.nodes
    ]
    assert isinstance(answers[0], Approved), answers[0]
    assert all(answer == answers[0] for answer in answers), "all compute the same messages"
    return answers[0]


async def planned(it: Office) -> Manifest:
    made = await it.nodes[0].active.treasury.plan()
    assert made is not None
    return manifests.decode(made[1])


async def lies_about_the_move(it: Office, true: MoveManifest) -> None:
    lies = [
        ({"treasury_key": LATER.key33}, "wrong-successor"),
        ({"record": bytes(32)}, "wrong-successor"),
        ({"epoch": 2, "successor_epoch": 3}, "wrong-epoch"),
        ({"sequence": true.sequence + 1}, "wrong-sequence"),
        ({"previous": bytes(32)}, "wrong-previous"),
        ({"tip_value": Sats(true.tip_value * 2)}, "tip-value"),
        ({"fee": Sats(true.tip_value // 2)}, "fee-too-high"),
        ({"fee": Sats(0)}, "fee-too-low"),
    ]
    for lie, word in lies:
        await refused(it, replace(true, **lie), word)
    head = (true.epoch, true.sequence, true.tip, true.tip_value, true.previous, true.fee)
    pay = Payout(b"\x22" * 32, PAYEE, Sats(50_000), Sats(PARAMS.withdrawal_fee))
    await refused(it, PayoutManifest(*head, (pay,)), "moving")


async def test_the_treasury_goes_to_the_next_key_only_when_and_as_both_chains_say(
    tmp_path: Path, bitcoind: Bitcoind
) -> None:
    async with office(tmp_path, bitcoind) as it:
        await next_committee(it, {"carol": "dora"})
        await succeed(it)
        await rotated(it)
        for node in it.nodes:
            node.active.keepers.clear()
        await it.deposit()
        await it.round()
        await it.until(lambda: all(n.active.able() == {1, 2} for n in it.nodes), "newcomers to hear of key 1")
        sweep = await planned(it)
        assert isinstance(sweep, SweepManifest)
        [at] = it.views()[0].rotations
        early = it.views()[0].treasury.move_to(at.found.successor, Sats(1_000))
        await refused(it, early, "rotation-not-final")
        await agreed(it, sweep, 1)
        it.mine(PARAMS.k - 1)
        await it.until(
            lambda: all(n.active.treasury_facts().successor for n in it.nodes), "the rotation's finality"
        )
        await refused(it, sweep, "moving")
        move = await planned(it)
        assert isinstance(move, MoveManifest)
        await agreed(it, move, 1)
        await refused(it, move, "", 2)  # no input of it is under the next key
        await lies_about_the_move(it, move)
        signed = await it.nodes[0].seat.node.sign("treasury", move.encode(), epoch=1)
        batch = build(move, it.nodes[0].active.keys)
        it.mine(only=[assemble(batch, signed).serialize().hex()])
        await it.until(lambda: all(v.treasury.epoch == 2 for v in it.views()), "the move's block")
        await refused(it, move, "wrong-epoch")
        old = await planned(it)
        assert isinstance(old, SweepManifest)
        [item] = old.deposits
        assert (old.epoch, item.epoch) == (2, 1)
        assert [len((await agreed(it, old, epoch)).messages) for epoch in (1, 2)] == [1, 1]
        await refused(it, replace(old, deposits=(replace(item, epoch=2),)), "deposit-script", 2)
        back = replace(
            move, sequence=old.sequence, tip=old.tip, tip_value=old.tip_value, previous=old.previous
        )
        await refused(it, back, "wrong-epoch")
