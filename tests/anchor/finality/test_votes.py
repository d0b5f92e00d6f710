"""Votes and certificates: strictly more than two thirds, each validator once, final with the child."""

from dataclasses import replace

import pytest

from anchor.finality.votes import (
    FinalTracker,
    NoQuorum,
    NotTheNext,
    VoteRefused,
    certify,
    check_certificate,
    check_certified,
    check_vote,
    quorum,
)
from anchor.rollup.block import Certificate
from anchor.rollup.genesis import Validator
from tests.anchor.rollup.rollup_world import (
    GEN,
    MALLORY,
    VALIDATORS,
    World,
    a_genesis,
    certified,
    nothing,
    vote,
)


def test_exactly_two_thirds_is_no_quorum() -> None:
    assert not quorum(2, 3)
    assert quorum(3, 4)
    assert not quorum(2, 4)
    assert not quorum(66, 99)
    assert quorum(67, 99)
    assert not quorum(2 * 10**30, 3 * 10**30)
    assert quorum(2 * 10**30 + 1, 3 * 10**30)
    assert not quorum(0, 0)


def test_exactly_two_thirds_of_real_votes_certify_nothing() -> None:
    three = a_genesis(validators=tuple(Validator(v.x, 1) for v in VALIDATORS[:3]))
    block = World(three).block()
    votes = [vote(three, block, i) for i in range(3)]
    with pytest.raises(NoQuorum, match="2 of 3"):
        certify(three, votes[0].block_hash, votes[:2])
    check_certificate(three, certify(three, votes[0].block_hash, votes))


def test_stake_counts_not_heads() -> None:
    rich = a_genesis(
        validators=tuple(Validator(v.x, s) for v, s in zip(VALIDATORS, (70, 10, 10, 10), strict=True))
    )
    block = World(rich).block()
    votes = [vote(rich, block, i) for i in range(4)]
    check_certificate(rich, certify(rich, votes[0].block_hash, votes[:1]))
    with pytest.raises(NoQuorum, match="30 of 100"):
        certify(rich, votes[0].block_hash, votes[1:])


def test_a_validator_who_votes_twice_counts_once() -> None:
    block = World().block()
    one, two = vote(GEN, block, 0), vote(GEN, block, 1)
    with pytest.raises(NoQuorum, match="2 of 4"):
        certify(GEN, one.block_hash, [one, two, one, two])
    with pytest.raises(VoteRefused, match="sorted"):
        check_certificate(GEN, Certificate(one.block_hash, (one, one, two)))


def test_a_vote_by_a_stranger_or_for_another_block_is_refused() -> None:
    block = World().block()
    good = vote(GEN, block, 0)
    check_vote(GEN, good)
    for bad in (
        vote(GEN, block, 0, MALLORY),
        replace(good, validator=1),
        replace(good, validator=4),
        replace(good, validator=-1),
        replace(good, block_hash=nothing("x")),
        replace(good, signature=bytes(64)),
    ):
        with pytest.raises(VoteRefused):
            check_vote(GEN, bad)
    with pytest.raises(VoteRefused, match="another block"):
        certify(GEN, nothing("x"), [good])


def test_a_vote_for_the_same_block_of_another_rollup_is_worth_nothing() -> None:
    block = World().block()
    other = vote(a_genesis(rollup_id=8), block, 0)
    with pytest.raises(VoteRefused):
        certify(GEN, block.header.hash(GEN.hash), [other])


def test_a_certificate_belongs_to_its_block_and_height() -> None:
    w = World()
    first, second = certified(GEN, w.block()), certified(GEN, w.block())
    check_certified(GEN, first)
    with pytest.raises(VoteRefused, match="another block"):
        check_certified(GEN, replace(first, certificate=second.certificate))
    lifted = tuple(replace(v, height=9) for v in first.certificate.votes)
    with pytest.raises(VoteRefused, match="another height"):
        check_certified(GEN, replace(first, certificate=replace(first.certificate, votes=lifted)))
    mixed = (lifted[0], *first.certificate.votes[1:])
    with pytest.raises(VoteRefused, match="different heights"):
        check_certified(GEN, replace(first, certificate=replace(first.certificate, votes=mixed)))
    with pytest.raises(NoQuorum):
        check_certified(GEN, certified(GEN, w.blocks[0], (0, 1)))


def test_a_block_is_final_when_its_child_is_certified() -> None:
    w, tracker = World(), FinalTracker(GEN)
    assert tracker.add(certified(GEN, w.block())) == 0
    assert tracker.add(certified(GEN, w.block())) == 1
    assert tracker.add(certified(GEN, w.block())) == 2
    assert (tracker.certified, tracker.final) == (3, 2)


def test_the_tracker_takes_only_the_next_block() -> None:
    w, tracker = World(), FinalTracker(GEN)
    first, second = certified(GEN, w.block()), certified(GEN, w.block())
    with pytest.raises(NotTheNext):
        tracker.add(second)
    tracker.add(first)
    with pytest.raises(NotTheNext):
        tracker.add(first)
    with pytest.raises(NoQuorum):
        tracker.add(certified(GEN, w.blocks[1], (0,)))
    assert tracker.certified == 1
    assert tracker.add(second) == 1
