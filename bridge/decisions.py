"""This operator's part in ending a pause: what stands still and why, a decision to sign, the signature.

Only the rollup judges a decision; each operator signs what his own node sees as well. Files travel by whatever
way the operators trust; nothing here is sent to peers.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from anchor.btc.ids import display
from anchor.feed import HeaderFeed
from anchor.follower import Follower
from anchor.header_alarms import HeaderAlarm
from anchor.headers.finality import final
from anchor.rollup.bitcoin_view import final_of
from anchor.rollup.decisions import Committee, Decision, DecisionRefused, Pause, SignedDecision, check_subject
from anchor.rollup.state import RollupState
from bridge.ledger.totals import Totals, TotalsFault


class DecisionFault(Exception):
    """Why this node makes or signs no decision; `code` is stable, the sentence names the next move."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code = code


@dataclass(frozen=True, slots=True)
class Operator:
    """Who signs: his host key, x-only, and how it signs 32 bytes."""

    key: bytes
    sign: Callable[[bytes], bytes]


class DecisionDesk:
    """Makes and signs decisions over this node's copy of the rollup; `operator` is None on an observer."""

    def __init__(
        self,
        follower: Follower,
        feed: HeaderFeed,
        totals: Callable[[], Totals | None],
        operator: Operator | None,
    ) -> None:
        self.follower, self.feed, self.totals, self.operator = follower, feed, totals, operator
        self.genesis = follower.genesis

    @property
    def committee(self) -> Committee:
        """Whose decisions count now, by the rollup."""
        return self.follower.state.committee(self.genesis)

    def standing(self) -> dict[str, Any]:
        """What stands still, who decides, and what the reorg touched; `deficit` by this node's own audit, sats."""
        state, who = self.follower.state, self.committee
        found: dict[str, Any] = {"paused": state.paused, "pause": None, "deficit": self._deficit()}
        found |= {"committee": who.committee_hash.hex()}
        found |= {"threshold": who.threshold, "operators": [key.hex() for key in who.host_keys]}
        if state.pause is not None:
            found["pause"] = pause_facts(state.pause, state, self.genesis.hash)
        return found

    def make(self, reason: str) -> SignedDecision:
        """Return the decision that ends the present pause, unsigned. DecisionFault or CodecError otherwise."""
        pause = self._pause()
        g = self.genesis
        height, block = final_of(self.follower.state.view, g.k)
        name, committee = pause.id(g.hash), self.committee.committee_hash
        return SignedDecision(Decision(g.rollup_id, g.hash, committee, name, height, block, reason))

    def sign(self, signed: SignedDecision, *, despite_deficit: int = 0) -> SignedDecision:
        """Return it with this operator's signature, after this node's own look. DecisionFault says why not.

        `despite_deficit`: what the operator knows to be lacking, in sats; it must be what the node's audit says.
        """
        if self.operator is None:
            raise DecisionFault("observer", "an observer signs nothing: ask an operator's node")
        decision, committee = signed.decision, self.committee
        if self.operator.key not in committee.host_keys:
            raise DecisionFault(
                "not_an_operator",
                "this node's host key is not of the committee that decides now: ask one of its operators",
            )
        try:
            check_subject(decision, self.genesis, committee, self.follower.state.pause)
            signed.check_signatures(committee)
        except DecisionRefused as refused:
            raise DecisionFault(refused.code, refused.reason) from refused
        self._check_chains(decision)
        deficit = self._deficit()
        if deficit is None:
            raise DecisionFault("unsynced", "this node is still reading blocks: ask again in a moment")
        if deficit != despite_deficit:
            raise DecisionFault(
                "deficit",
                f"by this node's audit the reserves lack {deficit} sats: when that is known and decided upon, "
                f"sign with --despite-deficit {deficit}",
            )
        place = committee.host_keys.index(self.operator.key)
        return signed.signed(place, self.operator.sign(decision.hash))

    def _pause(self) -> Pause:
        pause = self.follower.state.pause
        if pause is None:
            raise DecisionFault("not_paused", "value moves on the rollup: there is nothing to decide")
        return pause

    def _check_chains(self, decision: Decision) -> None:
        """The view that the decision stands on must be our own bitcoind's, and nothing may be open here."""
        feed = self.feed
        if feed.held is not None:
            raise DecisionFault("held", str(feed.held))
        if not feed.agrees or not feed.on_own_chain(decision.block):
            raise DecisionFault(
                "other_chain",
                f"Bitcoin block {decision.height} {display(decision.block)} is not on our own bitcoind's chain: "
                "find out which chain is right before anybody signs",
            )
        view = self.follower.state.view
        if not final(view, decision.block, self.genesis.k):
            raise DecisionFault(
                "not_final",
                f"Bitcoin block {decision.height} is not final for the rollup: make the decision anew",
            )

    def _deficit(self) -> int | None:
        try:
            found = self.totals()
        except TotalsFault as fault:
            raise DecisionFault("audit", f"this node's audit fails: {fault}") from fault
        return None if found is None else found.deficit


def pause_facts(pause: Pause, state: RollupState, genesis_hash: bytes) -> dict[str, Any]:
    """A pause as interfaces tell it: hashes and outpoints in display order, amounts in sats."""
    minted, withdrawals = state.minted, state.withdrawals
    return {
        "id": pause.id(genesis_hash).hex(),
        "since": pause.since,
        "until": pause.until,
        "depth": pause.depth,
        "fork_height": pause.fork_height,
        "tip": display(pause.tip),
        "mints": [
            {
                "outpoint": str(outpoint),
                "amount": int(minted[outpoint].statement.amount),
                "recipient": minted[outpoint].statement.recipient.hex(),
                "backed": state.view.is_main(minted[outpoint].statement.block_hash),
            }
            for outpoint in pause.mints
        ],
        "settlements": [
            {
                "id": withdrawal.hex(),
                "amount": int(withdrawals[withdrawal].lock.amount),
                "state": withdrawals[withdrawal].state,
            }
            for withdrawal in pause.settles
        ],
    }


class PauseNews:
    """Tells when the rollup stops value, when that grows, and who let it move again; once each."""

    def __init__(self, follower: Follower, tell: Callable[[HeaderAlarm], Awaitable[None]]) -> None:
        self._follower, self._tell = follower, tell
        state = follower.state
        self._pause, self._decisions = state.pause, len(state.decisions)

    async def look(self) -> None:
        """Tell what is new in the rollup since the last look."""
        state, genesis = self._follower.state, self._follower.genesis
        for decided in state.decisions[self._decisions :]:
            d = decided.decision
            who = ", ".join(str(operator + 1) for operator in decided.operators)
            text = f"value moves again by the decision of operators {who}: {d.reason}"
            data: dict[str, Any] = {
                "pause": d.pause.hex(),
                "decision": d.hash.hex(),
                "rollup_height": decided.height,
            }
            data |= {"operators": [o + 1 for o in decided.operators]}
            await self._tell(HeaderAlarm("info", "decision", text, data))
            self._decisions += 1
        if state.pause is not None and state.pause != self._pause:
            facts = pause_facts(state.pause, state, genesis.hash)
            await self._tell(HeaderAlarm("pause", "pause", f"the rollup stops value: {state.pause}", facts))
        self._pause = state.pause
