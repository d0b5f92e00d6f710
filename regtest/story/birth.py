"""Looks at a new world from outside: who is alone, who is whose stranger, and whether all hold the same papers."""

import json
import socket
import ssl

from bitcoinrpc.authproxy import JSONRPCException

from anchor.btc.curve import schnorr_verify
from regtest.bitcoind import Bitcoind
from regtest.command import holdfast_json
from regtest.operators import Node
from regtest.story.scene import Scene
from regtest.telling import short


def bitcoinds_are_peers(s: Scene) -> None:
    """Every bitcoind sees all others; only the last can hold a wallet."""
    nodes = s.world.network.nodes
    peers = [node.rpc().getconnectioncount() for node in nodes]
    s.tell.check(
        set(peers) == {len(nodes) - 1}, f"{len(nodes)} bitcoinds, each peered with all others", peers
    )
    wallets = [_has_wallets(node) for node in nodes]
    s.tell.equal(
        wallets, [False] * s.world.size + [True], "operators' bitcoinds have no wallets, the last has"
    )


def _has_wallets(bitcoind: Bitcoind) -> bool:
    try:
        bitcoind.rpc().listwallets()
    except JSONRPCException:
        return False
    return True


def all_signed_one_committee_file(s: Scene) -> None:
    """Every member's signature over the committee file's hash holds under its host key."""
    digest = bytes.fromhex(holdfast_json("tss", "committee", "show", s.world.committee_file)["hash"])
    members = json.loads(s.world.committee_file.read_text())["members"]
    held = [schnorr_verify(*_signature(member, digest)) for member in members]
    s.tell.equal(
        held, [True] * s.world.size, f"{', '.join(m['name'] for m in members)} signed the committee file"
    )


def _signature(member: dict[str, str], digest: bytes) -> tuple[bytes, bytes, bytes]:
    return bytes.fromhex(member["host_key"]), digest, bytes.fromhex(member["signature"])


def nodes_stand_alone(s: Scene) -> None:
    """Own processes, own databases, one committee; peers must show a member's certificate."""
    nodes, tell = s.world.operators, s.tell
    pids = sorted(node.process.pid or 0 for node in nodes)
    tell.equal(
        len(set(pids) - {0}), len(nodes), f"{len(nodes)} nodes are the processes {', '.join(map(str, pids))}"
    )
    databases = {path.resolve() for node in nodes for path in node.folder.glob("*.db")}
    tell.equal(len(databases), 2 * len(nodes), "each with its own node.db and signer.db")
    words = {node.get("/v1/info")["committee"]["words"] for node in nodes}
    tell.equal(len(words), 1, f"all read the same words aloud: {next(iter(words))}")
    tell.check(
        all(map(_refuses_strangers, nodes)), "their peer ports refuse who shows no member's certificate"
    )


def _refuses_strangers(node: Node) -> bool:
    """Whether the peer port ends a TLS connection that shows no member's certificate."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with (
            socket.create_connection(("127.0.0.1", node.peer_port), timeout=5) as line,
            context.wrap_socket(line) as tls,
        ):
            tls.sendall(b"GET / HTTP/1.1\r\nHost: node\r\n\r\n")
            return not tls.recv(1)  # in TLS 1.3 the refusal comes after the client's own handshake
    except (ssl.SSLError, ConnectionError):
        return True


def one_genesis(s: Scene) -> None:
    """Nodes and rollup name the same genesis, and blocks come."""
    named = {node.get("/v1/info")["rollup"]["genesis_hash"] for node in s.world.operators}
    named.add(s.status()["genesis_hash"])
    s.tell.equal(named, {s.genesis.hash.hex()}, f"one genesis everywhere: {short(s.genesis.hash.hex())}")
    s.until(lambda: s.status()["final_height"] > 0, "the rollup to finalise blocks")
    s.tell.check(True, f"the rollup's first blocks are final: {s.status()['final_height']}")
