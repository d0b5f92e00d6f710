"""What both chains say of key epochs: which key, which addresses, until when, and what is at odds."""

from collections.abc import Iterable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from anchor.btc.ids import OutPoint, Txid
from anchor.inscription.successor import Successor
from anchor.rollup.succession import SignedSuccession, Succeeded, Succession
from bridge.ceremony import PURPOSES
from bridge.deposit import states as dst
from bridge.deposit.address import margin
from bridge.leading import leads
from bridge.moving import Moving
from bridge.store import DepositRow
from bridge.treasury.machine import InBatch
from tests.bridge.keys import ACTIVATION, WholeKey, secret_of
from tss.keyring import KeyFault

DELAY, K = ACTIVATION.params.reclaim_delay, ACTIVATION.params.k
GENESIS: Any = SimpleNamespace(host_keys=(), threshold=2)


def key(name: str) -> bytes:
    return WholeKey(secret_of(name)).key33


def succeeded(epoch: int, height: int) -> Succeeded:
    keys = [key(f"{purpose} {epoch}") for purpose in PURPOSES]
    hosts = (key("host")[1:],)
    record = Succession(7, bytes(32), "regtest", epoch, bytes(32), bytes([epoch]) * 32, hosts, 1, *keys)
    return Succeeded(height, SignedSuccession(record, (bytes(64),)))


SECOND, THIRD = succeeded(2, 5), succeeded(3, 9)


def told(one: Succeeded) -> Successor:
    return Successor.of(one.signed.succession)


class World:
    """Two chains as plain values, and the node's own committee."""

    def __init__(
        self,
        successions: Iterable[Succeeded] = (),
        *,
        final: int = 100,
        committee: int = 1,
        view: bool = True,
    ) -> None:
        self.follower: Any = SimpleNamespace(
            state=SimpleNamespace(successions=tuple(successions)), final=final
        )
        self.rotations: list[Any] = []
        self.batches: list[Any] = []
        self.height, self.lane_epoch, self.epoch = 500, 1, 1
        self.final_blocks: set[bytes] = set()
        self.moving = Moving(
            GENESIS,
            ACTIVATION,
            self.follower,
            lambda: self.view() if view else None,
            lambda block: block in self.final_blocks,
            committee,
            ACTIVATION.committee_hash if committee == 1 else bytes([committee]) * 32,
        )

    def view(self) -> Any:
        heights = {b.move.epoch: b.height + DELAY for b in self.batches if b.move is not None}
        treasury = SimpleNamespace(
            epoch=self.epoch, batches=self.batches, retires=lambda epoch, _delay: heights.get(epoch)
        )
        lane = SimpleNamespace(epoch=self.lane_epoch)
        return SimpleNamespace(
            height=self.height,
            rotations=self.rotations,
            treasury=treasury,
            lane=lambda _number: lane,
            block_of=lambda batch: batch.block,
        )

    def rotate(self, successor: Successor, lane: int = 0) -> None:
        found = SimpleNamespace(lane=lane, successor=successor)
        self.rotations.append(SimpleNamespace(found=found, block=b"rotation %d" % successor.epoch))
        self.lane_epoch = successor.epoch

    def move(self, height: int) -> None:
        move = SimpleNamespace(epoch=self.epoch, successor_epoch=self.epoch + 1)
        self.batches.append(SimpleNamespace(move=move, height=height, block=b"move %d" % self.epoch))
        self.epoch += 1


def test_before_any_succession_there_is_the_activation_records_epoch_and_no_end_of_it() -> None:
    for it in (World(), World(view=False)):
        moving = it.moving
        assert [e.number for e in moving.epochs] == [1] == list(moving.live())
        assert moving.keys.keys == (ACTIVATION.treasury_key,)
        assert (moving.address_epoch, moving.retires(1), moving.pay_until(), moving.fault()) == (
            1,
            None,
            None,
            None,
        )
        assert moving.next_of_lane() is None
        assert moving.next_of_treasury() is None


def test_a_lane_is_told_of_a_succession_only_once_its_rollup_block_is_final() -> None:
    it = World([SECOND], final=4)
    assert it.moving.epochs.latest.number == 2
    assert it.moving.next_of_lane() is None
    it.follower.final = 5
    assert it.moving.next_of_lane() == told(SECOND)
    it.rotate(told(SECOND))
    assert it.moving.next_of_lane() is None, "there is no third epoch"


