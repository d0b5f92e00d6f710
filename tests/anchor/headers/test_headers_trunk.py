"""Packed headers: the same answers wherever headers lie, whoever else shares the tree, in little memory."""

import gc
import weakref
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anchor.btc.header import Header, work_of
from anchor.btc.network import MAINNET
from anchor.headers import chain as chains
from anchor.headers import trunk as trunks
from anchor.headers.chain import HeaderChain, branch
from anchor.headers.rules import MAX_FUTURE, HeaderRefused, rules_of
from anchor.headers.trunk import Trunk
from tests.anchor.headers.minting import GENESIS, RULES, chain_of, child, mine, run

UNIT = work_of(GENESIS.bits)


def joined(headers):
    return b"".join(header.raw for header in headers)


def truth(header, of):
    """The path from genesis, walked through a plain dict."""
    path = [header]
    while path[-1] != GENESIS:
        path.append(of[path[-1].parent])
    return path[::-1]


@given(st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 12)), min_size=1, max_size=45))
@settings(max_examples=60, deadline=None)
def test_answers_do_not_depend_on_what_is_packed(steps):
    chain, plain, known, of = chain_of(), chain_of(), [GENESIS], {GENESIS.hash: GENESIS}
    held = {}
    for salt, (choice, bury) in enumerate(steps):
        parent = known[-1 - choice % min(len(known), 4)] if choice % 5 else known[choice % len(known)]
        header = child(parent, salt)
        known.append(header)
        of[header.hash] = header
        chain.add(header)
        plain.add(header)
        if choice % 3 == 0:
            held[header.hash] = chain.get(header.hash)
        if bury < 4:  # have the trunk end somewhere else, on whatever branch
            chain._tree.bury(chain.get(known[-1 - bury % len(known)].hash))
    assert chain.tip.hash == plain.tip.hash
    assert [h.hash for h in chain.heads] == [h.hash for h in plain.heads]
    for header in known:
        path = truth(header, of)
        node = chain.get(header.hash)
        assert (node.header, node.height, node.work) == (header, len(path) - 1, len(path) * UNIT)
        assert [node.ancestor(i).header for i in range(len(path))] == path
        assert [n.header for n in branch(node, None)] == path[::-1]
        assert chain.depth(header.hash) == plain.depth(header.hash)
        assert chain.work_above(header.hash) == plain.work_above(header.hash)
        assert node is held.get(header.hash, node), "one object per header, as long as it is held"
        assert (
            chain.fork_point(node, chain.tip).hash == plain.fork_point(plain.get(header.hash), plain.tip).hash
        )
    main = truth(chain.tip.header, of)
    assert chain.raws(0, len(main) + 3) == joined(main)
    assert chain.raws(1, 2) == joined(main[1:3])
    assert chain.raws(len(main), 5) == b""


def test_headers_that_grow_one_by_one_are_packed_by_themselves(monkeypatch):
    monkeypatch.setattr(chains, "KEEP", 10)
    monkeypatch.setattr(chains, "_LOOK", 3)
    headers = run(GENESIS, 45)
    chain = chain_of(*headers)
    assert chain.tip.height - chain._tree.top < 24
    assert [n.header for n in chain.main(0, 99)] == [GENESIS, *headers]
    deep = weakref.ref(chain.at_height(3))
    gc.collect()
    assert deep() is None, "nothing but the packed bytes holds it"


def test_a_branch_that_leaves_deep_in_what_is_packed_takes_over(monkeypatch):
    monkeypatch.setattr(chains, "KEEP", 10)
    monkeypatch.setattr(chains, "_LOOK", 3)
    old = run(GENESIS, 60, salt=1)
    chain = chain_of(*old)
    new = run(old[4], 90, salt=2)
    for header in new[:55]:
        assert not chain.add(header).is_tip
    reorg = chain.add(new[55]).reorg
    assert [n.header for n in reorg.disconnected] == old[:4:-1]
    assert [n.header for n in reorg.connected] == new[:56]
    for header in new[56:]:
        chain.add(header)
    assert chain._tree.top > 60, "the new branch is packed now"
    assert chain.raws(0, 100) == joined([GENESIS, *old[:5], *new])
    lost = chain.get(old[-1].hash)
    assert [n.header for n in branch(lost, None)] == [*old[::-1], GENESIS]


def test_a_run_upon_the_tip_is_taken_as_one_by_one():
    headers = run(GENESIS, 40)
    chain, plain = chain_of(*headers[:7]), chain_of(*headers)
    assert chain.extend(joined(headers[7:30])) == [h.hash for h in headers[7:30]]
    assert chain.extend(b"") == []
    chain.extend(joined(headers[30:]))
    assert (chain.tip.hash, chain.tip.work) == (plain.tip.hash, plain.tip.work)
    assert chain.heads == (chain.tip,)
    assert all(chain.get(h.hash).header == h for h in headers)
    with pytest.raises(ValueError, match="80 bytes"):
        chain.extend(headers[0].raw[:-1])


