"""Headers and blocks: targets as Core reads them, Merkle trees that cannot be faked."""

import pytest
from bitcoin.core import CBlock, CBlockHeader, uint256_from_compact
from hypothesis import assume, given
from hypothesis import strategies as st

from anchor.btc.amounts import Sats
from anchor.btc.block import BlockError, merkle_branch, merkle_levels, merkle_root_from, parse_block
from anchor.btc.hashing import sha256d
from anchor.btc.header import Header, HeaderError, bits_of, target_of, work_of
from anchor.btc.ids import BlockHash, OutPoint, Txid
from anchor.btc.network import NETWORKS, REGTEST
from anchor.btc.tx import NULL_OUTPOINT, Tx, TxIn, TxOut

HASHES = st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=20, unique=True)


def coinbase(*outputs: TxOut, witness: tuple[bytes, ...] = ()) -> Tx:
    return Tx(
        2, (TxIn(NULL_OUTPOINT, 0xFFFFFFFF, witness, b"\x01\x02"),), outputs or (TxOut(Sats(0), b"\x51"),)
    )


def spend(n: int, witness: tuple[bytes, ...] = ()) -> Tx:
    return Tx(2, (TxIn(OutPoint(Txid(bytes([n]) * 32), n), 0, witness),), (TxOut(Sats(n), bytes([n]) * 30),))


def block_of(*txs: Tx, root: bytes | None = None) -> bytes:
    root = merkle_levels([tx.txid for tx in txs])[0][-1][0] if root is None else root
    header = Header(4, REGTEST.genesis_hash, root, 1_700_000_000, 0x207FFFFF, 0)
    return header.raw + bytes([len(txs)]) + b"".join(tx.serialize() for tx in txs)


def committed(*txs: Tx, reserved: bytes = bytes(32)) -> Tx:
    root = merkle_levels([bytes(32), *(tx.wtxid for tx in txs)])[0][-1][0]
    script = bytes.fromhex("6a24aa21a9ed") + sha256d(root + reserved)
    return coinbase(TxOut(Sats(0), script), witness=(reserved,))


@given(st.binary(min_size=80, max_size=80))
def test_a_header_survives_its_bytes_and_hashes_as_bitcoinlib_says(raw):
    header = Header.parse(raw)
    assert header.raw == raw
    assert header.hash == CBlockHeader.deserialize(raw).GetHash()


@pytest.mark.parametrize("size", [0, 79, 81, 160])
def test_a_header_of_another_length_is_refused(size):
    with pytest.raises(HeaderError, match="80 bytes"):
        Header.parse(bytes(size))


def test_header_fields_out_of_range_are_refused():
    for fields in ((0, bytes(31), bytes(32), 0, 0, 0), (2**31, bytes(32), bytes(32), 0, 0, 0)):
        with pytest.raises(HeaderError):
            _ = Header(fields[0], BlockHash(fields[1]), *fields[2:]).raw


@pytest.mark.parametrize(
    ("bits", "target"),
    [
        (0x1D00FFFF, 0xFFFF << 208),
        (0x207FFFFF, 0x7FFFFF << 232),
        (0x01120000, 0x12),
        (0x02123400, 0x1234),
        (0x04123456, 0x12345600),
        (0x03000001, 1),
        (0x2100FFFF, 0xFFFF << 240),
    ],
)
def test_compact_targets_read_as_in_core(bits, target):
    assert target_of(bits) == target


@pytest.mark.parametrize(
    "bits", [0, 0x01003456, 0x04923456, 0x01FEDCBA, 0xFF123456, 0x2200FFFF + 1, 0x23000100, 0x03800001]
)
def test_targets_that_are_negative_zero_or_overflow_are_refused(bits):
    with pytest.raises(HeaderError, match=f"{bits:08x}"):
        target_of(bits)
    with pytest.raises(HeaderError):
        work_of(bits)


@given(st.integers(1, 2**256 - 1))
def test_compact_form_rounds_down_and_is_stable(target):
    bits = bits_of(target)
    assert target_of(bits) <= target
    assert bits_of(target_of(bits)) == bits
    assert target_of(bits) == uint256_from_compact(bits)


def test_the_genesis_of_every_network_meets_its_own_target():
    for network in NETWORKS.values():
        header = Header.parse(network.genesis)
        assert int.from_bytes(header.hash, "little") <= target_of(header.bits)


