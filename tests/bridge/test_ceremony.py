"""The activation ceremony over real peers: every mismatch is refused by name, every missing signature named."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from anchor.btc.amounts import Sats
from anchor.btc.ids import OutPoint, Txid
from anchor.rollup.activation import Activation, Params
from bridge.ceremony import PROPOSE, CeremonyFault
from regtest.bitcoind import Bitcoind
from tests.bridge.observing import key
from tests.bridge.office import Office, fund, office
from tss.peers import PeerRefused

pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass
class Funded:
    it: Office
    treasury: OutPoint
    lane: OutPoint
    record: Activation


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def funded(tmp_path_factory: pytest.TempPathFactory, bitcoind_path: Path) -> AsyncIterator[Funded]:
    folder = tmp_path_factory.mktemp("ceremony")
    bitcoind = Bitcoind(folder / "bitcoind", binary=bitcoind_path, wallet=True).start()
    bitcoind.ensure_wallet("miner")
    try:
        async with office(folder, bitcoind, active=False) as it:
            treasury, lane = await fund(it)
            it.mine(2)
            for node in it.nodes:
                await node.feed.sync()
            record = await it.nodes[0].ceremony._make(treasury, [lane])
            yield Funded(it, treasury, lane, record)
    finally:
        bitcoind.close()


async def ask(funded: Funded, body: bytes) -> bytes:
    """Bob's answer to a record that Alice's changed program proposes."""
    it = funded.it
    return await it.nodes[0].seat.peers.call(it.nodes[1].seat.peers.index, PROPOSE, body)


NOBODYS = b"\x02" + key(99)
RECORDS: list[tuple[dict[str, Any], str]] = [
    ({"rollup_id": 8}, "another rollup"),
    ({"genesis_hash": bytes(32)}, "another rollup"),
    ({"committee_hash": bytes(32)}, "another rollup, committee"),
    ({"network": "signet"}, "another rollup, committee or network"),
    ({"epoch": 2}, "epoch"),
    ({"treasury_key": NOBODYS}, "other group keys"),
    ({"anchor_key": NOBODYS}, "other group keys"),
    ({"mint_key": NOBODYS}, "other group keys"),
    ({"treasury_value": Sats(1)}, "sat, the record says 1"),
    ({"treasury": OutPoint(Txid(b"\x11" * 32), 0)}, "is no unspent coin that this node's bitcoind knows"),
    ({"height": 0}, "height 0 is outside the chain"),
    ({"height": 103}, "would miss"),
    ({"height": 4_000_000}, "would miss"),
]


@pytest.mark.parametrize(
    ("lie", "words"), RECORDS, ids=[f"{n}-{next(iter(r[0]))}" for n, r in enumerate(RECORDS)]
)
async def test_a_record_that_differs_from_a_members_own_view_gets_no_signature(
    funded: Funded, lie: dict[str, Any], words: str
) -> None:
    with pytest.raises(PeerRefused) as refused:
        await ask(funded, replace(funded.record, **lie).encode())
    assert refused.value.code == "not-signed"
    assert words in refused.value.reason


@pytest.mark.parametrize("name", [field.name for field in fields(Params)])
async def test_a_record_with_another_parameter_gets_no_signature_and_the_parameter_is_named(
    funded: Funded, name: str
) -> None:
    params = funded.record.params
    other = replace(params, **{name: getattr(params, name) + (-1 if name == "reclaim_delay" else 1)})
    with pytest.raises(PeerRefused) as refused:
        await ask(funded, replace(funded.record, params=other).encode())
    assert f"the record says {name} =" in refused.value.reason


async def test_lanes_and_treasury_must_be_the_funded_coins(funded: Funded) -> None:
    [lane] = funded.record.lanes
    swapped = {
        "treasury": funded.lane,
        "lanes": (replace(lane, outpoint=funded.treasury),),
    }
    twice = (lane, replace(lane, number=1, outpoint=OutPoint(Txid(b"\x22" * 32), 1)))
    for lie, words in (
        (swapped, "treasury and lane are swapped"),
        ({"lanes": (replace(lane, value=Sats(7)),)}, "the record says 7"),
        ({"lanes": twice}, "check txid and output number"),
    ):
        with pytest.raises(PeerRefused, match=words) as refused:
            await ask(funded, replace(funded.record, **lie).encode())
        assert refused.value.code == "not-signed"


async def test_what_is_no_record_gets_no_signature(funded: Funded) -> None:
    whole = funded.record.encode()
    for body in (b"", b"\xff" * 200, whole[:-1], whole + b"\0"):
        with pytest.raises(PeerRefused) as refused:
            await ask(funded, body)
        assert refused.value.code == "not-signed"


async def test_without_the_operators_consent_nothing_is_signed_and_its_words_travel(funded: Funded) -> None:
    digest = funded.record.hash
    funded.it.withheld.add(digest)
    try:
        with pytest.raises(CeremonyFault, match=f"must consent first: {digest.hex()}"):
            await funded.it.nodes[0].ceremony.propose(funded.treasury, [funded.lane])
        with pytest.raises(PeerRefused) as refused:
            await ask(funded, funded.record.encode())
        assert refused.value.code == "no-consent"
        assert "must consent first" in refused.value.reason
    finally:
        funded.it.withheld.clear()


async def test_a_signature_that_is_not_the_members_is_found_and_the_member_named(funded: Funded) -> None:
    bob = funded.it.nodes[1].seat.peers

    async def forge(_member: int, _body: bytes) -> bytes:
        return bytes(64)

    true, bob._handlers[PROPOSE] = bob._handlers[PROPOSE], forge
    try:
        with pytest.raises(CeremonyFault, match="2"):
            await funded.it.nodes[0].ceremony.propose(funded.treasury, [funded.lane])
    finally:
        bob._handlers[PROPOSE] = true


async def test_all_sign_what_all_see_and_one_missing_member_is_named(funded: Funded) -> None:
    it = funded.it
    signed = await it.nodes[2].ceremony.propose(funded.treasury, [funded.lane])
    signed.verify(it.genesis.host_keys)
    assert signed.activation == funded.record
    carol = it.nodes[2]
    await carol.down()
    with pytest.raises(CeremonyFault, match="carol did not sign the activation record: carol is down"):
        await it.nodes[0].ceremony.propose(funded.treasury, [funded.lane])
    await carol.seat.up()
    await carol.open()
    await it.nodes[0].seat.peers.until_heard([3], 10)
    again = await it.nodes[0].ceremony.propose(funded.treasury, [funded.lane])
    assert again.activation == signed.activation
    spend = it.bitcoind.rpc().gettxout
    assert spend(funded.treasury.txid[::-1].hex(), funded.treasury.vout), "a proposal costs nothing"


async def test_a_bridge_begins_with_the_keys_of_its_committees_own_epoch(
    funded: Funded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A committee that had keys in an earlier epoch has them still: they are not meant."""
    ceremony = funded.it.nodes[1].ceremony
    epoch, public = ceremony.tss.committee.epoch, ceremony.tss.public
    monkeypatch.setattr(ceremony.tss, "public", lambda p, e=None: public(p, e) if e == epoch else None)
    assert ceremony.keys() == (
        funded.record.treasury_key,
        funded.record.anchor_key,
        funded.record.mint_key,
    )
    assert funded.record.epoch == epoch
