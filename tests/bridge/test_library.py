"""Manifests: who was away gets them from peers and believes nobody."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from anchor.store import metadata
from bridge import keeper
from bridge.library import Library
from bridge.store import BridgeStore
from bridge.treasury.manifest import ManifestFault
from migrations.database import open_database
from regtest.bitcoind import Bitcoind
from tests.bridge.keys import sweep_manifest
from tests.bridge.office import PARAMS, Office, office


async def batch_that_carol_missed(it: Office) -> bytes:
    """A deposit swept by alice and bob while carol was away, mined, not yet final; its manifest's hash."""
    alice, bob, carol = it.nodes
    await carol.down()
    await it.deposit()
    await it.until(lambda: it.spender(it.views()[0].treasury.tip), "a sweep", 0, 1, passing=1)
    it.mine()
    await it.until(lambda: bob.active.view.treasury.sequence == 1, "its block", 0, 1)
    assert alice.active.library.raw
    return bob.active.view.treasury.batches[0].manifest_hash


async def test_who_was_away_gets_the_manifest_from_a_peer_and_the_mint_needs_nobody_else(
    tmp_path: Path, bitcoind: Bitcoind
) -> None:
    async with office(tmp_path, bitcoind) as it:
        alice, bob, carol = it.nodes
        digest = await batch_that_carol_missed(it)
        await carol.up()
        it.rollup.bitcoin = bob.feed.chain
        await alice.down()  # bob and carol are the quorum now
        await carol.seat.peers.until_heard([bob.seat.peers.index], 10)
        it.mine(PARAMS.k - 1)
        for _ in range(40):
            it.now += 2
            await bob.feed.sync()
            it.rollup.block()
            await it.round()
            await asyncio.sleep(0.01)  # a session's messages travel
            if it.rollup.state.minted:
                break
        assert len(it.rollup.state.minted) == 1
        assert digest in carol.active.library.raw
        await it.deposit_from(1, btc="0.02")
        await it.until(lambda: it.spender(bob.active.view.treasury.tip), "the next batch", 1, 2, passing=1)


async def test_what_peers_bring_about_a_batch_that_was_missed_has_to_be_that_batch(
    tmp_path: Path, bitcoind: Bitcoind
) -> None:
    async with office(tmp_path, bitcoind) as it:
        alice, bob, carol = it.nodes
        digest = await batch_that_carol_missed(it)
        [package] = await alice.anchors.packages("treasury", signed=True)
        forged = replace(package, signatures=tuple(bytes(64) for _ in package.signatures or ()))
        invented = replace(package, payload=sweep_manifest().encode())
        lies = [b"", b"\xff" * 90, *(keeper.encode_packages([p]) for p in (forged, invented))]

        async def lie(_member: int, _body: bytes) -> bytes:
            return lies[0]

        truth = bob.seat.peers._handlers[keeper.WANTED]
        for node in (alice, bob):
            node.seat.peers._handlers[keeper.WANTED] = lie
        await carol.up()
        for _ in range(len(lies)):
            await carol.round()
            assert not carol.active.library.raw
            assert await carol.active.treasury.plan() is None, "nobody signs on what it cannot read"
            lies.append(lies.pop(0))
        bob.seat.peers._handlers[keeper.WANTED] = truth
        await it.until(lambda: digest in carol.active.library.raw, "the truth", 2, passing=1)


async def test_what_is_no_manifest_is_passed_over(tmp_path: Path) -> None:
    engine = open_database(tmp_path / "node.db")
    async with engine.begin() as db:
        await db.run_sync(metadata.create_all)
    shelf = Library(BridgeStore(engine))
    with pytest.raises(ManifestFault):
        await shelf.add(b"nonsense")
    await shelf.add_carried({bytes(32): b"nonsense"})
    await shelf.add_carried({bytes(32): b"nonsense"})
    assert shelf.raw == {}
    good = sweep_manifest()
    await shelf.add_carried({good.hash: good.encode()})
    again = Library(BridgeStore(engine))
    await again.load()
    assert again.decoded == {good.hash: good}
    await engine.dispose()