@given(HASHES, st.data())
def test_every_branch_leads_to_the_root_and_no_other_position_does(txids, data):
    root = merkle_levels(txids)[0][-1][0]
    index = data.draw(st.integers(0, len(txids) - 1))
    branch = merkle_branch(txids, index)
    assert merkle_root_from(txids[index], index, branch) == root
    other = data.draw(st.integers(0, (1 << len(branch)) - 1))
    assume(other != index)
    try:
        assert merkle_root_from(txids[index], other, branch) != root or other >= len(txids)
    except BlockError:
        pass


def test_the_padded_twin_of_a_last_transaction_has_no_position():
    txids = [bytes([n]) * 32 for n in range(3)]
    branch = merkle_branch(txids, 2)
    with pytest.raises(BlockError, match="CVE-2012-2459"):
        merkle_root_from(txids[2], 3, branch)


def test_branches_that_do_not_fit_are_refused():
    for args in (
        (bytes(32), 1, ()),
        (bytes(32), -1, (bytes(32),)),
        (bytes(31), 0, ()),
        (bytes(32), 0, (b"x",)),
    ):
        with pytest.raises(BlockError):
            merkle_root_from(*args)
    with pytest.raises(BlockError):
        merkle_root_from(bytes(32), 0, (bytes(32),) * 25)
    with pytest.raises(BlockError):
        merkle_branch([bytes(32)], 1)
    with pytest.raises(BlockError):
        merkle_levels([])


def test_a_block_is_read_whole_and_bitcoinlib_agrees():
    others = [spend(n, (bytes([n]),)) for n in range(1, 6)]
    raw = block_of(committed(*others), *others)
    block = parse_block(raw)
    assert block.txs[1:] == tuple(others)
    assert block.header.raw == raw[:80]
    assert CBlock.deserialize(raw).calc_merkle_root() == block.header.merkle_root


def test_every_truncation_of_a_block_is_refused():
    raw = block_of(coinbase(), spend(1))
    for cut in range(len(raw)):
        with pytest.raises((BlockError, HeaderError)):
            parse_block(raw[:cut])
    with pytest.raises(BlockError, match="follow"):
        parse_block(raw + b"\0")
    with pytest.raises(BlockError, match="no block"):
        parse_block(bytes(4_000_001))


def test_a_block_padded_with_its_own_last_transaction_is_refused():
    txs = [coinbase(), spend(1), spend(2)]
    parse_block(block_of(*txs))
    padded = block_of(*txs, txs[-1])
    assert parse_block(block_of(*txs)).header.merkle_root == Header.parse(padded[:80]).merkle_root
    with pytest.raises(BlockError, match="Merkle root"):
        parse_block(padded)


def test_a_transaction_of_64_bytes_is_refused():
    small = Tx(2, (TxIn(OutPoint(Txid(b"\x01" * 32), 0), 0),), (TxOut(Sats(1), b"\x51" * 4),))
    assert len(small.serialize_stripped()) == 64
    with pytest.raises(BlockError, match="64 bytes"):
        parse_block(block_of(coinbase(), small))


@pytest.mark.parametrize("txs", [(spend(1),), (coinbase(), coinbase()), (spend(1), coinbase())])
def test_a_coinbase_that_is_missing_or_repeated_is_refused(txs):
    with pytest.raises(BlockError, match="coinbase"):
        parse_block(block_of(*txs))


def test_a_wrong_root_is_refused():
    with pytest.raises(BlockError, match="Merkle root"):
        parse_block(block_of(coinbase(), root=bytes(32)))


def test_witnesses_that_the_coinbase_does_not_commit_to_are_refused():
    honest = spend(1, (b"what was signed",))
    with pytest.raises(BlockError, match="does not commit"):
        parse_block(block_of(coinbase(), honest))
    with pytest.raises(BlockError, match="commits to"):
        parse_block(block_of(committed(honest), honest.with_witness(0, (b"something else",))))


def test_impossible_counts_are_refused():
    raw = block_of(coinbase())
    for count in (b"\xff" * 9, b"\xfd\x01\x00", b"\xfe\xff\xff\x00\x00", b"\x00", b"\xfd"):
        with pytest.raises(BlockError):
            parse_block(raw[:80] + count + raw[81:])
