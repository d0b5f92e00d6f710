"""Ranges are cut alike by everyone, and only certificates of the last block and its child make one final."""

from dataclasses import replace

import pytest

from anchor.btc.codec import CodecError
from anchor.btc.curve import schnorr_sign, x_only_from_secret
from anchor.btc.hashing import sha256
from anchor.btc.ids import BlockHash, OutPoint, Txid
from anchor.btc.network import REGTEST
from anchor.finality.votes import certify
from anchor.inscription.batch import MAX_EVIDENCE
from anchor.proofs import tree
from anchor.proofs.ranges import RangeEvidence, RangeRefused, check, continues, cut
from anchor.rollup.block import Block, BlockHeader, Certificate, CertifiedBlock, Vote
from anchor.rollup.genesis import MAX_VALIDATORS, Genesis, Validator
from tests.anchor.proofs.story import PARAMS, an_activation

SECRETS = [n.to_bytes(32, "big") for n in range(11, 15)]
GENESIS = Genesis(
    rollup_id=1,
    name="toy",
    network="regtest",
    committee_hash=sha256(b"committee"),
    host_keys=(x_only_from_secret(SECRETS[0]),),
    threshold=1,
    validators=tuple(Validator(x_only_from_secret(s), 1) for s in SECRETS),
    bitcoin_height=0,
    bitcoin_header=REGTEST.genesis,
    k=3,
    block_ms=1000,
)
LENGTH = 4
ACTIVATION = replace(
    an_activation(OutPoint(Txid(bytes(32)), 1), 5),
    genesis_hash=GENESIS.hash,
    params=replace(PARAMS, range_length=LENGTH),
)


def votes(header, voters=(0, 1, 2)):
    name = header.hash(GENESIS.hash)
    return [Vote(i, header.height, name, schnorr_sign(SECRETS[i], name, bytes(32))) for i in voters]


def certified(header):
    return CertifiedBlock(Block(header, (), b""), certify(GENESIS, header.hash(GENESIS.hash), votes(header)))


def a_chain(length):
    parent, blocks = GENESIS.hash, []
    for height in range(1, length + 1):
        header = BlockHeader(
            rollup_id=1,
            height=height,
            parent=parent,
            time=1_700_000_000 + height,
            state_before=sha256(b"state %d" % (height - 1)),
            state_after=sha256(b"state %d" % height),
            tx_root=sha256(b"txs %d" % height),
            tx_count=0,
            data_root=sha256(b"data %d" % height),
            final_height=height,
            final_hash=BlockHash(sha256(b"bitcoin %d" % height)),
            validators_root=GENESIS.validators_root,
        )
        blocks.append(certified(header))
        parent = blocks[-1].hash
    return blocks


CHAIN = a_chain(2 * LENGTH + 1)
FIRST, FIRST_EVIDENCE = cut(CHAIN, ACTIVATION, None)
SECOND, SECOND_EVIDENCE = cut(CHAIN, ACTIVATION, FIRST)


def test_ranges_have_the_fixed_length_and_continue():
    assert (FIRST.first, FIRST.last, SECOND.first, SECOND.last) == (1, 4, 5, 8)
    assert (FIRST.state_before, FIRST.state_after) == (sha256(b"state 0"), sha256(b"state 4"))
    assert (FIRST.final_height, FIRST.validators_root) == (4, GENESIS.validators_root)
    assert continues(None, FIRST)
    assert continues(FIRST, SECOND)
    assert not continues(None, SECOND)
    assert not continues(SECOND, FIRST)
    assert not continues(FIRST, replace(SECOND, state_before=bytes(32)))
    assert not continues(FIRST, replace(SECOND, rollup_id=2))


def test_roots_of_a_range_are_the_tree_over_its_blocks_roots():
    headers = [block.block.header for block in CHAIN[:LENGTH]]
    assert FIRST.tx_root == tree.root([tree.leaf(1, h.tx_root) for h in headers])
    assert FIRST.data_root == tree.root([tree.leaf(1, h.data_root) for h in headers])


def test_a_range_waits_for_its_last_blocks_child():
    assert cut(CHAIN[:LENGTH], ACTIVATION, None) is None
    assert cut(CHAIN[: LENGTH + 1], ACTIVATION, None) == (FIRST, FIRST_EVIDENCE)
    assert cut(CHAIN, ACTIVATION, SECOND) is None
    assert cut([], ACTIVATION, None) is None


def test_the_cut_does_not_depend_on_where_the_copy_of_the_chain_begins():
    assert (
        cut(CHAIN[2:], ACTIVATION, FIRST)
        == cut(CHAIN[LENGTH:], ACTIVATION, FIRST)
        == (SECOND, SECOND_EVIDENCE)
    )
    with pytest.raises(RangeRefused, match="block 5 is missing"):
        cut(CHAIN[5:], ACTIVATION, FIRST)


