"""What a node's folder says before anything is opened: read, checked against each other, or refused."""

import contextlib
import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.exc import DatabaseError

from anchor.bitcoind import Bitcoind
from anchor.btc.codec import CodecError
from anchor.btc.network import Network, network_by_name
from anchor.rollup.genesis import Genesis
from bridge import config as configs
from bridge.config import Config, ConfigFault
from tss import identity as identities
from tss.dkg.committee import Committee, SignedCommittee
from tss.dkg.faults import CommitteeFault
from tss.identity import HostIdentity, IdentityFault
from tss.peer_tls import client_context
from tss.rotation.succession import check_successor

# Node.db is a cache of what Bitcoin, the rollup and the other members say; signer.db is not.
REMEDIES = {
    "node.db": "move it away, with its -wal and -shm, and the node builds it anew",
    "signer.db": "restore it from a backup, or a whole folder with `holdfast node restore`",
}


class StartFault(Exception):
    """Why a node does not start; one sentence with the next move. Nothing stored was changed."""


@dataclass(frozen=True, slots=True)
class Papers:
    """What the folder says before anything is opened.

    `committees` are those of every key epoch, from genesis.json's to the present one, `committee`.
    """

    config: Config
    network: Network
    committee: SignedCommittee
    genesis: Genesis
    committees: tuple[SignedCommittee, ...]
    identity: HostIdentity | None


def read_papers(folder: Path, passphrase: Callable[[], bytearray] | None = None) -> Papers:
    """Read and check a folder's documents. StartFault names the one that is missing, damaged or foreign.

    `passphrase` is asked for when the host key is under one, after everything else was found right.
    """
    try:
        config = configs.load(folder)
    except ConfigFault as fault:
        raise StartFault(str(fault)) from fault
    committee = _committee(folder, config)
    genesis = _genesis(folder)
    committees = committee_chain(folder, committee, genesis)
    if genesis.network != config.node.network:
        raise StartFault(
            f"genesis.json is for {genesis.network}, config.toml says {config.node.network}: correct one of them"
        )
    identity = None
    if config.node.role == "operator":
        identity = _identity(folder, committee, config, passphrase)
    return Papers(config, network_by_name(config.node.network), committee, genesis, committees, identity)


@contextlib.contextmanager
def readable(folder: Path, database: str = "node.db") -> Iterator[None]:
    """Turn what a damaged disk brings, in whatever file of the folder, into a StartFault.

    `database` is the one that is open inside.
    """
    try:
        yield
    except DatabaseError as fault:
        raise StartFault(
            f"{folder / database} cannot be used ({fault.orig}): {REMEDIES[database]}"
        ) from fault
    except OSError as fault:
        raise StartFault(
            f"{fault.filename or folder} cannot be used ({fault.strerror or fault}): "
            "check what it is, its owner and its mode"
        ) from fault


def _identity(
    folder: Path, committee: SignedCommittee, config: Config, passphrase: Callable[[], bytearray] | None
) -> HostIdentity:
    try:
        if config.node.network != "regtest" and not identities.is_sealed(folder):
            raise StartFault(
                f"the host key in {folder} lies open, and {config.node.network} is no play money: "
                f"put it under a passphrase with `holdfast node passphrase --dir {folder}`"
            )
        identity = identities.load(folder, passphrase).seated(committee.committee)
        client_context(identity.tls)
    except IdentityFault as fault:
        raise StartFault(str(fault)) from fault
    except ssl.SSLError as fault:
        raise StartFault(
            f"{identity.tls.key} is no key of {identity.tls.certificate}: restore both from one backup"
        ) from fault
    if identity.name != config.node.name:
        raise StartFault(
            f"config.toml says that this node is {config.node.name}, committee.json that its keys are "
            f"{identity.name}'s: correct [node] name, or use {config.node.name}'s folder"
        )
    return identity


def _committee(folder: Path, config: Config) -> SignedCommittee:
    path, signed = folder / "committee.json", None
    try:
        signed = SignedCommittee.from_json(path.read_text(encoding="utf-8"))
        signed.verify()
    except FileNotFoundError as e:
        raise StartFault(f"There is no {path}: take it with `holdfast tss committee accept`.") from e
    except (CommitteeFault, ValueError) as fault:
        unfinished = signed is not None and signed.missing  # then the fault itself says what to do
        original = "; put the original there, from another operator, and compare the words"
        raise StartFault(f"{path} cannot be used: {fault}{'' if unfinished else original}") from fault
    if signed.committee.chain != config.node.network:
        raise StartFault(
            f"committee.json is for {signed.committee.chain}, config.toml says {config.node.network}: "
            "use the committee file of this network"
        )
    return signed


def _genesis(folder: Path) -> Genesis:
    path = folder / "genesis.json"
    try:
        return Genesis.from_json(path.read_text(encoding="utf-8"))
    except FileNotFoundError as e:
        raise StartFault(
            f"There is no {path}: copy the rollup's genesis there, from another operator or any node's /v1/genesis "
            "(`holdfast rollup genesis make` makes that of a new rollup)."
        ) from e
    except (CodecError, ValueError) as fault:
        raise StartFault(
            f"{path} cannot be used: {fault}; put the original there, from another operator or his /v1/genesis"
        ) from fault


def committee_chain(
    folder: Path, committee: SignedCommittee, genesis: Genesis
) -> tuple[SignedCommittee, ...]:
    """The committee files from the one that genesis.json names to this one, each signed by all of its members.

    Earlier ones lie beside committee.json as committee-EPOCH.json. StartFault names the file that is missing, or
    the one that is of another chain.
    """
    chain = [committee]
    while chain[0].committee.hash != genesis.committee_hash:
        chain.insert(0, _before(folder, chain[0].committee))
    first = chain[0].committee
    if (genesis.host_keys, genesis.threshold) != (tuple(m.host_key for m in first.members), first.threshold):
        raise StartFault(
            "genesis.json names other operators, or another threshold, than the committee file whose hash it "
            "carries: it was made wrongly; do not run this rollup, make its genesis anew"
        )
    return tuple(chain)


def _before(folder: Path, later: Committee) -> SignedCommittee:
    """The committee file that `later` succeeds."""
    if not later.previous:
        raise StartFault(
            "genesis.json names another committee file than committee.json: compare the words of "
            "`holdfast tss committee show` with the other operators"
        )
    path = folder / f"committee-{later.epoch - 1}.json"
    take = (
        f"put that of epoch {later.epoch - 1} there, from another operator's /v1/committee/{later.epoch - 1}"
    )
    try:
        earlier = SignedCommittee.from_json(path.read_text(encoding="utf-8"))
        earlier.verify()
    except FileNotFoundError as e:
        raise StartFault(
            f"There is no {path}, and genesis.json names an earlier committee than that of epoch {later.epoch}: "
            f"{take}"
        ) from e
    except (CommitteeFault, ValueError) as fault:
        raise StartFault(f"{path} cannot be used: {fault}; {take}") from fault
    if earlier.committee.hash != later.previous:
        raise StartFault(f"{path} is not the committee file that epoch {later.epoch} succeeds: {take}")
    try:
        check_successor(earlier.committee, later)
    except CommitteeFault as fault:
        raise StartFault(
            f"the committee file of epoch {later.epoch} cannot follow {path} ({fault}): do not run it; propose the "
            "next committee anew"
        ) from fault
    return earlier


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
