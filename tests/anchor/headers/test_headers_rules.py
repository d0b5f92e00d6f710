"""Header rules, against real headers of mainnet and signet and synthetic ones of the test networks."""

from dataclasses import replace

import pytest

from anchor.btc.header import Header, bits_of, target_of
from anchor.btc.ids import BlockHash, display
from anchor.btc.network import MAINNET, REGTEST, SIGNET, TESTNET3, TESTNET4
from anchor.headers.rules import HeaderRefused, check, median_time, next_bits, rules_of
from anchor.headers.verify import verify_headers
from tests.anchor.headers.minting import GENESIS, RULES, child, mine, run

WORK_822528 = 0x624C5A3C876E3E6FFFD9C800
WORK_824544 = 0x64501794587EF4725E5041F9


def split(raw: bytes) -> list[Header]:
    return [Header.parse(raw[i : i + 80]) for i in range(0, len(raw), 80)]


def test_mainnets_first_ten_thousand_headers_pass(vectors):
    found = verify_headers(MAINNET, (vectors / "headers/mainnet-000000.bin").read_bytes())
    assert (found.count, found.height) == (10_237, 10_236)


def test_signets_first_period_passes_and_is_not_mainnets(vectors):
    raw = (vectors / "headers/signet-000000.bin").read_bytes()
    assert verify_headers(SIGNET, raw).count == 2016
    with pytest.raises(HeaderRefused, match="genesis"):
        verify_headers(MAINNET, raw)


def test_mainnets_retargets_pass_and_their_work_is_the_published_one(vectors):
    raw = (vectors / "headers/mainnet-822528.bin").read_bytes()
    assert verify_headers(MAINNET, raw, 822_528).height == 826_560
    first, through = (verify_headers(MAINNET, raw[: 80 * n], 822_528) for n in (1, 2017))
    assert WORK_822528 + through.work - first.work == WORK_824544


def test_a_header_file_with_one_lie_is_refused_at_its_height(vectors):
    raw = (vectors / "headers/mainnet-822528.bin").read_bytes()[: 80 * 2100]
    at = 80 * 2016  # the retarget block itself
    for offset, rule in ((4, "parent"), (40, "work"), (68, "work"), (72, "bits"), (76, "work")):
        bad = bytearray(raw)
        bad[at + offset] ^= 1
        with pytest.raises(HeaderRefused) as refused:
            verify_headers(MAINNET, bytes(bad), 822_528)
        assert (refused.value.rule, refused.value.height) == (rule, 824_544)


def test_a_file_that_starts_inside_a_period_is_refused_where_bits_change():
    with pytest.raises(HeaderRefused, match="multiple of 2016"):
        verify_headers(MAINNET, bytes(80), 1)
    raw = b"".join(h.raw for h in run(GENESIS, 20))
    assert verify_headers(REGTEST, raw, 1).height == 20


def line(headers: list[Header], base: int = 0):
    return lambda height: headers[height - base] if 0 <= height - base < len(headers) else None


def refused_rule(header: Header, ancestors: list[Header], rules=RULES, base: int = 0) -> str | None:
    try:
        check(rules, header, base + len(ancestors), line(ancestors, base))
    except HeaderRefused as error:
        return error.rule
    return None


def test_each_broken_rule_is_named():
    chain = [GENESIS, *run(GENESIS, 12)]
    good = child(chain[-1])
    median = median_time(13, line(chain))
    assert refused_rule(good, chain) is None
    assert refused_rule(replace(good, parent=BlockHash(bytes(32))), chain) == "parent"
    assert refused_rule(mine(good, fail=True), chain) == "work"
    assert refused_rule(replace(good, bits=0x207FFFFE), chain) == "bits"
    assert refused_rule(mine(replace(good, time=median)), chain) == "median-time"
    assert refused_rule(mine(replace(good, time=median + 1)), chain) is None
    for version in (3, 1, 0, -1, -(2**31)):
        assert refused_rule(mine(replace(good, version=version)), chain) == "version"


def synthetic(network, count: int, *, gap: int, bits: int, since: int = 0, base_time: int = 1_700_000_000):
    """Headers whose work nobody did: only for the functions that compute bits and medians."""
    made: list[Header] = []
    for n in range(count):
        parent = made[-1].hash if made else BlockHash(bytes(32))
        made.append(Header(4, parent, bytes(32), base_time + gap * n, bits, since + n))
    return made


