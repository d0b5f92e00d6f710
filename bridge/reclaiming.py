"""What `holdfast bridge reclaim` does: recovery file and reclaim key become a signed transaction, sent if asked."""

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anchor.bitcoind import Bitcoind, NodeError, Outcome
from anchor.btc.address import AddressError, script_of
from anchor.btc.amounts import Sats
from anchor.btc.ids import OutPoint, display
from anchor.btc.network import Network, network_by_name
from anchor.btc.tx import Tx
from anchor.cli_tools import Failed
from anchor.rollup_keys import KeyFileError, RollupKey, load_one
from bridge.deposit.address import DepositFault, DepositParams, output, read_recovery_file
from bridge.deposit.reclaim import assemble, build

RATE = 2  # sat/vB, when nobody says and no bitcoind estimates
SIZE = 160  # vB, more than any reclaim to a usual address has


@dataclass(frozen=True, slots=True)
class Wish:
    """What the user gave: payment as txid:number, files, an address; `fee` in sats or None for the usual."""

    payment: str
    recovery: Path
    key_file: Path
    destination: str
    fee: int | None


@dataclass(frozen=True, slots=True)
class _Claim:
    outpoint: OutPoint
    params: DepositParams
    treasury_key: bytes
    network: Network
    key: RollupKey
    script: bytes

    def signed(self, value: int, fee: int) -> Tx:
        plan = build(self.params, self.treasury_key, self.outpoint, Sats(value), self.script, Sats(fee))
        return assemble(plan, self.key.sign(plan.message))


def offline(wish: Wish, value: int) -> dict[str, Any]:
    """Sign for a payment of so many sats. Returns {txid, pays, fee, hex, sent, refused}; Failed otherwise."""
    try:
        claim = _claim(wish)
        fee = wish.fee or RATE * SIZE
        return _done(claim.signed(value, fee), fee)
    except DepositFault as fault:
        raise Failed(str(fault)) from fault


def through(wish: Wish, url: str, cookie: Path) -> dict[str, Any]:
    """The same with the value that a bitcoind tells, sent to it when the delay is over."""
    try:
        return asyncio.run(_through(_claim(wish), wish.fee, url, cookie.expanduser()))
    except (DepositFault, NodeError) as fault:
        raise Failed(str(fault)) from fault


async def _through(claim: _Claim, fee: int | None, url: str, cookie: Path) -> dict[str, Any]:
    async with Bitcoind(url, cookie=cookie) as bitcoind:
        await bitcoind.check(claim.network)
        coin = await bitcoind.txout(claim.outpoint, include_mempool=False)
        if coin is None:
            raise Failed(
                f"bitcoind knows no unspent, confirmed payment {claim.outpoint}: it was swept or taken back, waits "
                "for its block, or the number is wrong; `holdfast bridge deposit` of any node says which"
            )
        if coin.out.script != output(claim.params, claim.treasury_key).script_pubkey:
            raise Failed(
                f"{claim.outpoint} pays another address than the recovery file's: give the right one"
            )
        waits = claim.params.delay - coin.confirmations
        if waits > 0:
            raise Failed(f"the delay is not over: {waits} more blocks must come; repeat the command then")
        fee = fee or (await bitcoind.estimate_fee() or RATE) * SIZE
        tx = claim.signed(coin.out.value, fee)
        sent = await bitcoind.submit(tx)
    if sent.outcome is Outcome.REFUSED:
        return _done(tx, fee, refused=sent.reason)
    return _done(tx, fee, sent=True)


def _done(tx: Tx, fee: int, *, sent: bool = False, refused: str | None = None) -> dict[str, Any]:
    return {
        "txid": display(tx.txid),
        "pays": tx.outputs[0].value,
        "fee": fee,
        "sent": sent,
        "refused": refused,
        "hex": tx.serialize().hex(),
    }


def _claim(wish: Wish) -> _Claim:
    original = f"{wish.recovery} is no recovery file: give the one that `bridge address -o` wrote"
    try:
        kept = json.loads(wish.recovery.read_bytes())
        treasury_key, network = bytes.fromhex(kept["treasury_key"]), network_by_name(kept["network"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Failed(original) from error
    try:
        params = read_recovery_file(kept, treasury_key, network)
        key = load_one(wish.key_file)
        script, outpoint = script_of(wish.destination, network), OutPoint.parse(wish.payment)
    except (KeyFileError, DepositFault, AddressError, ValueError) as fault:
        raise Failed(str(fault)) from fault
    if key.public != params.user_key:
        raise Failed(
            f"{wish.key_file} is {key.public.hex()}, but only {params.user_key.hex()} may take this deposit back: "
            "give the key file of that key"
        )
    return _Claim(outpoint, params, treasury_key, network, key, script)
