"""`make soak-move`: committees hand a live bridge on, epoch after epoch, while nodes die and Bitcoin turns back.

Real processes: bitcoinds, operators, sequencer, validators. Each round is one epoch: members replaced, added or
dropped, the threshold changed, a new DKG, a succession. From the rollup's word on, one member of the new committee
is dead, others are killed (SIGKILL) at random moments, and blocks are replaced, up to k deep, most of all those
that hold the rotation anchor or the move. In every round deposits are paid to addresses of the epoch before and of
the new one, and withdrawals are locked before and during the move.

Rounds go on until SOAK_MINUTES (default 5) are over, three at least. Prints a row for each; exit status 0 only when
value moved again in every round and nothing was lost, minted twice or paid twice. SOAK_SEED repeats a run.
"""

import contextlib
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from io import StringIO
from pathlib import Path

from bitcoinrpc.authproxy import JSONRPCException

from anchor.btc.address import script_of
from anchor.btc.network import REGTEST
from anchor.inscription.lane import tip_script
from anchor.rollup.succession import KeyEpoch
from bridge.deposit.address import treasury_script
from regtest import ceremony, decisions, rotation
from regtest.command import CommandFault
from regtest.http import HttpFault
from regtest.operators import Node
from regtest.story import coins, drain, move, trail
from regtest.story.coins import Deposit
from regtest.story.scene import Scene
from regtest.telling import DoesNotHold, Teller
from regtest.world import World

MONEY, PAID, WITHDRAWN = 3_000_000, 100_000, 40_000
BLOCKS = 60  # that a round may take before it counts as stuck
ROUNDS = 3


class Stuck(Exception):
    """Value did not move again."""


@dataclass(slots=True)
class Locked:
    """A withdrawal: where it is paid, and its id."""

    address: str
    identity: str


