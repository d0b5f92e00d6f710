"""`holdfast bridge`: the genesis ceremony for operators; address, deposit, withdraw and reserves for everybody."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from anchor.cli_http import HttpClient
from anchor.cli_tools import FILE, FOLDER, JSON, NODE, READABLE, Failed, key32, lines, show, write_new
from bridge.admin_client import admin
from bridge.cli_decision import decision
from bridge.cli_epoch import epoch
from bridge.cli_reclaim import reclaim

if TYPE_CHECKING:
    from anchor.rollup.activation import Activation


@click.group()
def bridge() -> None:
    """Deposits, withdrawals and reserves; the genesis ceremony."""


bridge.add_command(reclaim)
bridge.add_command(decision)
bridge.add_command(epoch)


# The ceremony


@bridge.group()
def genesis() -> None:
    """How the bridge becomes active: fund treasury and lane, then sign the activation record."""


@genesis.command()
@FOLDER
@JSON
def addresses(folder: Path, as_json: bool) -> None:
    """Print where treasury and lane are to be funded.

    Example: holdfast bridge genesis addresses --dir ~/holdfast
    """
    found = admin(folder).get("/v1/bridge/genesis")
    show(as_json, found, lines(found))


@genesis.command()
@FOLDER
@click.option("--treasury", required=True, help="Confirmed outpoint at the treasury's address, txid:number.")
@click.option(
    "--lane", "lanes", multiple=True, required=True, help="Confirmed outpoint at the lane's address."
)
@click.option("-o", "--output", type=FILE, help="Also write activation.json.")
@JSON
def propose(folder: Path, treasury: str, lanes: tuple[str, ...], output: Path | None, as_json: bool) -> None:
    """Have every operator sign the activation record over these coins; the bridge is active then.

    Example: holdfast bridge genesis propose --dir ~/holdfast --treasury 4e3a…:0 --lane 77b1…:1
    """
    client = admin(folder)
    record = client.post("/v1/bridge/genesis", {"treasury": treasury, "lanes": list(lanes)})
    if output is not None:
        text = json.dumps(record, indent=2, sort_keys=True) + "\n"
        write_new(output, text.encode(), "an activation record")
    said = f"active: {len(record['signatures'])} operators signed; every node serves /v1/activation"
    show(as_json, record, said)


@genesis.command()
@FOLDER
@click.argument("digest", metavar="HASH")
@JSON
def consent(folder: Path, digest: str, as_json: bool) -> None:
    """Agree to the activation record with this hash, so that this node signs it when it is proposed.

    Outside regtest a node signs no record that its operator has not agreed to: the first `propose` fails and names
    the hash; every operator who finds the coins right agrees to it, then `propose` is repeated.

    Example: holdfast bridge genesis consent --dir ~/holdfast 5f0c…9a
    """
    found = admin(folder).post("/v1/bridge/genesis/consent", {"hash": digest})
    show(as_json, found, "this node signs the record when it is proposed again")


# Deposits


@bridge.command()
@NODE
@click.option("--recipient", callback=key32, required=True, help="Rollup key to be credited.")
@click.option("--reclaim-key", callback=key32, required=True, help="x-only key that may take it back.")
@click.option(
    "--activation", type=READABLE, help="activation.json you trust: the address is checked against it."
)
@click.option("-o", "--output", type=FILE, help="Write the recovery file: keep it until you are credited.")
@click.option("--qr", is_flag=True, help="Draw the address as a QR code.")
@JSON
def address(
    url: str,
    recipient: bytes,
    reclaim_key: bytes,
    activation: Path | None,
    output: Path | None,
    qr: bool,
    as_json: bool,
) -> None:
    """Ask for a deposit address, derive it again here, and print it.

    Example: holdfast bridge address --node http://127.0.0.1:8101 --recipient 79be66…1798 --reclaim-key
    c6047f…9ee5 -o recovery.json
    """
    client = HttpClient(url)
    asked = {"recipient": recipient.hex(), "user_key": reclaim_key.hex()}
    found = client.post("/v1/deposit-addresses", asked)
    trusted = activation.read_bytes() if activation else client.raw("/v1/activation")
    recovery = _derived_again(found, recipient, reclaim_key, _treasury_key(client, found, trusted))
    if output is not None:
        write_new(output, (json.dumps(recovery, indent=2) + "\n").encode(), "a recovery file", 0o600)
    names = ("address", "uri", "min_sats", "max_sats", "fee_sats", "k", "delay")
    text = lines({name: found[name] for name in names})
    text += (
        f"\ncredited when its sweep has {found['k']} confirmations; reclaimable after {found['delay']} blocks"
    )
    if found.get("pay_until") is not None:
        text += (
            f"\nthe bridge moves to a new key: pay this address by Bitcoin height {found['pay_until']}, later "
            "ask for a new one"
        )
    if output is None:
        text += "\nwithout -o there is no recovery file: ask again with -o, and keep it with both keys"
    show(as_json, found, text + (f"\n{_qr(found['uri'])}" if qr else ""))


def _treasury_key(client: HttpClient, found: dict[str, Any], activation: bytes) -> tuple["Activation", bytes]:
    """The record, and the treasury key of the address's epoch. Failed if the record does not lead to it."""
    from anchor.btc.codec import CodecError
    from anchor.rollup.activation import SignedActivation
    from anchor.rollup.succession import SignedSuccession, SuccessionRefused
    from bridge.trusting import follow

    try:
        record = SignedActivation.from_json(activation).activation
        epoch, told = found.get("epoch", record.epoch), []
        if epoch != record.epoch:
            answer = client.get("/v1/successions")["successions"]
            told = [SignedSuccession.from_json(json.dumps(each)) for each in answer]
        keys = {each.number: each.treasury_key for each in follow(record, told)}
    except (CodecError, SuccessionRefused, KeyError, TypeError) as fault:
        raise Failed(
            f"the node tells no committees that follow from the activation record: {fault}"
        ) from fault
    if epoch not in keys:
        raise Failed(
            f"the node gave an address of key epoch {epoch}, to which the activation record does not lead: do not "
            "pay it, use another node"
        )
    return record, keys[epoch]


