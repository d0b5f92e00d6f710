"""`holdfast rollup verify-headers`: replay a rollup's view of Bitcoin from its blocks, without any bitcoind."""

from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import click
import msgspec
from click.core import ParameterSource

from anchor.btc.ids import BlockHash, display
from anchor.rollup.genesis import Genesis
from anchor.rollup_cli_tools import FILE, JSON, READABLE, go, http_url, load_genesis, show

if TYPE_CHECKING:
    from anchor.finality.replay import HeaderReplay, Replayed
    from anchor.rollup.block import CertifiedBlock
    from anchor.rollup.state import RollupState
    from anchor.rollup_client import RollupClient
    from anchor.rollup_wire import Status

PAGE = 200
TRIES = 10  # looks at a rollup that goes on while it is compared


class Disagrees(Exception):
    """A rollup that says something else about its view than its blocks do."""


@click.command("verify-headers")
@click.option("--genesis", type=READABLE, required=True, help="genesis.json that you trust.")
@click.option(
    "--rollup",
    "url",
    envvar="HOLDFAST_ROLLUP",
    callback=lambda c, p, v: v and http_url(c, p, v),
    help="Root of the rollup's HTTP API.",
)
@click.option("--blocks", "file", type=READABLE, help="Instead of --rollup: a file that --save wrote.")
@click.option("--save", type=FILE, help="With --rollup: keep the blocks in a new file.")
@click.option("--execute", is_flag=True, help="Execute every transaction, too, and compare the state.")
@JSON
@click.pass_context
def verify_headers(
    ctx: click.Context,
    genesis: Path,
    url: str | None,
    file: Path | None,
    save: Path | None,
    execute: bool,
    as_json: bool,
) -> None:
    """Replay a rollup's chain from its genesis and print its Bitcoin tip, work and every reorg it saw.

    Only genesis.json is trusted: votes are counted and all headers checked by Bitcoin's rules. With --rollup the
    rollup's own word about its view is compared. No bitcoind is asked, so the answer says what the rollup knows of
    Bitcoin, and not that it is the chain with most work.

    Example: holdfast rollup verify-headers --genesis genesis.json --rollup http://127.0.0.1:9000
    """
    if file is not None and ctx.get_parameter_source("url") is ParameterSource.ENVIRONMENT:
        url = None  # HOLDFAST_ROLLUP stands for what is not said
    if (url is None) == (file is None):
        raise click.UsageError("give either --rollup or --blocks")
    if save is not None and url is None:
        raise click.UsageError("--save keeps what comes from --rollup")
    born = load_genesis(genesis)
    replay = _begun(born, execute=execute)
    if file is not None:
        go(replay.file(file))
    elif url is not None:
        go(_from_rollup(replay, born, url, save))
    facts = replay.facts()
    show(as_json, facts, _text(facts))


def _begun(genesis: Genesis, *, execute: bool) -> "_Replay":
    from anchor.btc.codec import CodecError

    try:
        return _Replay(genesis, execute=execute)
    except CodecError as error:  # the view cannot begin in its header
        raise click.ClickException(str(error)) from error


class _Replay:
    """The headers, and the whole state where it was asked for."""

    def __init__(self, genesis: Genesis, *, execute: bool) -> None:
        from anchor.finality.replay import HeaderReplay
        from anchor.rollup.state import RollupState

        self.genesis = genesis
        self.headers: HeaderReplay = HeaderReplay(genesis)
        self.state: RollupState | None = RollupState.at_genesis(genesis) if execute else None

    def take(self, certified: "CertifiedBlock") -> None:
        self.headers.take(certified)
        if self.state is not None:
            from anchor.rollup.transitions import check_block

            self.state = check_block(self.genesis, self.state, certified.block)

    async def file(self, path: Path) -> None:
        from anchor import rollup_block_file

        for certified in rollup_block_file.read(path, self.genesis.hash):
            self.take(certified)

    def facts(self) -> dict[str, Any]:
        found = self.headers.result()
        value = {
            "genesis_hash": self.genesis.hash.hex(),
            "height": found.height,
            "final_height": found.final,
            "bitcoin": {
                "tip_height": found.tip.height,
                "tip_hash": display(found.tip.hash),
                "work": f"{found.work:x}",
                "final_height": found.final_bitcoin[0],
                "final_hash": display(BlockHash(found.final_bitcoin[1])),
            },
            "headers": found.headers,
            "bundles": found.bundles,
            "reorgs": _reorgs(found),
        }
        if self.state is not None:
            s = self.state
            value |= {
                "supply": s.supply,
                "escrow": s.escrow,
                "paused": s.paused,
                "state_root": s.root().hex(),
                "epochs": _epochs(s, self.genesis),
            }
        return value


def _reorgs(found: "Replayed") -> list[dict[str, Any]]:
    from anchor.rollup_wire import reorg_view

    return [msgspec.to_builtins(reorg_view(reorg)) for reorg in found.reorgs]


def _epochs(state: "RollupState", genesis: Genesis) -> list[dict[str, Any]]:
    from anchor.rollup_wire import epoch_view

    return [msgspec.to_builtins(epoch_view(epoch)) for epoch in state.epochs(genesis) or ()]


