"""The lane's desk: what it plans, what it agrees to, and how its packages go through a real bitcoind."""

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest

from anchor.bitcoind import Bitcoind as Client
from anchor.bitcoind import Outcome
from anchor.btc.address import address_of
from anchor.btc.amounts import Sats
from anchor.btc.ids import OutPoint, Txid, display, from_display
from anchor.btc.network import REGTEST
from anchor.inscriber import MAX_PER_BATCH, LaneDesk, LaneFacts, NotApproved
from anchor.inscription.batch import (
    MAX_BATCH,
    MAX_EVIDENCE,
    AnchorBatch,
    RotationBatch,
    decode_request,
)
from anchor.inscription.builder import build
from anchor.inscription.lane import tip_script
from anchor.inscription.reader import FIRST_ROOT, LaneState, Pending
from anchor.inscription.successor import Successor
from anchor.proofs.coverage import Coverage
from anchor.proofs.ranges import cut
from anchor.proofs.records import Record
from anchor.rollup.succession import Epochs, KeyEpoch
from regtest.bitcoind import Bitcoind
from tests.anchor.inscription.batches import TIP, a_range, a_successor
from tests.anchor.inscription.whole_key import ANCHOR, NEXT
from tests.anchor.rollup.rollup_world import GEN, PARAMS, World, an_activation, certified

STATE = LaneState(0, 1, ANCHOR.key33, TIP, Sats(1_000_000))
LONG = [a_range(n) for n in range(80)]  # a long wait: for plans, which look at no evidence


def _real() -> tuple[list[Record], list[bytes]]:
    """Four ranges of a rollup that runs, with the certificates that make them final."""
    world = World().activate()
    while len(world.blocks) < 4 * PARAMS.range_length + 1:
        world.block()
    chain = [certified(GEN, block) for block in world.blocks]
    ranges, evidence = list[Record](), list[bytes]()
    while (made := cut(chain, ACTIVATION, ranges[-1] if ranges else None)) is not None:
        ranges.append(made[0])
        evidence.append(made[1].encode())
    return ranges, evidence


ACTIVATION = replace(an_activation(), anchor_key=ANCHOR.key33)
FIRST = KeyEpoch.first(GEN, ACTIVATION)
SECOND = replace(FIRST, number=2, record=bytes([2]) * 32, anchor_key=NEXT.key33, since=40)
EPOCHS = Epochs((FIRST, SECOND))
SUCCESSOR = Successor.of(SECOND)
RANGES, EVIDENCE = _real()


def facts_of(count: int = 3, covered: int = 0, **changes: Any) -> LaneFacts:
    spans = ((0, covered),) if covered else ()
    made = LaneFacts(STATE, Coverage(spans), RANGES[:count], EVIDENCE[:count])
    return replace(made, **changes)


def waiting(evidence: bytes = b"e") -> LaneFacts:
    return LaneFacts(STATE, Coverage(()), LONG, [evidence] * len(LONG))


def desk_of(
    facts: LaneFacts | None, client: Any = None, max_fee_rate: int = 100, epochs: Epochs = EPOCHS
) -> LaneDesk:
    return LaneDesk(GEN, ACTIVATION, client, lambda: facts, lambda: epochs, max_fee_rate=max_fee_rate)


async def planned(facts: LaneFacts) -> AnchorBatch:
    made = await desk_of(facts).plan()
    assert made is not None
    return AnchorBatch.decode(made[1])


async def test_a_plan_holds_every_final_range_that_no_anchor_covers() -> None:
    assert (await planned(facts_of(3))).decoded() == tuple(RANGES[:3])
    assert (await planned(facts_of(3, covered=2))).decoded() == (RANGES[2],)
    assert len((await planned(waiting())).records) == MAX_PER_BATCH


