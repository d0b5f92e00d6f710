"""`holdfast node`: make a node's folder, run it, look at it, upgrade its databases."""

import asyncio
import contextlib
import datetime as dt
import ipaddress
import re
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

import click

from anchor.cli_tools import FOLDER, JSON, Failed, lines, show, table
from bridge.cli_backup import PASSPHRASE, backup, passphrase_command, rehearse, restore

if TYPE_CHECKING:
    from bridge.config import Config

PORT = click.IntRange(1, 65535)
ADMIN_PORT = click.IntRange(0, 65535)
DATABASES: tuple[Literal["node"], Literal["signer"]] = ("node", "signer")
_TABLES = ("checks", "alarms", "members", "keys")
NETWORKS = click.Choice(["mainnet", "testnet3", "testnet4", "signet", "regtest"])


@click.group()
def node() -> None:
    """Make, run, upgrade and watch a node."""


for _command in (passphrase_command, backup, restore, rehearse):
    node.add_command(_command)


@node.command()
@FOLDER
@click.option("--name", required=True, help="The member's name: 1 to 32 of a-z, 0-9 and -.")
@click.option("--network", type=NETWORKS, required=True, help="The Bitcoin network.")
@click.option("--role", type=click.Choice(["operator", "observer"]), default="operator", show_default=True)
@click.option("--bitcoind-url", required=True, help="RPC of your own bitcoind, e.g. http://127.0.0.1:8332.")
@click.option("--cookie", type=click.Path(dir_okay=False, path_type=Path), help="bitcoind's cookie file.")
@click.option("--user", default="", help="RPC user, when there is no cookie file.")
@click.option("--password-file", default="", help="File whose first line is the RPC password.")
@click.option("--zmq", default="", help="bitcoind's -zmqpubsequence address, for quicker wake-ups.")
@click.option("--peer-host", help="Name or address that the other operators reach this node by.")
@click.option("--peer-port", type=PORT, help="Port that the other operators reach this node by.")
@click.option("--peer-bind", help="Address to bind the peer port on [--peer-host].")
@click.option("--public-host", default="127.0.0.1", show_default=True, help="Address of the public HTTP API.")
@click.option("--public-port", type=PORT, required=True, help="Port of the public HTTP API.")
@click.option("--admin-port", type=ADMIN_PORT, default=0, show_default=True, help="0 picks a free one.")
@click.option("--rollup-url", default="", help="Root of the rollup's HTTP API.")
@PASSPHRASE
@click.option("--no-passphrase", is_flag=True, help="Leave the host key open on disk; on regtest only.")
@JSON
def init(folder: Path, as_json: bool, **given: Any) -> None:
    """Make a node's folder: config.toml and, for an operator, its keys and member.json.

    An operator's host key, and with it every share, is under a passphrase, which is asked for twice.

    Example: holdfast node init --dir ~/holdfast --name alice --network regtest --bitcoind-url
    http://127.0.0.1:18443 --cookie ~/.bitcoin/regtest/.cookie --peer-host 127.0.0.1 --peer-port 9101
    --public-port 8101 --rollup-url http://127.0.0.1:9000
    """
    operator = given["role"] == "operator"
    if operator and not (given["peer_host"] and given["peer_port"]):
        raise click.UsageError("an operator needs --peer-host and --peer-port: the others dial it there")
    if bool(given["cookie"]) == bool(given["user"]):
        raise click.UsageError("give either --cookie, or --user and --password-file, of your bitcoind")
    _check_addresses(given)
    if (folder / "config.toml").exists():
        raise Failed(f"{folder} already is a node: choose another folder, or run it with `holdfast node run`")
    config = _config(given)
    passphrase = _first_passphrase(folder, given) if operator else None
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder.chmod(0o700)
        member = _identity(folder, given, passphrase) if operator else None
        from bridge import config as configs

        configs.write(folder, config)
    except OSError as error:
        raise Failed(f"cannot make {folder} ({error.strerror}): choose another place") from error
    done = {
        "dir": str(folder),
        "name": given["name"],
        "role": given["role"],
        "member": None if member is None else str(member),
    }
    if member is None:
        text = f"{folder} is ready: put committee.json and genesis.json there, then `holdfast node run`"
    else:
        text = (
            f"{folder} is ready. Give {member} to whoever runs `holdfast tss committee propose`;\n"
            "it holds no secret. keys/ never leaves this machine."
        )
    if given["cookie"] and not given["cookie"].expanduser().exists():
        click.echo(f"note: there is no {given['cookie']} yet; bitcoind writes it when it starts", err=True)
    show(as_json, done, text)


