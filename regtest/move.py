"""The story of a committee that hands a live bridge on: five operators, 3 of 5, become six, 4 of 6, and all moves.

Run it with `make show-move`; for the exit status see `stage`.
"""

import sys
from pathlib import Path

from anchor.btc.address import script_of
from anchor.btc.network import REGTEST
from anchor.rollup.succession import KeyEpoch
from regtest import ceremony, rotation
from regtest.stage import Step, perform
from regtest.story import anchors, coins, departure, drain, move, proofs, rollup
from regtest.story.coins import Deposit
from regtest.story.scene import Scene

DEPOSIT, EARLY, LATE, FRESH, TOO_LATE = 1_000_000, 300_000, 200_000, 500_000, 150_000
SENT, WITHDRAWN = 400_000, 60_000
LEAVES = "carol"
CHANGE = rotation.Change(replace=(LEAVES,), add=1, threshold=4)


class Move:
    """The story, with what later steps need of earlier ones."""

    def __init__(self) -> None:
        """Nothing has happened yet."""
        self.recovery = Path()
        self.old_address = ""
        self.retires = 0
        self.withdrawals: dict[str, str] = {}  # Bitcoin address by when it was locked
        self.early: Deposit
        self.handover: rotation.Handover
        self.epoch: KeyEpoch

    def steps(self) -> tuple[Step, ...]:
        """All, in their order."""
        return (
            ("World", self.world),
            ("Value", self.value),
            ("Committee", self.committee),
            ("Keys", self.keys),
            ("Succession", self.succession),
            ("Rotation anchor", self.rotation),
            ("Move", self.move),
            ("New keys", self.new_keys),
            ("Old addresses", self.old_addresses),
            ("Deep reorg", self.deep_reorg),
            ("Drained", self.drained),
            ("Audit", self.audit),
        )

    def world(self, s: Scene) -> None:
        """A running bridge, 3 of 5."""
        s.world.start()
        ceremony.complete(s.world)
        s.world.add_observer()
        names = ", ".join(node.name for node in s.world.operators)
        s.tell.check(
            True, f"{names}, any {s.world.threshold} of them, record {s.activation.hash.hex()[:16]}…"
        )

    def value(self, s: Scene) -> None:
        """Coins on the rollup, and an address that somebody keeps for later."""
        made = coins.deposit(s, s.depositor, DEPOSIT, s.world.operators[2])
        s.mined(made.paid.txid)
        coins.credited(s, made, self._less_fee(s, DEPOSIT))
        rollup.transfer(s, s.depositor, s.friend, SENT)
        self.recovery = s.world.folder / "kept-recovery.json"
        self.old_address = coins.address_for(s, s.person("keeper"), s.world.operators[0], self.recovery)
        s.tell.say(f"keeper keeps the address {self.old_address} for later")

    def committee(self, s: Scene) -> None:
        """Carol goes, two come, and four must sign: a file that all its members signed; restarts."""
        committee = rotation.form(s.world, CHANGE)
        self.handover = rotation.Handover(committee)
        s.tell.say(f"epoch {committee.epoch}: {', '.join(node.name for node in committee.operators)}")
        rotation.accept(s.world, committee)
        departure.old_keys_serve(s, committee)
        departure.leaver_is_nobody(s, committee)

    def keys(self, s: Scene) -> None:
        """Three new keys, while the old ones hold everything."""
        self.handover.keys = ceremony.make_keys(s.world)
        for purpose, key in self.handover.keys.items():
            s.tell.say(f"{purpose} key of epoch {key['epoch']}: {key['group_key']}")
        recovery = s.world.folder / "early-recovery.json"
        address = coins.address_for(s, s.person("early"), s.world.operators[-1], recovery)
        old = s.activation.treasury_key.hex()
        s.tell.equal(drain.key_in(recovery), old, "addresses are still under the old treasury key")
        self.early = coins.pay(s, s.people[-1], address, EARLY)

    def succession(self, s: Scene) -> None:
        """The record that all new members and the old mint key sign; the rollup takes it."""
        self._lock(s, "before the succession")
        self.handover.record = rotation.propose(s.world.operators[-1])
        self.epoch = move.succeeded(s, self.handover)
        move.says(s, s.world.operators[0], self.epoch.number, "announced", "rotating")

    def rotation(self, s: Scene) -> None:
        """Bitcoin hears of it: the lane goes to the new anchor key, k deep."""
        move.rotated(s, self.epoch)

    def move(self, s: Scene) -> None:
        """The treasury goes to the new key, in one batch that does nothing else."""
        self._lock(s, "during the move")
        batch = move.moved(s, self.epoch)
        assert batch.height is not None
        s.world.mine(s.activation.params.k - 1)
        self.retires = batch.height + s.activation.params.reclaim_delay
        for node in s.world.operators:
            move.says(s, node, self.epoch.number, "active")
        move.says(s, s.world.operators[0], self.epoch.number - 1, "draining")

    def new_keys(self, s: Scene) -> None:
        """What was under way is done once, by whoever holds the keys now; new addresses are under the new key."""
        self._lock(s, "after the move")
        recovery = s.world.folder / "fresh-recovery.json"
        address = coins.address_for(s, s.person("fresh"), s.world.operators[-1], recovery)
        key = self.epoch.treasury_key.hex()
        s.tell.equal(drain.key_in(recovery), key, "a new address is under the new treasury key")
        made = coins.pay(s, s.people[-1], address, FRESH)
        s.mined(made.paid.txid)
        coins.credited(s, made, self._less_fee(s, FRESH))
        coins.credited(s, self.early, self._less_fee(s, EARLY))
        for when, address in self.withdrawals.items():
            paid = WITHDRAWN - s.activation.params.withdrawal_fee
            move.paid_once(s, script_of(address, REGTEST), paid, f"the withdrawal locked {when}")
        s.world.mine(s.activation.params.k)  # the books tell of what is k deep
        s.rollup_sees_tip()
        move.keys_follow_the_move(s)
        coins.books_agree(s)

    def old_addresses(self, s: Scene) -> None:
        """A payment to an old address is credited, too, while the old key is kept for it."""
        keeper = next(person for person in s.people if person.name == "keeper")
        made = coins.pay(s, keeper, self.old_address, LATE)
        s.mined(made.paid.txid)
        coins.credited(s, made, self._less_fee(s, LATE))
        drain.not_finished(s, s.world.operators[0], self.epoch.number - 1, self.retires)

    def deep_reorg(self, s: Scene) -> None:
        """Value stands still after a reorg of k blocks: the new committee decides, the old one cannot."""
        departure.new_committee_decides(s, self.handover.committee)

    def drained(self, s: Scene) -> None:
        """After the last height an old address is only reclaimable; then the old shares may go."""
        drain.wait_out(s, self.retires)
        keeper = next(person for person in s.people if person.name == "keeper")
        late = coins.pay(s, keeper, self.old_address, TOO_LATE)
        s.mined(late.paid.txid)
        drain.rejected(s, late, self.retires)
        drain.finished(s, self.epoch.number - 1)
        drain.reclaimed(s, late, self.recovery)
        coins.books_agree(s)

    def audit(self, s: Scene) -> None:
        """Who watched it all, and who comes now: the same; proofs of both epochs; everything executed again."""
        observer, late = *s.world.observers, s.world.add_observer("oscar")
        s.world.wait_seen()
        proofs.both_epochs(s, observer, self.epoch)
        proofs.scanned(s, observer)
        rollup.executes_again(s)
        for each in (observer, late):
            move.says(s, each, self.epoch.number, "active")
        coins.books_agree(s, observer, late)
        anchors.same_on(s, late, observer)

    @staticmethod
    def _less_fee(s: Scene, sats: int) -> int:
        return sats - s.activation.params.deposit_fee

    def _lock(self, s: Scene, when: str) -> None:
        address = s.world.depositor.address()
        coins.withdraw(s, s.friend, address, WITHDRAWN, s.world.operators[0])
        self.withdrawals[when] = address


if __name__ == "__main__":
    sys.exit(perform("move", Move().steps()))