def _derived_again(
    found: dict[str, Any], recipient: bytes, reclaim_key: bytes, trusted: tuple["Activation", bytes]
) -> dict[str, str | int]:
    """Return the recovery file if the node's address follows from our keys and the treasury key. Failed if not."""
    from anchor.btc.network import network_by_name
    from bridge.deposit.address import DepositFault, DepositParams, recovery_file

    record, treasury_key = trusted
    try:
        params = DepositParams(recipient, reclaim_key, record.params.reclaim_delay)
        recovery = recovery_file(params, treasury_key, network_by_name(record.network))
    except DepositFault as fault:
        raise Failed(str(fault)) from fault
    if (recovery["address"], recovery["delay"]) != (found.get("address"), found.get("delay")):
        raise Failed(
            "the node gave an address that does not follow from the keys: do not pay it, use another"
        )
    return recovery


def _qr(text: str) -> str:
    import io

    import segno

    out = io.StringIO()
    segno.make(text).terminal(out, compact=True)
    return out.getvalue()


@bridge.command()
@click.argument("what", metavar="OUTPOINT|ADDRESS")
@NODE
@click.option("--recovery", type=READABLE, help="Its recovery file, when no node gave you the address.")
@JSON
def deposit(what: str, url: str, recovery: Path | None, as_json: bool) -> None:
    """Say where a deposit is, by payment or by address.

    Example: holdfast bridge deposit bcrt1p…w0 --node http://127.0.0.1:8101
    """
    client = HttpClient(url)
    if recovery is not None:
        try:
            kept = json.loads(recovery.read_bytes())
            asked = {name: kept[name] for name in ("recipient", "user_key")}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise Failed(f"{recovery} is no recovery file: give the one `bridge address -o` wrote") from error
        client.post("/v1/deposits", asked)
    if ":" in what:
        found = client.get(f"/v1/deposits/{what}")
        rows = [found]
    else:
        found = client.get("/v1/deposits", address=what)
        rows = found["deposits"]
    show(as_json, found, "\n\n".join(map(_deposit, rows)) or "no confirmed payment to that address yet")
    if not rows and found.get("known") is False:
        raise Failed(
            "that node knows no such deposit address: do not pay it; copy it again, or give its --recovery file "
            "if you derived it yourself"
        )


def _deposit(found: dict[str, Any]) -> str:
    names = ("outpoint", "value", "state", "confirmations", "sweep_txid", "minted", "fee")
    facts = {name: found[name] for name in names}
    if found["state"] == "SEEN":
        facts["state"] = "SEEN: in the mempool, not in a block yet"
    if found["reason"]:
        facts["state"] = f"{found['state']}: {found['reason']}"
    facts["sweep_depth"] = f"{found['sweep_depth']} of {found['required']}"
    reclaim = found["reclaim"]
    if reclaim["available"]:
        facts["reclaim"] = "now: holdfast bridge reclaim"
    elif reclaim["at_height"] is not None:
        facts["reclaim"] = f"from block {reclaim['at_height']}, if nobody sweeps it"
    return lines(facts)


# Withdrawals


@bridge.command()
@click.option(
    "--rollup", "rollup_url", required=True, envvar="HOLDFAST_ROLLUP", help="Root of the rollup's API."
)
@NODE
@click.option("--key", "key_file", type=READABLE, required=True, help="Key file of the rollup account.")
@click.option("--to", "destination", required=True, help="Bitcoin address to be paid.")
@click.option(
    "--amount", type=click.IntRange(min=1), required=True, help="Satoshis to lock; the fee is in it."
)
@JSON
def withdraw(rollup_url: str, url: str, key_file: Path, destination: str, amount: int, as_json: bool) -> None:
    """Lock coins on the rollup for a payout on Bitcoin; prints the withdrawal's id.

    Example: holdfast bridge withdraw --rollup http://127.0.0.1:9000 --node http://127.0.0.1:8101 --key
    alice.json --to bcrt1q…7x --amount 50000
    """
    from bridge.withdraw import lock_coins

    info = HttpClient(url).get("/v1/info")
    done = lock_coins(info, rollup_url, key_file, destination, amount)
    show(as_json, done, f"{done['id']}\nlocked {amount} sats; {done['pays']} sats go to {destination}")


@bridge.command()
@click.argument("identity", metavar="ID")
@NODE
@JSON
def withdrawal(identity: str, url: str, as_json: bool) -> None:
    """Say where a withdrawal is; ID is what `withdraw` printed.

    Example: holdfast bridge withdrawal 5f0c…9a --node http://127.0.0.1:8101
    """
    found = HttpClient(url).get(f"/v1/withdrawals/{identity}")
    names = ("id", "state", "amount", "fee", "address", "txid", "expiry")
    depth = {"depth": f"{found['depth']} of {found['required']}"}
    show(as_json, found, lines({**{name: found[name] for name in names}, **depth}))


@bridge.command()
@NODE
@JSON
def reserves(url: str, as_json: bool) -> None:
    """Print the audit: what the rollup owes and what the treasury holds, at one point of both chains.

    Example: holdfast bridge reserves --node http://127.0.0.1:8101
    """
    found = HttpClient(url).get("/v1/reserves")
    show(as_json, found, lines(found))
    if not found["holds"]:
        raise Failed(f"the reserves lack {found['deficit']} sats")
