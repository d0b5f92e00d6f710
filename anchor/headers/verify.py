"""A flat file of headers, checked from its first byte to its last by the full rules, in bounded memory.

What headers alone cannot show stays open: whether the blocks behind them are valid, and on signet whether the
network's signers made them (BIP325 puts their signature into the block). No clock is asked.
"""

from dataclasses import dataclass

from anchor.btc.hashing import sha256d
from anchor.btc.header import HEADER_SIZE, Header, bits_of, target_of, work_of
from anchor.btc.ids import BlockHash
from anchor.btc.network import MAINNET, REGTEST, SIGNET, TESTNET3, TESTNET4, Network
from anchor.headers.rules import MEDIAN_SPAN, HeaderRefused, check_version, check_work, rules_of
from anchor.headers.run import HeaderRun

_NETWORKS = (MAINNET, TESTNET3, TESTNET4, SIGNET, REGTEST)
_PIECE = 4096 * HEADER_SIZE  # bytes looked at in one go


@dataclass(frozen=True, slots=True)
class Verified:
    """A valid run of headers: how many, the last one's height, hash and time, and the work of all of them.

    `start` is the first one's height: 0 for genesis, else it was taken on trust. `median_from` is the first height
    whose median time was checked, None while the run is too short for that.
    """

    count: int
    height: int
    tip: BlockHash
    work: int
    time: int
    start: int = 0
    median_from: int | None = None


class FileCheck:
    """Checks headers while they are read: `feed` pieces of any size, then `done`.

    From height 0 the first must be the network's genesis; a later first header is taken on trust (its own work and
    version are checked), and networks that retarget must start at the first block of a period. Refusals are
    HeaderRefused with height and rule; after one, `count` says how many headers before it are valid.
    """

    __slots__ = ("_network", "_rest", "_run", "_start")

    def __init__(self, network: Network, start_height: int = 0) -> None:
        rules = rules_of(network)
        if start_height < 0 or (not rules.constant_bits and start_height % rules.interval):
            raise HeaderRefused(
                "start",
                f"a trusted start must begin a difficulty period, at a multiple of {rules.interval}: "
                f"{start_height} does not, take one that does",
            )
        self._network, self._start = network, start_height
        self._rest = b""
        self._run: HeaderRun | None = None

    @property
    def count(self) -> int:
        """How many valid headers there were so far."""
        return 0 if self._run is None else self._run.height - self._start + 1

    def feed(self, data: bytes) -> None:
        """Take the file's next bytes. Raises HeaderRefused at the first header that breaks a rule."""
        for place in range(0, len(data), _PIECE):
            piece = self._rest + data[place : place + _PIECE]
            whole = len(piece) - len(piece) % HEADER_SIZE
            self._rest = piece[whole:]
            if whole:
                self._take(piece[:whole])

    def done(self) -> Verified:
        """Say what the whole file holds. Raises HeaderRefused when it is empty or ends inside a header."""
        run, next_height = self._run, self._start + self.count
        if self._rest:
            raise HeaderRefused(
                "length",
                f"the file ends {len(self._rest)} bytes into this header of {HEADER_SIZE}: it was cut short, "
                "or is no file of bare headers; export it again",
                next_height,
            )
        if run is None:
            raise HeaderRefused("length", "there are no headers in it: export it again", next_height)
        median_from = self._start + (MEDIAN_SPAN if self._start else 1)
        return Verified(
            self.count,
            run.height,
            run.tip,
            run.work,
            run.time,
            self._start,
            median_from if median_from <= run.height else None,
        )

    def _take(self, raw: bytes) -> None:
        before = self.count
        try:
            if self._run is None:
                first = self._first(Header.parse(raw[:HEADER_SIZE]))
                self._run = HeaderRun(rules_of(self._network), [first], self._start, work_of(first.bits))
                raw, before = raw[HEADER_SIZE:], 1
            self._run.add(raw)
        except HeaderRefused as error:
            at = (self.count - before) * HEADER_SIZE
            self._name_stranger(sha256d(raw[at : at + HEADER_SIZE]), error)
            raise

    def _first(self, header: Header) -> Header:
        network, start = self._network, self._start
        if start == 0 and header.hash != network.genesis_hash:
            raise HeaderRefused(
                "genesis",
                f"the first header is not the genesis of {network.name}: when the file begins later, give the "
                "height as the trusted start",
                start,
            )
        if start and header.hash == network.genesis_hash:
            raise HeaderRefused(
                "start",
                f"the first header is the genesis of {network.name}: leave the trusted start out",
                start,
            )
        rules = rules_of(network)
        check_work(rules, header, start)
        # No rule computes its bits: known are how they are written, and regtest's only ones.
        wanted = rules.limit_bits if rules.constant_bits else bits_of(target_of(header.bits))
        if header.bits != wanted:
            raise HeaderRefused("bits", f"bits {header.bits:08x} are not {wanted:08x}", start)
        check_version(rules, header, start)
        return header

    def _name_stranger(self, block: bytes, error: HeaderRefused) -> None:
        """Raise a clearer refusal when the refused header is a network's genesis."""
        for network in _NETWORKS:
            if network.genesis_hash == block and error.rule != "start":
                what = (
                    f"this is the genesis of {network.name}, where a header of {self._network.name} belongs"
                )
                raise HeaderRefused(error.rule, f"{what}: is it the right network and start?", error.height)


def verify_headers(network: Network, raw: bytes, start_height: int = 0) -> Verified:
    """Check headers of 80 bytes each without framing, the first at `start_height`; see FileCheck."""
    check = FileCheck(network, start_height)
    check.feed(raw)
    return check.done()


def check_length(raw: bytes) -> None:
    """HeaderRefused unless these are whole headers, at least one."""
    if not raw or len(raw) % HEADER_SIZE:
        raise HeaderRefused(
            "length",
            f"{len(raw)} bytes are no whole number of headers of {HEADER_SIZE} bytes, or none: export them again",
        )