def _check_addresses(given: dict[str, Any]) -> None:
    """Refuse what could never be reached or bound, before anything is written."""
    if not all(str(value).isprintable() for value in given.values()):
        raise click.UsageError("a value holds a line break or another unprintable character")
    for name, schemes in (("bitcoind_url", "http https"), ("rollup_url", "http https"), ("zmq", "tcp ipc")):
        value = given[name]
        if not value and name != "bitcoind_url":
            continue
        scheme, _, rest = value.partition("://")
        if scheme not in schemes.split() or not rest or (scheme != "ipc" and not _has_host(value)):
            option = f"--{name.replace('_', '-')}"
            forms = " or ".join(f"{each}://…" for each in schemes.split())
            raise click.UsageError(f"{option} {value!r} is no address: it reads {forms}, with host and port")
    host = given["peer_host"]
    if host and not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?", host) and not _is_ip(host):
        raise click.UsageError(
            f"--peer-host {host!r} is no name and no IP address: leave out scheme and port"
        )
    named = [("--public-port", given["public_port"]), ("--admin-port", given["admin_port"])]
    if given["role"] == "operator":
        named.append(("--peer-port", given["peer_port"]))
    seen: dict[int, str] = {}
    for option, port in named:
        if port and port in seen:
            raise click.UsageError(f"{seen[port]} and {option} are both {port}: each needs a port of its own")
        seen[port] = option


def _has_host(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        return False


def _is_ip(host: str) -> bool:
    try:
        return bool(ipaddress.ip_address(host))
    except ValueError:
        return False


def _config(given: dict[str, Any]) -> "Config":
    from bridge.config import BitcoindSection, Config, ListenSection, NodeSection, RollupSection

    cookie = str(given["cookie"].expanduser().absolute()) if given["cookie"] else ""
    password = str(Path(given["password_file"]).expanduser().absolute()) if given["password_file"] else ""
    bind = given["peer_bind"] or given["peer_host"] or "127.0.0.1"
    return Config(
        NodeSection(given["name"], given["network"], given["role"]),
        BitcoindSection(given["bitcoind_url"], cookie, given["user"], password, given["zmq"]),
        peer=ListenSection(bind, given["peer_port"] or 0),
        public=ListenSection(given["public_host"], given["public_port"]),
        admin=ListenSection("127.0.0.1", given["admin_port"]),
        rollup=RollupSection(given["rollup_url"]),
    )


def _first_passphrase(folder: Path, given: dict[str, Any]) -> bytearray | None:
    """What to seal the host key with; None when there is one already, or when it is to lie open."""
    from tss import passphrase

    if given["no_passphrase"]:
        if given["network"] != "regtest":
            raise click.UsageError("--no-passphrase is for regtest only: elsewhere the host key guards money")
        return None
    if (folder / "keys" / "host.key").exists():
        return None
    try:
        return passphrase.new(given["passphrase_fd"])
    except passphrase.PassphraseFault as fault:
        raise Failed(str(fault), 2) from fault


def _identity(folder: Path, given: dict[str, Any], passphrase: bytearray | None) -> Path:
    from tss import identity
    from tss.vault import cost_for

    host = f"[{given['peer_host']}]" if ":" in given["peer_host"] else given["peer_host"]
    url = f"https://{host}:{given['peer_port']}"
    try:
        if not (folder / "keys" / "host.key").exists():
            identity.create(folder, given["name"], url, passphrase, cost_for(given["network"]))
        else:  # an earlier `init` died between the keys and config.toml: only the same node goes on
            mine = identity.passport(folder)
            if (mine.name, mine.peer_url) != (given["name"], url):
                raise Failed(f"{folder} holds the keys of {mine.name} at {mine.peer_url}: use another folder")
    except identity.IdentityFault as fault:
        raise Failed(str(fault)) from fault
    return folder / "member.json"


@node.command()
@FOLDER
@PASSPHRASE
def run(folder: Path, passphrase_fd: int | None) -> None:
    """Run the node until SIGTERM or Ctrl-C.

    The passphrase of an operator's keys comes from --passphrase-fd, from the systemd credential
    holdfast-passphrase (LoadCredential= in the unit), or from the terminal.

    Example: holdfast node run --dir ~/holdfast
    """
    from bridge import logs
    from bridge.config import ConfigFault, load

    try:
        config = load(folder)
    except ConfigFault as fault:
        raise Failed(str(fault), 2) from fault
    logs.configure(config.node.log)
    if config.node.role == "operator":
        from tss import hardening

        hardening.harden()
    asyncio.run(_run(folder, passphrase_fd))


async def _run(folder: Path, passphrase_fd: int | None) -> None:
    from bridge import http
    from bridge.node import Node
    from bridge.papers import StartFault
    from tss import passphrase

    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    try:
        opened = await Node.open(folder, passphrase.source(passphrase_fd))
    except (StartFault, passphrase.PassphraseFault) as fault:
        raise Failed(str(fault), 2) from fault
    try:
        sites = await http.serve(opened)
        try:
            click.echo(f"{opened.config.node.name}: {sites.public_url}")
            await opened.run(stop)
        finally:
            await sites.close()
    except StartFault as fault:
        raise Failed(str(fault), 2) from fault
    finally:
        await opened.close()


@node.command()
@FOLDER
@JSON
def status(folder: Path, as_json: bool) -> None:
    """Say how the node on a folder is.

    `status` and `paused` (value) are what the public may know; `trouble` names every check that needs a look.

    Example: holdfast node status --dir ~/holdfast
    """
    from bridge.admin_client import admin

    found = admin(folder).get("/v1/node/status")
    facts = {name: value for name, value in found.items() if name not in _TABLES}
    facts |= {"started": _moment(found["started"]), "uptime": _span(found["uptime"])}
    facts["trouble"] = ", ".join(c["name"] for c in found["checks"] if not c["ok"]) or "none"
    checks = [(c["name"], "ok" if c["ok"] else "TROUBLE", c["text"]) for c in found["checks"]]
    text = f"{lines(facts)}\n\n{table('checks', ('check', 'state', 'what'), checks)}"
    members = [
        (
            m["name"],
            "up" if m["up"] else m["why"],
            _ms(m["rtt"]),
            _ms(m["skew"]),
            _seen(m),
            m["version"] or "-",
        )
        for m in found["members"]
    ]
    if members:
        columns = ("member", "state", "round trip", "clock", "last seen", "version")
        text += f"\n\n{table('members', columns, members)}"
    keys = [(k["purpose"], str(k["epoch"]), k["state"]) for k in found["keys"]]
    if keys:
        text += f"\n\n{table('keys', ('key', 'epoch', 'state'), keys)}"
    alarms = [(_moment(a["time"]), a["level"], a["text"]) for a in found["alarms"]]
    if alarms:
        text += f"\n\n{table('alarms', ('time', 'level', 'alarm'), alarms)}"
    show(as_json, found, text)


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.0f} ms"