class Story:
    """One world through its epochs."""

    def __init__(self, s: Scene, dice: random.Random) -> None:
        self.s, self.dice = s, dice
        self.happened: Counter[str] = Counter()
        self.withdrawals: list[Locked] = []
        self.deposits: list[Deposit] = []
        self.dead: Node | None = None
        self.address = ""  # of the epoch before
        self.hit: set[str] = set()  # txids whose block was taken away on purpose
        self.unfinished: dict[int, tuple[set[str], int]] = {}  # who holds an epoch's keys, and how many sign

    def begin(self) -> None:
        """A bridge with coins on it."""
        self.s.world.start()
        ceremony.complete(self.s.world)
        made = coins.deposit(self.s, self.s.depositor, MONEY, self.s.world.operators[0])
        self.s.mined(made.paid.txid)
        coins.credited(self.s, made, MONEY - self.s.activation.params.deposit_fee)
        self.deposits.append(made)
        self._note_holders()

    def _note_holders(self) -> None:
        world = self.s.world
        self.unfinished[world.epoch] = ({node.name for node in world.operators}, world.threshold)

    def change(self) -> rotation.Change:
        """What may follow the present committee: t of it stay, and t of each that still holds an earlier key."""
        for _ in range(50):
            wanted = self._wish()
            if self._keeps(wanted):
                return wanted
        self.drain()
        return rotation.Change(replace=(self.s.world.operators[0].name,))

    def _wish(self) -> rotation.Change:
        world, dice = self.s.world, self.dice
        n, t = world.size, world.threshold
        leave = dice.randint(0 if n < 6 else 1, min(n - t, 1))
        drop = leave if n > 4 and dice.random() < 0.3 else 0
        stay = [node.name for node in world.operators[: n - drop]]
        replace = dice.sample(stay, leave - drop)
        add = 1 if n - drop < 5 and dice.random() < 0.6 else 0
        if not (drop or replace or add):
            replace = [dice.choice(stay)]
        size = n - drop + add
        return rotation.Change(tuple(replace), add, drop, dice.randint(max(2, size // 2), size - 1))

    def _keeps(self, wanted: rotation.Change) -> bool:
        world = self.s.world
        stay = {node.name for node in world.operators[: world.size - wanted.drop]} - set(wanted.replace)
        return all(len(stay & names) >= t for names, t in self.unfinished.values())

    def drain(self) -> None:
        """Mine until the addresses of earlier epochs are retired, and wipe their shares."""
        s = self.s
        known = rotation.epochs_of(s.world.operators[0])
        last = max(int(known[number]["until"]) for number in self.unfinished if number != s.world.epoch)
        drain.wait_out(s, last)
        for number in [number for number in self.unfinished if number != s.world.epoch]:
            drain.finished(s, number)
            del self.unfinished[number]
        self.happened["epochs finished"] += 1

    def round(self) -> str:
        """One epoch; the row to print."""
        s, began, before = self.s, time.monotonic(), Counter(self.happened)
        self.address = self.new_address()
        change = self.change()
        handover = rotation.Handover(rotation.form(s.world, change))
        self.lock()
        rotation.accept(s.world, handover.committee)
        handover.keys = ceremony.make_keys(s.world)
        self._note_holders()
        self.pay(self.address)
        handover.record = rotation.propose(self.dice.choice(s.world.operators))
        epoch, height = move.succeeded(s, handover), s.world.network.height()
        spare = _spare(handover.committee)
        if spare:
            self.dead = self.dice.choice(spare)
            self.dead.process.kill()
        self.trouble_until_moved(epoch)
        back = [node for node in s.world.operators if not node.process.running]
        for node in back:
            node.start()
        for node in back:
            node.wait_ready(seconds=60)
        self.dead = None
        s.world.wait_seen()
        blocks = s.world.network.height() - height
        self.pay(self.new_address())
        self.pay(self.address)
        self.settle()
        self.check()
        seen = ", ".join(f"{n} {what}" for what, n in sorted((self.happened - before).items()))
        who = f"{s.world.threshold} of {s.world.size}"
        return f"{epoch.number:>5}  {who:<7} {blocks:>4} blocks  {time.monotonic() - began:6.1f} s  {seen}"

    # What users do

    def lock(self) -> None:
        """Lock coins to be paid on Bitcoin."""
        address = self.s.world.depositor.address()
        self.withdrawals.append(Locked(address, self._locked(address)))

    def _locked(self, address: str) -> str:
        return coins.withdraw(self.s, self.s.depositor, address, WITHDRAWN, self._someone())

    def lock_again(self) -> None:
        """Lock anew what the rollup dropped, as it does with what waits while value stands still."""
        for each in self.withdrawals[-2:]:
            try:
                self.s.world.rollup.get(f"/v1/transactions/{each.identity}")
            except HttpFault as fault:
                if fault.status != 404:
                    raise
                each.identity = self._locked(each.address)
                self.happened["locks dropped"] += 1

    def new_address(self) -> str:
        """Ask somebody for an address; who has just started may ask for a moment's patience."""
        node, found = self._someone(), ""

        def given() -> bool:
            nonlocal found
            try:
                found = coins.address_for(self.s, self.s.depositor, node)
            except CommandFault as fault:
                if "try again soon" not in str(fault):
                    raise
            return bool(found)

        self.s.until(given, f"{node.name} to give an address")
        return found

    def pay(self, address: str) -> None:
        """Pay a deposit address."""
        paid = self.s.world.depositor.pay(address, PAID)
        self.deposits.append(Deposit(self.s.depositor, address, paid, PAID))

    def _someone(self) -> Node:
        return self.dice.choice(self.s.world.awake)

    # What happens to them

    def trouble_until_moved(self, epoch: KeyEpoch) -> None:
        """Blocks, deaths and reorgs, until the treasury is k deep under the new key."""
        locked = False
        for _ in range(BLOCKS):
            self.block()
            mined = [step for step in trail.treasury(self.s) if step.height is not None]
            moves = [step for step in mined if step.scripts[0] == treasury_script(epoch.treasury_key)]
            turns = [step for step in trail.lane(self.s) if step.scripts[0] == tip_script(epoch.anchor_key)]
            if turns and not locked:
                self.lock()
                locked = True
            if moves and self.deep(moves[0].height):
                return
            self.kill()
            target = (moves or [step for step in turns if step.height is not None] or [None])[0]
            self.turn_back(target)
        raise Stuck(f"the treasury is not k deep under the key of epoch {epoch.number} after {BLOCKS} blocks")

    def deep(self, height: int | None) -> bool:
        """Whether a block is k deep."""
        return height is not None and self.s.world.network.height() - height + 1 >= self.s.activation.params.k

    def block(self) -> None:
        """A block with what waits, and a moment in which nodes work on it."""
        self.send_again()
        self.s.world.mine()
        time.sleep(self.dice.random())

    def send_again(self) -> None:
        """Send users' payments again that a reorg made too young for their lock time: bitcoind drops those."""
        wallet = self.s.world.depositor
        for made in self.deposits[-4:]:
            if wallet.rpc().gettransaction(made.paid.txid)["confirmations"] == 0:
                with contextlib.suppress(JSONRPCException):  # it waits already
                    wallet.bitcoind.rpc().sendrawtransaction(wallet.raw(made.paid.txid))

    def kill(self) -> None:
        """Now and then end a node that works and start it again."""
        world = self.s.world
        for node in world.operators:
            if node is not self.dead and not node.process.running:
                node.start()
                node.wait_ready(seconds=60)
        if self.dice.random() < 0.5 and world.awake:
            victim = self._someone()
            victim.process.kill()
            self.happened["kills"] += 1

    def turn_back(self, target: trail.Step | None) -> None:
        """Take blocks away: the one of the rotation anchor or the move once for sure, others by chance."""
        k = self.s.activation.params.k
        if target is not None and target.txid not in self.hit and target.height is not None:
            self.hit.add(target.txid)
            depth = self.s.world.network.height() - target.height + 1
            self.happened["blocks of the move lost"] += 1
        elif self.dice.random() < 0.2:
            depth = self.dice.randint(1, k)
        else:
            return
        if depth > k:
            return
        self.s.world.network.reorg(depth)
        self.s.world.wait_seen()
        self.happened[f"reorgs of {depth}"] += 1
        self.s.rollup_sees_tip()
        if self.s.status()["paused"] is not None:
            self.decide()

    def decide(self) -> None:
        """Value stands still: the operators decide; those who are dead come back for it."""
        world = self.s.world
        for node in world.operators:
            if not node.process.running:
                node.start()
                node.wait_ready(seconds=60)
        self.dead = None
        world.wait_seen()
        self.happened["decisions"] += 1
        decisions.resume(world, world.folder / f"decision-{self.happened['decisions']}", "the soak looked")

    # What must hold

    def settle(self) -> None:
        """Mine until every deposit is credited and every withdrawal settled."""
        s, params = self.s, self.s.activation.params
        due = sum(made.sats - params.deposit_fee for made in self.deposits) - WITHDRAWN * len(
            self.withdrawals
        )
        for _ in range(BLOCKS):
            status = s.status()
            if status["escrow"] == 0 and s.balance(s.depositor) == due and status["paused"] is None:
                return
            if status["paused"] is None:
                self.lock_again()
            self.block()
        raise Stuck(
            f"the depositor has {s.balance(s.depositor)} sats, not {due}; escrow {s.status()['escrow']}"
        )

    def check(self) -> None:
        """Nothing lost, minted twice or paid twice; batches by the right keys; all nodes agree."""
        s = self.s
        for made in self.deposits:
            s.tell.equal(len(coins.mints_of(s, made)), 1, f"one mint of {made.paid}")
        paid = WITHDRAWN - s.activation.params.withdrawal_fee
        for each in self.withdrawals:
            move.paid_once(s, script_of(each.address, REGTEST), paid, "a withdrawal")
        s.world.mine(s.activation.params.k)  # the books tell of what is k deep
        s.rollup_sees_tip()
        move.keys_follow_the_move(s)
        coins.books_agree(s)
        for node in s.world.operators:
            move.says(s, node, s.world.epoch, "active")


def _spare(committee: rotation.NextCommittee) -> list[Node]:
    """The members of whom one may be dead: newcomers, and who stayed when more than t of the old ones did."""
    stayed = [node for node in committee.operators if node not in committee.newcomers]
    return [*committee.newcomers, *(stayed if len(stayed) > committee.threshold_before else ())]


def run(folder: Path, seed: int, until: float) -> int:
    """Rounds until the time is over; how many went well."""
    count, said = 0, StringIO()
    with World(folder, operators=4, threshold=3, bitcoinds=1) as world:
        scene = Scene(world, Teller(said))
        story = Story(scene, random.Random(seed))
        try:
            story.begin()
            print("epoch  signers  until moved   seconds  what happened meanwhile", flush=True)
            while count < ROUNDS or time.monotonic() < until:
                print(story.round(), flush=True)
                count += 1
        except Exception:
            print(said.getvalue()[-3000:])
            for name, trouble in scene.troubles():
                print(f"{name}: {trouble}")
            raise
    return count


def main() -> int:
    """Run the soak."""
    until = time.monotonic() + 60 * float(os.environ.get("SOAK_MINUTES", "5"))
    seed = int(os.environ.get("SOAK_SEED", str(random.randrange(1 << 32))))
    print(f"SOAK_SEED={seed}")
    folder = Path(tempfile.mkdtemp(prefix="holdfast-soak-move-"))
    try:
        count = run(folder, seed, until)
    except (CommandFault, DoesNotHold, Stuck, TimeoutError, HttpFault) as fault:
        print(f"FAILED: {fault}\nlogs: {folder}")
        return 1
    shutil.rmtree(folder)
    print(f"{count} epochs in a row, nothing lost, minted twice or paid twice")
    return 0


if __name__ == "__main__":
    sys.exit(main())
