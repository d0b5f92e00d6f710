"""One partition of Bitcoin, told to a whole committee: what the lost branch held, and that nothing is lost by it.

Two real bitcoinds are cut apart. On the committee's side blocks hold an anchor, deposits, a sweep and a payout; the
other side mines more. They meet, the committee's side loses its blocks, and life goes on.
"""

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from anchor.api_wire import TouchedView
from anchor.btc.address import address_of
from anchor.btc.ids import OutPoint, display
from anchor.btc.network import REGTEST
from anchor.btc.tx import Tx
from anchor.rollup.bitcoin_view import final_of
from anchor.rollup.decisions import Decision, SignedDecision
from anchor.rollup.tx import Decide
from bridge.withdrawal.states import Settled
from regtest.network import Network
from tests.anchor.rollup.rollup_world import Whole
from tests.bridge.office import ALICE, PARAMS, Office

RIVAL, OWN = 0, 1  # bitcoinds of the network: the other side's, the committee's (with the wallet)
K = PARAMS.k
PAYEE = b"\x00\x14" + bytes(range(20))


@dataclass
class Partition:
    """One office through one partition of some depth after another."""

    it: Office
    network: Network
    paid: int = 0
    honest: list[OutPoint] = field(default_factory=list)
    stolen: list[OutPoint] = field(default_factory=list)
    withdrawals: list[bytes] = field(default_factory=list)

    async def ready(self) -> None:
        """Alice has coins on the rollup, and nothing waits."""
        coin = await self.it.deposit()
        await self.it.swept()
        await self.it.credited(coin)
        self.honest.append(coin)

    async def lose(self, depth: int, *, thief: bool) -> dict[str, Any]:
        """Cut, fill `depth` blocks, be overtaken, meet. Returns the first node's row of the ledger, as served."""
        it = self.it
        await self._prepare()
        deposit = await self._pay("alice", "0.003")
        self.honest.append(deposit)
        rival = b""
        if thief:
            stolen = await self._pay("mallory", "0.002")
            self.stolen.append(stolen)
            rival = self._double_spend(stolen)
        self.network.wait_same_tip()
        self.network.split([RIVAL], [OWN])
        for block in range(depth):
            if block == 1:  # what the first block held is swept in the second
                tip = it.views()[0].treasury.tip
                await it.until(lambda tip=tip: it.spender(tip), "the sweep", passing=1)
            it.mine()
            await it.blocks(1)
            await self._rest()
        if rival:
            self.network.mine_these(RIVAL, [rival])
        self.network.mine_empty(RIVAL, depth + 1 - bool(rival))
        self.network.heal()
        self.network.wait_same_tip()
        await it.round()
        return await self.row(0)

    async def _prepare(self) -> None:
        """A payout and an anchor wait in the mempool; no block holds them."""
        it = self.it
        self.withdrawals.append(it.rollup.lock(100_000, PAYEE))
        for _ in range(PARAMS.range_length + 2):
            it.rollup.block()
        tip, lane = it.views()[0].treasury.tip, it.views()[0].lane(0).tip
        await it.until(lambda: it.spender(tip) and it.spender(lane), "payout and anchor", passing=1)

    async def _pay(self, name: str, btc: str) -> OutPoint:
        active = self.it.nodes[0].active
        assert active is not None
        recipient = ALICE.x if name == "alice" else Whole.named(name).x
        _, derived, _ = await active.registry.issue(recipient, Whole.named(f"{name} on bitcoin").x)
        return self.it.pay(derived.script_pubkey, btc)

    def _double_spend(self, outpoint: OutPoint) -> str:
        """The depositor pays the same coins to himself: raw hex."""
        wallet = self.it.wallet()
        raw = wallet.gettransaction(display(outpoint.txid))["hex"]
        tx = Tx.parse(bytes.fromhex(raw))
        coins = [{"txid": display(i.outpoint.txid), "vout": i.outpoint.vout} for i in tx.inputs]
        value = sum(int(out.value) for out in tx.outputs)
        back = {wallet.getnewaddress(): Decimal(value - 20_000) / 100_000_000}
        made = wallet.signrawtransactionwithwallet(wallet.createrawtransaction(coins, back))
        assert made["complete"]
        return str(made["hex"])

    async def _rest(self, turns: int = 6) -> None:
        for _ in range(turns):
            await self.it.round()
            await asyncio.sleep(0.01)

    async def row(self, node: int) -> dict[str, Any]:
        """The newest reorg as a node serves it, and what it touched."""
        one = self.it.nodes[node]
        assert one.active is not None
        (row,) = await one.feed.reorgs(1)
        touched = await one.active.reorgs.touched([row.id])
        return {"row": row, "touched": touched.get(row.id, [])}

    async def touched(self, kind: str) -> list[TouchedView]:
        """What the newest reorg touched of a kind, as the first node tells it."""
        return [t for t in (await self.row(0))["touched"] if t.kind == kind]

    # Afterwards

    async def decide(self) -> None:
        """The operators let value move again."""
        it = self.it
        pause = it.rollup.state.pause
        assert pause is not None
        height, block = final_of(it.rollup.state.view, it.genesis.k)
        g = it.genesis
        words = Decision(
            g.rollup_id, g.hash, g.committee_hash, pause.id(g.hash), height, block, "looked at it"
        )
        signed = SignedDecision(words)
        for operator in (0, 1):
            signed = signed.signed(operator, it.nodes[operator].seat.identity.sign(words.hash))
        await it.rollup.submit(Decide(signed).encode())
        await it.blocks(1)
        assert it.rollup.state.paused is None, it.rollup.rejected

    async def recover(self, turns: int = 60) -> None:
        """Blocks come until the fate of all that the reorg touched is final, and all that is owed is paid."""
        it = self.it
        for _ in range(turns):
            if await self._whole():
                return
            it.now += 5
            await self._rest(3)
            it.mine()
            await it.blocks(1)
        raise AssertionError(f"{turns} blocks in vain: {await self.story()}")

    async def _whole(self) -> bool:
        state = self.it.rollup.state
        owed = any(state.withdrawals[w].settled is None for w in self.withdrawals if w in state.withdrawals)
        if owed or any(coin not in state.minted for coin in self.honest):
            return False
        for n in range(len(self.it.nodes)):
            if not self._adds_up(n) or not await self._books_closed(n):
                return False
        rows = [await self.row(n) for n in range(len(self.it.nodes))]
        return all(item.settled for row in rows for item in row["touched"])

    def _adds_up(self, node: int) -> bool:
        """Whether every satoshi of the treasury is somebody's: users', owed, or the reserve's."""
        active = self.it.nodes[node].active
        assert active is not None
        totals = active.totals()
        assert totals is not None
        return bool(totals.holds and totals.supply + totals.escrow + totals.fee_reserve == totals.treasury)

    async def _books_closed(self, node: int) -> bool:
        """Whether a node's machines have every honest deposit credited and every withdrawal settled."""
        one = self.it.nodes[node]
        assert one.active is not None
        states = {row.outpoint: row.state["state"] for row in await one.store.deposits()}
        credited = all(states.get(coin.encode()) == "credited" for coin in self.honest)
        found = one.active.book.withdrawals
        return credited and all(isinstance(found.get(w), Settled) for w in self.withdrawals)

    async def story(self) -> list[str]:
        """What became of everything, for who reads a failure."""
        return [f"{t.kind} {t.key[:20]} {t.text} [{t.state}]" for t in (await self.row(0))["touched"]]

    async def check(self) -> None:
        """No value is lost or doubled, by Bitcoin's blocks, the rollup's state, and every node's books."""
        it, state = self.it, self.it.rollup.state
        await it.round()
        for n, node in enumerate(it.nodes):
            assert self._adds_up(n)
            assert node.active is not None
            assert node.active.totals().deficit == 0
        assert set(state.minted) == set(self.honest), "each deposit once, no stolen one"
        assert all(state.withdrawals[w].settled is not None for w in self.withdrawals)
        assert state.escrow == 0
        assert self._payouts() == len(self.withdrawals), "each withdrawal is paid once"
        view = it.views()[0]
        anchors = [a.found.payload.sequence for a in view.anchors]
        assert anchors == list(range(1, len(anchors) + 1))

    def _payouts(self) -> int:
        rpc, address = self.it.bitcoind.rpc, address_of(PAYEE, REGTEST)
        count, first = 0, self.it.activation.height
        for height in range(first, rpc().getblockcount() + 1):
            block = rpc().getblock(rpc().getblockhash(height), 2)
            outs = [o["scriptPubKey"].get("address") for tx in block["tx"] for o in tx["vout"]]
            count += outs.count(address)
        return count

    async def fates(self) -> Counter[tuple[str, str]]:
        """Kinds and outcomes of the newest reorg; the same on every node."""
        told = [await self.row(n) for n in range(len(self.it.nodes))]
        mine: list[list[TouchedView]] = [row["touched"] for row in told]
        assert all(m == mine[0] for m in mine)
        return Counter((t.kind, t.outcome) for t in mine[0])
