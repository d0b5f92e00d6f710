"""A node's config.toml: what may differ between operators, each setting with its meaning.

What must be equal between operators is not here but in the committee file and the activation record.
The reference `bridge/CONFIG.md` is generated from this file by `holdfast node config-reference`, and tested
against it.
"""

import tomllib
from pathlib import Path
from typing import Annotated, Literal

import msgspec

Port = Annotated[int, msgspec.Meta(ge=0, le=65535)]


MAX_DEPTH = 1000  # the largest k that a rollup's genesis takes


class ConfigFault(Exception):
    """A config.toml that cannot be used; the sentence names the setting and the next move."""


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A table of config.toml; a setting that is not known is refused, so a typing error is not a default."""


class NodeSection(_Section, frozen=True):
    """Who this node is."""

    name: Annotated[str, msgspec.Meta(description="the member's name in the committee file")]
    network: Annotated[
        Literal["mainnet", "testnet3", "testnet4", "signet", "regtest"],
        msgspec.Meta(description="the Bitcoin network; the node refuses a bitcoind on another"),
    ]
    role: Annotated[
        Literal["operator", "observer"],
        msgspec.Meta(description="an operator holds shares and signs; an observer only checks"),
    ] = "operator"
    log: Annotated[
        Literal["debug", "info", "warning", "error"], msgspec.Meta(description="the least severe line logged")
    ] = "info"


class BitcoindSection(_Section, frozen=True):
    """The operator's own bitcoind, Core 28 or later, best without a wallet and with `rest=1`."""

    url: Annotated[
        str, msgspec.Meta(description="JSON-RPC address, `http://host:port`", pattern="^https?://.")
    ]
    cookie: Annotated[str, msgspec.Meta(description="path of its cookie file; empty when user is set")] = ""
    user: Annotated[str, msgspec.Meta(description="RPC user, when there is no cookie file")] = ""
    password_file: Annotated[
        str, msgspec.Meta(description="file whose first line is the RPC password; keep it 0600")
    ] = ""
    zmq: Annotated[
        str, msgspec.Meta(description="its `zmqpubsequence` address; empty: the node polls only")
    ] = ""

    def __post_init__(self) -> None:
        """Refuse a section that names no way to log in, or two."""
        if bool(self.cookie) == bool(self.user):
            raise ValueError("set either cookie, or user and password_file, and leave the other empty")


class ListenSection(_Section, frozen=True):
    """Where this node listens."""

    host: Annotated[str, msgspec.Meta(description="address to bind")] = "127.0.0.1"
    port: Annotated[Port, msgspec.Meta(description="port to bind; 0 picks a free one (admin only)")] = 0


class RollupSection(_Section, frozen=True):
    """The rollup that this node anchors and bridges."""

    url: Annotated[
        str,
        msgspec.Meta(description="address of the rollup's API; empty: none yet", pattern="^(https?://.+)?$"),
    ] = ""


class PolicySection(_Section, frozen=True):
    """This operator's own limits; outside them the node refuses to sign, and says so."""

    min_fee_rate: Annotated[
        int, msgspec.Meta(ge=1, le=1000, description="least fee rate this node signs, sat/vB")
    ] = 1
    max_fee_rate: Annotated[
        int, msgspec.Meta(ge=1, le=1000, description="highest fee rate this node signs, sat/vB")
    ] = 200
    leader_timeout: Annotated[
        float, msgspec.Meta(ge=1, le=600, description="seconds until the next member leads a stuck slot")
    ] = 10.0
    poll: Annotated[
        float, msgspec.Meta(ge=0.1, le=60, description="seconds between looks when nothing wakes the node")
    ] = 1.0


