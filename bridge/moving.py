"""Which key epoch does what now: read anew from this node's own chain and its copy of the rollup.

A committee hands the bridge on in steps (DESIGN sections 4 to 6): the rollup holds a succession; the lane's
rotation anchor tells Bitcoin of the new keys; the treasury moves; new addresses use the new key; the old ones are
swept for one reclaim delay more. Nothing is remembered here, so a restart or a reorg finds each step where the two
chains have it.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress

from anchor.btc.ids import BlockHash, OutPoint
from anchor.follower import Follower
from anchor.inscription.successor import Successor
from anchor.rollup.activation import Activation
from anchor.rollup.genesis import Genesis
from anchor.rollup.succession import Epochs, KeyEpoch, Succeeded
from bridge.ceremony import PURPOSES
from bridge.deposit import states as dst
from bridge.deposit.address import margin
from bridge.store import DepositRow
from bridge.treasury.keys import TreasuryKeys
from bridge.watch import ChainView
from tss.node import KeyFault, TssNode

_UNSWEPT = (dst.Confirmed, dst.Sweeping, dst.Swept, dst.Deficit)  # a sweep may have to be signed yet, or anew


class Moving:
    """The key epochs of one bridge as this node knows them; `committee_*` are of its own committee file."""

    def __init__(
        self,
        genesis: Genesis,
        activation: Activation,
        follower: Follower,
        view: Callable[[], ChainView | None],
        is_final: Callable[[BlockHash], bool],
        committee_epoch: int,
        committee_hash: bytes,
    ) -> None:
        self.genesis, self.activation, self.follower = genesis, activation, follower
        self._view, self._is_final = view, is_final
        self.committee_epoch, self.committee_hash = committee_epoch, committee_hash
        self._epochs: tuple[tuple[Succeeded, ...], Epochs] | None = None
        self._kept: set[tuple[str, int]] = set()

    @property
    def epochs(self) -> Epochs:
        """All key epochs by the rollup's newest certified block; the activation record's before it is there."""
        state = self.follower.state
        if self._epochs is None or self._epochs[0] is not state.successions:
            self._epochs = state.successions, Epochs.of(self.genesis, self.activation, state.successions)
        return self._epochs[1]

    @property
    def keys(self) -> TreasuryKeys:
        """The treasury's keys, also of an epoch that so far only a rotation anchor tells us of."""
        known = TreasuryKeys.of(self.epochs)
        for successor in self._rotated():
            if successor.epoch == known.latest + 1:
                known = known.then(successor.treasury_key)
        return known

    def _rotated(self) -> list[Successor]:
        """What rotation anchors of the first lane say, oldest first."""
        view = self._view()
        return [] if view is None else [r.found.successor for r in view.rotations if r.found.lane == 0]

    def final_epoch(self, number: int) -> KeyEpoch | None:
        """An epoch whose record is in a final rollup block here."""
        epoch = self.epochs.get(number)
        final = epoch is not None and (epoch.since is None or epoch.since <= self.follower.final)
        return epoch if final else None

    def next_of_lane(self) -> Successor | None:
        """What the first lane's next anchor has to tell, once that is final in the rollup."""
        view = self._view()
        lane = None if view is None else view.lane(0)
        epoch = None if lane is None else self.final_epoch(lane.epoch + 1)
        return None if epoch is None else Successor.of(epoch)

    def next_of_treasury(self) -> Successor | None:
        """Where the treasury moves now: named by the first lane's rotation anchor, which is final on our chain.

        And by a succession that is final in our copy of the rollup: who has only the lanes' key must not be able to
        take the treasury along.
        """
        view = self._view()
        begun = None if view is None else self.final_epoch(view.treasury.epoch + 1)
        if view is None or begun is None:
            return None
        rotated = [
            r for r in view.rotations if r.found.lane == 0 and r.found.successor == Successor.of(begun)
        ]
        return rotated[0].found.successor if rotated and self._is_final(rotated[0].block) else None

    @property
    def address_epoch(self) -> int:
        """The key epoch of new deposit addresses: that of the last move that is final here."""
        view, found = self._view(), self.activation.epoch
        if view is not None:
            for batch in view.treasury.batches:
                if batch.move is not None and self._is_final(view.block_of(batch)):
                    found = batch.move.successor_epoch
        return found

    def retires(self, epoch: int) -> int | None:
        """Bitcoin height up to which deposits to addresses of `epoch` are swept; None while it has not moved."""
        return self.all_retire().get(epoch)

    def all_retire(self) -> dict[int, int]:
        """The same for every epoch that the treasury left."""
        view, delay = self._view(), self.activation.params.reclaim_delay
        if view is None:
            return {}
        found = {number: view.treasury.retires(number, delay) for number in self.keys.by_epoch()}
        return {number: height for number, height in found.items() if height is not None}

    def live(self) -> tuple[int, ...]:
        """Epochs whose addresses may be paid: all that are known, but for those that are retired."""
        view, over = self._view(), self.all_retire()
        height = 0 if view is None else view.height
        return tuple(number for number in self.keys.by_epoch() if height <= over.get(number, height))

    def pay_until(self) -> int | None:
        """Until which height a new address should be paid, once a succession is announced; None before.

        While the treasury has not moved, that is what holds if it moves with the next block. A sweep is left as
        much room before the key retires as before a reclaim.
        """
        view, number = self._view(), self.address_epoch
        if view is None or self.keys.latest <= number:
            return None
        delay = self.activation.params.reclaim_delay
        return self.all_retire().get(number, view.height + 1 + delay) - margin(delay)

    def fault(self) -> str | None:
        """What Bitcoin and the rollup say differently of a key epoch; no value moves then."""
        for told in self._rotated():
            epoch = self.epochs.get(told.epoch)
            if epoch is not None and Successor.of(epoch) != told:
                return (
                    f"the lane's rotation anchor names other keys of epoch {told.epoch} than the rollup's "
                    "succession: compare both with the committee, and sign nothing"
                )
        return None

    def outdated(self) -> str | None:
        """Why a node of an earlier committee signs nothing new."""
        latest, begun = self.epochs.latest.number, self.epochs.get(self.committee_epoch)
        if begun is not None and begun.committee_hash != self.committee_hash:
            return (
                f"the bridge was handed on to another committee file of epoch {begun.number} than committee.json "
                "here: put that one in its place with `holdfast tss rotate accept --instead`"
            )
        if self.committee_epoch >= latest:
            return None
        return (
            f"the bridge was handed on to the committee of epoch {latest}, and committee.json here is of epoch "
            f"{self.committee_epoch}: bring in the new file with `holdfast tss rotate accept`; who left the "
            "committee stops this node, or follows as an observer"
        )

    def unfinished(self, purpose: str, epoch: int, deposits: Sequence[DepositRow]) -> str | None:
        """Why the shares of a key may not be wiped yet: what is left to do with its epoch, and until when."""
        view, following = self._view(), epoch + 1
        if epoch < self.activation.epoch:
            return None  # the bridge began later
        if view is None or view.lane(0) is None:
            return "this node has not read its own chain yet: try again in a moment"
        if self.final_epoch(following) is None:
            return (
                f"the {purpose} key of epoch {epoch} serves the bridge: a succession to epoch {following} has to "
                "be final on the rollup first (`holdfast bridge epoch propose`)"
            )
        rotated = [r for r in view.rotations if r.found.lane == 0 and r.found.successor.epoch == following]
        if not rotated or not self._is_final(rotated[0].block):
            return f"the lane's rotation anchor to epoch {following} is not final yet: wait for it"
        if self.address_epoch <= epoch:
            return f"the treasury's move to epoch {following} is not final yet: wait for it"
        until = self.all_retire()[epoch]
        if view.height <= until:
            return (
                f"deposits to addresses of epoch {epoch} are swept until Bitcoin height {until}, now it is "
                f"{view.height}: wait for {until + 1 - view.height} more blocks"
            )
        for row in deposits:
            if row.epoch == epoch and self._waits(row, view.height):
                return f"deposit {OutPoint.decode(row.outpoint)} to epoch {epoch} is not swept finally: wait for it"
        return None

    def _waits(self, row: DepositRow, height: int) -> bool:
        """Whether a sweep of a deposit may have to be signed yet; never again once its depositor took it back."""
        state = dst.decode(row.state)
        if isinstance(state, dst.Deficit) and state.sweep is None and row.spent_height is not None:
            return height - row.spent_height < self.activation.params.k
        return isinstance(state, _UNSWEPT)

    async def keep(self, tss: TssNode) -> None:
        """Make the keys of a final succession the active ones, and those that the treasury left retiring."""
        latest = max(e.number for e in self.epochs if self.final_epoch(e.number) is not None)
        if ("active", latest) not in self._kept and self.outdated() is None:
            with suppress(KeyFault):  # a share that was lost, or keys of another committee: health says so
                await tss.activate(PURPOSES, latest)
                self._kept.add(("active", latest))
        for number in range(self.activation.epoch, self.address_epoch):
            if ("retiring", number) not in self._kept:
                for purpose in PURPOSES:
                    await tss.retire(purpose, number)
                self._kept.add(("retiring", number))


async def not_followed(purpose: str, epoch: int) -> str:
    """Whether a key may be finished: while no bridge is followed, nobody here can say what it has still to do."""
    return (
        f"this node does not follow its bridge yet, so it cannot tell what the {purpose} key of epoch {epoch} has "
        "still to do: try again when `holdfast node status` shows the bridge"
    )
