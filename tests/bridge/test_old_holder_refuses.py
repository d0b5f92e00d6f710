"""After a move one old member who stayed refuses all work under the old key: only the old address waits for him."""

from pathlib import Path

from regtest.bitcoind import Bitcoind
from tests.anchor.rollup.rollup_world import ALICE, Whole
from tests.bridge.handing_on import moved, next_committee, rotated, succeed
from tests.bridge.office import PARAMS, office
from tss.signing.approval import ApprovalPort, Approved, Refused

PAYEE = b"\x00\x14" + bytes(range(20))


class Stubborn:
    """Agrees to what his node agrees to, but to nothing under one key epoch."""

    def __init__(self, port: ApprovalPort, epoch: int) -> None:
        self.port, self.epoch = port, epoch

    async def approve(self, purpose: str, payload: bytes, epoch: int) -> Approved | Refused:
        if epoch == self.epoch:
            return Refused("not today", retryable=True)
        return await self.port.approve(purpose, payload, epoch)


async def test_a_deposit_that_an_old_member_does_not_sign_for_holds_up_nobody_else(
    tmp_path: Path, bitcoind: Bitcoind
) -> None:
    async with office(tmp_path, bitcoind) as it:
        first = await it.deposit()
        await it.swept()
        await it.credited(first)
        _, old, _ = await it.nodes[0].active.registry.issue(ALICE.x, Whole.named("old").x)
        await next_committee(it, {"carol": "dora"})
        await succeed(it)
        await rotated(it)
        it.mine(PARAMS.k - 1)
        await moved(it)
        it.mine(PARAMS.k - 1)
        await it.until(lambda: all(n.active.able() == {1, 2} for n in it.nodes), "dora to hear of key 1")
        bob = it.nodes[1].seat.node
        bob_agrees = bob._approvals._port
        bob.use_approval(Stubborn(bob_agrees, 1))
        lock = it.rollup.lock(100_000, PAYEE)
        late = it.pay(old.script_pubkey, "0.02")
        it.mine()
        await it.blocks(3)
        assert it.views()[0].treasury.sequence % 2 == 0, "a sweep comes before a payout"
        tip = it.views()[0].treasury.tip
        await it.until(lambda: it.spender(tip), "the payout", turns=600, passing=0.5)
        it.mine()
        await it.until(lambda: all(v.treasury.sequence == 3 for v in it.views()), "its block")
        assert it.views()[0].treasury.batches[-1].inputs == ()
        bob.use_approval(bob_agrees)
        await it.until(lambda: it.spender(it.views()[0].treasury.tip), "the sweep", passing=0.5)
        it.mine()
        await it.until(lambda: all(v.treasury.sequence == 4 for v in it.views()), "its block")
        assert it.views()[0].treasury.batches[-1].inputs == (late,), "once the old members sign again"
        it.mine(PARAMS.k - 1)
        await it.until(lambda: it.rollup.state.escrow == 0 or it.rollup.block(), "the settlement")
        assert it.rollup.state.withdrawals[lock].settled
