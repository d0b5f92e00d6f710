"""What a node's folder says before anything is opened: read, checked against each other, or refused."""

import socket
from dataclasses import dataclass
from pathlib import Path

from anchor.bitcoind import Bitcoind
from anchor.btc.codec import CodecError
from anchor.btc.network import Network, network_by_name
from anchor.rollup.genesis import Genesis
from bridge import config as configs
from bridge.config import Config, ConfigFault
from tss import identity as identities
from tss.dkg.committee import SignedCommittee
from tss.dkg.faults import CommitteeFault
from tss.identity import HostIdentity, IdentityFault


class StartFault(Exception):
    """Why a node does not start; one sentence with the next move. Nothing stored was changed."""


@dataclass(frozen=True, slots=True)
class Papers:
    """What the folder says before anything is opened."""

    config: Config
    network: Network
    committee: SignedCommittee
    genesis: Genesis
    identity: HostIdentity | None


def read_papers(folder: Path) -> Papers:
    """Read and check a folder's documents. StartFault names the one that is missing, damaged or foreign."""
    try:
        config = configs.load(folder)
    except ConfigFault as fault:
        raise StartFault(str(fault)) from fault
    committee = _committee(folder, config)
    genesis = _genesis(folder, committee)
    if genesis.network != config.node.network:
        raise StartFault(
            f"genesis.json is for {genesis.network}, config.toml says {config.node.network}: correct one of them"
        )
    identity = None
    if config.node.role == "operator":
        try:
            identity = identities.load(folder).seated(committee.committee)
        except IdentityFault as fault:
            raise StartFault(str(fault)) from fault
    return Papers(config, network_by_name(config.node.network), committee, genesis, identity)


def _committee(folder: Path, config: Config) -> SignedCommittee:
    path = folder / "committee.json"
    try:
        signed = SignedCommittee.from_json(path.read_text(encoding="utf-8"))
        signed.verify()
    except FileNotFoundError as e:
        raise StartFault(f"There is no {path}: take it with `holdfast tss committee accept`.") from e
    except (CommitteeFault, ValueError) as fault:
        raise StartFault(f"{path} cannot be used: {fault}") from fault
    if signed.committee.chain != config.node.network:
        raise StartFault(
            f"committee.json is for {signed.committee.chain}, config.toml says {config.node.network}: "
            "use the committee file of this network"
        )
    return signed


def _genesis(folder: Path, committee: SignedCommittee) -> Genesis:
    path = folder / "genesis.json"
    try:
        genesis = Genesis.from_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError as e:
        raise StartFault(
            f"There is no {path}: copy the rollup's genesis there (`holdfast rollup genesis make` makes one)."
        ) from e
    except (CodecError, ValueError) as fault:
        raise StartFault(f"{path} cannot be used: {fault}") from fault
    if genesis.committee_hash != committee.committee.hash:
        raise StartFault(
            "genesis.json names another committee file than committee.json: compare the words of "
            "`holdfast tss committee show` with the other operators"
        )
    return genesis


def bitcoind_of(config: Config) -> Bitcoind:
    """The operator's own bitcoind, not asked yet. StartFault for an unreadable password file."""
    section = config.bitcoind
    password = ""
    if section.password_file:
        try:
            password = Path(section.password_file).read_text(encoding="utf-8").splitlines()[0]
        except (OSError, IndexError) as e:
            raise StartFault(f"{section.password_file} cannot be read: check [bitcoind] password_file") from e
    return Bitcoind(
        section.url,
        cookie=Path(section.cookie) if section.cookie else None,
        user=section.user or None,
        password=password or None,
    )


def check_ports(config: Config) -> None:
    """StartFault for a port that another program holds, before anything is opened."""
    sections = {"peer": config.peer, "public": config.public, "admin": config.admin}
    if config.node.role == "observer":
        del sections["peer"]
    for name, listen in sections.items():
        with socket.socket(socket.AF_INET6 if ":" in listen.host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((listen.host, listen.port))
            except OSError as fault:
                raise StartFault(
                    f"the {name} port {listen.host}:{listen.port} is not free ({fault.strerror}): "
                    f"stop what uses it, or change [{name}] port in config.toml"
                ) from fault
