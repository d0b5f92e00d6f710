"""The five Bitcoin networks: names, address prefixes, magic numbers and genesis headers."""

from dataclasses import dataclass
from types import MappingProxyType

from anchor.btc.hashing import sha256d
from anchor.btc.ids import BlockHash, from_display

_OLD_ROOT = "4a5e1e4baab89f3a32518a88c31bc87f618f76673e2cc77ab2127b7afdeda33b"
_TESTNET4_ROOT = "7aa0a7ae1e223414cb807e40cd57e667b718e42aaf9306db9102fe28912b7b4e"


@dataclass(frozen=True, slots=True)
class Network:
    """What tells one Bitcoin network from another.

    `chain` is the name in bitcoind's `getblockchaininfo`; `genesis` the 80 raw bytes of header 0; `magic` the
    four bytes that start every P2P message.
    """

    name: str
    chain: str
    hrp: str
    p2pkh_version: int
    p2sh_version: int
    magic: bytes
    genesis: bytes
    rpc_port: int

    @property
    def genesis_hash(self) -> BlockHash:
        """Hash of block 0, internal order."""
        return BlockHash(sha256d(self.genesis))


def _genesis(time: int, bits: int, nonce: int, root: str = _OLD_ROOT) -> bytes:
    fields = b"".join(value.to_bytes(4, "little") for value in (time, bits, nonce))
    return (1).to_bytes(4, "little") + bytes(32) + from_display(root) + fields


MAINNET = Network(
    name="mainnet",
    chain="main",
    hrp="bc",
    p2pkh_version=0,
    p2sh_version=5,
    magic=bytes.fromhex("f9beb4d9"),
    genesis=_genesis(1231006505, 0x1D00FFFF, 2083236893),
    rpc_port=8332,
)
TESTNET3 = Network(
    name="testnet3",
    chain="test",
    hrp="tb",
    p2pkh_version=111,
    p2sh_version=196,
    magic=bytes.fromhex("0b110907"),
    genesis=_genesis(1296688602, 0x1D00FFFF, 414098458),
    rpc_port=18332,
)
TESTNET4 = Network(
    name="testnet4",
    chain="testnet4",
    hrp="tb",
    p2pkh_version=111,
    p2sh_version=196,
    magic=bytes.fromhex("1c163f28"),
    genesis=_genesis(1714777860, 0x1D00FFFF, 393743547, _TESTNET4_ROOT),
    rpc_port=48332,
)
SIGNET = Network(
    name="signet",
    chain="signet",
    hrp="tb",
    p2pkh_version=111,
    p2sh_version=196,
    magic=bytes.fromhex("0a03cf40"),
    genesis=_genesis(1598918400, 0x1E0377AE, 52613770),
    rpc_port=38332,
)
REGTEST = Network(
    name="regtest",
    chain="regtest",
    hrp="bcrt",
    p2pkh_version=111,
    p2sh_version=196,
    magic=bytes.fromhex("fabfb5da"),
    genesis=_genesis(1296688602, 0x207FFFFF, 2),
    rpc_port=18443,
)

NETWORKS = MappingProxyType({net.name: net for net in (MAINNET, TESTNET3, TESTNET4, SIGNET, REGTEST)})


def network_by_name(name: str) -> Network:
    """Return the network called `name` here or in bitcoind ("main", "test"). ValueError names the choices."""
    for network in NETWORKS.values():
        if name in (network.name, network.chain):
            return network
    raise ValueError(f"no network {name[:40]!r}: choose one of {', '.join(NETWORKS)}")
