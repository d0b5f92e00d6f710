"""Looks from outside at a committee that hands on: record on the rollup, the lane's rotation, the treasury's move.

What is on Bitcoin is read from bitcoind, what is on the rollup from certified blocks; nodes are asked only for
what they say of it.
"""

from anchor.inscription.lane import tip_script
from anchor.rollup.succession import KeyEpoch
from bridge.deposit.address import treasury_script
from regtest import rotation
from regtest.http import HttpFault
from regtest.operators import Node
from regtest.story import trail
from regtest.story.scene import Scene
from regtest.story.trail import Step
from regtest.telling import refuse, short

BLOCKS = 8  # that a step of the move may take


def succeeded(s: Scene, handover: rotation.Handover) -> KeyEpoch:
    """The rollup holds the record that all new operators and the old mint key signed; it names the new keys."""
    number = handover.committee.epoch
    epoch = s.epochs().get(number)  # its signatures are checked on the way
    if epoch is None:
        refuse(f"no certified block holds a succession to epoch {number}")
    count = len(handover.committee.operators)
    s.tell.equal(
        epoch.record.hex(), handover.record, f"block {epoch.since} begins epoch {number}: all {count} signed"
    )
    s.tell.say(f"and so did the mint key of epoch {number - 1}, which this succeeds")
    named = {"treasury": epoch.treasury_key, "anchor": epoch.anchor_key, "mint": epoch.mint_key}
    made = {purpose: key["group_key"] for purpose, key in handover.keys.items()}
    s.tell.equal({k: v.hex() for k, v in named.items()}, made, "it names the three new keys")
    s.tell.equal((len(epoch.host_keys), epoch.threshold), (count, s.world.threshold), "and the new committee")
    return epoch


def rotated(s: Scene, epoch: KeyEpoch) -> Step:
    """Mine until the lane's coin is k deep under the new anchor key; return the reveal."""
    script = tip_script(epoch.anchor_key)

    def waiting() -> list[Step]:
        """The lane's commit and reveal in the mempool."""
        return [step for step in trail.lane(s) if step.height is None]

    for _ in range(BLOCKS):
        s.until(lambda: len(waiting()) == 2, "the committee to sign the lane's next commit and reveal")
        s.mined(*(step.txid for step in waiting()))
        reveal = trail.lane(s)[-1]
        if reveal.height is None:
            reveal = next(step for step in reversed(trail.lane(s)) if step.height is not None)
        if reveal.scripts[0] == script:
            s.tell.check(True, f"rotation anchor {reveal.txid} hands the lane's {reveal.values[0]} sats on")
            s.tell.say(f"to the anchor key of epoch {epoch.number}: {short(epoch.anchor_key.hex())}")
            s.world.mine(s.activation.params.k - 1)
            return reveal
    return refuse(f"no rotation anchor in {BLOCKS} blocks")


def moved(s: Scene, epoch: KeyEpoch) -> Step:
    """Mine until the treasury is under the new key, by a batch that does nothing else."""
    script = treasury_script(epoch.treasury_key)
    for _ in range(BLOCKS):
        s.until(lambda: trail.treasury(s)[-1].height is None, "the treasury's next batch")
        batch = trail.treasury(s)[-1]
        s.mined(batch.txid)
        if batch.scripts[0] == script:
            break
    else:
        refuse(f"no move of the treasury in {BLOCKS} blocks")
    *_, before, move = (step for step in trail.treasury(s) if step.height is not None)
    shape = (len(move.inputs), len(move.scripts), move.values[1], move.inputs[0])
    s.tell.equal(
        shape, (1, 2, 0, f"{before.txid}:0"), f"{move.txid} spends the treasury's coin, and nothing else"
    )
    fee = before.values[0] - move.values[0]
    s.tell.check(
        0 < fee <= s.activation.params.batch_fee_cap, f"all of it goes to the new key, less {fee} sats"
    )
    mark = move.mark
    s.tell.equal(
        mark and mark.epoch, epoch.number - 1, f"the last batch that epoch {epoch.number - 1} signed"
    )
    return next(step for step in trail.treasury(s) if step.txid == move.txid)


def keys_follow_the_move(s: Scene) -> None:
    """Every batch is of the epoch in whose treasury it found the coin; sequences have no gap."""
    mined = [step for step in trail.treasury(s) if step.height is not None]
    marks = [step.mark for step in mined]
    if None in marks:
        refuse("a batch carries no mark")
    numbers = [mark.sequence for mark in marks if mark]
    s.tell.equal(numbers, list(range(1, len(mined) + 1)), f"batches 1 to {len(mined)}, no gap, no double")
    scripts = {treasury_script(epoch.treasury_key): epoch.number for epoch in s.epochs()}
    into = [scripts.get(step.scripts[0]) for step in mined]
    out_of = [s.epochs().first.number, *into[:-1]]
    s.tell.equal(
        [mark.epoch for mark in marks if mark], out_of, "each signed by the keys that its coin lay under"
    )


def says(s: Scene, node: Node, number: int, *states: str) -> None:
    """A node tells that an epoch is in one of these states."""

    def state() -> str:
        try:
            return str(rotation.epochs_of(node)[number]["state"])
        except (HttpFault, KeyError):
            return ""

    s.until(lambda: state() in states, f"{node.name} to call epoch {number} {' or '.join(states)}")
    s.tell.check(True, f"{node.name} calls epoch {number} {state()}")


def paid_once(s: Scene, script: bytes, amount: int, what: str) -> None:
    """Mine until a batch pays this script; exactly one does, and exactly this."""

    def payments() -> list[tuple[Step, int]]:
        return [
            (step, value)
            for step in trail.treasury(s)
            for each, value in zip(step.scripts[2:], step.values[2:], strict=True)
            if each == script
        ]

    for _ in range(BLOCKS):
        s.until(
            lambda: trail.treasury(s)[-1].height is None or bool(payments()), f"the committee to pay {what}"
        )
        if payments() and payments()[0][0].height is not None:
            break
        s.mined(trail.treasury(s)[-1].txid)
    s.tell.equal([value for _, value in payments()], [amount], f"{what} is paid once, {amount} sats")
