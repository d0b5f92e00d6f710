"""A second opinion is compared by work, told when it differs, and never believed, whatever it does."""

import random
from dataclasses import replace

import pytest
from aiohttp import web

from anchor.btc.header import Header
from anchor.btc.ids import display
from anchor.btc.network import MAINNET, REGTEST
from anchor.header_source import SourceError
from anchor.headers.chain import branch
from anchor.second_source import BySource, SecondSource, compare, locator, open_source
from tests.anchor.feeding import Branch, serving
from tests.anchor.headers.minting import GENESIS, chain_of, mine, run
from tests.anchor.peering import Line, a_peer, clock, honest, listed


async def closed() -> None:
    pass


def asked(source: object, silence: int = 3) -> SecondSource:
    return SecondSource(BySource("other", source, closed), clock=clock, silence=silence)


# Compared by work


def test_the_four_ways_in_which_two_chains_stand_to_each_other() -> None:
    trunk = run(GENESIS, 6)
    chain = chain_of(*trunk)
    view = chain.fork()
    for header in [*run(trunk[-1], 3), *run(trunk[2], 2, salt=5)]:
        view.add(header)
    ahead, rival = view.heads
    if ahead.height < rival.height:
        ahead, rival = rival, ahead
    same = compare(chain, chain.tip, "x")
    assert (same.relation, same.differs) == ("same", None)
    lag = chain.at_height(2)
    assert lag is not None
    assert (compare(chain, lag, "x").relation, compare(chain, lag, "x").differs) == ("behind", None)
    one = ahead.ancestor(7)
    assert one is not None
    assert (compare(chain, one, "x").relation, compare(chain, one, "x").differs) == ("ahead", None)
    more = compare(chain, ahead, "x")
    assert more.relation == "ahead"
    assert more.differs == "x has 3 blocks upon our tip 6: see whether our bitcoind has peers"
    apart = compare(chain, rival, "x")
    assert apart.relation == "apart"
    assert "since height 3, 2 blocks there against our 3, with less work" in str(apart.differs)
    assert apart.data == {
        "relation": "apart",
        "fork_height": 3,
        "fork": display(trunk[2].hash),
        "theirs": 2,
        "ours": 3,
        "work_theirs": "4",
        "work_ours": "6",
    }
    assert apart.seen == tuple(at.hash for at in branch(rival, None))[:-1], "all but the first of all"
    far = chain_of(*run(GENESIS, 9)).fork()
    stuck = far.at_height(2)
    assert stuck is not None
    assert compare(far, stuck, "x").differs == (
        "x is 7 blocks behind our tip: see whether it is stuck, it is no witness"
    )


def test_a_single_block_on_another_branch_counts_when_it_is_far_back_or_heavy() -> None:
    trunk = run(GENESIS, 9)
    chain = chain_of(*trunk)
    view = chain.fork()
    for back, told in ((1, False), (6, False), (7, True)):
        view.add(run(trunk[8 - back], 1, salt=back)[0])
        opinion = compare(chain, view.heads[-1], "x")
        assert (opinion.relation, opinion.data["ours"]) == ("apart", back)
        assert (opinion.differs is not None) is told
    view.add(run(trunk[6], 1, salt=2)[0])
    one = view.heads[-1]
    assert compare(chain, one, "x").differs is None
    one.work += 4  # as where minimum difficulty is allowed: one real block outweighs any number of easy ones
    assert "1 block there against our 2, with more work" in str(compare(chain, one, "x").differs)


def test_branches_made_up_from_old_blocks_are_compared_and_fill_no_table() -> None:
    trunk = run(GENESIS, 160)
    chain = chain_of(*trunk)
    view = chain.fork()
    for lost, seen in ((144, 8), (145, 0)):
        for header in run(trunk[159 - lost], 8, salt=lost):
            view.add(header)
        opinion = compare(chain, view.heads[-1], "x")
        assert (opinion.data["ours"], opinion.data["theirs"], len(opinion.seen)) == (lost, 8, seen)
        assert opinion.differs is not None


async def test_looking_never_moves_our_chain_and_nothing_piles_up() -> None:
    node = Branch().mine(5)
    chain = chain_of(*node.chain[1:])
    tip = chain.tip
    rival = Branch(node.chain[:3]).mine(70, salt=3)
    source = asked(rival)
    for _ in range(2):
        opinion = await source.look(chain)
        assert opinion.relation == "apart"
        assert "with more work" in str(opinion.differs)
        assert (chain.tip, chain.heads) == (tip, (tip,))
        assert chain.get(rival.chain[-1].hash) is None
        assert chain._tree.find(rival.chain[-1].hash) is None, "who keeps the opinion keeps no branch"
    rival.chain = node.chain
    assert (await source.look(chain)).relation == "same"


