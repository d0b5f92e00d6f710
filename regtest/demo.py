"""The whole story on real parts, nine steps; each prints its evidence and asserts it from outside.

Run it with `make demo`; for the exit status see `stage`.
"""

import sys

from regtest import ceremony
from regtest.stage import Step, perform
from regtest.story import anchors, birth, coins, keys, reorg, rollup
from regtest.story import audit as audits
from regtest.story import faults as outages
from regtest.story.scene import Scene

DEPOSIT, SECOND_DEPOSIT, THIRD_DEPOSIT = 1_000_000, 400_000, 300_000
SENT, WITHDRAWN = 250_000, 100_000
CHANGED_BYTES = 40


def world(s: Scene) -> None:
    """Six bitcoinds, five operators with one committee file, the rollup."""
    s.world.start_bitcoin()
    birth.bitcoinds_are_peers(s)
    s.world.form_committee()
    birth.all_signed_one_committee_file(s)
    s.world.make_genesis()
    s.world.start_nodes()
    birth.nodes_stand_alone(s)
    s.world.start_rollup()
    birth.one_genesis(s)


def committee_keys(s: Scene) -> None:
    """Three keys that nobody holds whole; coins for treasury and lane; the activation record that all sign."""
    made = ceremony.make_keys(s.world)
    for purpose, key in made.items():
        keys.serves(s, purpose, key["group_key"])
    treasury, lane = ceremony.fund(s.world)
    s.tell.say(f"treasury {treasury}, lane {lane}")
    keys.record_is_signed_by_all(s, ceremony.activate(s.world, treasury, lane))


def deposit(s: Scene) -> None:
    """A payment becomes coins on the rollup once its sweep is k deep there."""
    made = coins.deposit(s, s.depositor, DEPOSIT, s.world.operators[2])
    s.mined(made.paid.txid)
    sweep = coins.sweep_of(s, made)
    s.mined(sweep)
    coins.nothing_minted_before_depth_k(s, s.depositor)
    s.world.mine()
    coins.minted(s, made, sweep, due=DEPOSIT - s.activation.params.deposit_fee)


def rollup_blocks(s: Scene) -> None:
    """A transfer, the votes on its block, empty blocks, Bitcoin's headers; all of it executed again."""
    height = rollup.transfer(s, s.depositor, s.friend, SENT)
    rollup.attested_and_final(s, height)
    rollup.empty_blocks_came(s, height)
    rollup.executes_again(s)


def anchor(s: Scene) -> None:
    """Records on Bitcoin, and a proof that asks no server."""
    node, found = s.world.operators[3], anchors.confirmed(s)
    files = anchors.export(s, node, found["last"])
    anchors.proof_tells(s, files, found)
    anchors.no_changed_byte_passes(s, files, CHANGED_BYTES)
    anchors.look_alike_is_refused(s, files, node)


def withdrawal(s: Scene) -> None:
    """Coins go back to Bitcoin; supply and reserves agree."""
    wallet, params = s.world.depositor, s.activation.params
    address = wallet.address()
    identity = coins.withdraw(s, s.friend, address, WITHDRAWN, s.world.operators[4])
    payout = coins.payout_of(s, identity)
    s.mined(payout)
    paid = WITHDRAWN - params.withdrawal_fee
    s.tell.equal(wallet.received(address), paid, f"the wallet has {paid} sats, the amount less the fee")
    s.world.mine(params.k - 1)
    coins.settled(s, identity, payout)
    coins.books_agree(s)


def split(s: Scene) -> None:
    """A split takes an anchor and a sweep from the chain: nodes bring both back, same bytes, once."""
    due = s.balance(s.depositor) + SECOND_DEPOSIT - s.activation.params.deposit_fee
    made = coins.deposit(s, s.depositor, SECOND_DEPOSIT, s.world.operators[0])
    s.mined(made.paid.txid)
    sweep, packet = coins.sweep_of(s, made), anchors.pending(s)
    parts = reorg.split(s)
    reorg.mine_losing(s, parts, *packet)
    lost = reorg.mine_losing(s, parts, sweep)
    blocks = list(s.blocks())
    reorg.brought_back(s, parts, *packet, sweep)
    reorg.heal(s, reorg.mine_winning(s, parts, 3))
    reorg.reported(s, s.world.operators[s.world.threshold :], lost, 2)
    reorg.not_rewound(s, blocks)
    s.mined(*packet, sweep)
    s.world.mine(s.activation.params.k - 1)
    coins.minted(s, made, sweep, due)
    double_spend(s)


def double_spend(s: Scene) -> None:
    """A second reorg takes two anchors, one upon the other, and a sweep of a coin that is then double-spent."""
    due = s.balance(s.depositor) + THIRD_DEPOSIT - s.activation.params.deposit_fee
    lost = reorg.double_spend(s, s.depositor, THIRD_DEPOSIT, s.world.operators[1])
    reorg.reported(s, s.world.operators, lost.tip, 2)
    sweep = reorg.recovered(s, lost)
    s.world.mine(s.activation.params.k - 2)
    coins.minted(s, lost.kept, sweep, due)
    anchors.no_gap_no_double(s)
    rollup.executes_again(s)
    coins.books_agree(s)


def faults(s: Scene) -> None:
    """Two die, work goes on with three; three die, nothing is signed; one returns, and it is again."""
    first, second, third, *rest = s.world.operators
    outages.kill(s, first)
    outages.kill_in_session(s, second, [third, *rest])
    outages.work_goes_on(s)
    outages.kill(s, third)
    keys.nothing_is_signed(s, rest[0])
    outages.back(s, first)
    keys.signs(s, rest[0], "mint", "three again")
    outages.back(s, second, third)
    s.world.mine(s.activation.params.k)
    keys.signs(s, second, "mint", "led by one that was killed")
    coins.books_agree(s)


def audit(s: Scene) -> None:
    """An observer that saw none of this finds the same."""
    observer, node = s.world.add_observer(), s.world.operators[0]
    s.world.wait_seen()
    audits.holds_nothing(s, observer)
    anchors.same_on(s, observer, node)
    audits.same_rows(
        s, observer, node, "deposits", "outpoint", ("value", "recipient", "sweep_txid", "minted")
    )
    audits.same_rows(s, observer, node, "withdrawals", "id", ("amount", "fee", "script", "txid", "state"))
    coins.books_agree(s, observer)
    s.tell.say(f"{observer.name} prints {coins.reserves_by_command(observer)}")


STEPS: tuple[Step, ...] = (
    ("World", world),
    ("Keys", committee_keys),
    ("Deposit", deposit),
    ("Rollup", rollup_blocks),
    ("Anchor", anchor),
    ("Withdrawal", withdrawal),
    ("Reorg", split),
    ("Faults", faults),
    ("Audit", audit),
)


def main() -> int:
    """Tell the story; returns the exit status."""
    return perform("demo", STEPS)


if __name__ == "__main__":
    sys.exit(main())