def test_the_treasury_goes_where_a_final_rotation_of_the_first_lane_says() -> None:
    it = World([SECOND])
    it.rotate(told(SECOND), lane=1)
    it.final_blocks.add(b"rotation 2")
    assert it.moving.next_of_treasury() is None, "another lane's says nothing"
    it.rotations.clear()
    it.final_blocks.clear()
    it.rotate(told(SECOND))
    assert it.moving.next_of_treasury() is None, "not final yet"
    it.final_blocks.add(b"rotation 2")
    assert it.moving.next_of_treasury() == told(SECOND)
    it.move(480)
    assert it.moving.next_of_treasury() is None, "it is there"


def test_a_rotation_that_no_final_succession_names_takes_no_treasury_along() -> None:
    it = World([SECOND], final=4)
    it.rotate(told(SECOND))
    it.final_blocks.add(b"rotation 2")
    assert it.moving.next_of_treasury() is None, "the rollup's block is not final here"
    it.follower.final = 5
    assert it.moving.next_of_treasury() == told(SECOND)
    it.follower.state.successions = ()
    assert it.moving.next_of_treasury() is None, "the rollup knows of nothing"
    it.follower.state.successions = (SECOND,)
    it.rotations[0].found.successor = replace(told(SECOND), treasury_key=key("a thief"))
    assert it.moving.next_of_treasury() is None, "the rollup names another key"


def test_addresses_change_with_the_final_move_and_the_old_ones_end_a_reclaim_delay_later() -> None:
    it = World([SECOND, THIRD])
    assert it.moving.pay_until() == it.height + 1 + DELAY - margin(DELAY)
    it.move(480)
    assert it.moving.address_epoch == 1
    assert it.moving.pay_until() == 480 + DELAY - margin(DELAY), "now the height is known"
    it.final_blocks.add(b"move 1")
    assert (it.moving.address_epoch, it.moving.live()) == (2, (1, 2, 3))
    it.height = 480 + DELAY
    assert it.moving.live() == (1, 2, 3)
    it.height += 1
    assert it.moving.live() == (2, 3)
    it.move(it.height)
    it.final_blocks.add(b"move 2")
    assert it.moving.address_epoch == 3
    assert it.moving.all_retire() == {1: 480 + DELAY, 2: it.height + DELAY}


def test_a_key_that_only_bitcoin_tells_of_is_known_and_one_that_the_rollup_contradicts_stops_all() -> None:
    it = World()
    it.rotate(told(SECOND))
    it.rotate(told(THIRD))
    keys = [told(one).treasury_key for one in (SECOND, THIRD)]
    assert it.moving.keys.keys == (ACTIVATION.treasury_key, *keys)
    assert it.moving.fault() is None, "the rollup is only behind"
    it.follower.state.successions = (SECOND,)
    assert it.moving.fault() is None
    it.rotations[0].found.successor = replace(told(SECOND), treasury_key=key("a thief"))
    assert "names other keys of epoch 2" in str(it.moving.fault())


def test_a_node_of_an_earlier_committee_says_so_and_one_of_the_next_works_on() -> None:
    assert World([SECOND], committee=2).moving.outdated() is None
    assert World([], committee=2).moving.outdated() is None, "the next file, and no succession yet"
    words = str(World([SECOND], committee=1).moving.outdated())
    assert "committee of epoch 2" in words
    assert "holdfast tss rotate accept" in words
    rival = World([SECOND], committee=2)
    rival.moving.committee_hash = bytes(32)
    assert "another committee file of epoch 2" in str(rival.moving.outdated())


async def test_keys_of_a_committee_file_that_the_rollup_does_not_hold_are_not_made_active() -> None:
    rival, tss = World([SECOND], committee=2), Shares()
    rival.moving.committee_hash = bytes(32)
    port: Any = tss
    await rival.moving.keep(port)
    assert not tss.done


def row(epoch: int, state: dst.State) -> DepositRow:
    outpoint = OutPoint(Txid(bytes(32)), 0).encode()
    return DepositRow(
        outpoint, b"", b"", 1000, False, 490, bytes(32), None, None, dst.encode(state), 0, epoch
    )


