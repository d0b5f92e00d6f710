"""What strangers, users and members may send to running programs: each gets its answer, nobody else notices."""

import asyncio
import contextlib
import http.client
import json
import os
import random
import re
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest

from bridge import ceremony, keeper, registry
from regtest import http as ask
from tests.regtest.town import Town, town
from tss import dkg_member, identity, key_proof, signing_member
from tss.peer_tls import client_context
from tss.peers import PeerRefused, Peers, Refuse

pytestmark = pytest.mark.regtest


@pytest.fixture(scope="module")
def running(bitcoind_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    """Two of three operators and the rollup, active; at the end nobody's log holds a traceback."""
    with town(tmp_path_factory.mktemp("town"), bitcoind_path) as found:
        yield found
        found.check_logs()


def send(
    url: str, method: str, target: str, body: bytes | None = None, token: str | None = None
) -> tuple[int, str, bytes]:
    """One request as it stands; status, content type and body of the answer."""
    where = urlsplit(url)
    connection = http.client.HTTPConnection(str(where.hostname), where.port, timeout=20)
    try:
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        connection.request(method, target, body, headers)
        answer = connection.getresponse()
        return answer.status, answer.getheader("Content-Type", ""), answer.read()
    finally:
        connection.close()


def check_problem(what: object, status: int, kind: str, body: bytes) -> dict[str, Any]:
    """A refusal in the one shape that all our refusals have."""
    assert kind.startswith("application/problem+json"), (what, status, kind, body[:300])
    problem = json.loads(body)
    assert problem["status"] == status, (what, problem)
    assert problem["type"] == f"urn:holdfast:problem:{problem['code']}", (what, problem)
    assert problem["title"], (what, problem)
    assert problem["remedy"], (what, problem)
    assert isinstance(problem["retryable"], bool), (what, problem)
    assert b"Traceback" not in body, what
    assert status < 500 or (status == 503 and problem["retryable"]), (what, problem)
    return problem


def refused(what: object, answer: tuple[int, str, bytes]) -> dict[str, Any]:
    """The problem of an answer that must be a refusal."""
    assert answer[0] >= 400, (what, answer)
    return check_problem(what, *answer)


# HTTP that is HTTP

WILD = ["%00", "%ff%fe", "..%2f..%2f", "a" * 300, "-1", "1e9", quote("٣"), "%27;%20--", "{}", "0" * 63, "%zz"]
NOBODY = "5a" * 32
PUBLIC = ["anchors", "records", "headers", "deposits", "withdrawals", "committee"]
QUERIES = {
    "anchors": ["after", "limit", "lane"],
    "records": ["limit", "before", "block"],
    "headers": ["from", "count"],
    "reorgs": ["limit", "before"],
    "deposits": ["recipient", "address", "state", "limit"],
    "withdrawals": ["limit"],
}


def test_unknown_ids_and_wild_paths_are_problems_on_the_node_and_the_rollup(running: Town) -> None:
    nodes = [f"/v1/{thing}/{wild}" for thing in PUBLIC for wild in [*WILD, NOBODY]]
    nodes += [f"/v1/records/{wild}/proof" for wild in [*WILD, NOBODY]]
    rollups = [f"/v1/{thing}/{wild}" for thing in ("transactions", "withdrawals") for wild in [*WILD, NOBODY]]
    rollups += [f"/v1/accounts/{wild}" for wild in WILD]
    strange = [
        "/",
        "/v1",
        "//v1//info",
        "/v1/nothing",
        "/v2/info",
        "/v1/../admin.json",
        "/admin.json",
        "/%2e%2e",
    ]
    for url, targets in ((running.alice.url, nodes), (running.rollup_url, rollups)):
        for target in (*targets, *strange):
            refused(target, send(url, "GET", target))


def test_wild_query_strings_are_problems_or_ignored(running: Town) -> None:
    for thing, names in QUERIES.items():
        for name in names:
            for wild in WILD:
                refused((thing, name), send(running.alice.url, "GET", f"/v1/{thing}?{name}={wild}"))
    for name in ("after", "limit", "wait"):
        for wild in WILD:
            refused(name, send(running.rollup_url, "GET", f"/v1/blocks?{name}={wild}"))
    for query in ("?", "?=", "?&&&", "?limit", "?a=" + "b" * 5000, "?x[]=1&x[]=2", "?%00=%00"):
        status, kind, body = send(running.alice.url, "GET", "/v1/info" + query)
        assert (status, kind.split(";")[0]) == (200, "application/json"), (query, body)


def test_wrong_methods_are_problems(running: Town) -> None:
    for url, path in ((running.alice.url, "/v1/info"), (running.rollup_url, "/v1/status")):
        for method in ("POST", "PUT", "DELETE", "PATCH", "TRACE"):
            assert refused(method, send(url, method, path))["code"] == "method_not_allowed"
    assert refused("GET", send(running.rollup_url, "GET", "/v1/votes"))["code"] == "method_not_allowed"


NONSENSE = [
    b"",
    b"{",
    b"[]",
    b"null",
    b"7",
    b'"x"',
    b"\xff\xfe",
    b"[" * 20_000,
    b'{"a":' * 5_000,
    b"{}",
    b'{"x":1}',
]
BODIES: dict[str, list[Any]] = {
    "/v1/deposit-addresses": [
        {"recipient": 1, "user_key": 2},
        {"recipient": NOBODY[:-2], "user_key": NOBODY},
    ],
    "/v1/deposits": [{"recipient": None, "user_key": []}, {"recipient": "ff" * 32, "user_key": "ff" * 32}],
}
ROLLUP_BODIES: dict[str, list[Any]] = {
    "/v1/transactions": [
        {"tx": t} for t in (5, "", "z", "0", "00", "01" * 200, "ff" * 5000, "03" + "ff" * 300)
    ],
    "/v1/votes": [{"votes": v} for v in ("x", [], [1], ["zz"], ["00"] * 50, ["00" * 105], [NOBODY])],
}
ADMIN_BODIES: dict[str, list[Any]] = {
    "/v1/tss/dkg": [{"purpose": p} for p in (5, "", "UPPER", "a/../b", "x" * 500, "\0")],
    "/v1/tss/sign-test": [
        {"key": "anchor", "text": 5},
        {"key": "none", "text": "x"},
        {"key": "\0", "text": "\0"},
    ],
    "/v1/bridge/genesis": [
        {"treasury": "x", "lanes": []},
        {"treasury": f"{NOBODY}:0", "lanes": [f"{NOBODY}:1"]},
    ],
    "/v1/bridge/genesis/consent": [{"hash": 5}, {"hash": "zz"}],
    "/v1/bridge/epoch/propose": [{"epoch": 2}, [], {}],  # {}: no next committee is here
    "/v1/bridge/epoch/consent": [{"hash": 5}, {"hash": "zz"}, {"hash": NOBODY}],
    "/v1/headers/confirm": [{"tip": None}, {"tip": "0" * 63}],
}


def test_malformed_bodies_and_wrong_types_are_problems(running: Town) -> None:
    admin = running.alice.admin
    for url, token, table in (
        (running.alice.url, None, BODIES),
        (running.rollup_url, None, ROLLUP_BODIES),
        (admin.url, admin.token, ADMIN_BODIES),
    ):
        for target, bodies in table.items():
            for body in (*NONSENSE, *(json.dumps(each).encode() for each in bodies)):
                refused((target, body[:80]), send(url, "POST", target, body, token))


def test_oversized_bodies_are_413(running: Town) -> None:
    admin = running.alice.admin
    for url, token, target, size in (
        (running.alice.url, None, "/v1/deposits", 70_000),
        (running.rollup_url, None, "/v1/transactions", 1_100_000),
        (admin.url, admin.token, "/v1/tss/sign-test", 300_000),
    ):
        problem = refused(target, send(url, "POST", target, b'{"x": "' + b"a" * size + b'"}', token))
        assert (problem["status"], problem["code"]) == (413, "too_large")


# Bytes that are no HTTP


def port_of(url: str) -> int:
    return int(url.rsplit(":", 1)[1])


def talk(port: int, data: bytes, *, half: bool = False) -> bytes:
    """What a port answers to these bytes until it hangs up; `half` ends our side first."""
    answer = b""
    with (
        contextlib.suppress(ConnectionError),
        socket.create_connection(("127.0.0.1", port), timeout=10) as line,
    ):
        line.sendall(data)
        if half:
            line.shutdown(socket.SHUT_WR)
        while part := line.recv(65536):
            answer += part
    return answer


GET = b"GET /v1/info HTTP/1.1\r\nHost: x\r\n"
POST = b"POST /v1/deposits HTTP/1.1\r\nHost: x\r\n"
GARBAGE = {
    "random": random.Random(7).randbytes(500),
    "tls": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(300),
    "http/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "version": b"GET / HTTP/9.9\r\n\r\n",
    "long line": b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n",
    "long header": GET + b"X: " + b"a" * 20_000 + b"\r\n\r\n",
    "many headers": GET + b"".join(b"X%d: a\r\n" % i for i in range(2000)) + b"\r\n",
    "negative length": POST + b"Content-Length: -5\r\n\r\n",
    "two lengths": POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef",
    "smuggled": POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "bad chunk": POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n",
    "nul": b"GET /v1/\x00info HTTP/1.1\r\nHost: x\r\n\r\n",
    "bad port": b"GET http://a:99999/v1/info HTTP/1.1\r\nHost: x\r\n\r\n",
    "method": b"BREW /v1/info HTTP/1.1\r\nHost: x\r\n\r\n",
    "gzip": POST + b"Connection: close\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\nabcde",
    "brotli": POST + b"Connection: close\r\nContent-Encoding: br\r\nContent-Length: 5\r\n\r\nabcde",
}


def test_garbage_on_a_port_gets_a_problem(running: Town) -> None:
    for url in (running.alice.url, running.rollup_url, running.alice.admin.url):
        for name, data in GARBAGE.items():
            if url == running.rollup_url:
                data = data.replace(b"/v1/deposits", b"/v1/transactions")  # noqa: PLW2901
            head, _, body = talk(port_of(url), data).partition(b"\r\n\r\n")
            status = int(head.split()[1])
            kind = re.search(rb"Content-Type: (\S+)", head)
            assert kind is not None, (name, head)
            assert 400 <= status < 500, (name, head, body)
            check_problem(name, status, kind[1].decode(), body)
        cut = talk(port_of(url), POST + b"Content-Length: 500\r\n\r\n{", half=True)
        # Who needs no body to refuse may have answered before it saw our side end: no token, no such method.
        assert cut == b"" or re.match(rb"HTTP/1.1 4\d\d ", cut), cut


def test_half_requests_do_not_hold_up_others(running: Town) -> None:
    for url, path in ((running.alice.url, "/v1/info"), (running.rollup_url, "/v1/status")):
        with contextlib.ExitStack() as lines:
            for number in range(550):
                line = lines.enter_context(socket.create_connection(("127.0.0.1", port_of(url)), timeout=10))
                line.sendall(GET[:-2] if number % 3 else POST + b"Content-Length: 50\r\n\r\n{")
            assert send(url, "GET", path)[0] == 200
            running.sign(f"while {url} is crowded")


# The peer port


def dial(port: int, context: ssl.SSLContext) -> bytes:
    """What the peer port answers a caller with these papers; ssl.SSLError or ConnectionError when nothing."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=10) as line,
        context.wrap_socket(line) as tls,
    ):
        tls.sendall(b"POST /peer/v1/peer.ping HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
        if answer := tls.recv(1000):
            return answer
        raise ConnectionError


def test_strangers_get_nothing_from_the_peer_port(running: Town, tmp_path: Path) -> None:
    port = port_of(running.peer_url(1))
    assert talk(port, GET + b"\r\n") == b""
    assert talk(port, random.Random(8).randbytes(500)) == b""
    mallory = identity.create(tmp_path / "mallory", "mallory", "https://127.0.0.1:1")
    bare = ssl.create_default_context()
    bare.check_hostname, bare.verify_mode = False, ssl.CERT_NONE
    old = ssl.create_default_context()
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    for context in (bare, client_context(mallory.tls), old):
        with pytest.raises((ssl.SSLError, ConnectionError)):
            dial(port, context)
    running.sign("after strangers")


def test_a_member_that_speaks_no_http_harms_nobody(running: Town) -> None:
    carol, port = client_context(running.ground.identity(2).tls), port_of(running.peer_url(1))
    ping = b"POST /peer/v1/peer.ping HTTP/1.1\r\nHost: x\r\n"
    for data in (
        *GARBAGE.values(),
        GET + b"\r\n",
        ping + b"Content-Length: 500\r\n\r\nhalf",
        ping + b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nhalf",
        ping + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n",
        ping + b"Content-Length: 5000000\r\n\r\n" + bytes(5_000_000),
    ):
        with (
            contextlib.suppress(ConnectionError, ssl.SSLError, TimeoutError),
            socket.create_connection(("127.0.0.1", port), timeout=0.3) as line,
            carol.wrap_socket(line) as tls,
        ):
            tls.sendall(data)
            assert not re.match(rb"HTTP/1.. (2|5)", tls.recv(1000)), data[:80]
    running.sign("after carol's noise")


TOPICS = {
    value
    for module in (ceremony, keeper, registry, dkg_member, key_proof, signing_member)
    for value in vars(module).values()
    if isinstance(value, str) and re.fullmatch(r"(tss|bridge)(\.[a-z0-9-]+)+", value)
}


def spoilt(good: bytes) -> Iterator[bytes]:
    """A message that was once meant, damaged in some ways."""
    dice = random.Random(9)
    yield from (good[: len(good) // 2], good[:-1], good + b"\0", b"\xff" * len(good))
    for _ in range(6):
        at = dice.randrange(len(good)) if good else 0
        yield good[:at] + bytes([dice.randrange(256)]) + good[at + 1 :]


async def overhear(running: Town, heard: dict[str, bytes]) -> None:
    """Have alice need carol, by freezing bob until she was asked."""
    bob = running.ground.operators[1].process
    bob.freeze()
    try:
        work = asyncio.create_task(asyncio.to_thread(running.sign, "for carol's ears"))
        async with asyncio.timeout(60):
            while not heard:  # noqa: ASYNC110  a program of its own fills it
                await asyncio.sleep(0.02)
    finally:
        bob.thaw()
    await work


async def code_of(peers: Peers, member: int, topic: str, body: bytes) -> tuple[str, str]:
    """Code and reason of the answer to a call."""
    try:
        await peers.call(member, topic, body, timeout=20)
    except PeerRefused as refusal:
        return refusal.code, refusal.reason
    return "ok", "it was taken"


async def test_a_members_garbage_is_refused_by_name_and_signing_goes_on(running: Town) -> None:
    carol = running.ground.identity(2)
    peers = Peers(running.ground.committee.committee, 3, carol.tls, carol)
    heard: dict[str, bytes] = {}

    def listen(topic: str) -> None:
        async def note(_member: int, body: bytes) -> bytes:
            heard.setdefault(topic, body)
            raise Refuse("not-now", "carol only listens")

        peers.handle(topic, note)

    for topic in TOPICS:
        listen(topic)
    await peers.start("127.0.0.1", port_of(running.peer_url(3)))
    try:
        await peers.until_heard([1, 2], 20)
        await overhear(running, heard)
        assert len(TOPICS) >= 10
        garbage = [b"", b"\0", os.urandom(32), b"\0" * 300, os.urandom(5000), b"\xff" * 100_000]
        for member in (1, 2):
            for topic in ("peer.nothing", *sorted(TOPICS)):
                for body in (*garbage, *spoilt(heard.get(topic, b"x" * 50))):
                    code, reason = await code_of(peers, member, topic, body)
                    assert code != "internal", (topic, body[:50], reason)
                    assert not code.startswith("http-5"), (topic, body[:50], reason)
                    assert reason, (topic, body[:50], code)
        await asyncio.to_thread(running.sign, "after all that")
    finally:
        await peers.close()


def test_after_all_that_everybody_is_well(running: Town) -> None:
    for node in running.ground.operators[:2]:
        checks = {check["name"]: check for check in node.get("/v1/health")["checks"]}
        assert all(checks[name]["ok"] for name in ("bitcoind", "rollup", "committee", "bridge")), checks
        assert len(node.admin.get("/v1/tss/keys")["keys"]) == 3
        assert node.process.peak_memory < 200_000_000
    before = ask.get(running.rollup_url + "/v1/status")["certified_height"]
    page = ask.get(f"{running.rollup_url}/v1/blocks?after={before}&wait=20000")
    assert page["blocks"], "the rollup goes on"
