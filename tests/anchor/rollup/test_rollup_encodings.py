"""Genesis, activation, statements, transactions and blocks: one encoding each, and nothing else is read."""

from dataclasses import replace

import pytest

from anchor.btc.codec import CodecError
from anchor.btc.ids import OutPoint, Txid
from anchor.rollup.activation import Activation, ActivationRefused, Lane, Params, SignedActivation
from anchor.rollup.block import Block, BlockHeader, Certificate, CertifiedBlock, Vote
from anchor.rollup.decisions import Decision, SignedDecision
from anchor.rollup.genesis import Genesis, Validator
from anchor.rollup.statements import MintStatement, SettleStatement
from anchor.rollup.succession import SignedSuccession, Succession
from anchor.rollup.tx import MAX_TX_BYTES, Activate, Decide, Lock, Mint, Settle, Succeed, Transfer, decode_tx
from tests.anchor.rollup.rollup_world import (
    ALICE,
    BOB,
    GEN,
    HOSTS,
    MALLORY,
    PARAMS,
    VALIDATORS,
    World,
    a_genesis,
    an_activation,
    certified,
    nothing,
    signed,
    vote,
)


def every_encodable() -> list[object]:
    w = World().funded()
    lock = w.lock(ALICE, 50_000)
    block = w.block(lock)
    mint, settle = w.mint(BOB, 20_000, "other"), w.settle(lock)
    activate, decide, succeed = Activate(signed(an_activation())), w.decide(), w.succeed()
    return [
        GEN,
        succeed,
        succeed.signed,
        succeed.signed.succession,
        decide,
        decide.signed,
        decide.signed.decision,
        activate.signed,
        activate.signed.activation,
        PARAMS,
        activate,
        mint,
        mint.statement,
        settle,
        settle.statement,
        lock,
        w.transfer(ALICE, BOB, 5),
        block,
        block.header,
        vote(GEN, block, 2),
        certified(GEN, block),
        certified(GEN, block).certificate,
    ]


@pytest.mark.parametrize("thing", every_encodable(), ids=lambda t: type(t).__name__)
def test_every_type_reads_what_it_wrote_and_nothing_else(thing: object) -> None:
    kind, raw = type(thing), thing.encode()
    assert kind.decode(raw) == thing
    assert kind.decode(raw).encode() == raw
    with pytest.raises(CodecError):
        kind.decode(raw + b"\x00")
    for cut in {0, 1, len(raw) // 2, len(raw) - 1}:
        with pytest.raises(CodecError):
            kind.decode(raw[:cut])


KINDS = (Transfer, Lock, Activate, Mint, Settle, Decide, Succeed)


def test_the_test_above_covers_every_encodable_type() -> None:
    covered = {type(thing) for thing in every_encodable()}
    types = {Genesis, SignedActivation, Activation, Params, MintStatement, SettleStatement, *KINDS}
    types |= {Decision, SignedDecision, Succession, SignedSuccession}
    assert covered >= types | {Block, BlockHeader, Vote, CertifiedBlock, Certificate}


def test_a_changed_byte_of_a_transaction_is_another_transaction_or_none() -> None:
    raw = World().funded().transfer(ALICE, BOB, 5).encode()
    for at in range(len(raw)):
        bad = raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]
        try:
            assert decode_tx(bad).encode() == bad
        except CodecError:
            assert at == 0, "only the kind byte can be malformed in a transfer"


def test_an_unknown_kind_and_an_oversized_transaction_are_refused() -> None:
    with pytest.raises(CodecError, match="kind of transaction 9"):
        decode_tx(b"\x09")
    with pytest.raises(CodecError, match="at most"):
        decode_tx(b"\x01" + bytes(MAX_TX_BYTES))
    with pytest.raises(CodecError, match="Transfer where a Lock"):
        Lock.decode(World().funded().transfer(ALICE, BOB, 5).encode())


def test_a_transactions_id_does_not_change_with_its_signature_but_with_the_rollup() -> None:
    tx = World().funded().transfer(ALICE, BOB, 5)
    assert tx.signed(bytes(64)).txid(GEN.hash) == tx.txid(GEN.hash)
    assert tx.txid(nothing("other rollup")) != tx.txid(GEN.hash)


def test_statements_are_signed_under_their_own_tags() -> None:
    w = World().funded()
    mint, settle = w.mint(ALICE, 20_000).statement, w.settle(w.lock(ALICE, 20_000)).statement
    assert len({mint.message, settle.message, replace(mint, epoch=2).message}) == 3


def test_genesis_and_activation_survive_their_files() -> None:
    assert Genesis.from_json(GEN.to_json()) == GEN
    record = signed(an_activation())
    assert SignedActivation.from_json(record.to_json()) == record
    assert SignedActivation.from_json(record.to_json()).hash == record.activation.hash