def test_a_bad_header_in_a_run_leaves_no_trace_of_the_run():
    headers = run(GENESIS, 20)
    bad = mine(child(headers[-1]), fail=True)
    chain = chain_of(*headers[:5])
    for _ in range(2):
        with pytest.raises(HeaderRefused, match=r"height 21 refused .work"):
            chain.extend(joined([*headers[5:], bad]))
        assert chain.tip.header == headers[4]
        assert chain.get(headers[5].hash) is None
    assert chain.extend(joined(headers[5:]))[-1] == headers[-1].hash


def test_a_run_stops_before_a_header_from_the_future():
    headers = run(GENESIS, 5)
    chain = chain_of()
    chain.extend(joined(headers), now=headers[2].time - MAX_FUTURE)
    assert chain.tip.header == headers[2]


def test_forks_of_a_chain_extend_it_apart():
    trunk = run(GENESIS, 15)
    chain = chain_of(*trunk)
    one, two = chain.fork(), chain.fork()
    ours, theirs = run(trunk[-1], 5, salt=1), run(trunk[-1], 6, salt=2)
    one.extend(joined(ours))
    two.extend(joined(theirs))
    assert (one.tip.header, two.tip.header, chain.tip.header) == (ours[-1], theirs[-1], trunk[-1])
    assert one.get(theirs[0].hash) is None
    assert [n.header for n in one.main(0, 99)] == [GENESIS, *trunk, *ours]
    chain.become(one)
    for header in theirs:
        chain.add(header)
    assert chain.tip.header == theirs[-1]


def test_a_packed_chain_is_taken_back_whole():
    headers = run(GENESIS, 50)
    chain = chain_of(*headers)
    packed = chain.pack(40)
    again = chain_of()
    again.adopt(bytearray(joined([GENESIS, *headers[:40]])), packed)
    assert (again.tip.height, again.tip.work) == (40, 41 * UNIT)
    again.extend(joined(headers[40:]))
    assert again.tip.work == chain.tip.work
    assert all(again.get(h.hash).height == i for i, h in enumerate(headers, 1))
    wrong = replace(packed, index=packed.index[8:])
    with pytest.raises(ValueError, match="one length"):
        chain_of().adopt(bytearray(joined([GENESIS, *headers[:40]])), wrong)


def test_a_trusted_start_with_headers_before_it_extends_by_the_same_rules():
    headers = run(GENESIS, 60)
    late = replace(child(headers[39]), time=headers[33].time)  # not after the median of the eleven before it
    chain = HeaderChain(RULES, headers[34], 35, before=headers[24:34])
    chain.extend(joined(headers[35:40]))
    with pytest.raises(HeaderRefused, match="median"):
        chain.extend(mine(late).raw)
    assert chain.extend(joined(headers[40:]))[-1] == headers[-1].hash


def test_real_mainnet_headers_are_taken_in_runs_of_any_size(vectors):
    raw = (vectors / "headers" / "mainnet-000000.bin").read_bytes()
    chain = HeaderChain(rules_of(MAINNET), Header.parse(raw[:80]))
    at, size = 80, 1
    while at < len(raw):
        chain.extend(raw[at : at + 80 * size])
        at, size = at + 80 * size, size * 2 + 1
    assert chain.tip.height == len(raw) // 80 - 1
    assert chain.raws(0, chain.tip.height + 1) == raw
    assert chain.tip.work == sum(
        work_of(int.from_bytes(raw[i + 72 : i + 76], "little")) for i in range(0, len(raw), 80)
    )


@pytest.mark.parametrize("short", [0, 10, 1000])
def test_index_entries_that_look_alike_and_stale_ones_are_told_apart(monkeypatch, short):
    monkeypatch.setattr(trunks, "_MOST_LATER", 4)  # sort and read in bulk from here on
    monkeypatch.setattr(trunks, "_SHORT", short)
    trunk = Trunk(0)
    headers = run(GENESIS, 30)
    trunk.append(joined(headers[:20]), [h.hash for h in headers[:20]])
    assert [trunk.find(h.hash) for h in headers[:20]] == list(range(20))
    head = headers[3].hash[:5]
    assert trunk.find(head + bytes(27)) is None, "forty equal bits are not enough"
    trunk.cut(10)
    assert trunk.find(headers[12].hash) is None
    for header in headers[10:]:
        trunk.append(header.raw, [header.hash])
    assert [trunk.find(h.hash) for h in headers] == list(range(30))
    assert len(trunk.pack().index) == 30 * 8
    assert [trunk.work(i) for i in range(30)] == [UNIT * (i + 1) for i in range(30)]


def test_after_cuts_the_work_through_a_header_is_still_right():
    trunk, headers = Trunk(7), run(GENESIS, 70)
    for keep in (1, 15, 16, 17, 33, 48):
        trunk.append(joined(headers[len(trunk) :]), [h.hash for h in headers[len(trunk) :]])
        trunk.cut(keep)
        assert len(trunk) == keep
    trunk.append(joined(headers[48:]), [h.hash for h in headers[48:]])
    assert [trunk.work(i) for i in range(70)] == [7 + UNIT * (i + 1) for i in range(70)]
