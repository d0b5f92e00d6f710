"""Whole files of headers: real ones, cut, altered and mixed ones, in pieces of any size."""

import tracemalloc
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anchor.btc.header import Header, target_of
from anchor.btc.network import MAINNET, REGTEST, SIGNET, TESTNET3, TESTNET4, Network
from anchor.headers.rules import HeaderRefused, check, rules_of
from anchor.headers.run import HeaderRun
from anchor.headers.verify import FileCheck, verify_headers
from tests.anchor.headers.minting import GENESIS, RULES, mine, run

LINE = [GENESIS, *run(GENESIS, 60)]
RAW = b"".join(header.raw for header in LINE)
SIZE = 80


def refusal(network: Network, raw: bytes, start: int = 0) -> HeaderRefused:
    with pytest.raises(HeaderRefused) as refused:
        verify_headers(network, raw, start)
    return refused.value


def period(vectors, name: str, first: int, start: int = 0) -> list[Header]:
    """Headers from `first` on in a file that begins at `start`."""
    raw = (vectors / "headers" / name).read_bytes()[(first - start) * SIZE :]
    return [Header.parse(raw[n : n + SIZE]) for n in range(0, len(raw), SIZE)]


@pytest.mark.parametrize(
    ("name", "start", "height"),
    [
        *(("mainnet-000000.bin", 0, 2016 * n) for n in range(1, 6)),
        ("mainnet-822528.bin", 822_528, 824_544),
        ("mainnet-822528.bin", 822_528, 826_560),
    ],
)
def test_every_flipped_bit_of_a_real_retarget_header_is_refused(vectors, name, start, height):
    headers = period(vectors, name, height - 2016, start)
    rules, good, upon = rules_of(MAINNET), headers[2016], headers[:2016]

    def at(wanted: int) -> Header | None:
        return headers[wanted - (height - 2016)] if height - 2016 <= wanted < height else None

    check(rules, good, height, at)
    HeaderRun(rules, upon, height - 1, 0).add(good.raw)
    seen = set()
    for bit in range(8 * SIZE):
        raw = bytearray(good.raw)
        raw[bit // 8] ^= 1 << bit % 8
        with pytest.raises(HeaderRefused) as refused:
            check(rules, Header.parse(bytes(raw)), height, at)
        seen.add(refused.value.rule)
        if bit % 32 == 0:
            with pytest.raises(HeaderRefused):
                HeaderRun(rules, upon, height - 1, 0).add(bytes(raw))
    assert {"parent", "bits", "work"} <= seen


def test_a_file_says_from_where_the_median_time_was_checked(vectors):
    raw = (vectors / "headers/mainnet-822528.bin").read_bytes()
    found = verify_headers(MAINNET, raw, 822_528)
    assert (found.start, found.median_from) == (822_528, 822_539)
    assert verify_headers(MAINNET, raw[: 11 * SIZE], 822_528).median_from is None
    assert verify_headers(MAINNET, raw[: 12 * SIZE], 822_528).median_from == 822_539
    assert verify_headers(REGTEST, RAW).median_from == 1
    assert verify_headers(REGTEST, RAW[:SIZE]).median_from is None


def test_the_median_rule_holds_from_the_height_that_was_named():
    early = mine(replace(LINE[11], parent=LINE[10].hash, time=LINE[0].time))
    line = [*LINE[:11], early]
    assert refusal(REGTEST, b"".join(h.raw for h in line)).rule == "median-time"
    line = LINE[1:12]  # eleven, the first at a trusted height
    for known, passes in ((10, True), (11, False)):
        tail = line[:known]
        late = mine(replace(LINE[1], parent=tail[-1].hash, time=LINE[0].time))
        raw = b"".join(h.raw for h in [*tail, late])
        if passes:
            assert verify_headers(REGTEST, raw, 1000).median_from is None
        else:
            assert (refusal(REGTEST, raw, 1000).rule, refusal(REGTEST, raw, 1000).height) == (
                "median-time",
                1011,
            )


@given(st.lists(st.integers(0, 400), max_size=40))
def test_pieces_of_any_size_make_no_difference(sizes):
    checked, place = FileCheck(REGTEST), 0
    for size in sizes:
        checked.feed(RAW[place : place + size])
        place += size
    checked.feed(RAW[place:])
    assert checked.done() == verify_headers(REGTEST, RAW)


@pytest.mark.parametrize("cut", [1, 40, 79])
def test_a_file_that_was_cut_short_is_refused_where_it_ends_and_what_came_before_is_told(cut):
    checked = FileCheck(REGTEST)
    checked.feed(RAW[: 30 * SIZE + cut])
    with pytest.raises(HeaderRefused, match=f"ends {cut} bytes into this header") as refused:
        checked.done()
    assert (refused.value.rule, refused.value.height, checked.count) == ("length", 30, 30)


def test_an_empty_file_is_refused():
    assert refusal(REGTEST, b"").rule == "length"
    assert refusal(MAINNET, b"", 2016).height == 2016


@given(st.integers(0, 60 * 8 * SIZE), st.integers(0, 60))
def test_an_altered_file_is_refused_at_the_altered_header_or_the_one_after(bit, length):
    raw = bytearray(RAW[: (length + 1) * SIZE])
    bit %= 8 * len(raw)
    raw[bit // 8] ^= 1 << bit % 8
    place = bit // 8 // SIZE
    at = refused_at(bytes(raw))
    # the last one has no child to miss it, and regtest's work is there by chance in every second try
    assert at in ((place, place + 1) if place < length else (place, None))


def refused_at(raw: bytes) -> int | None:
    try:
        verify_headers(REGTEST, raw)
    except HeaderRefused as refused:
        return refused.height
    return None


def test_mixed_networks_are_named(vectors):
    mainnet = (vectors / "headers/mainnet-000000.bin").read_bytes()
    signet = (vectors / "headers/signet-000000.bin").read_bytes()
    refused = refusal(MAINNET, signet)
    assert (refused.rule, refused.height) == ("genesis", 0)
    assert "genesis of signet" in refused.reason
    refused = refusal(MAINNET, mainnet[: 5000 * SIZE] + signet)
    assert (refused.rule, refused.height) == ("parent", 5000)
    assert "genesis of signet" in refused.reason
    refused = refusal(MAINNET, mainnet[: 5000 * SIZE] + signet[SIZE:])
    assert (refused.rule, refused.height) == ("parent", 5000)


@pytest.mark.parametrize("network", [MAINNET, TESTNET3, TESTNET4, SIGNET, REGTEST])
def test_each_genesis_is_a_valid_file_of_its_network_alone(network):
    assert verify_headers(network, network.genesis).count == 1
    for other in (MAINNET, TESTNET3, TESTNET4, SIGNET, REGTEST):
        if other is not network:
            assert f"genesis of {other.name}" in refusal(network, other.genesis).reason


@pytest.mark.parametrize("network", [MAINNET, TESTNET3, TESTNET4, SIGNET])
@pytest.mark.parametrize("start", [1, 2015, 2017, -2016])
def test_a_trusted_start_inside_a_period_is_refused_before_anything_is_read(network, start):
    with pytest.raises(HeaderRefused, match="must begin a difficulty period") as refused:
        FileCheck(network, start)
    assert refused.value.rule == "start"


def test_a_genesis_is_no_trusted_start(vectors):
    raw = (vectors / "headers/mainnet-000000.bin").read_bytes()
    refused = refusal(MAINNET, raw, 2016)
    assert (refused.rule, refused.height) == ("start", 2016)
    assert refusal(REGTEST, RAW, 5).rule == "start"


@pytest.mark.parametrize(
    ("bits", "rule"),
    [
        (0, "bits"),
        (0x1D000000, "bits"),  # zero
        (0x00FFFFFF, "bits"),  # cut to zero
        (0x01003456, "bits"),
        (0x1D800001, "bits"),  # negative
        (0x22000100, "bits"),  # above 2^256
        (0xFF7FFFFF, "bits"),
        (0x1D010000, "bits"),  # easier than mainnet allows
        (0x1C000100, "bits"),  # fine, but 0x1B010000 is how it is written
        (0x1B010000, "work"),
    ],
)
def test_a_trusted_start_shows_its_work_in_canonical_bits(bits, rule, monkeypatch):
    header = replace(LINE[5], bits=bits)
    if rule == "bits" and bits == 0x1C000100:
        monkeypatch.setattr("anchor.headers.verify.check_work", lambda *_: None)
        assert target_of(bits) == target_of(0x1B010000)
    assert refusal(MAINNET, header.raw, 2016).rule == rule


def test_a_trusted_start_of_another_network_is_refused_at_once(vectors):
    mainnet = (vectors / "headers/mainnet-000000.bin").read_bytes()
    refused = refusal(REGTEST, mainnet[SIZE:], 5)
    assert (refused.rule, refused.height) == ("bits", 5)
    refused = refusal(TESTNET3, mainnet[SIZE:], 2016 * 300)
    assert (refused.rule, refused.height) == ("version", 604_800)
    assert "give the height" in refusal(MAINNET, mainnet[SIZE:]).reason


def test_the_seventh_of_equal_times_is_refused_in_a_run_too():
    line = LINE[:20]
    for n in range(8):
        line.append(mine(replace(LINE[20], parent=line[-1].hash, time=LINE[30].time, nonce=n)))
    raw = b"".join(header.raw for header in line)
    assert verify_headers(REGTEST, raw[: 26 * SIZE]).count == 26
    refused = refusal(REGTEST, raw)
    assert (refused.rule, refused.height) == ("median-time", 26)


@pytest.mark.parametrize("before", [0, 1, 9])
@pytest.mark.parametrize(("version", "since"), [(2, 30), (3, 45)])
def test_an_old_version_is_refused_from_its_height_on_amid_a_run(version, since, before):
    rules = replace(RULES, versions=(1, 30, 45))
    for place in (since - 1, since):
        first = place - before
        run = HeaderRun(rules, LINE[:first], first - 1, 0)
        old = mine(replace(LINE[place], version=version))
        piece = b"".join(header.raw for header in LINE[first:place]) + old.raw
        if place < since:
            assert len(run.add(piece)) == before + 1
            continue
        with pytest.raises(HeaderRefused, match="version") as refused:
            run.add(piece)
        assert (refused.value.height, run.height) == (since, since - 1)


def test_runs_need_the_headers_that_the_rules_look_back_to():
    with pytest.raises(ValueError, match="from its period's first block on"):
        HeaderRun(rules_of(MAINNET), LINE[:5], 2016 + 5, 0)
    with pytest.raises(ValueError, match="from its period's first block on"):
        HeaderRun(RULES, [], 0, 0)
    with pytest.raises(ValueError, match="multiple of 80"):
        HeaderRun(RULES, LINE[:1], 0, 0).add(bytes(79))
    assert HeaderRun(RULES, LINE[3:5], 4, 0).add(LINE[5].raw) == [LINE[5].hash]


def test_a_long_file_takes_little_memory(vectors):
    raw = (vectors / "headers/mainnet-000000.bin").read_bytes()
    checked = FileCheck(MAINNET)
    tracemalloc.start()
    for place in range(0, len(raw), 4096 * SIZE):
        checked.feed(raw[place : place + 4096 * SIZE])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert checked.done().count == 10_237
    assert peak < 5_000_000