def test_blocks_that_are_no_chain_are_refused():
    gap = [*CHAIN[:2], *CHAIN[3:]]
    other = replace(CHAIN[2].block.header, tx_root=bytes(32))
    for bad, reason in [
        (gap, "block 3 of rollup 1 is missing"),
        ([*CHAIN[:2], certified(other), *CHAIN[3:]], "block 4 is not the child"),
        (
            [*CHAIN[:2], replace(CHAIN[2], certificate=CHAIN[3].certificate), *CHAIN[3:]],
            "for another block",
        ),
    ]:
        with pytest.raises(RangeRefused, match=reason):
            cut(bad, ACTIVATION, None)
    with pytest.raises(RangeRefused, match="rollup 2 is missing"):
        cut(CHAIN, replace(ACTIVATION, rollup_id=2), None)
    with pytest.raises(RangeRefused, match="another state root"):
        cut(CHAIN, ACTIVATION, replace(FIRST, state_after=bytes(32)))


def test_good_evidence_is_accepted_after_its_journey():
    for record, evidence in ((FIRST, FIRST_EVIDENCE), (SECOND, SECOND_EVIDENCE)):
        check(GENESIS, record, RangeEvidence.decode(evidence.encode()))


def test_votes_that_differ_between_nodes_leave_the_record_alone():
    last, child = CHAIN[3].block.header, CHAIN[4].block.header
    name = last.hash(GENESIS.hash)
    other = replace(FIRST_EVIDENCE, last_certificate=certify(GENESIS, name, votes(last, (1, 2, 3))))
    assert other != FIRST_EVIDENCE
    check(GENESIS, FIRST, other)
    assert child.parent == name


@pytest.mark.parametrize(
    "change",
    [
        {"last": 5, "first": 2},
        {"state_after": bytes(32)},
        {"final_height": 9},
        {"final_hash": bytes(32)},
        {"rollup_id": 2},
        {"validators_root": bytes(32)},
    ],
)
def test_evidence_for_another_record_is_refused(change):
    with pytest.raises(RangeRefused):
        check(GENESIS, replace(FIRST, **change), FIRST_EVIDENCE)


def _lone(header, voters):
    return Certificate(header.hash(GENESIS.hash), tuple(votes(header, voters)))


LAST, CHILD = CHAIN[3].block.header, CHAIN[4].block.header


@pytest.mark.parametrize(
    ("evidence", "reason"),
    [
        (replace(FIRST_EVIDENCE, last_certificate=_lone(LAST, (0, 1))), "two thirds"),
        (replace(FIRST_EVIDENCE, child_certificate=_lone(CHILD, (0, 1))), "two thirds"),
        (replace(FIRST_EVIDENCE, child_certificate=_lone(CHILD, ())), "two thirds"),
        (replace(FIRST_EVIDENCE, child_certificate=FIRST_EVIDENCE.last_certificate), "for another block"),
        (replace(FIRST_EVIDENCE, child=CHAIN[5].block.header), "not the next"),
        (replace(FIRST_EVIDENCE, child=replace(CHILD, parent=bytes(32))), "not the child"),
        (replace(FIRST_EVIDENCE, child=replace(CHILD, rollup_id=2)), "not the next"),
        (
            replace(
                FIRST_EVIDENCE,
                child_certificate=Certificate(
                    CHILD.hash(GENESIS.hash),
                    tuple(replace(v, height=77) for v in FIRST_EVIDENCE.child_certificate.votes),
                ),
            ),
            "another height",
        ),
        (
            replace(
                FIRST_EVIDENCE,
                child_certificate=Certificate(
                    CHILD.hash(GENESIS.hash),
                    tuple(replace(v, signature=bytes(64)) for v in FIRST_EVIDENCE.child_certificate.votes),
                ),
            ),
            "did not sign",
        ),
    ],
)
def test_evidence_that_does_not_make_the_range_final_is_refused(evidence, reason):
    with pytest.raises(RangeRefused, match=reason):
        check(GENESIS, FIRST, evidence)


def test_evidence_cut_short_or_followed_by_bytes_is_refused():
    raw = FIRST_EVIDENCE.encode()
    for at in range(0, len(raw), 13):
        with pytest.raises(CodecError):
            RangeEvidence.decode(raw[:at])
    with pytest.raises(CodecError):
        RangeEvidence.decode(raw + b"\0")


def test_evidence_of_the_largest_validator_set_fits_beside_its_record():
    vote = FIRST_EVIDENCE.last_certificate.votes[0]
    full = Certificate(bytes(32), tuple(replace(vote, validator=i) for i in range(MAX_VALIDATORS)))
    largest = replace(FIRST_EVIDENCE, last_certificate=full, child_certificate=full)
    assert len(largest.encode()) <= MAX_EVIDENCE