async def test_a_plan_is_never_larger_than_a_request_whatever_the_evidence_weighs() -> None:
    """With a hundred validators a range's evidence has some 20 kB: 64 of them do not fit one request."""
    for size in (20_000, 40_000, MAX_EVIDENCE):
        batch = await planned(waiting(bytes(size)))
        assert len(batch.encode()) <= MAX_BATCH
        assert len(batch.records) >= MAX_BATCH // (size + 300) - 1, "and no smaller than it must be"


PENDING = replace(STATE, pending=Pending(TIP, Sats(900), b"\x51\x20" + bytes(32), 100))


@pytest.mark.parametrize(
    "facts",
    [
        None,
        facts_of(0),
        facts_of(3, covered=3),
        facts_of(coverage=Coverage((), waits=True)),
        facts_of(coverage=Coverage((), conflict="anchor 1 does not cover the next ranges")),
        facts_of(state=PENDING),
        facts_of(state=replace(STATE, epoch=3)),
        facts_of(state=replace(STATE, key33=NEXT.key33)),
    ],
    ids=[
        "unknown",
        "no range",
        "all covered",
        "an anchor ahead of us",
        "conflict",
        "commit without reveal",
        "an epoch ahead of our rollup",
        "another key than our rollup names",
    ],
)
async def test_nothing_is_planned(facts: LaneFacts | None) -> None:
    assert await desk_of(facts).plan() is None


def test_a_halted_or_unknown_lane_has_no_tip() -> None:
    assert desk_of(None).tip() is None
    assert desk_of(facts_of(state=replace(STATE, halted="foreign spend"))).tip() is None
    assert desk_of(facts_of(state=PENDING)).tip() == TIP


NOES: list[tuple[LaneFacts | None, bytes | None, str, bool]] = [
    (None, None, "does not follow the lane yet", True),
    (facts_of(state=PENDING), None, "waits for its reveal", True),
    (facts_of(state=replace(STATE, halted="foreign")), None, "is halted: foreign", False),
    (facts_of(2), None, "not final here yet", True),
    (facts_of(coverage=Coverage((), waits=True)), None, "not final here yet", True),
    (facts_of(coverage=Coverage((), conflict="anchor 1")), None, "anchor 1", False),
    (facts_of(4, covered=1), None, "records differ", False),
    (facts_of(), b"\xff\xff", "the request is no batch", False),
    (facts_of(), b"", "the request is no batch", False),
]


@pytest.mark.parametrize(("facts", "payload", "words", "again"), NOES)
async def test_a_signer_says_no_and_whether_waiting_helps(
    facts: LaneFacts | None, payload: bytes | None, words: str, again: bool
) -> None:
    true = (await planned(facts_of(3))).encode()
    with pytest.raises(NotApproved, match=words) as no:
        desk_of(facts).approve(true if payload is None else payload)
    assert no.value.retryable is again


async def test_a_commit_that_pays_more_than_it_must_gets_no_signature() -> None:
    """The reveals' ladder pays for speed; a leader that varied the commit could fill disks and burn the lane."""
    batch = await planned(facts_of(3))
    assert desk_of(facts_of(3)).approve(batch.encode())
    with pytest.raises(NotApproved, match="a commit pays 111 sat"):
        desk_of(facts_of(3)).approve(replace(batch, commit_fee=Sats(112)).encode())


async def test_evidence_that_does_not_show_a_range_to_be_final_gets_no_signature() -> None:
    batch = await planned(facts_of(3))
    for lie in (b"", b"e", EVIDENCE[1], EVIDENCE[0][:-1], EVIDENCE[0] + bytes(1), bytes(MAX_EVIDENCE)):
        evidence = (lie, *batch.evidence[1:])
        with pytest.raises(NotApproved, match="the evidence beside range 1 does not hold"):
            desk_of(facts_of(3)).approve(replace(batch, evidence=evidence).encode())