class HeadersSection(_Section, frozen=True):
    """When Bitcoin's headers are an alarm, and how deep this node waits: never less than the record's k."""

    stale_minutes: Annotated[
        int,
        msgspec.Meta(
            ge=-1,
            le=10_000,
            description="minutes without a block that are an alarm; 0: never; -1: 90, on regtest never",
        ),
    ] = -1
    second: Annotated[
        tuple[str, ...],
        msgspec.Meta(
            description="other sources that are compared with bitcoind by work: `p2p://host:port`, "
            "`http://host:port?cookie=FILE` or `http://user@host:port?password_file=FILE` (bitcoind or btcd), "
            "`node+http://host:port` (a committee node)"
        ),
    ] = ()
    anchor_depth: Annotated[
        int, msgspec.Meta(ge=0, le=MAX_DEPTH, description="confirmations until an anchor is settled; 0: k")
    ] = 0
    deposit_depth: Annotated[
        int,
        msgspec.Meta(
            ge=0, le=MAX_DEPTH, description="confirmations of a sweep until this node signs mints; 0: k"
        ),
    ] = 0
    payout_depth: Annotated[
        int,
        msgspec.Meta(
            ge=0, le=MAX_DEPTH, description="confirmations of a payout until this node signs it settled; 0: k"
        ),
    ] = 0
    depth_by_value: Annotated[
        tuple[
            tuple[Annotated[int, msgspec.Meta(ge=0)], Annotated[int, msgspec.Meta(ge=1, le=MAX_DEPTH)]], ...
        ],
        msgspec.Meta(description="more for more: `[[SATS, CONFIRMATIONS], …]`, from so many satoshis on"),
    ] = ()


class Config(_Section, frozen=True):
    """The whole of config.toml."""

    node: NodeSection
    bitcoind: BitcoindSection
    peer: ListenSection = ListenSection()
    public: ListenSection = ListenSection()
    admin: ListenSection = ListenSection()
    rollup: RollupSection = RollupSection()
    policy: PolicySection = PolicySection()
    headers: HeadersSection = HeadersSection()


SECTIONS: dict[str, type[_Section]] = {
    "node": NodeSection,
    "bitcoind": BitcoindSection,
    "peer": ListenSection,
    "public": ListenSection,
    "admin": ListenSection,
    "rollup": RollupSection,
    "policy": PolicySection,
    "headers": HeadersSection,
}


def load(folder: Path) -> Config:
    """Read FOLDER/config.toml; ConfigFault names the setting that is wrong and what to do."""
    path = folder / "config.toml"
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as e:
        raise ConfigFault(f"There is no {path}: make the folder first with `holdfast node init`.") from e
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as e:
        raise ConfigFault(
            f"{path} is damaged ({e}): mend that line, or restore the file from a backup."
        ) from e
    except OSError as e:
        raise ConfigFault(f"{path} cannot be read ({e.strerror}): check its owner and mode.") from e
    try:
        return msgspec.convert(raw, Config)
    except msgspec.ValidationError as e:
        raise ConfigFault(f"{path}: {e}. `holdfast node config-reference` lists every setting.") from e


def write(folder: Path, config: Config) -> None:
    """Write FOLDER/config.toml, every setting with its meaning beside it; never over an existing one."""
    lines: list[str] = []
    for section, kind in SECTIONS.items():
        values = getattr(config, section)
        lines.append(f"[{section}]  # {_first_line(kind)}")
        for name, _, meaning in _settings(kind):
            lines.append(f"{name} = {_toml(getattr(values, name))}  # {meaning}")
        lines.append("")
    with (folder / "config.toml").open("x", encoding="utf-8") as f:
        f.write("\n".join(lines))


def reference() -> str:
    """The configuration reference as Markdown, one table a section."""
    lines = [
        "# config.toml, setting by setting",
        "",
        "Made by `holdfast node config-reference` from `bridge/config.py`; do not edit by hand.",
    ]
    for section, kind in SECTIONS.items():
        lines += [
            "",
            f"## [{section}]",
            _first_line(kind),
            "",
            "| setting | default | meaning |",
            "|---|---|---|",
        ]
        lines += [f"| `{name}` | {default} | {meaning} |" for name, default, meaning in _settings(kind)]
    return "\n".join(lines) + "\n"


def _settings(kind: type[_Section]) -> list[tuple[str, str, str]]:
    rows = []
    for field in msgspec.structs.fields(kind):
        default = "required" if field.default is msgspec.NODEFAULT else f"`{_toml(field.default)}`"
        rows.append((field.name, default, _description(field.type)))
    return rows


def _description(annotated: object) -> str:
    for meta in getattr(annotated, "__metadata__", ()):
        if isinstance(meta, msgspec.Meta) and meta.description:
            return meta.description
    # `Port` wraps a second Meta: Annotated flattens them, so a setting without one is our own omission.
    raise AssertionError(f"a setting without a meaning: {annotated}")


def _first_line(kind: type) -> str:
    return (kind.__doc__ or "").splitlines()[0].rstrip(".")


def _toml(value: object) -> str:
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, tuple):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return str(value)
