"""Amounts and names."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anchor.btc.amounts import MAX_MONEY, check_sats
from anchor.btc.ids import OutPoint, Txid, display, from_display
from anchor.btc.network import MAINNET, NETWORKS, REGTEST, SIGNET, TESTNET3, TESTNET4, network_by_name


@pytest.mark.parametrize("value", [-1, MAX_MONEY + 1, True, 1.0, "1", None])
def test_what_is_no_amount_is_refused(value):
    with pytest.raises(ValueError, match="whole satoshis"):
        check_sats(value)


def test_amounts_from_zero_to_all_coins_pass():
    assert check_sats(0) == 0
    assert check_sats(MAX_MONEY) == 2_100_000_000_000_000


@given(st.binary(min_size=32, max_size=32), st.integers(0, 2**32 - 1))
def test_an_outpoint_survives_both_of_its_spellings(txid, vout):
    point = OutPoint(Txid(txid), vout)
    assert OutPoint.decode(point.encode()) == point
    assert OutPoint.parse(str(point)) == point
    assert str(point).startswith(txid[::-1].hex() + ":")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "00:0",
        "ab" * 32,
        "ab" * 32 + ":",
        "ab" * 32 + ":-1",
        "ab" * 32 + ":01",
        "ab" * 32 + ":4294967296",
        "ab" * 32 + ":1:2",
        " " + "ab" * 32 + ":1",
        "zz" * 32 + ":1",
        "ab" * 32 + ":" + "9" * 40,
        "ab" * 32 + ":²",
    ],
)
def test_other_spellings_of_an_outpoint_are_refused(text):
    with pytest.raises(ValueError):
        OutPoint.parse(text)


@pytest.mark.parametrize("size", [0, 35, 37])
def test_an_outpoint_of_another_length_is_refused(size):
    with pytest.raises(ValueError, match="36 bytes"):
        OutPoint.decode(bytes(size))


def test_display_order_turns_bytes_round():
    assert display(bytes(31) + b"\x01") == "01" + "00" * 31
    assert from_display("01" + "00" * 31) == bytes(31) + b"\x01"
    with pytest.raises(ValueError):
        display(bytes(31))


@pytest.mark.parametrize("text", ["", "0x" + "00" * 31, "00 " * 21 + "0", "00" * 33, "é" * 64])
def test_text_that_is_no_hash_is_refused(text):
    with pytest.raises(ValueError, match=r"64 hex digits|hexadecimal"):
        from_display(text)


@pytest.mark.parametrize(
    ("network", "genesis"),
    [
        (MAINNET, "000000000019d6689c085ae165831e934ff763ae46a2a6c172b3f1b60a8ce26f"),
        (TESTNET3, "000000000933ea01ad0ee984209779baaec3ced90fa3f408719526f8d77f4943"),
        (TESTNET4, "00000000da84f2bafbbc53dee25a72ae507ff4914b867c565be350b0da8bf043"),
        (SIGNET, "00000008819873e925422c1ff0f99f7cc9bbb232af63a077a480a3633bee1ef6"),
        (REGTEST, "0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206"),
    ],
)
def test_each_genesis_header_has_the_published_hash(network, genesis):
    assert display(network.genesis_hash) == genesis


def test_networks_are_found_by_our_name_and_by_bitcoinds():
    assert all(network_by_name(n.name) is n and network_by_name(n.chain) is n for n in NETWORKS.values())
    with pytest.raises(ValueError, match="choose one of mainnet"):
        network_by_name("bitcoin")