@pytest.mark.parametrize("text", ["", "{}", "[]", "null", '{"rollup_id": 1}', b"\xff\xfe", "{" * 5000])
def test_a_damaged_file_is_a_clear_error(text: str | bytes) -> None:
    with pytest.raises(CodecError, match="not a genesis file"):
        Genesis.from_json(text)
    with pytest.raises(CodecError, match="not an activation record"):
        SignedActivation.from_json(text)


def test_an_unknown_or_wrong_field_in_a_file_is_refused() -> None:
    with pytest.raises(CodecError):
        Genesis.from_json(GEN.to_json().replace('"k": 3', '"k": 3, "extra": 1'))
    with pytest.raises(CodecError):
        Genesis.from_json(GEN.to_json().replace('"k": 3', '"k": "3"'))
    record = signed(an_activation()).to_json()
    with pytest.raises(CodecError):
        SignedActivation.from_json(record.replace('"k": 3', '"kk": 3'))
    with pytest.raises(CodecError):
        SignedActivation.from_json(record.replace(":0", ":00"))


@pytest.mark.parametrize(
    "change",
    [
        {"rollup_id": 0},
        {"rollup_id": 1 << 32},
        {"name": "Demo"},
        {"name": ""},
        {"network": "moon"},
        {"committee_hash": b"short"},
        {"host_keys": ()},
        {"threshold": 0},
        {"threshold": len(HOSTS) + 1},
        {"host_keys": (HOSTS[0].x, HOSTS[0].x)},
        {"host_keys": (bytes(32),)},
        {"validators": ()},
        {"validators": (Validator(VALIDATORS[0].x, 0),)},
        {"validators": (Validator(VALIDATORS[0].x, 1), Validator(VALIDATORS[0].x, 2))},
        {"validators": (Validator(VALIDATORS[0].x, (1 << 48) + 1),)},
        {"bitcoin_height": -1},
        {"bitcoin_header": bytes(79)},
        {"k": 0},
        {"block_ms": 1},
    ],
    ids=str,
)
def test_a_genesis_out_of_range_cannot_exist(change: dict[str, object]) -> None:
    with pytest.raises(CodecError):
        a_genesis(**change)


COIN = OutPoint(Txid(nothing("coin")), 0)


@pytest.mark.parametrize(
    "change",
    [
        {"rollup_id": 0},
        {"genesis_hash": b""},
        {"network": "moon"},
        {"epoch": -1},
        {"mint_key": bytes(33)},
        {"mint_key": MALLORY.x},
        {"treasury_key": b"\x04" + MALLORY.x},
        {"treasury_value": 0},
        {"lanes": ()},
        {"lanes": (Lane(1, COIN, 5), Lane(0, OutPoint(COIN.txid, 1), 5))},
        {"lanes": (Lane(0, COIN, 5), Lane(1, COIN, 5))},
        {"lanes": (Lane(0, COIN, 0),)},
        {"lanes": (Lane(1 << 16, COIN, 1),)},
        {"height": 1 << 32},
    ],
    ids=str,
)
def test_an_activation_out_of_range_cannot_exist(change: dict[str, object]) -> None:
    with pytest.raises(CodecError):
        an_activation(**change)


@pytest.mark.parametrize(
    "change",
    [
        {"k": 0},
        {"range_length": 0},
        {"reclaim_delay": 3},
        {"reclaim_delay": 70_000},
        {"min_deposit": 1_000},
        {"max_deposit": 9_999},
        {"withdrawal_fee": 10_000},
        {"supply_cap": 21_000_001 * 10**8},
        {"min_fee_rate": 0},
        {"max_fee_rate": 0},
        {"batch_fee_cap": -1},
        {"expiry_blocks": 1.5},
    ],
    ids=str,
)
def test_parameters_out_of_range_cannot_exist(change: dict[str, object]) -> None:
    with pytest.raises(CodecError):
        replace(PARAMS, **change)


def test_an_activation_names_the_operator_who_did_not_sign() -> None:
    record = an_activation()
    keys = GEN.host_keys
    signed(record).verify(keys)
    with pytest.raises(ActivationRefused, match="2 signatures for 3 operators"):
        signed(record, HOSTS[:2]).verify(keys)
    with pytest.raises(ActivationRefused, match="operator 2"):
        signed(record, (HOSTS[0], MALLORY, HOSTS[2])).verify(keys)
    with pytest.raises(ActivationRefused, match="operator 1"):
        replace(signed(record), activation=an_activation(epoch=2)).verify(keys)


def test_votes_of_a_certificate_stand_in_order_once_each() -> None:
    block = World().block()
    votes = [vote(GEN, block, i) for i in (0, 1, 2)]
    for wrong in ([votes[1], votes[0], votes[2]], [votes[0], votes[0], votes[1]]):
        raw = Certificate(block.header.hash(GEN.hash), tuple(wrong)).encode()
        with pytest.raises(CodecError, match="sorted"):
            Certificate.decode(raw)