async def test_signatures_are_checked_one_by_one() -> None:
    desk, payload = desk_of(facts_of(1)), (await planned(facts_of(1))).encode()
    good = signatures_of(payload)
    desk.check(payload, good)
    for bad in (good[:-1], [*good, good[0]], [bytes(64), *good[1:]], [*good[:-1], good[0]], []):
        with pytest.raises(ValueError, match="signature"):
            desk.check(payload, bad)


def signatures_of(payload: bytes) -> list[bytes]:
    batch = decode_request(payload)
    key = {1: ANCHOR, 2: NEXT}[batch.epoch]
    package = build(batch, key.key33, {ACTIVATION.rollup_id})
    return [key.sign(message, kind) for message, kind in package.messages]


ROTATED = replace(STATE, epoch=2, key33=NEXT.key33, sequence=1)
CONFLICT = Coverage((), conflict="anchor 1 does not cover the next ranges")


async def rotation_of(facts: LaneFacts) -> RotationBatch:
    made = await desk_of(facts).plan()
    assert made is not None
    assert made[0] == facts.state.sequence + 1
    return RotationBatch.decode(made[1])


@pytest.mark.parametrize("coverage", [Coverage(()), Coverage((), waits=True), CONFLICT])
async def test_once_a_succession_is_final_the_lanes_next_batch_is_its_rotation(coverage: Coverage) -> None:
    """It holds no ranges, so it waits for none, and no quarrel about them keeps the old key in office."""
    facts = facts_of(3, successor=SUCCESSOR, coverage=coverage)
    batch = await rotation_of(facts)
    assert (batch.successor, batch.epoch, batch.previous_root) == (SUCCESSOR, 1, FIRST_ROOT)
    package = desk_of(facts).approve(batch.encode())
    assert package.key33 == ANCHOR.key33
    assert package.next_script == tip_script(NEXT.key33)
    assert desk_of(facts).key_epoch(batch.encode()) == 1


async def test_no_rotation_is_planned_beside_a_commit_that_waits_for_its_reveal() -> None:
    assert await desk_of(facts_of(3, successor=SUCCESSOR, state=PENDING)).plan() is None


async def test_after_the_rotation_batches_are_built_and_signed_under_the_next_key() -> None:
    facts = facts_of(3, state=ROTATED)
    batch = await planned(facts)
    assert (batch.epoch, batch.sequence) == (2, 2)
    desk, payload = desk_of(facts), batch.encode()
    assert desk.approve(payload).key33 == NEXT.key33
    assert desk.key_epoch(payload) == 2
    desk.check(payload, signatures_of(payload))
    old = build(batch, ANCHOR.key33, {ACTIVATION.rollup_id})
    with pytest.raises(ValueError, match="signature 0"):
        desk.check(payload, [ANCHOR.sign(message, kind) for message, kind in old.messages])


OTHER = replace(SUCCESSOR, record=bytes([9]) * 32)
MOVING = facts_of(3, successor=SUCCESSOR)
FAR = replace(STATE, epoch=3)
NO_ROTATION: list[tuple[LaneFacts, str, bool]] = [
    (facts_of(3), "no succession of key epoch 1 is final", True),
    (replace(MOVING, successor=OTHER), "other keys than the succession that is final here", False),
    (replace(MOVING, successor=a_successor()), "other keys than the succession that is final here", False),
    (replace(MOVING, state=PENDING), "waits for its reveal", True),
    (replace(MOVING, state=replace(STATE, halted="foreign")), "is halted: foreign", False),
    (replace(MOVING, state=replace(STATE, tip=OutPoint(TIP.txid, 1))), "the lane's tip is", True),
    (replace(MOVING, state=replace(STATE, root=bytes([1]) * 32)), "does not follow anchor 0", False),
    (replace(MOVING, state=replace(STATE, sequence=1)), "does not follow anchor 0|batch 1 does not", False),
    (replace(MOVING, state=ROTATED), "is for lane 0, epoch 1", False),
    (replace(MOVING, state=replace(STATE, key33=NEXT.key33)), "under another key on Bitcoin", False),
]