async def test_a_source_that_breaks_a_rule_or_shares_nothing_is_told_of() -> None:
    node = Branch().mine(5)
    chain = chain_of(*node.chain[1:])
    bad = Branch([*node.chain, mine(run(node.chain[-1], 1)[0], fail=True)])
    opinion = await asked(bad).look(chain)
    assert (opinion.relation, opinion.data["rule"]) == ("apart", "work")
    other = mine(Header(1, bytes(32), bytes(32), GENESIS.time, GENESIS.bits, 7))
    stranger = await asked(Branch([other, *run(other, 4)])).look(chain)
    assert "one of the two is of another network" in str(stranger.differs)


async def test_silence_is_told_when_it_lasts_and_is_over_when_it_answers() -> None:
    class Moody(Branch):
        down = True

        async def tip(self) -> tuple[int, bytes]:
            if self.down:
                raise SourceError("not now")
            return await super().tip()

    node = Moody().mine(3)
    chain = chain_of(*node.chain[1:])
    source = asked(node, silence=2)
    told = [(await source.look(chain)).differs for _ in range(3)]
    assert told == [None, "other does not answer: not now", "other does not answer: not now"]
    node.down = False
    assert (await source.look(chain)).relation == "same"
    node.down = True
    assert (await source.look(chain)).differs is None


async def test_headers_from_the_future_wait_here_too() -> None:
    node = Branch().mine(4)
    chain = chain_of(*node.chain[1:3])
    source = SecondSource(BySource("other", node, closed), clock=lambda: float(node.chain[3].time - 7200))
    opinion = await source.look(chain)
    assert (opinion.relation, opinion.height) == ("ahead", 3)


# Bitcoin's P2P


@pytest.mark.parametrize("theirs", [0, 1, 5, 9, 10, 11, 40])
async def test_a_peer_on_our_chain_is_found_wherever_it_stands(theirs: int) -> None:
    ours = Branch().mine(10)
    node = Branch(ours.chain[: theirs + 1]) if theirs <= 10 else Branch(ours.chain).mine(theirs - 10)
    async with a_peer(honest(node)) as source:
        opinion = await source.look(chain_of(*ours.chain[1:]))
    if theirs == 0:  # it gives nothing behind the first header: as good as no answer
        assert opinion.relation == "silent"
        return
    assert opinion.relation == ("behind" if theirs < 10 else "same" if theirs == 10 else "ahead")
    assert opinion.height == theirs
    assert (opinion.differs is None) == (4 <= theirs < 12)


async def test_a_peer_on_another_branch_is_compared_by_work() -> None:
    ours = Branch().mine(60)
    rival = Branch(ours.chain[:21]).mine(10, salt=4)
    questions: list[int] = []
    async with a_peer(honest(rival, questions)) as source:
        opinion = await source.look(chain_of(*ours.chain[1:]))
    assert opinion.relation == "apart"
    assert "since height 20, 10 blocks there against our 40, with less work" in str(opinion.differs)
    assert questions == [len(locator(chain_of(*ours.chain[1:60]).tip))]


async def test_a_peer_that_is_thousands_ahead_is_followed_page_by_page() -> None:
    node = Branch().mine(4500)
    questions: list[int] = []
    async with a_peer(honest(node, questions)) as source:
        opinion = await source.look(chain_of(*node.chain[1:5]))
    assert (opinion.height, len(questions)) == (4500, 3)


async def test_headers_in_any_order_find_their_places() -> None:
    node = Branch().mine(30)
    mixed = node.chain[1:]
    random.Random(5).shuffle(mixed)

    async def talk(line: Line) -> None:
        await line.greet()
        await line.receive()
        line.send(b"headers", listed(mixed))

    async with a_peer(talk) as source:
        chain = chain_of(*node.chain[1:3])
        opinion = await source.look(chain)
    assert opinion.relation == "ahead"
    assert chain.tip.height == 2


