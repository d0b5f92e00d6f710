"""A slice of every differential run: the slow model, btcd, runs of headers, Core in process and by RPC."""

import random
from dataclasses import replace
from functools import partial

import pytest
from bitcoinrpc.authproxy import JSONRPCException

from anchor.btc.header import Header
from anchor.btc.network import MAINNET, SIGNET
from anchor.headers.chain import Added, Deferred, HeaderChain
from anchor.headers.rules import MAX_FUTURE, HeaderRefused, check, rules_of
from anchor.headers.run import HeaderRun
from tests.anchor.headers.core_differential import QUICK, by_rpc, in_process
from tests.anchor.headers.differential import (
    Disagreement,
    Offered,
    build_btcd,
    linear,
    tally,
    with_btcd,
    with_runs,
    with_the_model,
)
from tests.anchor.headers.minting import GENESIS, RULES, child
from tests.anchor.headers.stories import Story, easy_networks

COUNT = 4000  # `make differential-headers` takes 100,000 and more
NETWORKS = easy_networks(interval=12)


@pytest.fixture(scope="module")
def btcd(tmp_path_factory):
    found = build_btcd(tmp_path_factory.mktemp("btcd"))
    if isinstance(found, str):
        pytest.skip(found)
    return found


RULES_HIT = ("valid", "parent", "bits", "work", "median-time", "version")


def story(name, seed=7):
    """A random chain on one network's easy copy, every rule broken many times."""
    rules = NETWORKS[name]
    made, offered = linear(rules, seed, COUNT)
    counts = tally(offered)
    assert min(counts[rule] for rule in RULES_HIT) > 20, counts
    assert (counts["timewarp"] > 5) == rules.bip94
    retargets = len({header.bits for header in made.headers}) > 50
    assert retargets != rules.constant_bits
    return rules, offered


@pytest.mark.parametrize("name", NETWORKS)
def test_the_rules_agree_with_a_slow_model_over_many_periods(name):
    with_the_model(*story(name))


@pytest.mark.parametrize("name", NETWORKS)
def test_the_rules_agree_with_btcd_over_many_periods(name, btcd):
    with_btcd(btcd, *story(name))


@pytest.mark.parametrize("name", NETWORKS)
def test_runs_of_headers_are_judged_like_single_ones(name):
    with_runs(*story(name), random.Random(8))


@pytest.mark.parametrize("name", NETWORKS)
def test_runs_from_a_trusted_start_are_judged_like_single_headers_that_see_no_further_back(name):
    rules, rng = NETWORKS[name], random.Random(11)
    line, _ = linear(rules, 12, 600, flawed=0.1)
    for _ in range(60):
        start = rng.randrange(1, len(line.headers) // rules.interval - 3) * rules.interval
        known = line.headers[start : start + rng.choice((1, 5, 10, 11, 12, 30, 40))]
        first = known[0]
        told = Story(rules, rng, line.headers[: start + len(known)])

        def at(height: int, told=told, start=start) -> Header | None:
            return told.at(height) if height >= start else None

        run = HeaderRun(rules, [first], start, 0)
        run.add(b"".join(header.raw for header in known[1:]))
        assert (run.height, run.tip, run.time) == (start + len(known) - 1, known[-1].hash, known[-1].time)
        header = told.flaw(told.honest())
        assert rule_of(lambda h=header, r=run: r.add(h.raw)) == rule_of(
            lambda h=header, s=told, at=at: check(rules, h, s.height, at)
        )


def rule_of(judge):
    try:
        judge()
    except HeaderRefused as error:
        return error.rule
    return None


@pytest.mark.parametrize("name", ["testnet3", "testnet4"])
def test_a_comparison_sees_a_wrong_rule(name, btcd):
    rules, offered = story(name)
    for wrong in (replace(rules, min_difficulty=False), replace(rules, bip94=not rules.bip94)):
        for compare in (with_the_model, partial(with_btcd, btcd)):
            with pytest.raises(Disagreement):
                compare(wrong, offered)
    lie = [
        Offered(one.header, one.height, None if one.rule == "median-time" else one.rule) for one in offered
    ]
    for compare in (with_the_model, partial(with_btcd, btcd), partial(with_runs, rng=random.Random(1))):
        with pytest.raises(Disagreement):
            compare(rules, lie)


@pytest.mark.parametrize("network", [MAINNET, SIGNET], ids=lambda network: network.name)
def test_all_agree_on_real_headers_and_every_flipped_bit_of_a_real_retarget(vectors, btcd, network):
    raw = (vectors / f"headers/{network.name}-000000.bin").read_bytes()
    first, *real = (Header.parse(raw[n : n + 80]) for n in range(0, min(len(raw), 80 * 4040), 80))
    rules, line = rules_of(network), Story(rules_of(network), random.Random(13), [first])
    offered = []
    for header in real:
        flips = range(640) if line.height in (2015, 2016) else [line.rng.randrange(640)]
        tried = [*(flipped(header, bit) for bit in flips), header]
        offered += [Offered(one, line.height, line.ours(one)) for one in tried]
        assert offered[-1].rule is None
        line.headers.append(header)
    assert tally(offered)["valid"] == len(real)
    with_the_model(rules, offered, first)
    with_btcd(btcd, rules, offered, first)


def flipped(header: Header, bit: int) -> Header:
    raw = bytearray(header.raw)
    raw[bit // 8] ^= 1 << bit % 8
    return Header.parse(bytes(raw))


def test_core_in_process_agrees(tmp_path):
    counts = in_process(tmp_path, 9, COUNT)
    assert min(counts[rule] for rule in (*RULES_HIT, "future")) > 50, counts


@pytest.mark.parametrize("bip94", [False, True])
def test_a_real_bitcoind_agrees_with_its_reasons(new_bitcoind, bip94):
    node = new_bitcoind(zmq=False, extra=(QUICK, *(("-test=bip94",) if bip94 else ()))).start()
    counts = by_rpc(node, 10, 2 * COUNT, bip94=bip94)
    assert min(counts[rule] for rule in (*RULES_HIT, "future")) > 50, counts
    assert (counts["timewarp"] > 10) == bip94


def test_a_header_is_deferred_exactly_as_long_as_a_real_bitcoind_refuses_it(bitcoind):
    now = 1_800_000_000
    chain = HeaderChain(RULES, GENESIS)
    header = child(GENESIS, after=now + MAX_FUTURE + 1 - GENESIS.time)
    bitcoind.rpc().setmocktime(now)
    with pytest.raises(JSONRPCException, match="time-too-new"):
        bitcoind.rpc().submitheader(header.raw.hex())
    assert chain.add(header, now) == Deferred(now + 1)
    bitcoind.rpc().setmocktime(now + 1)
    bitcoind.rpc().submitheader(header.raw.hex())
    assert isinstance(chain.add(header, now + 1), Added)
