"""`holdfast anchor headers` and `holdfast anchor risk`: files of headers, and how deep is deep enough."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import click

from anchor.cli_http import HttpClient
from anchor.cli_tools import FILE, JSON, NODE, Failed, lines, show, table

NETWORK = click.option(
    "--network",
    type=click.Choice(["mainnet", "testnet3", "testnet4", "signet", "regtest"]),
    required=True,
    help="The Bitcoin network.",
)
START = click.option(
    "--trusted-start",
    "start_height",
    type=click.IntRange(min=0),
    default=0,
    show_default="genesis",
    metavar="HEIGHT",
    help="Height of the first header, which you then trust; it must begin a difficulty period.",
)
HEADER_SIZE, HEADERS_PAGE = 80, 2000
MOST_EXPORTED = 10_000_000  # headers, two centuries: a server may link headers without end
READ_SIZE = 4096 * HEADER_SIZE
SIGNET_NOTE = "signet blocks carry their signers' signature (BIP325), which headers do not show: not checked"


@click.group()
def headers() -> None:
    """Files of Bitcoin headers, 80 bytes each."""


@headers.command()
@NODE
@click.option("-o", "--output", type=FILE, required=True, help="File to write; an existing one is replaced.")
@JSON
def export(url: str, output: Path, as_json: bool) -> None:
    """Fetch a node's main chain of headers into a file; `verify` checks it.

    Example: holdfast anchor headers export --node http://127.0.0.1:8101 -o h.bin
    """
    try:
        start, data = _fetch_headers(HttpClient(url))
    except (KeyError, TypeError, ValueError) as error:
        raise Failed(f"{url} does not answer like a node: give its public URL") from error
    try:
        output.write_bytes(data)
    except OSError as error:
        raise Failed(f"cannot write {output} ({error.strerror}): choose another place") from error
    count = len(data) // HEADER_SIZE
    done = {"file": str(output), "start": start, "count": count, "height": start + count - 1}
    show(as_json, done, f"{count} headers from {start} to {done['height']} in {output}")


def _fetch_headers(client: HttpClient) -> tuple[int, bytearray]:
    """Return the first height and all headers; begins again when a reorg comes between two pages."""
    from anchor.btc.hashing import sha256d

    for _ in range(5):
        first = client.get("/v1/headers", **{"from": 0, "count": HEADERS_PAGE})
        start, page, data = int(first["from"]), bytes.fromhex(first["headers"]), bytearray()
        while page and (not data or sha256d(bytes(data[-HEADER_SIZE:])) == page[4:36]):
            data += page
            if len(data) > MOST_EXPORTED * HEADER_SIZE:
                raise Failed(f"{client.url} gives more headers than Bitcoin can have: ask another node")
            at = start + len(data) // HEADER_SIZE
            page = bytes.fromhex(client.get("/v1/headers", **{"from": at, "count": HEADERS_PAGE})["headers"])
        if data and not page:
            return start, data
    raise Failed("the node's chain changes while it is read: try again in a minute")


@headers.command()
@click.argument("file", type=click.File("rb"))
@NETWORK
@START
@JSON
def verify(file: BinaryIO, network: str, start_height: int, as_json: bool) -> None:
    """Check a file of raw headers (- for standard input) by the network's full rules. Status 0 or 1.

    Asks no server and no clock, so a header from the future passes: look at the tip's time. Prints how many headers
    there are, the tip, its work and time; or the first refused header with its height and the rule that it breaks.

    Example: holdfast anchor headers verify h.bin --network mainnet --trusted-start 822528
    """
    from anchor.btc.network import network_by_name
    from anchor.headers.rules import HeaderRefused
    from anchor.headers.verify import FileCheck

    check: FileCheck | None = None
    try:
        check = FileCheck(network_by_name(network), start_height)
        while data := file.read(READ_SIZE):
            check.feed(data)
        found = check.done()
    except OSError as error:
        raise Failed(f"cannot read {file.name} ({error.strerror}): give a file of headers") from error
    except HeaderRefused as refused:
        valid = 0 if check is None else check.count
        if as_json:
            no = {"valid": False, "rule": refused.rule, "height": refused.height, "reason": refused.reason}
            show(True, {**no, "count": valid}, "")
        before = f" ({valid} headers before it are valid)" if valid else ""
        raise Failed(f"not valid: {refused}{before}") from refused
    facts, notes = _verified(found, network)
    when = f"{datetime.fromtimestamp(found.time, UTC):%Y-%m-%d %H:%M:%S} UTC"
    told = lines({**facts, "time": f"{found.time} ({when})"})
    text = "\n".join(["valid", told, *(f"note: {note}" for note in notes)])
    show(as_json, {"valid": True, **facts, "notes": notes}, text)


def trusted(network: str, start_height: int) -> list[str]:
    """What a file of headers leaves to trust, in sentences."""
    notes = []
    if start_height:
        notes.append(
            f"header {start_height} was taken on trust: compare its hash with a source of yours; "
            "work counts from there"
        )
    if network == "signet":
        notes.append(SIGNET_NOTE)
    return notes


def _verified(found: Any, network: str) -> tuple[dict[str, Any], list[str]]:
    from anchor.btc.ids import display

    notes = trusted(network, found.start)
    if found.start:
        where = "not reached" if found.median_from is None else f"from height {found.median_from} on"
        notes.insert(1, f"median time checked {where}: eleven predecessors must be known")
    facts = {
        "network": network,
        "count": found.count,
        "start": found.start,
        "height": found.height,
        "tip": display(found.tip),
        "work": f"{found.work:x}",
        "time": found.time,
        "median_time_from": found.median_from,
    }
    return facts, notes


# Risk

SHARES = (0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4)
STEP = 0.05


def _shares(_: click.Context, __: click.Parameter, given: tuple[str, ...]) -> tuple[float, ...]:
    """Read shares (0.3) and spans (0.1…0.4, also with two or three dots), which go in steps of 0.05."""
    found: list[float] = []
    for text in given:
        low, dots, high = text.replace("...", "…").replace("..", "…").partition("…")
        try:
            first = float(low)
            last = float(high) if dots else first
        except ValueError:
            raise click.BadParameter(f"{text!r} is no share like 0.3 and no span like 0.1…0.4") from None
        if not 0 < first <= last < 0.5:
            raise click.BadParameter(f"{text!r}: a share is above 0 and below 0.5; with half he always wins")
        steps = int((last - first) / STEP + 1e-9)
        found += [first, *(round(first + n * STEP, 9) for n in range(1, steps + 1))]
        if last - found[-1] > 1e-9:
            found.append(last)
    return tuple(dict.fromkeys(found)) or SHARES


@click.command()
@click.option("--value", type=click.IntRange(min=1), required=True, metavar="SATS", help="What is at stake.")
@click.option(
    "--attacker",
    "shares",
    multiple=True,
    callback=_shares,
    metavar="SHARE",
    help="His share of all hash power, or a span like 0.1…0.4; may be repeated. Default: 0.1…0.4.",
)
@click.option(
    "--risk",
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    default=0.001,
    show_default=True,
    help="The most that his chance may be, whatever the value.",
)
@click.option(
    "--loss",
    type=click.IntRange(min=1),
    default=100_000,
    show_default=True,
    metavar="SATS",
    help="The most that may be lost on average: chance times value.",
)
@JSON
def risk(value: int, shares: tuple[float, ...], risk: float, loss: int, as_json: bool) -> None:
    """Say how deep a payment must be before an attacker's chance to undo it is small enough.

    Small enough is at most --risk, and so small that chance times --value stays within --loss: with the defaults
    one in a thousand up to 1 BTC, and ten times less for ten times the value. Depth counts confirmations.

    Example: holdfast anchor risk --value 500000000 --attacker 0.1…0.4
    """
    from anchor.headers.risk import FORMULAS, RiskError, depth_for, risk_for

    allowed = risk_for(value, loss, risk)
    rows: list[dict[str, float | int]] = []
    try:
        for share in shares:
            depths = {name: depth_for(formula, share, allowed) for name, formula in FORMULAS.items()}
            chance = FORMULAS["grunspan"](share, depths["grunspan"])
            rows.append({"attacker": share, **depths, "chance": chance})
    except RiskError as error:
        raise Failed(str(error)) from error
    columns = ("attacker", "depth (Nakamoto)", "depth (Grunspan)", "chance there")
    cells = [(f"{r['attacker']:g}", r["nakamoto"], r["grunspan"], f"{r['chance']:.2g}") for r in rows]
    head = f"depths at which an attacker undoes {value} sats with a chance of at most {allowed:.3g}"
    tail = "Grunspan's is exact, Nakamoto's lets honest blocks come on time; in both he never gives up."
    text = "\n".join([head, table("depth by attacker's share", columns, cells), tail])
    show(as_json, {"value": value, "risk": allowed, "depths": rows}, text)