async def odd(line: Line, name: str) -> None:
    if name == "hangs up":
        return
    if name == "another network":
        line.magic = MAINNET.magic
    if name == "short version":
        line.send(b"version", bytes(40))
        return
    if name == "http":
        line.writer.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        return
    await line.greet() if name != "another network" else line.send(b"version", bytes(90))
    await line.receive()
    first = run(GENESIS, 1)[0]
    match name:
        case "wrong checksum":
            line.send(b"headers", listed([first]), check=b"0000")
        case "giant":
            line.send(b"headers", b"", size=4_000_001)
        case "too many":
            line.send(b"headers", listed([first] * 2001))
        case "transactions":
            line.send(b"headers", b"\1" + first.raw + b"\1")
        case "no list":
            line.send(b"headers", b"\5" + first.raw)
        case "empty list":
            line.send(b"headers", b"")
        case "chatter":
            for _ in range(2001):
                line.send(b"inv", bytes(37))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("hangs up", "does not answer as a Bitcoin node"),
        ("another network", "messages of another network than regtest"),
        ("short version", "too short"),
        ("http", "messages of another network"),
        ("wrong checksum", "wrong checksum"),
        ("giant", "a message of 4000001 bytes"),
        ("too many", "a list of headers that is none"),
        ("transactions", "headers with transactions"),
        ("no list", "a list of headers that is none"),
        ("empty list", "a list of headers that is none"),
        ("chatter", "2000 messages, none of them the headers"),
    ],
)
async def test_a_peer_that_is_none_is_named(name: str, words: str) -> None:
    chain = chain_of(*run(GENESIS, 3))
    async with a_peer(lambda line: odd(line, name)) as source:
        told = [(await source.look(chain)).differs for _ in range(3)]
    assert told[:2] == [None, None]
    assert words in str(told[2])


async def test_no_bytes_of_a_peer_make_a_look_raise() -> None:
    node, chance = Branch().mine(8), random.Random(11)

    async def talk(line: Line) -> None:
        await line.greet()
        await line.receive()
        payload = bytearray(listed(node.chain[chance.randrange(1, 5) :]))
        for _ in range(chance.randrange(4)):
            payload[chance.randrange(len(payload))] ^= 1 << chance.randrange(8)
        cut = payload[: chance.randrange(len(payload) + 1)] if chance.randrange(3) == 0 else payload
        line.send(chance.choice([b"headers", b"headers", b"version", b"ping", b""]), bytes(cut))
        line.writer.write(chance.randbytes(chance.randrange(60)))

    chain = chain_of(*node.chain[1:6])
    tip = chain.tip
    async with a_peer(talk) as source:
        relations = {(await source.look(chain)).relation for _ in range(150)}
    assert {"silent", "ahead", "apart"} <= relations
    assert (chain.tip, chain.heads) == (tip, (tip,))


async def test_large_messages_are_passed_over_unread() -> None:
    node = Branch().mine(3)

    async def talk(line: Line) -> None:
        await line.greet()
        await line.receive()
        line.send(b"block", bytes(3_900_000))
        line.send(b"headers", listed(node.chain[3:]))

    async with a_peer(talk) as source:
        assert (await source.look(chain_of(*node.chain[1:]))).relation == "same"


async def test_a_flood_of_orphans_from_a_peer_is_bounded() -> None:
    chance = random.Random(3)
    strays = [mine(replace(GENESIS, parent=chance.randbytes(32), nonce=0)) for _ in range(2000)]

    async def talk(line: Line) -> None:
        await line.greet()
        while True:
            await line.receive()
            line.send(b"headers", listed(strays))

    chain = chain_of(*run(GENESIS, 3))
    async with a_peer(talk) as source:
        source._source.orphans._limit = 300
        for _ in range(2):
            assert (await source.look(chain)).relation == "silent"
        assert len(source._source.orphans) == 300


# Addresses


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("p2p://example.org", "p2p://example.org:8333"),
        ("p2p://[::1]:9", "p2p://::1:9"),
        ("http://m%65@127.0.0.1:8332/?password_file=/dev/null", "http://127.0.0.1:8332"),
        ("http://127.0.0.1:8332?cookie=/x/.cookie", "http://127.0.0.1:8332"),
        ("node+https://node.example", "node+https://node.example"),
    ],
)
async def test_a_source_is_named_without_its_secrets(url: str, name: str) -> None:
    source = open_source(url, MAINNET, clock=clock)
    assert source.name == name
    await source.close()


@pytest.mark.parametrize(
    "url", ["", "p2p://", "ftp://x", "http://host:1", "http://u:p@h:1", "http://u@h:1?cookie=x", "node+http:"]
)
def test_other_addresses_are_refused_in_clear_words(url: str) -> None:
    with pytest.raises(ValueError, match="a second source is p2p"):
        open_source(url, MAINNET, clock=clock)


async def test_a_committee_node_is_a_second_source() -> None:
    node = Branch().mine(4)

    async def headers(request: web.Request) -> web.Response:
        told: dict[str, object] = {"tip_height": 4, "tip_hash": display(node.chain[-1].hash)}
        if "from" in request.query:
            page = await node.headers(int(request.query["from"]), int(request.query["count"]))
            told["headers"] = b"".join(h.raw for h in page).hex()
        return web.json_response(told)

    async with serving([web.get("/v1/headers", headers)]) as url:
        source = open_source("node+" + url, REGTEST, clock=clock)
        opinion = await source.look(chain_of(*node.chain[1:3]))
        await source.close()
    assert (opinion.relation, opinion.height) == ("ahead", 4)
