"""`holdfast anchor headers` and `holdfast anchor risk`: files of headers, and how deep is deep enough."""

from pathlib import Path
from typing import Any, BinaryIO

import click

from anchor.cli_http import HttpClient
from anchor.cli_tools import FILE, JSON, NODE, Failed, lines, show

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


def _fetch_headers(client: HttpClient) -> tuple[int, bytes]:
    """Return the first height and all headers; begins again when a reorg comes between two pages."""
    from anchor.btc.hashing import sha256d

    for _ in range(5):
        first = client.get("/v1/headers", **{"from": 0, "count": HEADERS_PAGE})
        start, page, data = int(first["from"]), bytes.fromhex(first["headers"]), b""
        while page and (not data or sha256d(data[-HEADER_SIZE:]) == page[4:36]):
            data += page
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
    text = "\n".join(["valid", lines(facts), *(f"note: {note}" for note in notes)])
    show(as_json, {"valid": True, **facts, "notes": notes}, text)


def _verified(found: Any, network: str) -> tuple[dict[str, Any], list[str]]:
    from anchor.btc.ids import display

    notes = []
    if found.start:
        notes.append(
            f"header {found.start} was taken on trust: compare its hash with a source of yours; "
            "work counts from there"
        )
        where = "not reached" if found.median_from is None else f"from height {found.median_from} on"
        notes.append(f"median time checked {where}: eleven predecessors must be known")
    if network == "signet":
        notes.append(SIGNET_NOTE)
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
