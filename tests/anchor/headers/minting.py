"""Headers made for tests: mined on regtest's easiest target, valid or wrong in one chosen way."""

from dataclasses import replace
from itertools import count

from anchor.btc.header import Header, target_of
from anchor.btc.network import REGTEST
from anchor.headers.chain import HeaderChain
from anchor.headers.rules import rules_of

GENESIS = Header.parse(REGTEST.genesis)
RULES = rules_of(REGTEST)


def mine(header: Header, *, fail: bool = False) -> Header:
    """Find a nonce that meets (or, with `fail`, misses) the header's target."""
    target = target_of(header.bits)
    for nonce in count(header.nonce):
        trial = replace(header, nonce=nonce)
        if (int.from_bytes(trial.hash, "little") <= target) != fail:
            return trial
    raise AssertionError


def child(parent: Header, salt: int = 0, *, after: int = 600, version: int = 4) -> Header:
    """A valid child on regtest; another `salt` makes a sibling."""
    root = salt.to_bytes(32, "big")
    return mine(Header(version, parent.hash, root, parent.time + after, GENESIS.bits, 0))


def run(parent: Header, length: int, salt: int = 0) -> list[Header]:
    """Valid headers in a row upon `parent`."""
    made: list[Header] = []
    for _ in range(length):
        made.append(child(made[-1] if made else parent, salt))
    return made


def chain_of(*headers: Header) -> HeaderChain:
    """A regtest chain from genesis with these headers added."""
    chain = HeaderChain(RULES, GENESIS)
    for header in headers:
        chain.add(header)
    return chain
