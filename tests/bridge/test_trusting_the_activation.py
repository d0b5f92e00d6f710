"""Somebody who trusts an activation record alone follows every later committee, and no impostor."""

import asyncio
import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web
from click.testing import CliRunner, Result

from anchor.btc.network import REGTEST
from anchor.problem import answer
from anchor.rollup.succession import SignedSuccession, SuccessionRefused
from bridge.cli_bridge import bridge
from bridge.deposit.address import DepositParams, recovery_file
from bridge.trusting import follow
from tests.anchor.feeding import serving
from tests.anchor.rollup.rollup_world import (
    World,
    a_succession,
    an_activation,
    reign,
    signed,
    signed_succession,
)
from tests.bridge.observing import key

RECORD = an_activation()


def chain(count: int) -> list[SignedSuccession]:
    """So many successions, each from the epoch before it."""
    made: list[SignedSuccession] = []
    for _ in range(count):
        made.append(signed_succession(a_succession(follow(RECORD, made)[-1])))
    return made


def test_each_epochs_keys_follow_from_the_record_alone() -> None:
    known = follow(RECORD, chain(3))
    assert [each.number for each in known] == [1, 2, 3, 4]
    assert [each.treasury_key[1:] for each in known[1:]] == [reign(n).treasury.x for n in (2, 3, 4)]
    assert known[0].treasury_key == RECORD.treasury_key
    assert follow(RECORD, ())[-1].record == RECORD.hash


def test_it_is_the_same_as_what_the_rollup_holds() -> None:
    w = World().activate()
    w.block(w.succeed())
    told = [each.signed for each in w.state.successions]
    assert [e.record for e in follow(RECORD, told)] == [e.record for e in w.epochs]


FORGERIES: dict[str, Callable[[list[SignedSuccession]], Sequence[SignedSuccession]]] = {
    "without the mint key": lambda c: [replace(c[0], mint_signature=bytes(64))],
    "by a stranger's mint key": lambda c: [signed_succession(c[0].succession, mint=reign(7).mint)],
    "by the mint key that came after": lambda c: [signed_succession(c[0].succession, mint=reign(2).mint)],
    "without one new operator": lambda c: [replace(c[0], signatures=c[0].signatures[:-1])],
    "with a gap": lambda c: [c[1]],
    "twice": lambda c: [c[0], c[0]],
    "in another order": lambda c: [c[1], c[0]],
    "for another rollup": lambda c: [
        signed_succession(replace(c[0].succession, rollup_id=c[0].succession.rollup_id + 1))
    ],
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_chain_that_does_not_follow_is_refused(forgery: str) -> None:
    with pytest.raises(SuccessionRefused):
        follow(RECORD, FORGERIES[forgery](chain(2)))


async def asked(told: list[SignedSuccession], epoch: int, treasury_key: bytes) -> Result:
    """What `bridge address` says to a node that tells these successions and gives an address of this epoch."""

    async def address(_: web.Request) -> web.Response:
        params = DepositParams(key(31), key(32), RECORD.params.reclaim_delay)
        recovery = recovery_file(params, treasury_key, REGTEST)
        made: dict[str, Any] = {
            "address": recovery["address"],
            "delay": recovery["delay"],
            "uri": "bitcoin:x",
        }
        made |= {"min_sats": 1, "max_sats": 2, "fee_sats": 1, "k": 3, "epoch": epoch, "pay_until": 412}
        return answer(made)

    async def successions(_: web.Request) -> web.Response:
        return answer({"successions": [json.loads(each.to_json()) for each in told]})

    async def record(_: web.Request) -> web.Response:
        return web.Response(text=signed(RECORD).to_json(), content_type="application/json")

    app = web.Application()
    app.add_routes(
        [
            web.post("/v1/deposit-addresses", address),
            web.get("/v1/successions", successions),
            web.get("/v1/activation", record),
        ]
    )
    words = ["address", "--recipient", key(31).hex(), "--reclaim-key", key(32).hex(), "--json"]
    async with serving(app) as url:
        return await asyncio.to_thread(CliRunner().invoke, bridge, [*words, "--node", url])


async def test_an_address_of_a_later_epoch_is_derived_again_from_the_record() -> None:
    told = chain(2)
    result = await asked(told, 3, told[1].succession.treasury_key)
    assert result.exit_code == 0, result.output
    text = await asked(told, 2, told[0].succession.treasury_key)
    assert text.exit_code == 0


async def test_an_address_under_a_key_of_another_epoch_or_of_nobodys_is_never_shown() -> None:
    told = chain(2)
    for epoch, treasury_key in ((3, told[0].succession.treasury_key), (2, b"\x02" + key(77))):
        result = await asked(told, epoch, treasury_key)
        assert result.exit_code == 1
        assert "do not pay it" in result.stderr


async def test_an_epoch_that_nobody_signed_is_named_and_its_address_never_shown() -> None:
    told = chain(1)
    beyond = await asked(told, 3, b"\x03" + reign(3).treasury.x)
    assert beyond.exit_code == 1
    assert "key epoch 3, to which the activation record does not lead" in beyond.stderr
    forged = await asked([replace(told[0], mint_signature=bytes(64))], 2, told[0].succession.treasury_key)
    assert forged.exit_code == 1
    assert "no committees that follow from the activation record" in forged.stderr
    assert "bcrt1" not in forged.output + beyond.output
