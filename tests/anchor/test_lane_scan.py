"""Lanes read from a real bitcoind's blocks with nothing but the activation record."""

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from anchor.bitcoind import Bitcoind as Client
from anchor.btc.address import address_of
from anchor.btc.amounts import Sats
from anchor.btc.ids import OutPoint, Txid, display, from_display
from anchor.btc.network import REGTEST
from anchor.btc.tx import Tx
from anchor.cli_anchor import anchor
from anchor.inscription.builder import build, build_void
from anchor.inscription.lane import tip_script
from anchor.inscription.reader import AnchorFound, RotationFound, VoidFound
from anchor.lane_scan import ChainMoves, scan
from anchor.rollup.activation import Activation, SignedActivation
from regtest.bitcoind import Bitcoind
from tests.anchor.inscription.batches import a_batch, a_range, a_rotation, a_successor
from tests.anchor.inscription.whole_key import ANCHOR, NEXT, WholeKey
from tests.anchor.proofs.story import an_activation

pytestmark = pytest.mark.regtest
COINS = Sats(1_000_000)


class World:
    """A funded lane on a bitcoind; batches are signed by whole keys and mined at once."""

    def __init__(self, node: Bitcoind) -> None:
        self.node, self.wallet = node, node.rpc("miner")
        self.wallet.generatetoaddress(101, self.wallet.getnewaddress())
        script = tip_script(ANCHOR.key33)
        txid = self.wallet.sendtoaddress(address_of(script, REGTEST), "0.01")
        self.mine()
        outputs = self.wallet.gettransaction(txid, True, True)["decoded"]["vout"]
        vout = next(o["n"] for o in outputs if o["scriptPubKey"]["hex"] == script.hex())
        self.tip, self.value, self.sequence = OutPoint(Txid(from_display(txid)), vout), COINS, 0
        self.activation: Activation = an_activation(self.tip, COINS, height=103)

    def mine(self) -> str:
        return str(self.wallet.generatetoaddress(1, self.wallet.getnewaddress())[0])

    def write(self, batch: object, key: WholeKey, *, void: bool = False) -> tuple[Tx, str]:
        """Sign, send and mine a batch on the tip; return its end and its block."""
        self.sequence += 1
        place = {"tip": self.tip, "tip_value": self.value, "sequence": self.sequence}
        package = build(replace(batch, **place), key.key33, [1])  # either kind of batch
        signed = key.sign_package(package)
        end = key.sign_void(build_void(package, 2)) if void else signed.reveals[0]
        sent = self.node.rpc().submitpackage([tx.serialize().hex() for tx in (signed.commit, end)])
        assert sent["package_msg"] == "success", sent
        self.tip, self.value = end.outpoint(0), end.outputs[0].value
        return end, self.mine()


@pytest.fixture
def world(new_bitcoind: Callable[..., Bitcoind]) -> World:
    node = new_bitcoind(wallet=True).start()
    node.ensure_wallet("miner")
    return World(node)


async def test_anchors_voids_and_rotations_are_found_again_and_followed_over_a_reorg(world: World) -> None:
    root = a_batch(a_range(0)).payload().root
    one, _ = world.write(a_batch(a_range(0)), ANCHOR)
    void, _ = world.write(a_batch(a_range(1)), ANCHOR, void=True)
    rotation, turned = world.write(a_rotation(previous_root=root), ANCHOR)
    two, _ = world.write(a_batch(a_range(1), epoch=2, previous_root=root), NEXT)
    async with Client(world.node.rpc_url, cookie=world.node.cookie) as client:
        heights = list[int]()
        found = await scan(client, world.activation, heights.append)
        assert heights == list(range(world.activation.height, found.height + 1))
        assert [type(e) for e in found.events] == [AnchorFound, VoidFound, RotationFound, AnchorFound]
        assert [e.txid for e in found.events] == [tx.txid for tx in (one, void, rotation, two)]
        (lane,) = found.lanes
        assert (lane.epoch, lane.key33, lane.sequence, lane.tip) == (2, NEXT.key33, 4, two.outpoint(0))
        assert (found.height, found.hash) == await client.best()
        world.node.rpc().invalidateblock(turned)
        found = await scan(client, world.activation)
        (lane,) = found.lanes
        assert [type(e) for e in found.events] == [AnchorFound, VoidFound]
        assert (lane.epoch, lane.key33, lane.tip) == (1, ANCHOR.key33, void.outpoint(0))