async def _from_rollup(replay: _Replay, genesis: Genesis, url: str, save: Path | None) -> None:
    from anchor import rollup_block_file
    from anchor.rollup_client import RollupClient

    with ExitStack() as stack:
        kept: BinaryIO | None = None
        if save is not None:
            try:
                kept = stack.enter_context(save.open("xb"))
            except FileExistsError as error:
                raise click.ClickException(f"{save} exists: choose another name") from error
            rollup_block_file.begin(kept, genesis.hash)
        async with RollupClient(url) as client:
            theirs = (await client.genesis()).hash
            if theirs != genesis.hash:
                raise click.ClickException(
                    f"{url} is another rollup ({theirs.hex()}) than the genesis ({genesis.hash.hex()}): "
                    "correct --rollup or --genesis"
                )
            await _follow(replay, client, kept)


async def _follow(replay: _Replay, client: "RollupClient", kept: BinaryIO | None) -> None:
    """Replay until the rollup's newest block, then compare its own word about that block."""
    from anchor import rollup_block_file

    said = 0
    for _ in range(TRIES):
        async for page in _pages(client, replay.headers):
            for certified in page:
                replay.take(certified)
            if kept is not None:
                rollup_block_file.append(kept, page)
        if said > replay.headers.height:
            raise Disagrees(
                f"the rollup said that its newest block is {said} and serves none above {replay.headers.height}: "
                "those up to there check; get the others elsewhere (`--blocks`)"
            )
        status = await client.status()
        said = status.certified_height
        if status.certified_height <= replay.headers.height:
            break
    _compare(replay, status, [msgspec.to_builtins(r) for r in await client.reorgs()])
    if replay.state is not None:
        _compare_state(replay, status, [msgspec.to_builtins(e) for e in await client.epochs()])


async def _pages(client: "RollupClient", replay: "HeaderReplay") -> AsyncIterator[Sequence["CertifiedBlock"]]:
    while page := await client.blocks(replay.height, PAGE):
        yield page


def _compare(replay: _Replay, status: "Status", reorgs: list[dict[str, Any]]) -> None:
    """The rollup's word must be its blocks'. A block that came meanwhile is no lie, so heights must be equal."""
    facts, height = replay.facts(), replay.headers.height
    if status.certified_height < height:
        raise Disagrees(
            f"the rollup served block {height} and says that its newest is {status.certified_height}"
        )
    said = msgspec.to_builtins(status.bitcoin)
    if status.certified_height == height and said != facts["bitcoin"]:
        raise Disagrees(
            f"the rollup's blocks lead to Bitcoin {facts['bitcoin']}, it says {said}: believe the blocks"
        )
    if reorgs[: len(facts["reorgs"])] != facts["reorgs"]:
        raise Disagrees("the rollup tells other reorgs than its blocks hold: believe the blocks")


def _compare_state(replay: _Replay, status: "Status", epochs: list[dict[str, Any]]) -> None:
    facts = replay.facts()
    if status.certified_height == replay.headers.height and status.state_root != facts["state_root"]:
        raise Disagrees(
            f"the rollup's blocks lead to state {facts['state_root']}, it says {status.state_root}: "
            "believe the blocks"
        )
    if epochs[: len(facts["epochs"])] != facts["epochs"]:
        raise Disagrees("the rollup tells other key epochs than its blocks hold: believe the blocks")


def _text(facts: dict[str, Any]) -> str:
    b = facts["bitcoin"]
    rows = [
        ("blocks", f"1 to {facts['height']}, final up to {facts['final_height']}: votes and headers check"),
        ("Bitcoin tip", f"{b['tip_height']} {b['tip_hash']}"),
        ("work", f"0x{b['work']}"),
        ("final", f"{b['final_height']} {b['final_hash']}"),
        ("headers", f"{facts['headers']} in {facts['bundles']} bundles"),
        ("reorgs", str(len(facts["reorgs"]))),
    ]
    for r in facts["reorgs"]:
        lost, came = r["old_height"] - r["fork_height"], r["new_height"] - r["fork_height"]
        tips = f"{r['old_tip'][:16]}… → {r['new_tip'][:16]}…"
        fork = f"{lost} above Bitcoin height {r['fork_height']} gave way to {came}: {tips}"
        rows.append((f"block {r['rollup_height']}", fork))
    if "state_root" in facts:
        rows += [
            ("supply", f"{facts['supply']} sats, escrow {facts['escrow']} sats"),
            ("value", facts["paused"] or "moves"),
            *((f"key epoch {e['epoch']}", _epoch(e)) for e in facts["epochs"]),
            ("state root", facts["state_root"]),
        ]
    return "\n".join(f"{name:>14}  {value}" for name, value in rows)


def _epoch(epoch: dict[str, Any]) -> str:
    since = "the activation record" if epoch["since"] is None else f"block {epoch['since']}"
    who = f"{epoch['threshold']} of {len(epoch['host_keys'])} operators, committee {epoch['committee_hash'][:16]}…"
    return f"since {since}: {who}, mint key {epoch['mint_key']}"
