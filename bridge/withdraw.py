"""What `holdfast bridge withdraw` does: build a burn-lock, sign it with the user's key, hand it to the rollup."""

import asyncio
from pathlib import Path
from typing import Any

from anchor.btc.address import AddressError, script_of
from anchor.btc.amounts import Height, Sats
from anchor.btc.network import network_by_name
from anchor.cli_tools import Failed
from anchor.rollup.tx import Lock
from anchor.rollup_client import RollupClient, RollupError
from anchor.rollup_keys import KeyFileError, RollupKey, load_one
from bridge.withdrawal.template import UnpayableScript, dust_limit


def lock_coins(
    info: dict[str, Any], rollup_url: str, key_file: Path, destination: str, amount: int
) -> dict[str, Any]:
    """Lock `amount` sats for a payout to the address `destination`; `info` is a node's /v1/info.

    Returns {id, amount, pays, fee, expiry}. Failed before anything is sent when the lock could not be paid out.
    """
    try:
        params, rollup = info["params"], info["rollup"]
        if params is None:
            raise Failed("the bridge is not active yet: wait for the activation record")
        script = script_of(destination, network_by_name(info["network"]))
        fee, least = params["withdrawal_fee"], params["min_withdrawal"]
        if amount < least or amount - fee < dust_limit(script):
            raise Failed(f"{amount} sats are too few: a withdrawal is at least {least} sats")
        key = load_one(key_file)
        return asyncio.run(_submit(rollup_url, rollup["genesis_hash"], key, script, amount, params))
    except (AddressError, UnpayableScript, KeyFileError, RollupError) as fault:
        raise Failed(str(fault)) from fault
    except (KeyError, TypeError) as fault:
        raise Failed("--node does not answer like a node: give its public URL") from fault


async def _submit(
    url: str, genesis_hash: str, key: RollupKey, script: bytes, amount: int, params: dict[str, int]
) -> dict[str, Any]:
    async with RollupClient(url) as rollup:
        genesis = await rollup.genesis()
        if genesis.hash.hex() != genesis_hash:
            raise Failed("--rollup and --node belong to different rollups: correct one of them")
        account, status = await rollup.account(key.public), await rollup.status()
        if account.balance < amount:
            raise Failed(f"the account holds {account.balance} sats, {amount} are wanted")
        fee = params["withdrawal_fee"]
        expiry = Height(status.bitcoin.tip_height + params["expiry_blocks"])
        lock = Lock(key.public, account.next_nonce, Sats(amount), script, Sats(fee), expiry)
        identity = await rollup.submit(key.sign_lock(lock, genesis.hash).encode())
    return {"id": identity.hex(), "amount": amount, "pays": amount - fee, "fee": fee, "expiry": expiry}