@pytest.mark.parametrize(("facts", "words", "again"), NO_ROTATION)
async def test_a_rotation_is_signed_only_when_it_equals_what_this_node_knows(
    facts: LaneFacts, words: str, again: bool
) -> None:
    true = (await rotation_of(MOVING)).encode()
    with pytest.raises(NotApproved, match=words) as no:
        desk_of(facts).approve(true)
    assert no.value.retryable is again


async def test_a_rotation_with_another_rollup_or_a_dearer_commit_gets_no_signature() -> None:
    batch = await rotation_of(MOVING)
    for change, words in (({"rollup_id": 9}, "other keys"), ({"commit_fee": Sats(112)}, "a commit pays")):
        with pytest.raises(NotApproved, match=words):
            desk_of(MOVING).approve(replace(batch, **change).encode())


async def test_ranges_wait_for_the_rotation_and_batches_of_another_epoch_are_refused() -> None:
    old, new = await planned(facts_of(3)), await planned(facts_of(3, state=ROTATED))
    with pytest.raises(NotApproved, match="next batch is its rotation to epoch 2") as no:
        desk_of(MOVING).approve(old.encode())
    assert no.value.retryable
    for facts, batch in ((facts_of(3), new), (facts_of(3, state=ROTATED), old)):
        with pytest.raises(NotApproved, match="is for lane 0, epoch"):
            desk_of(facts).approve(batch.encode())


async def test_a_key_epoch_that_this_nodes_rollup_does_not_name_yet_gets_no_signature() -> None:
    batch = replace(await planned(facts_of(3)), epoch=3)
    with pytest.raises(NotApproved, match="names no key epoch 3 yet") as no:
        desk_of(facts_of(3, state=FAR)).approve(batch.encode())
    assert no.value.retryable
    for ask in (desk_of(None).stages, lambda data: desk_of(None).check(data, [])):
        with pytest.raises(ValueError, match="names no key epoch 3"):
            ask(batch.encode())


class Lane:
    """A funded lane on a real bitcoind and its desk."""

    def __init__(self, node: Bitcoind, client: Client) -> None:
        self.node = node
        wallet = node.rpc("miner")
        wallet.generatetoaddress(101, wallet.getnewaddress())
        script = tip_script(ANCHOR.key33)
        txid = wallet.sendtoaddress(address_of(script, REGTEST), "0.01")
        self.mine()
        outputs = wallet.gettransaction(txid, True, True)["decoded"]["vout"]
        vout = next(o["n"] for o in outputs if o["scriptPubKey"]["hex"] == script.hex())
        self.tip = OutPoint(Txid(from_display(txid)), vout)
        state = replace(STATE, tip=self.tip, tip_value=Sats(1_000_000))
        self.facts = facts_of(1, state=state)
        self.desk = desk_of(self.facts, client)

    def mine(self, only: list[str] | None = None) -> None:
        wallet = self.node.rpc("miner")
        if only is None:
            wallet.generatetoaddress(1, wallet.getnewaddress())
        else:
            self.node.rpc().generateblock(wallet.getnewaddress(), only)

    def mempool(self) -> set[str]:
        return set(self.node.rpc().getrawmempool())

    async def batch(self, **changes: Any) -> tuple[bytes, list[bytes]]:
        made = await self.desk.plan()
        assert made is not None
        payload = replace(AnchorBatch.decode(made[1]), **changes).encode()
        return payload, signatures_of(payload)


@pytest.fixture
async def lane(new_bitcoind: Callable[..., Bitcoind], request: pytest.FixtureRequest) -> AsyncIterator[Lane]:
    node = new_bitcoind(wallet=True, extra=getattr(request, "param", ())).start()
    node.ensure_wallet("miner")
    async with Client(node.rpc_url, cookie=node.cookie) as client:
        yield Lane(node, client)