async def test_a_chain_that_is_too_short_is_told(world: World) -> None:
    async with Client(world.node.rpc_url, cookie=world.node.cookie) as client:
        with pytest.raises(ChainMoves, match="has no block 998 yet"):
            await scan(client, replace(world.activation, height=999))


async def run(world: World, folder: Path, *more: object, status: int = 0) -> str:
    (folder / "a.json").write_text(SignedActivation(world.activation, (bytes(64),)).to_json())
    where = (
        "--activation",
        folder / "a.json",
        "--bitcoind-url",
        world.node.rpc_url,
        "--cookie",
        world.node.cookie,
    )
    words = [str(word) for word in ("scan", *where, *more)]
    result = await asyncio.to_thread(CliRunner().invoke, anchor, words)
    assert result.exit_code == status, result.output
    return result.output


async def test_the_command_tells_what_it_found(world: World, tmp_path: Path) -> None:
    one, _ = world.write(a_batch(a_range(0)), ANCHOR)
    root = a_batch(a_range(0)).payload().root
    rotation, _ = world.write(a_rotation(previous_root=root), ANCHOR)
    said = json.loads(await run(world, tmp_path, "--json"))
    first, second = said["events"]
    assert (first["kind"], first["sequence"], first["count"], first["txid"]) == (
        "anchor",
        1,
        1,
        display(one.txid),
    )
    assert (first["successor"], first["epoch"], first["root"]) == (None, 1, root.hex())
    assert (second["kind"], second["txid"], second["fee"]) == ("rotation", display(rotation.txid), 288)
    assert second["successor"]["anchor_key"] == a_successor().anchor_key.hex()
    (lane,) = said["lanes"]
    assert (lane["epoch"], lane["key"], lane["halted"]) == (2, NEXT.key33.hex(), None)
    text = await run(world, tmp_path)
    assert display(rotation.txid) in text
    assert NEXT.key33.hex() in text


async def test_a_foreign_spend_is_told_and_nothing_after_it_counts(world: World, tmp_path: Path) -> None:
    world.write(a_batch(a_range(0)), ANCHOR)
    world.write(a_batch(a_range(1), epoch=2), ANCHOR)  # what only t dishonest members can sign
    said = json.loads(await run(world, tmp_path, "--json"))
    assert [e["kind"] for e in said["events"]] == ["anchor", "foreign"]
    assert "out of order" in said["lanes"][0]["halted"] == said["events"][1]["reason"]


async def test_a_damaged_record_or_a_wrong_network_is_one_sentence(world: World, tmp_path: Path) -> None:
    told = await run(world, tmp_path, "--cookie", "/nowhere/cookie", status=1)
    assert told.startswith("Error: ")
    assert told.count("\n") == 1
    world.activation = replace(world.activation, network="signet")
    assert "is on 'regtest', not on signet" in await run(world, tmp_path, status=1)


async def test_a_reorg_while_it_reads_begins_the_reading_again(world: World) -> None:
    world.write(a_batch(a_range(0)), ANCHOR)
    world.mine()
    heights, moves = list[int](), 1

    def turn(now: int) -> None:
        """Once the newest block is read, exchange it for two others, `moves` times."""
        heights.append(now)
        nonlocal moves
        if moves and now == world.node.rpc().getblockcount():
            moves -= 1
            world.node.rpc().invalidateblock(world.node.rpc().getbestblockhash())
            world.mine()
            world.mine()

    async with Client(world.node.rpc_url, cookie=world.node.cookie) as client:
        found = await scan(client, world.activation, turn)
        assert (found.height, found.hash) == await client.best()
        assert heights.count(world.activation.height) == 2, "it was read from the beginning again"
        assert [type(e) for e in found.events] == [AnchorFound]
        moves = 99
        with pytest.raises(ChainMoves, match="try again"):
            await scan(client, world.activation, turn)
