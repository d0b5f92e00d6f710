"""Addresses, against BIP350's lists and btclib."""

import json
import secrets

import pytest
from btclib.script import ScriptPubKey as OracleScript
from hypothesis import given
from hypothesis import strategies as st

from anchor.btc.address import AddressError, address_of, bech32_decode, bech32_encode, script_of
from anchor.btc.network import MAINNET, NETWORKS, REGTEST, SIGNET, TESTNET4
from anchor.btc.script import p2tr


@pytest.fixture
def lists(vectors):
    return json.loads((vectors / "bips/bip350.json").read_text())


def test_every_valid_bech32m_string_of_bip350_decodes(lists):
    assert lists["valid_bech32m"]
    for text in lists["valid_bech32m"]:
        hrp, values, constant = bech32_decode(text)
        assert constant == 0x2BC830A3
        assert bech32_encode(hrp, values, constant) == text.lower()


def test_no_invalid_bech32m_string_of_bip350_decodes(lists):
    assert lists["invalid_bech32m"]
    for case in lists["invalid_bech32m"]:
        text = bytes.fromhex(case["string_hex"]).decode("latin-1")
        with pytest.raises(AddressError):
            bech32_decode(text)


def test_every_valid_address_of_bip350_gives_its_script_and_back(lists):
    assert lists["valid_addresses"]
    for case in lists["valid_addresses"]:
        network = MAINNET if case["address"].lower().startswith("bc1") else TESTNET4
        script = script_of(case["address"], network)
        assert script.hex() == case["script_pubkey"]
        assert address_of(script, network) == case["address"].lower()


def test_no_invalid_address_of_bip350_passes_on_any_network(lists):
    assert lists["invalid_addresses"]
    for case in lists["invalid_addresses"]:
        for network in NETWORKS.values():
            with pytest.raises(AddressError):
                script_of(case["address"], network)


@pytest.mark.parametrize(
    ("address", "script"),
    [
        ("1A1zP1eP5QGefi2DMPTfTL5SLmv7DivfNa", "76a91462e907b15cbf27d5425399ebf6f0fb50ebb88f1888ac"),
        ("1111111111111111111114oLvT2", "76a914" + "00" * 20 + "88ac"),
    ],
)
def test_base58_addresses_give_their_script_and_back(address, script):
    assert script_of(address, MAINNET).hex() == script
    assert address_of(bytes.fromhex(script), MAINNET) == address
    with pytest.raises(AddressError, match="another network"):
        script_of(address, REGTEST)


@given(st.binary(min_size=20, max_size=20), st.sampled_from(list(NETWORKS.values())))
def test_a_second_library_spells_base58_addresses_alike(hash20, network):
    name = {"testnet3": "testnet"}.get(network.name, network.name)
    for script in (b"\x76\xa9\x14" + hash20 + b"\x88\xac", b"\xa9\x14" + hash20 + b"\x87"):
        address = address_of(script, network)
        assert address == OracleScript(script, network=name).address
        assert script_of(address, network) == script


def test_an_address_of_another_network_is_refused_and_named():
    address = address_of(p2tr(bytes(32)), REGTEST)
    assert address.startswith("bcrt1p")
    with pytest.raises(AddressError, match=r"address of regtest.*mainnet"):
        script_of(address, MAINNET)
    with pytest.raises(AddressError, match=r"testnet3 or testnet4 or signet"):
        script_of(address_of(p2tr(bytes(32)), SIGNET), REGTEST)


@given(st.integers(0, 60), st.integers(1, 31))
def test_one_changed_character_never_passes(place, shift):
    address = address_of(p2tr(secrets.token_bytes(32)), REGTEST)
    place = 5 + place % (len(address) - 5)
    charset = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
    changed = charset[(charset.index(address[place]) + shift) % 32] if address[place] in charset else "q"
    with pytest.raises(AddressError):
        script_of(address[:place] + changed + address[place + 1 :], REGTEST)


@pytest.mark.parametrize(
    "text", ["", "1", "bc1", "bc1q", "0OIl", "x" * 200, "bc1" + "q" * 200, "é", "1" * 34, "3" * 34]
)
def test_text_that_is_no_address_is_refused(text):
    with pytest.raises(AddressError):
        script_of(text, MAINNET)


@pytest.mark.parametrize("script", ["", "00", "6a", "0015" + "00" * 21, "5101ff", "5129" + "00" * 41, "76a9"])
def test_scripts_without_an_address_are_refused(script):
    with pytest.raises(AddressError):
        address_of(bytes.fromhex(script), MAINNET)