def test_a_late_block_on_testnet_may_be_easy_and_the_next_must_be_real_again():
    rules, real = rules_of(TESTNET3), 0x1B00FFFF
    line3 = synthetic(TESTNET3, 100, gap=600, bits=real)
    last = line3[-1]
    assert next_bits(rules, 2016 + 100, last.time + 1200, line(line3, 2016)) == real
    assert next_bits(rules, 2016 + 100, last.time + 1201, line(line3, 2016)) == 0x1D00FFFF
    easy = replace(last, parent=last.hash, time=last.time + 1201, bits=0x1D00FFFF)
    for count in (1, 2, 50):
        walked = [*line3, *([easy] * count)]
        assert next_bits(rules, 2016 + len(walked), easy.time + 600, line(walked, 2016)) == real


def test_the_walk_back_over_easy_blocks_stops_at_the_period():
    rules = rules_of(TESTNET3)
    easy = synthetic(TESTNET3, 30, gap=600, bits=0x1D00FFFF)
    assert next_bits(rules, 2016 + 30, easy[-1].time + 600, line(easy, 2016)) == 0x1D00FFFF


def test_testnet4_retargets_from_the_periods_first_bits_and_testnet3_from_its_last():
    real, easy = 0x1B00FFFF, 0x1D00FFFF
    period = synthetic(TESTNET4, 2016, gap=600, bits=real)
    period[-1] = replace(period[-1], bits=easy)
    took = period[-1].time - period[0].time
    for network, base in ((TESTNET4, real), (TESTNET3, easy)):
        wanted = bits_of(min(target_of(base) * took // (14 * 86400), (1 << 224) - 1))
        assert next_bits(rules_of(network), 4032, period[-1].time + 9999, line(period, 2016)) == wanted


def test_bits_without_the_ancestors_that_they_need_are_a_bug_of_ours():
    with pytest.raises(AssertionError, match="reach back"):
        next_bits(rules_of(MAINNET), 4032, 0, line(synthetic(MAINNET, 10, gap=600, bits=0x1B00FFFF), 4022))


def test_a_retarget_moves_by_a_factor_of_four_at_most():
    for gap, factor in ((1, 0.25), (600 * 100, 4)):
        period = synthetic(MAINNET, 2016, gap=gap, bits=0x1B00FFFF)
        new = next_bits(rules_of(MAINNET), 4032, 0, line(period, 2016))
        assert new == bits_of(int(target_of(0x1B00FFFF) * factor))
    slow = synthetic(MAINNET, 2016, gap=60_000, bits=0x1D00FFFF)
    assert next_bits(rules_of(MAINNET), 4032, 0, line(slow, 2016)) == 0x1D00FFFF


def test_testnet4_refuses_a_period_that_starts_long_before_the_last_block():
    rules = replace(RULES, bip94=True)  # regtest's easy work, testnet4's rule
    chain = [GENESIS, *run(GENESIS, 143)]
    late = mine(replace(chain[-1], time=chain[-1].time + 5000))
    chain[-1] = late
    early = mine(replace(child(late), time=late.time - 601))
    assert refused_rule(early, chain, rules) == "timewarp"
    assert refused_rule(mine(replace(early, time=late.time - 600)), chain, rules) is None
    assert refused_rule(early, chain) is None


def test_no_retarget_of_a_real_network_leaves_256_bits():
    """Core multiplies in 256 bits; were a product larger, it would wrap around there and not here."""
    for network in (MAINNET, TESTNET3, TESTNET4, SIGNET):
        rules = rules_of(network)
        assert rules.pow_limit * rules.interval * rules.spacing * 4 < 1 << 256
        assert target_of(rules.limit_bits) <= rules.pow_limit


def test_medians_wait_until_eleven_are_known_or_genesis_is():
    chain = [GENESIS, *run(GENESIS, 20)]
    assert median_time(1, line(chain)) == GENESIS.time
    assert median_time(3, line(chain)) == chain[1].time
    assert median_time(21, line(chain)) == chain[15].time
    assert median_time(21, line(chain[11:], 11)) is None
    assert median_time(21, line(chain[10:], 10)) == chain[15].time


def test_the_real_stale_rival_of_mainnet_823226_is_valid_and_stays_aside(vectors):
    from anchor.headers.chain import HeaderChain

    raw = (vectors / "headers/mainnet-822528.bin").read_bytes()
    headers = split(raw[: 80 * 800])
    chain = HeaderChain(rules_of(MAINNET), headers[0], 822_528, work=WORK_822528)
    for header in headers[1:]:
        chain.add(header)
    tip = chain.tip
    stale = Header.parse((vectors / "headers/mainnet-823226-stale.bin").read_bytes())
    added = chain.add(stale)
    assert (added.height, added.is_tip, chain.tip) == (823_226, False, tip)
    assert chain.at_height(823_226).hash != stale.hash
    assert chain.depth(stale.hash) == 0
    assert display(stale.hash).startswith("0000000000")
