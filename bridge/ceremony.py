"""How the bridge becomes active: the record that every operator signs, each from his own view.

Keys are certified and their genesis addresses funded; then one node proposes, every node checks the record
against its own keys, its own bitcoind and its own genesis file, and signs with its host key. With all signatures
the record goes to every member and, as the first bridge transaction, into the rollup.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, fields

from anchor.bitcoind import Bitcoind
from anchor.btc.address import address_of
from anchor.btc.amounts import Sats
from anchor.btc.codec import CodecError
from anchor.btc.ids import OutPoint
from anchor.btc.network import Network
from anchor.headers.chain import HeaderChain
from anchor.inscription.lane import tip_script
from anchor.rollup.activation import Activation, ActivationRefused, Lane, Params, SignedActivation
from anchor.rollup.genesis import Genesis
from bridge.deposit.address import treasury_script
from bridge.store import BridgeStore
from tss.node import TssNode
from tss.peers import PeerError, Peers, Refuse

SIGNED_RECORD = "activation-signed"  # a document of node.db
PROPOSE, PUBLISH = "bridge.activation", "bridge.activated"
PURPOSES = ("treasury", "anchor", "mint")


class CeremonyFault(Exception):
    """Why there is no activation record yet; the sentence names the next move."""


class Consents:
    """What the operator said about activation records, and which one this node has signed."""

    def __init__(self, network: Network, store: BridgeStore, active: Callable[[], bool]) -> None:
        self._network, self._store, self._active = network, store, active
        self.given: set[bytes] = set()

    async def objects(self, digest: bytes) -> str | None:
        """Why this node does not sign an activation record; what it lets pass is stored first."""
        command = f"`holdfast bridge genesis consent {digest.hex()}`"
        if self._active():
            return "this bridge is active already: its record is signed and cannot be replaced"
        before = await self._store.document(SIGNED_RECORD)
        if before not in (None, digest) and digest not in self.given:
            return (
                f"this node has signed another record, {before.hex()}: "
                f"if that one came to nothing, the operator consents by {command}"
            )
        if self._network.name != "regtest" and digest not in self.given:
            return f"the operator must consent first: {command}"
        await self._store.save_document(SIGNED_RECORD, digest)
        return None


@dataclass(frozen=True, slots=True)
class GenesisAddresses:
    """Where treasury and lanes are to be funded."""

    treasury: str
    lane: str


class Ceremony:
    """This node's part in the activation. `objects` says why its operator does not want a record signed.

    It stores what it lets pass before a signature exists: two signed records could activate two bridges.
    """

    def __init__(
        self,
        network: Network,
        genesis: Genesis,
        params: Params,
        bitcoind: Bitcoind,
        headers: HeaderChain,
        tss: TssNode,
        peers: Peers,
        objects: Callable[[bytes], Awaitable[str | None]],
    ) -> None:
        self.network, self.genesis, self.params = network, genesis, params
        self.bitcoind, self.headers, self.tss, self.peers = bitcoind, headers, tss, peers
        self.objects = objects

    def keys(self) -> tuple[bytes, bytes, bytes]:
        """Treasury, anchor and mint key (33 bytes each), once all are verified. CeremonyFault otherwise."""
        if self.tss.committee.hash != self.genesis.committee_hash:
            raise CeremonyFault(
                f"genesis.json names an earlier committee than this node's, of epoch {self.tss.committee.epoch}: a "
                "bridge begins with the committee of its genesis; make a new genesis, or put the earlier file back"
            )
        found = []
        for purpose in PURPOSES:
            public = self.tss.public(purpose, self.tss.committee.epoch)
            if public is None:
                raise CeremonyFault(
                    f"there is no verified {purpose} key: "
                    f"make it with `holdfast tss dkg --dir … --purpose {purpose}`"
                )
            found.append(public.group_key)
        return found[0], found[1], found[2]

    def addresses(self) -> GenesisAddresses:
        """Where to send the genesis coins."""
        treasury, anchor, _ = self.keys()
        return GenesisAddresses(
            address_of(treasury_script(treasury), self.network), address_of(tip_script(anchor), self.network)
        )

    async def propose(self, treasury: OutPoint, lanes: list[OutPoint]) -> SignedActivation:
        """Make the record, collect every signature, and return it. CeremonyFault names who did not sign and why."""
        record = await self._make(treasury, lanes)
        await self._check(record)
        if (why := await self.objects(record.hash)) is not None:
            raise CeremonyFault(why)
        answers = await self.peers.gather(PROPOSE, record.encode(), timeout=20)
        signatures = []
        for index in range(1, len(self.genesis.host_keys) + 1):
            if index == self.peers.index:
                signatures.append(self.tss.host_sign(record.hash))
                continue
            answer = answers[index]
            if isinstance(answer, PeerError):
                raise CeremonyFault(f"{self.peers.name(index)} did not sign the activation record: {answer}")
            signatures.append(answer)
        signed = SignedActivation(record, tuple(signatures))
        try:
            signed.verify(self.genesis.host_keys)
        except ActivationRefused as fault:
            raise CeremonyFault(str(fault)) from fault
        return signed

    async def publish(self, signed: SignedActivation) -> None:
        """Hand the complete record to every reachable member; the others read it from the rollup."""
        await self.peers.gather(PUBLISH, signed.encode(), timeout=10)

    async def on_propose(self, _member: int, body: bytes) -> bytes:
        """Sign a member's record, or refuse it by name."""
        try:
            record = Activation.decode(body)
            await self._check(record)
        except (CodecError, CeremonyFault) as fault:
            raise Refuse("not-signed", str(fault)) from fault
        if (why := await self.objects(record.hash)) is not None:
            raise Refuse("no-consent", why)
        return self.tss.host_sign(record.hash)

    async def _make(self, treasury: OutPoint, lanes: list[OutPoint]) -> Activation:
        keys = self.keys()
        coins = [await self._coin(outpoint) for outpoint in (treasury, *lanes)]
        return Activation(
            rollup_id=self.genesis.rollup_id,
            genesis_hash=self.genesis.hash,
            committee_hash=self.genesis.committee_hash,
            network=self.genesis.network,
            epoch=self.tss.committee.epoch,
            treasury_key=keys[0],
            anchor_key=keys[1],
            mint_key=keys[2],
            treasury=treasury,
            treasury_value=coins[0][0],
            lanes=tuple(Lane(i, o, c[0]) for i, (o, c) in enumerate(zip(lanes, coins[1:], strict=True))),
            height=min(height for _, _, height in coins),
            params=self.params,
        )

    async def _coin(self, outpoint: OutPoint) -> tuple[Sats, bytes, int]:
        """Value, script and height of a confirmed coin."""
        coin = await self.bitcoind.txout(outpoint, include_mempool=True)
        if coin is None:
            raise CeremonyFault(
                f"{outpoint} is no unspent coin that this node's bitcoind knows: check txid and output number, "
                "as the wallet that paid shows them"
            )
        if coin.confirmations < 1:
            raise CeremonyFault(f"{outpoint} is not confirmed yet: wait for a block")
        return coin.out.value, coin.out.script, self.headers.tip.height - coin.confirmations + 1

    async def _check(self, record: Activation) -> None:
        g = self.genesis
        same = (record.rollup_id, record.genesis_hash, record.committee_hash, record.network)
        if same != (g.rollup_id, g.hash, g.committee_hash, g.network):
            raise CeremonyFault("the record is for another rollup, committee or network than genesis.json")
        if record.epoch != self.tss.committee.epoch:
            raise CeremonyFault(
                f"the record is for key epoch {record.epoch}: a bridge begins with that of its genesis's committee "
                f"file, {self.tss.committee.epoch}"
            )
        if (record.treasury_key, record.anchor_key, record.mint_key) != self.keys():
            raise CeremonyFault("the record names other group keys than this node holds shares of")
        for field in fields(Params):
            ours, theirs = getattr(self.params, field.name), getattr(record.params, field.name)
            if ours != theirs:
                raise CeremonyFault(f"the record says {field.name} = {theirs}, this node expects {ours}")
        scripts = [treasury_script(record.treasury_key), *[tip_script(record.anchor_key)] * len(record.lanes)]
        claims = [(record.treasury, record.treasury_value), *((x.outpoint, x.value) for x in record.lanes)]
        for (outpoint, value), script in zip(claims, scripts, strict=True):
            found, where, height = await self._coin(outpoint)
            if where != script and where in scripts:
                raise CeremonyFault(f"treasury and lane are swapped: {outpoint} pays the other's address")
            if where != script:
                raise CeremonyFault(
                    f"{outpoint} pays another address: fund those that `holdfast bridge genesis addresses` prints"
                )
            if found != value:
                raise CeremonyFault(
                    f"{outpoint} holds {found} sat, the record says {value}: propose it again"
                )
            if height < record.height:
                raise CeremonyFault(f"a reader from height {record.height} would miss {outpoint}")
        if not self.headers.start.height < record.height <= self.headers.tip.height:
            raise CeremonyFault(f"height {record.height} is outside the chain that this node knows")