def _seen(member: dict[str, Any]) -> str:
    return "never" if member["last_seen"] is None else _moment(int(member["last_seen"]))


def _moment(seconds: int) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _span(seconds: int) -> str:
    days, hours, minutes = seconds // 86400, seconds // 3600 % 24, seconds // 60 % 60
    parts = ((days, "d"), (hours, "h"), (minutes, "min"), (seconds % 60, "s"))
    return " ".join(f"{count} {unit}" for count, unit in parts if count) or "0 s"


@node.command("confirm-tip")
@FOLDER
@click.argument("tip", metavar="TIP")
@JSON
def confirm_tip(folder: Path, tip: str, as_json: bool) -> None:
    """Say that the chain with block TIP is right, though this node would lose more than ten blocks to it.

    A node that sees its bitcoind drop so many blocks holds and asks: the bitcoind may have been swapped. The tip
    stands in `holdfast node status`; compare it with the other operators before you confirm.

    Example: holdfast node confirm-tip --dir ~/holdfast 5f0c…9a
    """
    from bridge.admin_client import admin

    found = admin(folder).post("/v1/headers/confirm", {"tip": tip})
    show(as_json, found, f"this node now follows the chain with block {found['confirmed']}")


@node.command("refuse-tip")
@FOLDER
@click.argument("tip", metavar="TIP")
@JSON
def refuse_tip(folder: Path, tip: str, as_json: bool) -> None:
    """Say that the chain with block TIP is wrong: this node never follows it, also after a restart.

    What a bitcoind says that is not the right one any more is refused so; then correct its URL in config.toml and
    start the node again. `confirm-tip` with the same or a later block takes the word back.

    Example: holdfast node refuse-tip --dir ~/holdfast 5f0c…9a
    """
    from bridge.admin_client import admin

    found = admin(folder).post("/v1/headers/refuse", {"tip": tip})
    show(as_json, found, f"this node does not follow the chain with block {found['refused']}")


@node.command()
@FOLDER
@JSON
def upgrade(folder: Path, as_json: bool) -> None:
    """Bring the databases of a stopped node to this release; each is copied first.

    Example: holdfast node upgrade --dir ~/holdfast
    """
    from migrations.upgrade import SchemaFault, SchemaTooOld, Upgraded, check
    from migrations.upgrade import upgrade as bring_up
    from tss.files import FolderInUse, FolderLock

    if not (folder / "config.toml").exists():
        raise Failed(f"{folder} is no node's folder: give the one that `holdfast node init` made")
    done = []
    try:
        with FolderLock(folder):
            there = [name for name in DATABASES if (folder / f"{name}.db").exists()]
            for name in there:  # a database that cannot be upgraded leaves the others as they are
                with contextlib.suppress(SchemaTooOld):
                    check(name, folder / f"{name}.db")
            for name in there:
                result = bring_up(name, folder / f"{name}.db")
                done.append(
                    {
                        "database": name,
                        "from": result.before if isinstance(result, Upgraded) else result.revision,
                        "to": result.after if isinstance(result, Upgraded) else result.revision,
                        "copy": str(result.copy) if isinstance(result, Upgraded) else None,
                    }
                )
    except (FolderInUse, SchemaFault) as fault:
        raise Failed(str(fault)) from fault
    rows = [(d["database"], d["from"], d["to"], d["copy"] or "nothing to do") for d in done]
    show(as_json, done, table("databases", ("database", "from", "to", "copy"), rows))


@node.command("config-reference")
def config_reference() -> None:
    """Print every setting of config.toml with its meaning, as Markdown.

    Example: holdfast node config-reference > CONFIG.md
    """
    from bridge.config import reference

    click.echo(reference(), nl=False)
