"""Looks at nodes and keys from outside: who is a stranger to whom, and what a key's signature is worth."""

import socket
import ssl
from typing import Any

from bitcoinrpc.authproxy import JSONRPCException

from anchor.btc.curve import schnorr_verify
from anchor.btc.hashing import tagged_hash
from regtest.bitcoind import Bitcoind
from regtest.command import holdfast_json
from regtest.operators import Node


def has_wallets(bitcoind: Bitcoind) -> bool:
    """Whether this bitcoind can hold a wallet at all."""
    try:
        bitcoind.rpc().listwallets()
    except JSONRPCException:
        return False
    return True


def refuses_strangers(node: Node) -> bool:
    """Whether the peer port ends a TLS connection that shows no member's certificate."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    port = int(node.peer_url.rpartition(":")[2])
    try:
        with (
            socket.create_connection(("127.0.0.1", port), timeout=5) as line,
            context.wrap_socket(line) as tls,
        ):
            tls.sendall(b"GET / HTTP/1.1\r\nHost: node\r\n\r\n")
            return not tls.recv(1)  # TLS 1.3 tells the client only after its own handshake
    except (ssl.SSLError, ConnectionError):
        return True


def sign_test(node: Node, purpose: str, text: str) -> Any:
    """Have a node coordinate a `test` signature under a key; CommandFault says why there is none."""
    return holdfast_json("tss", "sign-test", "--dir", node.folder, "--key", purpose, text)


def test_message(purpose: str, text: str) -> bytes:
    """What a test signature is over: its own tagged hash, never anything else's."""
    return tagged_hash("holdfast/test/v1", purpose.encode() + b"\0" + text.encode())


def is_signed(group_key: str, purpose: str, text: str, signature: str) -> bool:
    """Whether libsecp256k1 takes the signature under the group key (33 bytes, hex)."""
    return schnorr_verify(
        bytes.fromhex(group_key)[-32:], test_message(purpose, text), bytes.fromhex(signature)
    )