def test_old_shares_are_needed_until_nothing_can_come_to_them_any_more() -> None:
    assert "has not read" in str(World(view=False).moving.unfinished("mint", 1, []))
    it = World([SECOND], final=4)
    coin = dst.Coin(1000, 490, bytes(32), coinbase=False)
    steps = [
        ("serves the bridge", lambda: setattr(it.follower, "final", 5)),
        ("rotation anchor to epoch 2 is not final", lambda: it.rotate(told(SECOND))),
        ("rotation anchor to epoch 2 is not final", lambda: it.final_blocks.add(b"rotation 2")),
        ("move to epoch 2 is not final", lambda: it.move(480)),
        ("move to epoch 2 is not final", lambda: it.final_blocks.add(b"move 1")),
        (f"until Bitcoin height {480 + DELAY}", lambda: setattr(it, "height", 480 + DELAY)),
        (f"wait for {1} more blocks", lambda: setattr(it, "height", 481 + DELAY)),
    ]
    for words, then in steps:
        assert words in str(it.moving.unfinished("anchor", 1, [])), words
        then()
    waits = [row(2, dst.Confirmed(coin)), row(1, dst.Confirmed(coin))]
    assert "is not swept finally" in str(it.moving.unfinished("treasury", 1, waits))
    over = [row(2, dst.Confirmed(coin)), row(1, dst.Rejected(coin, "too late"))]
    assert it.moving.unfinished("treasury", 1, over) is None
    deficit = row(1, dst.Deficit(coin, bytes(32), 900))
    assert "is not swept finally" in str(it.moving.unfinished("treasury", 1, [deficit]))
    for ago, left in ((K - 1, True), (K, False)):  # after a deep reorg its depositor took it back
        gone = replace(deficit, spent_by=bytes(32), spent_height=it.height - ago)
        assert (it.moving.unfinished("treasury", 1, [gone]) is not None) == left
    swept = dst.Deficit(coin, bytes(32), 900, InBatch(3, bytes(32), bytes(32), 480, bytes(32), 100))
    again = replace(row(1, swept), spent_by=bytes(32), spent_height=480)
    assert it.moving.unfinished("treasury", 1, [again]) is not None, "its next sweep is not told of yet"
    assert "serves the bridge" in str(it.moving.unfinished("treasury", 2, []))


class Shares:
    """What tss is asked to do with keys."""

    def __init__(self) -> None:
        self.done: list[tuple[str, str, int]] = []
        self.lost = False

    async def activate(self, purposes: Iterable[str], epoch: int) -> None:
        if self.lost:
            raise KeyFault("no share")
        self.done += [("active", purpose, epoch) for purpose in purposes]

    async def retire(self, purpose: str, epoch: int) -> None:
        self.done.append(("retiring", purpose, epoch))


async def test_keys_become_active_with_the_final_record_and_retire_with_the_final_move_once() -> None:
    it, tss = World([SECOND], final=4, committee=2), Shares()
    port: Any = tss
    await it.moving.keep(port)
    assert tss.done == [("active", purpose, 1) for purpose in PURPOSES]
    it.follower.final, tss.lost = 5, True
    await it.moving.keep(port)
    tss.lost = False
    tss.done.clear()
    await it.moving.keep(port)
    await it.moving.keep(port)
    assert tss.done == [("active", purpose, 2) for purpose in PURPOSES], "tried again until it is done"
    tss.done.clear()
    it.move(480)
    await it.moving.keep(port)
    assert not tss.done
    it.final_blocks.add(b"move 1")
    await it.moving.keep(port)
    await it.moving.keep(port)
    assert tss.done == [("retiring", purpose, 1) for purpose in PURPOSES]


@pytest.mark.parametrize(
    ("holders", "epochs", "who"),
    [
        ({1: (1, 2, 3)}, (1,), {1, 2, 3}),
        ({1: (1, 2), 2: (1, 2, 3, 4)}, (2, 1, 1), {1, 2}),
        ({1: (), 2: (3, 4)}, (2, 1), {3, 4}),
        ({1: (5,), 2: (3, 4)}, (2, 1), {3, 4}),
        ({2: ()}, (2,), {None}),
    ],
)
def test_who_leads_holds_all_keys_when_anybody_does(
    holders: dict[int, tuple[int, ...]], epochs: tuple[int, ...], who: set[int | None]
) -> None:
    tss: Any = SimpleNamespace(holders=lambda _purpose, epoch: holders[epoch])
    assert {leads(tss, "treasury", epochs, b"slot", attempt) for attempt in range(12)} == who
