"""A small rollup for tests: whole keys (tests only), mined regtest headers, signed transactions, votes."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from anchor.btc.amounts import Height, Sats
from anchor.btc.curve import schnorr_sign, x_only_from_secret
from anchor.btc.hashing import sha256, tagged_hash
from anchor.btc.header import Header
from anchor.btc.ids import OutPoint, Txid
from anchor.headers import bundle as bundles
from anchor.rollup.activation import Activation, Lane, Params, SignedActivation
from anchor.rollup.bitcoin_view import final_of
from anchor.rollup.block import Block, Certificate, CertifiedBlock, Vote
from anchor.rollup.decisions import Decision, SignedDecision
from anchor.rollup.execute import manifest_hash
from anchor.rollup.genesis import Genesis, Validator
from anchor.rollup.state import RollupState
from anchor.rollup.statements import MintStatement, SettleStatement
from anchor.rollup.succession import Epochs, KeyEpoch, SignedSuccession, Succession
from anchor.rollup.transitions import Rejected, make_block
from anchor.rollup.tx import Activate, Decide, Lock, Mint, RollupTx, Settle, Succeed, Transfer
from tests.anchor.headers.minting import GENESIS, chain_of, run

AUX = bytes(32)
K = 3
P2TR = b"\x51\x20" + sha256(b"somebody's address")
PARAMS = Params(
    k=K,
    range_length=10,
    reclaim_delay=40,
    min_deposit=10_000,
    max_deposit=10_000_000,
    supply_cap=20_000_000,
    min_withdrawal=10_000,
    deposit_fee=1_000,
    withdrawal_fee=1_500,
    min_fee_rate=1,
    max_fee_rate=100,
    batch_fee_cap=100_000,
    expiry_blocks=100,
)


@dataclass(frozen=True)
class Whole:
    """A whole key pair, for tests only."""

    secret: bytes

    @classmethod
    def named(cls, name: str) -> "Whole":
        return cls(sha256(b"test key " + name.encode()))

    @property
    def x(self) -> bytes:
        return x_only_from_secret(self.secret)

    def sign(self, message: bytes) -> bytes:
        return schnorr_sign(self.secret, message, AUX)


HOSTS = tuple(Whole.named(f"host {i}") for i in range(3))
VALIDATORS = tuple(Whole.named(f"validator {i}") for i in range(4))
TREASURY, ANCHOR, MINT = (Whole.named(n) for n in ("treasury", "anchor", "mint"))


@dataclass(frozen=True)
class Reign:
    """Who holds the bridge in one key epoch: hosts in committee order, threshold, the three group keys, whole."""

    hosts: tuple[Whole, ...]
    threshold: int
    treasury: Whole
    anchor: Whole
    mint: Whole


def reign(epoch: int) -> Reign:
    """The first is the genesis's; in each later one the first host leaves, two come, and all keys are new."""
    if epoch == 1:
        return Reign(HOSTS, 2, TREASURY, ANCHOR, MINT)
    names = [f"host {i}" for i in range(epoch - 1, 2 * epoch + 1)]
    keys = [Whole.named(f"{n} {epoch}") for n in ("treasury", "anchor", "mint")]
    return Reign(tuple(map(Whole.named, names)), len(names) // 2 + 1, *keys)


ALICE, BOB, MALLORY = (Whole.named(n) for n in ("alice", "bob", "mallory"))


def a_genesis(**changes: object) -> Genesis:
    first = Genesis(
        rollup_id=7,
        name="demo",
        network="regtest",
        committee_hash=sha256(b"committee"),
        host_keys=tuple(h.x for h in HOSTS),
        threshold=2,
        validators=tuple(Validator(v.x, 1) for v in VALIDATORS),
        bitcoin_height=0,
        bitcoin_header=GENESIS.raw,
        k=K,
        block_ms=100,
    )
    return replace(first, **changes)


GEN = a_genesis()
MANIFEST = b"what a sweep contains"


def an_activation(genesis: Genesis = GEN, **changes: object) -> Activation:
    record = Activation(
        rollup_id=genesis.rollup_id,
        genesis_hash=genesis.hash,
        committee_hash=genesis.committee_hash,
        network=genesis.network,
        epoch=1,
        treasury_key=b"\x02" + TREASURY.x,
        anchor_key=b"\x03" + ANCHOR.x,
        mint_key=b"\x02" + MINT.x,
        treasury=OutPoint(Txid(sha256(b"treasury coin")), 0),
        treasury_value=Sats(1_000_000),
        lanes=(Lane(0, OutPoint(Txid(sha256(b"lane coin")), 1), Sats(50_000)),),
        height=1,
        params=PARAMS,
    )
    return replace(record, **changes)


def signed(record: Activation, hosts: Sequence[Whole] = HOSTS) -> SignedActivation:
    return SignedActivation(record, tuple(host.sign(record.hash) for host in hosts))


def vote(genesis: Genesis, block: Block, validator: int, key: Whole | None = None) -> Vote:
    block_hash = block.header.hash(genesis.hash)
    signer = key or VALIDATORS[validator]
    return Vote(validator, block.header.height, block_hash, signer.sign(block_hash))


def certified(genesis: Genesis, block: Block, voters: Sequence[int] = (0, 1, 2)) -> CertifiedBlock:
    votes = tuple(vote(genesis, block, i) for i in voters)
    return CertifiedBlock(block, Certificate(block.header.hash(genesis.hash), votes))


def a_succession(before: KeyEpoch, genesis: Genesis = GEN, **changes: object) -> Succession:
    """The record of the reign that follows an epoch."""
    number = before.number + 1
    r = reign(number)
    record = Succession(
        rollup_id=genesis.rollup_id,
        genesis_hash=genesis.hash,
        network=genesis.network,
        epoch=number,
        previous=before.record,
        committee_hash=sha256(b"committee %d" % number),
        host_keys=tuple(h.x for h in r.hosts),
        threshold=r.threshold,
        treasury_key=b"\x03" + r.treasury.x,
        anchor_key=b"\x02" + r.anchor.x,
        mint_key=b"\x03" + r.mint.x,
    )
    return replace(record, **changes)


def signed_succession(
    record: Succession, hosts: Sequence[Whole] | None = None, mint: Whole | None = None
) -> SignedSuccession:
    """Signed by all hosts of its reign and the mint key of the reign before, or by whom it is told."""
    hosts = reign(record.epoch).hosts if hosts is None else hosts
    mint = reign(record.epoch - 1).mint if mint is None else mint
    return SignedSuccession(record, tuple(h.sign(record.hash) for h in hosts), mint.sign(record.message))


class World:
    """A rollup that is driven block by block; Bitcoin headers are mined as told."""

    def __init__(self, genesis: Genesis = GEN) -> None:
        self.genesis = genesis
        self.state = RollupState.at_genesis(genesis)
        self.bitcoin: list[Header] = [GENESIS]
        self.blocks: list[Block] = []
        self.rejected: list[Rejected] = []

    def mine(self, count: int, salt: int = 0) -> None:
        self.bitcoin += run(self.bitcoin[-1], count, salt)

    def reorg(self, depth: int, count: int, salt: int = 99) -> None:
        del self.bitcoin[len(self.bitcoin) - depth :]
        self.mine(count, salt)

    def bundle(self, limit: int = 2000) -> bytes:
        made = bundles.make(self.state.view, chain_of(*self.bitcoin[1:]), limit)
        return b"" if made is None else made.encode()

    def block(self, *txs: RollupTx, bundle: bytes | None = None) -> Block:
        raws = [tx.encode() for tx in txs]
        data = self.bundle() if bundle is None else bundle
        made, self.state, self.rejected = make_block(
            self.genesis, self.state, raws, data, self.state.time + 1
        )
        self.blocks.append(made)
        return made

    # Transactions

    def activate(self) -> "World":
        self.block(Activate(signed(an_activation(self.genesis))))
        assert self.state.activation is not None
        return self

    @property
    def epochs(self) -> Epochs:
        """All key epochs; there is one, once the rollup is active."""
        epochs = self.state.epochs(self.genesis)
        assert epochs is not None
        return epochs

    @property
    def epoch(self) -> int:
        """The number of the key epoch, the first one's before it has begun."""
        return self.epochs.latest.number if self.state.activation else 1

    @property
    def reign(self) -> Reign:
        """Who holds the bridge now."""
        return reign(self.epoch)

    def succeed(self, **changes: object) -> Succeed:
        """The next epoch's record, signed by all."""
        return Succeed(signed_succession(a_succession(self.epochs.latest, self.genesis, **changes)))

    def mint(self, owner: Whole, amount: int, name: str = "deposit", **changes: object) -> Mint:
        at = self.bitcoin[-K] if len(self.bitcoin) >= K else self.bitcoin[0]
        statement = MintStatement(
            rollup_id=self.genesis.rollup_id,
            genesis_hash=self.genesis.hash,
            epoch=self.epoch,
            outpoint=OutPoint(Txid(sha256(name.encode())), 0),
            recipient=owner.x,
            amount=Sats(amount),
            fee=Sats(PARAMS.deposit_fee),
            txid=Txid(sha256(b"sweep")),
            block_hash=at.hash,
            height=Height(self.bitcoin.index(at)),
            manifest_hash=manifest_hash(MANIFEST),
        )
        statement = replace(statement, **changes)
        return Mint(statement, self.reign.mint.sign(statement.message), MANIFEST)

    def transfer(self, sender: Whole, recipient: Whole, amount: int, **changes: object) -> Transfer:
        nonce = self.state.account(sender.x).nonce
        tx = replace(Transfer(sender.x, nonce, recipient.x, Sats(amount)), **changes)
        return tx.signed(sender.sign(tx.txid(self.genesis.hash)))

    def lock(self, sender: Whole, amount: int, **changes: object) -> Lock:
        nonce = self.state.account(sender.x).nonce
        tx = Lock(sender.x, nonce, Sats(amount), P2TR, Sats(2_000), Height(10_000))
        tx = replace(tx, **changes)
        return tx.signed(sender.sign(tx.txid(self.genesis.hash)))

    def settle(self, lock: Lock, **changes: object) -> Settle:
        at = self.bitcoin[-K]
        statement = SettleStatement(
            rollup_id=self.genesis.rollup_id,
            genesis_hash=self.genesis.hash,
            epoch=self.epoch,
            withdrawal=lock.txid(self.genesis.hash),
            script=lock.script,
            paid=Sats(lock.amount - PARAMS.withdrawal_fee),
            fee=Sats(PARAMS.withdrawal_fee),
            txid=Txid(sha256(b"payout")),
            block_hash=at.hash,
            height=Height(self.bitcoin.index(at)),
            manifest_hash=manifest_hash(MANIFEST),
        )
        statement = replace(statement, **changes)
        return Settle(statement, self.reign.mint.sign(statement.message), MANIFEST)

    def decision(self, **changes: object) -> Decision:
        """What the operators would sign now."""
        height, block = final_of(self.state.view, self.genesis.k)
        g, pause = self.genesis, self.state.pause
        name = nothing("no pause") if pause is None else pause.id(g.hash)
        committee = self.state.committee(g).committee_hash
        made = Decision(g.rollup_id, g.hash, committee, name, height, block, "looked at everything")
        return replace(made, **changes)

    def decide(self, hosts: Sequence[int] = (0, 1), **changes: object) -> Decide:
        decision = self.decision(**changes)
        signatures = tuple((i, self.reign.hosts[i].sign(decision.hash)) for i in hosts)
        return Decide(SignedDecision(decision, signatures))

    def funded(self, owner: Whole = ALICE, amount: int = 1_000_000) -> "World":
        """Active, four Bitcoin blocks known, and one deposit credited."""
        self.activate()
        self.mine(4)
        self.block(self.mint(owner, amount))
        assert self.state.account(owner.x).balance == amount, self.rejected
        return self


def conserved(state: RollupState, minted: int, settled: int) -> bool:
    """Whether every coin is accounted for."""
    balances = sum(a.balance for a in state.accounts.values())
    locked = sum(w.lock.amount for w in state.withdrawals.values() if w.settled is None)
    return (
        balances == state.supply
        and locked == state.escrow
        and state.supply + state.escrow == minted - settled
        and all(a.balance >= 0 for a in state.accounts.values())
    )


def reseal(block: Block, **changes: object) -> Block:
    """The block with header fields changed, as a liar would serve it."""
    return replace(block, header=replace(block.header, **changes))


def nothing(tag: str) -> bytes:
    """32 bytes that name nothing."""
    return tagged_hash("test/nothing", tag.encode())
