"""Transactions: exact bytes, ids and sizes, and nothing else accepted."""

import random

import pbk
import pytest
from btclib.tx import Tx as OracleTx
from hypothesis import given, settings
from hypothesis import strategies as st

from anchor.btc.amounts import MAX_MONEY, Sats
from anchor.btc.ids import OutPoint, Txid
from anchor.btc.tx import MAX_TX_SIZE, Tx, TxError, TxIn, TxOut

U32 = st.integers(0, 2**32 - 1)
BYTES = st.binary(max_size=80)
POINTS = st.builds(lambda t, n: OutPoint(Txid(t), n), st.binary(min_size=32, max_size=32), U32)
INPUTS = st.builds(TxIn, POINTS, U32, st.lists(BYTES, max_size=3).map(tuple), BYTES)
OUTPUTS = st.builds(lambda v, s: TxOut(Sats(v), s), st.integers(0, MAX_MONEY), BYTES)
TXS = st.builds(
    Tx,
    U32,
    st.lists(INPUTS, min_size=1, max_size=4).map(tuple),
    st.lists(OUTPUTS, min_size=1, max_size=4).map(tuple),
    U32,
)


def sample(seed: int = 7) -> Tx:
    rng = random.Random(seed)
    inputs = [TxIn(OutPoint(Txid(rng.randbytes(32)), i), 0xFFFFFFFD, (rng.randbytes(64),)) for i in range(2)]
    return Tx(3, tuple(inputs), (TxOut(Sats(330), rng.randbytes(34)),), 0)


@given(TXS)
def test_a_transaction_survives_its_bytes_and_core_and_btclib_agree_on_ids(tx):
    data = tx.serialize()
    assert Tx.parse(data) == tx
    assert bytes(pbk.Transaction(data)) == data
    assert bytes(pbk.Transaction(data).txid) == tx.txid
    other = OracleTx.parse(data, check_validity=False)
    assert other.id[::-1] == tx.txid
    assert other.hash[::-1] == tx.wtxid
    assert (other.weight, other.vsize) == (tx.weight, tx.vsize)


@given(TXS)
@settings(max_examples=30)
def test_every_truncation_of_a_transaction_is_refused(tx):
    data = tx.serialize()
    for cut in range(len(data)):
        with pytest.raises(TxError):
            Tx.parse(data[:cut])
    with pytest.raises(TxError, match="follow"):
        Tx.parse(data + b"\0")


@given(st.binary(max_size=300))
def test_garbage_is_refused_or_is_exactly_what_it_says(data):
    try:
        tx = Tx.parse(data)
    except TxError:
        return
    assert tx.serialize() == data


def test_lengths_written_long_are_refused():
    data = sample().serialize_stripped()
    assert data[4] == 2
    with pytest.raises(TxError, match="canonical"):
        Tx.parse(data[:4] + b"\xfd\x02\x00" + data[5:])


def test_a_witness_flag_without_witness_is_refused():
    tx = sample().with_witness(0, ()).with_witness(1, ())
    data = tx.serialize()
    flagged = data[:4] + b"\0\1" + data[4:-4] + b"\0\0" + data[-4:]
    with pytest.raises(TxError, match="canonical"):
        Tx.parse(flagged)


def test_huge_counts_do_not_cost_memory():
    for count in (b"\xfe\xff\xff\xff\x01", b"\xff" + b"\xff" * 8, b"\xfd\xff\xff"):
        with pytest.raises(TxError):
            Tx.parse(b"\2\0\0\0" + count + bytes(100))


def test_more_than_a_block_holds_is_refused_unread():
    with pytest.raises(TxError, match="more than a block"):
        Tx.parse(bytes(MAX_TX_SIZE + 1))


def test_values_beyond_all_coins_are_refused():
    data = bytearray(sample().serialize_stripped())
    at = data.index((330).to_bytes(8, "little"))
    for value in (MAX_MONEY + 1, 2**63, 2**64 - 1):
        data[at : at + 8] = value.to_bytes(8, "little")
        with pytest.raises(TxError, match="value"):
            Tx.parse(bytes(data))


def test_fields_out_of_range_are_refused():
    tx = sample()
    for build in (
        lambda: Tx(3, (), tx.outputs),
        lambda: Tx(3, tx.inputs, ()),
        lambda: Tx(-1, tx.inputs, tx.outputs),
        lambda: Tx(3, tx.inputs, tx.outputs, 2**32),
        lambda: TxIn(tx.inputs[0].outpoint, -1),
        lambda: TxOut(Sats(-1), b""),
    ):
        with pytest.raises(TxError):
            build()


def test_a_witness_changes_the_wtxid_and_never_the_txid():
    tx = sample()
    other = tx.with_witness(1, (b"x", b""))
    assert other.inputs[1].witness == (b"x", b"")
    assert other.inputs[0] == tx.inputs[0]
    assert other.txid == tx.txid
    assert other.wtxid != tx.wtxid
    assert other.serialize_stripped() == tx.serialize_stripped()


def test_outputs_are_named_only_where_they_exist():
    tx = sample()
    assert tx.outpoint(0) == OutPoint(tx.txid, 0)
    for vout in (-1, 1):
        with pytest.raises(IndexError):
            tx.outpoint(vout)
