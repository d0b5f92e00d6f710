"""A committee hands the rollup on: one record, signed by all who come and by the mint key that goes; for good."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from anchor.rollup.block import Block, data_root
from anchor.rollup.decisions import SignedDecision
from anchor.rollup.refusals import BlockRefused, TxRefused
from anchor.rollup.state import RollupState
from anchor.rollup.succession import Epochs, SuccessionRefused
from anchor.rollup.transitions import apply_tx, check_block
from anchor.rollup.tx import MAX_TX_BYTES, Decide, RollupTx, Succeed, decode_tx
from tests.anchor.rollup.rollup_world import (
    ALICE,
    BOB,
    GEN,
    HOSTS,
    MALLORY,
    MINT,
    K,
    Whole,
    World,
    a_genesis,
    a_succession,
    an_activation,
    nothing,
    reign,
    reseal,
    signed_succession,
)


def refused(w: World, tx: RollupTx) -> TxRefused:
    """What the rollup says against a transaction; its state must not change."""
    before = w.state.root()
    with pytest.raises(TxRefused) as caught:
        apply_tx(w.state, tx, w.genesis)
    assert w.state.root() == before
    return caught.value


def replayed(w: World) -> RollupState:
    state = RollupState.at_genesis(w.genesis)
    for block in w.blocks:
        state = check_block(w.genesis, state, block)
    return state


def succeeded() -> World:
    """A deposit was credited in epoch 1; then epoch 2 began."""
    w = World().funded()
    w.block(w.succeed())
    assert (w.rejected, w.epoch) == ([], 2)
    return w


def test_before_the_activation_there_is_no_epoch_and_none_to_follow() -> None:
    w = World()
    assert w.state.epochs(GEN) is None
    active = World().activate()
    refusal = refused(w, active.succeed())
    assert (refusal.code, refusal.retryable) == ("not_active", True)


def test_a_succession_begins_the_next_epoch_and_the_rollup_keeps_it() -> None:
    w = World().activate()
    first = w.epochs.latest
    assert (first.number, first.record, first.host_keys) == (1, an_activation().hash, GEN.host_keys)
    assert (first.threshold, first.since, first.mint_x) == (2, None, MINT.x)
    before, tx = w.state.root(), w.succeed()
    w.block(tx)
    second, after = w.epochs.latest, w.state.root()
    assert (second.number, second.record) == (2, tx.signed.succession.hash)
    assert (second.mint_x, second.since) == (reign(2).mint.x, w.state.height)
    assert w.epochs.known == (first, second)
    assert before != after
    w.block(w.succeed())
    assert [e.number for e in w.epochs] == [1, 2, 3]
    assert w.epochs.latest.record == w.state.successions[-1].signed.succession.hash
    assert replayed(w).root() == w.state.root()


def test_the_old_mint_key_certifies_nothing_any_more_and_the_new_one_does() -> None:
    w = World().funded()
    lock = w.lock(ALICE, 30_000)
    w.block(lock)
    w.mine(K)
    w.block()
    old = [w.mint(BOB, 20_000, "old"), w.settle(lock)]
    w.block(w.succeed())
    for tx in old:
        refusal = refused(w, tx)
        assert (refusal.code, refusal.retryable) == ("wrong_epoch", False)
        renamed = replace(tx.statement, epoch=2)
        forged = replace(tx, statement=renamed, signature=MINT.sign(renamed.message))
        assert refused(w, forged).code == "bad_certificate"
    w.block(w.mint(BOB, 20_000, "old"), w.settle(lock))
    assert w.rejected == []
    assert (w.state.account(BOB.x).balance, w.state.escrow) == (20_000, 0)
    assert replayed(w).root() == w.state.root()


def test_inside_one_block_the_record_divides_what_comes_before_from_what_comes_after() -> None:
    w = World().funded()
    before, after = w.mint(ALICE, 20_000, "before"), w.mint(ALICE, 20_000, "after")
    w.block(before, w.succeed(), after)
    [(raw, refusal)] = w.rejected
    assert (raw, refusal.code) == (after.encode(), "wrong_epoch")
    assert w.state.account(ALICE.x).balance == 1_020_000


def test_transfers_and_locks_go_on_across_a_succession() -> None:
    w = World().funded()
    moved = w.transfer(ALICE, BOB, 5)
    w.block(w.succeed(), moved)
    w.block(w.lock(ALICE, 30_000))
    assert w.rejected == []
    assert (w.state.account(BOB.x).balance, w.state.escrow) == (5, 30_000)


def paused_in(w: World) -> World:
    w.reorg(len(w.bitcoin) - 1, len(w.bitcoin) + 1)
    w.block()
    assert w.state.pause is not None
    return w


def test_while_paused_nobody_hands_on_and_afterwards_the_same_record_serves() -> None:
    w = World().funded()
    tx = w.succeed()
    paused_in(w)
    refusal = refused(w, tx)
    assert (refusal.code, refusal.retryable) == ("paused", True)
    w.block(w.decide(), tx)
    assert (w.rejected, w.epoch) == ([], 2)


def test_while_the_view_is_on_its_way_to_a_heavier_branch_nobody_hands_on() -> None:
    w = World().funded()
    w.mine(2)
    w.block()
    tx = w.succeed()
    w.reorg(K + 1, K + 3)
    w.block(tx, bundle=w.bundle(limit=2))
    [(_, refusal)] = w.rejected
    assert (refusal.code, refusal.retryable, w.epoch) == ("paused", True, 1)


def test_a_reorg_of_any_depth_does_not_take_a_succession_back() -> None:
    w = paused_in(succeeded())
    assert w.epoch == 2
    assert refused(w, w.decide(committee_hash=GEN.committee_hash)).code == "wrong_committee"
    w.block(w.decide((0, 1, 2)))
    assert (w.rejected, w.state.paused) == ([], None)
    w.block(w.mint(ALICE, 1_000_000))
    assert w.rejected == [], "the new key tells anew where the old one's deposit is swept"
    assert w.state.account(ALICE.x).balance == 1_000_000


def test_after_it_the_new_committee_decides_by_its_own_threshold_and_the_old_one_does_not() -> None:
    w = paused_in(succeeded())
    decision = w.decision()
    old = tuple((i, h.sign(decision.hash)) for i, h in enumerate(HOSTS))
    assert reign(2).threshold == 3
    assert refused(w, Decide(SignedDecision(decision, old))).code == "bad_signature"
    assert refused(w, w.decide((0, 1))).code == "too_few_signatures"
    w.block(w.decide((1, 2, 3)))
    assert w.rejected == []
    [decided] = w.state.decisions
    assert decided.operators == (1, 2, 3)


def test_a_decision_that_was_signed_before_the_record_is_void_after_it() -> None:
    """It cannot happen by itself, for a paused rollup hands nothing on; the rule does not rest on that."""
    w = paused_in(World().funded())
    tx = w.decide()
    w.state.put_succession(succeeded().state.successions[0])
    assert refused(w, tx).code == "wrong_committee"


FALSE: dict[str, tuple[str, Callable[[World], Succeed]]] = {
    "another rollup's number": ("wrong_rollup", lambda w: w.succeed(rollup_id=8)),
    "another rollup's genesis": ("wrong_rollup", lambda w: w.succeed(genesis_hash=nothing("genesis"))),
    "another network": ("wrong_network", lambda w: w.succeed(network="signet")),
    "the epoch after the next": (
        "wrong_epoch",
        lambda w: Succeed(
            signed_succession(a_succession(w.epochs.latest, epoch=3), reign(2).hosts, mint=MINT)
        ),
    ),
    "an epoch that has passed": (
        "wrong_epoch",
        lambda w: Succeed(signed_succession(a_succession(w.epochs.latest, epoch=1), HOSTS, mint=MINT)),
    ),
    "another record before it": ("wrong_previous", lambda w: w.succeed(previous=nothing("previous"))),
    "the committee that is": ("same_committee", lambda w: w.succeed(committee_hash=GEN.committee_hash)),
    "the treasury key that is": (
        "same_key",
        lambda w: w.succeed(treasury_key=w.epochs.latest.treasury_key),
    ),
    "the mint key as the treasury's": ("same_key", lambda w: w.succeed(treasury_key=b"\x02" + MINT.x)),
    "a key with its parity turned": (
        "same_key",
        lambda w: w.succeed(anchor_key=b"\x02" + w.epochs.latest.anchor_key[1:]),
    ),
    "nobody's signature": ("bad_certificate", lambda w: with_mint(w, bytes(64))),
    "a stranger's signature for the mint key": ("bad_certificate", lambda w: by(w, mint=MALLORY)),
    "the mint key under the hosts' tag": (
        "bad_certificate",
        lambda w: with_mint(w, MINT.sign(w.succeed().signed.succession.hash)),
    ),
    "its own mint key's signature": ("bad_certificate", lambda w: by(w, mint=reign(2).mint)),
    "no host at all": ("not_signed", lambda w: by(w, hosts=())),
    "a host too few": ("not_signed", lambda w: by(w, hosts=reign(2).hosts[:-1])),
    "a host too many": ("not_signed", lambda w: by(w, hosts=(*reign(2).hosts, MALLORY))),
    "the hosts in another order": ("not_signed", lambda w: by(w, hosts=reign(2).hosts[::-1])),
    "the leaving host in the place of one that comes": (
        "not_signed",
        lambda w: by(w, hosts=(HOSTS[0], *reign(2).hosts[1:])),
    ),
    "the old committee alone": ("not_signed", lambda w: by(w, hosts=HOSTS)),
}


def by(w: World, hosts: tuple[Whole, ...] | None = None, mint: Whole | None = None) -> Succeed:
    return Succeed(signed_succession(a_succession(w.epochs.latest), hosts, mint))


def with_mint(w: World, signature: bytes) -> Succeed:
    return Succeed(replace(w.succeed().signed, mint_signature=signature))


@pytest.mark.parametrize("case", FALSE)
def test_a_record_that_does_not_count_is_refused_by_name_and_the_epoch_stays(case: str) -> None:
    code, make = FALSE[case]
    w = World().funded()
    refusal = refused(w, make(w))
    assert (refusal.code, refusal.retryable, w.epoch) == (code, False, 1)


def test_a_record_is_used_once_and_of_two_for_one_epoch_the_first_counts() -> None:
    w = World().funded()
    one, other = w.succeed(), w.succeed(committee_hash=nothing("another committee"))
    w.block(one, other)
    [(raw, refusal)] = w.rejected
    assert (raw, refusal.code) == (other.encode(), "wrong_epoch")
    assert w.epochs.latest.record == one.signed.succession.hash
    again = refused(w, one)
    assert (again.code, again.retryable) == ("already_succeeded", False)
    assert refused(w, other).code == "wrong_epoch"


def test_a_block_with_a_record_that_does_not_count_is_refused_by_whoever_executes_it() -> None:
    """A sequencer may write what it likes: here it takes the block of a rollup that let the record pass."""
    w = World().funded()
    before = w.state
    good = w.block(w.succeed())
    forged = by(World().funded(), mint=MALLORY).encode()
    lie = Block(replace(good.header, data_root=data_root(good.bundle, [forged])), (forged,), good.bundle)
    with pytest.raises(BlockRefused, match="transaction 0 does not apply: bad_certificate"):
        check_block(GEN, before, lie)
    twice = Block(good.header, good.transactions * 2, good.bundle)
    with pytest.raises(BlockRefused, match="transaction 1 does not apply: already_succeeded"):
        check_block(GEN, before, twice)
    hidden = reseal(good, state_after=before.root())
    with pytest.raises(BlockRefused, match="state-after"):
        check_block(GEN, before, hidden)


def test_a_record_of_a_rollup_that_forked_off_does_not_count_here() -> None:
    twin = World(a_genesis(name="twin")).activate()
    assert refused(World().activate(), twin.succeed()).code == "wrong_rollup"


def test_a_key_of_no_earlier_epoch_is_named_again() -> None:
    w = succeeded()
    for key in (b"\x02" + MINT.x, b"\x02" + reign(2).anchor.x):
        assert refused(w, w.succeed(anchor_key=key)).code == "same_key"
    with pytest.raises(SuccessionRefused, match="a key of epoch 1 is named again"):
        w.epochs.check_next(a_succession(w.epochs.latest, mint_key=b"\x02" + MINT.x))


def test_the_key_before_the_last_signs_no_further_succession() -> None:
    w = succeeded()
    assert refused(w, by(w, mint=MINT)).code == "bad_certificate"


def test_128_operators_fit_a_transaction_and_a_hundred_such_a_block() -> None:
    w = World().activate()
    hosts = tuple(Whole.named(f"one of many {i}") for i in range(128))
    changes = {"host_keys": tuple(h.x for h in hosts), "threshold": 86}
    tx = Succeed(signed_succession(a_succession(w.epochs.latest, **changes), hosts))
    raw = tx.encode()
    assert len(raw) < MAX_TX_BYTES // 5
    assert decode_tx(raw) == tx
    w.block(tx)
    assert (w.rejected, len(w.epochs.latest.host_keys)) == ([], 128)


def test_who_signed_again_otherwise_does_not_change_the_transactions_id_nor_the_root() -> None:
    w = World().activate()
    tx = w.succeed()
    other = Succeed(replace(tx.signed, signatures=tuple(bytes(64) for _ in tx.signed.signatures)))
    assert other.txid(GEN.hash) == tx.txid(GEN.hash)
    forged = w.state.copy()
    w.block(tx)
    forged.put_succession(replace(w.state.successions[0], signed=other.signed))
    assert forged.root() == replace(w.state, _roots={}).root()


def test_epochs_are_found_by_number() -> None:
    w = succeeded()
    epochs = w.epochs
    assert isinstance(epochs, Epochs)
    assert (epochs.get(1), epochs.get(2), epochs.get(3)) == (epochs.first, epochs.latest, None)
