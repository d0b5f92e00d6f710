"""A flat file of headers, checked from its first byte to its last by the full rules."""

from collections import deque
from dataclasses import dataclass

from anchor.btc.header import HEADER_SIZE, Header, work_of
from anchor.btc.ids import BlockHash
from anchor.btc.network import Network
from anchor.headers.rules import HeaderRefused, check, check_work, rules_of


@dataclass(frozen=True, slots=True)
class Verified:
    """A valid run of headers: how many, the last one's height, hash and time, and the work of all of them."""

    count: int
    height: int
    tip: BlockHash
    work: int
    time: int


def verify_headers(network: Network, raw: bytes, start_height: int = 0) -> Verified:
    """Check headers of 80 bytes each without framing, the first at `start_height`.

    From height 0 the first must be the network's genesis; a later first header is taken on trust (its own work
    is checked), and networks that retarget must start at the first block of a period. Raises HeaderRefused with
    height and rule.
    """
    rules = rules_of(network)
    check_length(raw)
    if start_height < 0 or (not rules.constant_bits and start_height % rules.interval):
        raise HeaderRefused(
            "length", f"start at a multiple of {rules.interval}: retargets need whole periods"
        )
    window: deque[Header] = deque(maxlen=rules.interval + 12)
    work, height = 0, start_height
    for offset in range(0, len(raw), HEADER_SIZE):
        header = Header.parse(raw[offset : offset + HEADER_SIZE])
        if offset == 0:
            _check_first(network, header, start_height)
        else:
            base = height - len(window)
            check(rules, header, height, lambda h, b=base: window[h - b] if h >= b else None)  # type: ignore[misc]  # mypy cannot infer a defaulted lambda
        window.append(header)
        work += work_of(header.bits)
        height += 1
    last = window[-1]
    return Verified(len(raw) // HEADER_SIZE, height - 1, last.hash, work, last.time)


def check_length(raw: bytes) -> None:
    """HeaderRefused unless these are whole headers, at least one."""
    if not raw or len(raw) % HEADER_SIZE:
        raise HeaderRefused(
            "length",
            f"{len(raw)} bytes are no whole number of headers of 80 bytes, or none: export them again",
        )


def _check_first(network: Network, header: Header, height: int) -> None:
    if height == 0 and header.hash != network.genesis_hash:
        raise HeaderRefused("genesis", f"the first header is not the genesis of {network.name}", 0)
    check_work(rules_of(network), header, height)
