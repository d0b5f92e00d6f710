"""Real headers of testnet3 and testnet4, around what only these networks have.

`testnets.txt` holds runs out of both chains as public collections have them (VeriBlock's alt-integration-cpp for
testnet3; chainwayxyz's risc0-to-bitvm2 and bathron-core for testnet4): first retargets, the 20-minute exception,
the way back to real work, clamps both ways. Each carries real work, so nobody made them up here. None was found for
a testnet4 period in which BIP94's base decides; that is tried on synthetic chains.
"""

from pathlib import Path

import pytest

from anchor.btc.header import Header
from anchor.btc.network import MAINNET, TESTNET3, TESTNET4
from anchor.headers.rules import HeaderRefused, check, median_time, rules_of

NETWORKS = {network.name: network for network in (MAINNET, TESTNET3, TESTNET4)}
EASY = 0x1D00FFFF


@pytest.fixture(scope="module")
def real() -> dict[str, dict[int, Header]]:
    found: dict[str, dict[int, Header]] = {"testnet3": {}, "testnet4": {}}
    for line in (Path(__file__).parent / "testnets.txt").read_text().splitlines():
        if not line.startswith("#"):
            network, height, raw = line.split()
            found[network][int(height)] = Header.parse(bytes.fromhex(raw))
    return found


@pytest.mark.parametrize(("name", "linked", "with_median"), [("testnet3", 44, 14), ("testnet4", 29, 17)])
def test_every_real_header_of_a_test_network_follows_from_those_before_it(real, name, linked, with_median):
    headers, rules = real[name], rules_of(NETWORKS[name])
    heights = [height for height in headers if height - 1 in headers]
    for height in heights:
        check(rules, headers[height], height, headers.get)
    assert len(heights) == linked
    assert sum(median_time(height, headers.get) is not None for height in heights) == with_median


@pytest.mark.parametrize(
    ("name", "height", "parents_bits", "bits"),
    [
        ("testnet3", 4032, EASY, 0x1C3FFFC0),  # a retarget, four times as hard at most
        ("testnet3", 4033, 0x1C3FFFC0, EASY),  # 1,201 s later: easy
        ("testnet3", 4209, EASY, 0x1C3FFFC0),  # in time after many easy ones: the period's own bits again
        ("testnet3", 8062, 0x1C0FFFF0, EASY),
        ("testnet3", 8063, EASY, 0x1C0FFFF0),
        ("testnet3", 8064, 0x1C0FFFF0, 0x1C3FFFC0),  # a retarget, four times as easy at most
        ("testnet4", 2016, EASY, 0x1C3FFFC0),
        ("testnet4", 145_151, EASY, 0x190228F4),  # time 6,375 s before its parent's: allowed inside a period
        ("testnet4", 145_152, 0x190228F4, 0x190274DF),
        ("testnet4", 145_153, 0x190274DF, EASY),
        ("testnet4", 145_156, EASY, 0x190274DF),
    ],
)
def test_the_real_turns_of_difficulty_are_the_computed_ones(real, name, height, parents_bits, bits):
    headers, rules = real[name], rules_of(NETWORKS[name])
    assert (headers[height - 1].bits, headers[height].bits) == (parents_bits, bits)
    raw = headers[height].raw
    for bit in range(640):
        flipped = bytearray(raw)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(HeaderRefused):
            check(rules, Header.parse(bytes(flipped)), height, headers.get)


def test_what_is_easy_for_being_late_on_testnet_is_refused_on_mainnet(real):
    headers = real["testnet3"]
    with pytest.raises(HeaderRefused) as refused:
        check(rules_of(MAINNET), headers[4033], 4033, headers.get)
    assert refused.value.rule == "bits"