async def test_a_package_goes_out_together_and_a_second_time_changes_nothing(lane: Lane) -> None:
    payload, signatures = await lane.batch()
    assert await lane.desk.present(payload, signatures) is None
    (commit,), reveals = lane.desk.stages(payload)
    sent = await lane.desk.submit(payload, signatures)
    assert sent.outcome is Outcome.IN_MEMPOOL
    assert lane.mempool() == {display(commit), display(reveals[0])}
    assert await lane.desk.present(payload, signatures) == reveals[0]
    await lane.desk.submit(payload, signatures)
    assert lane.mempool() == {display(commit), display(reveals[0])}
    lane.mine()
    assert lane.mempool() == set()


async def test_a_reveal_goes_alone_once_its_commit_is_mined(lane: Lane) -> None:
    payload, signatures = await lane.batch()
    await lane.desk.submit(payload, signatures)
    (commit,), reveals = lane.desk.stages(payload)
    raw = lane.node.rpc().getrawtransaction(display(commit))
    lane.mine(only=[raw])
    lane.node.restart()
    assert await lane.desk.present(payload, signatures) in (reveals[0], None)
    await lane.desk.submit(payload, signatures)
    assert lane.mempool() == {display(reveals[0])}


async def test_of_two_batches_for_one_tip_the_second_waits_for_the_first(lane: Lane) -> None:
    one, other = await lane.batch(), await lane.batch(commit_fee=Sats(200))
    await lane.desk.submit(*one)
    before = lane.mempool()
    sent = await lane.desk.submit(*other)
    assert sent.outcome is Outcome.IN_MEMPOOL
    assert "in flight" in str(sent.reason)
    assert lane.mempool() == before
    assert await lane.desk.present(*other) is None
    lane.mine()
    sent = await lane.desk.submit(*other)
    assert sent.outcome is Outcome.REFUSED, "its coin is gone"
    assert lane.mempool() == set()


@pytest.mark.parametrize("lane", [("-minrelaytxfee=0.00003",)], indirect=True)
async def test_where_low_fees_are_refused_the_ladder_is_climbed_without_a_new_signature(lane: Lane) -> None:
    payload, signatures = await lane.batch(commit_fee=Sats(111 * 3))
    (commit,), reveals = lane.desk.stages(payload)
    sent = await lane.desk.submit(payload, signatures)
    assert sent.outcome is Outcome.IN_MEMPOOL
    assert lane.mempool() == {display(commit), display(reveals[2])}, "4 sat/vB is the first above 3"


async def test_a_rotation_and_the_next_keys_first_batch_go_through_a_real_bitcoind(lane: Lane) -> None:
    """The desk plans the rotation, sends it, and after it the ranges that waited, under the other key."""
    lane.desk = desk_of(replace(lane.facts, successor=SUCCESSOR), lane.desk.bitcoind)
    planned_rotation = await lane.desk.plan()
    assert planned_rotation is not None
    payload = planned_rotation[1]
    signatures = signatures_of(payload)
    assert (await lane.desk.submit(payload, signatures)).outcome is Outcome.IN_MEMPOOL
    (commit,), reveals = lane.desk.stages(payload)
    assert lane.mempool() == {display(commit), display(reveals[0])}
    lane.mine()
    state = replace(lane.facts.state, epoch=2, key33=NEXT.key33, sequence=1)
    value = Sats(1_000_000 - 288)
    lane.desk = desk_of(
        replace(lane.facts, state=replace(state, tip=OutPoint(reveals[0], 0), tip_value=value)),
        lane.desk.bitcoind,
    )
    payload, signatures = await lane.batch()
    assert lane.desk.approve(payload).key33 == NEXT.key33
    assert (await lane.desk.submit(payload, signatures)).outcome is Outcome.IN_MEMPOOL
    lane.mine()
    assert lane.mempool() == set()
