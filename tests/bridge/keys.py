"""Whole keys and parameters for tests of the bridge: nothing shipped holds or signs with a whole key."""

from dataclasses import dataclass, field

from coincurve import PrivateKey

from anchor.btc.amounts import Sats
from anchor.btc.curve import ORDER, schnorr_sign, x_only_from_secret
from anchor.btc.hashing import sha256
from anchor.btc.ids import OutPoint, Txid
from anchor.btc.script import p2tr
from anchor.btc.taproot import tweak_of
from anchor.inscription.successor import Successor
from anchor.rollup.activation import Activation, Lane, Params
from bridge.deposit.address import DepositParams
from bridge.treasury.builder import Batch, messages
from bridge.treasury.keys import TreasuryKeys
from bridge.treasury.manifest import Payout, PayoutManifest, SweepManifest, SweptDeposit

AUX = bytes(32)


def secret_of(name: str) -> bytes:
    return sha256(name.encode())


def key_of(name: str) -> bytes:
    return x_only_from_secret(secret_of(name))


@dataclass(frozen=True)
class WholeKey:
    """Signs key paths as the group would."""

    secret: bytes = field(repr=False)

    @property
    def key33(self) -> bytes:
        return PrivateKey(self.secret).public_key.format()

    def sign_key_path(self, message: bytes, root: bytes | None) -> bytes:
        number = int.from_bytes(self.secret, "big")
        even = number if self.key33[0] == 2 else ORDER - number
        tweaked = (even + int.from_bytes(tweak_of(self.key33[1:], root), "big")) % ORDER
        return schnorr_sign(tweaked.to_bytes(32, "big"), message, AUX)

    def sign(self, batch: Batch) -> list[bytes]:
        return [self.sign_key_path(message, root) for message, root in messages(batch)]


EVEN = WholeKey((7).to_bytes(32, "big"))
ODD = WholeKey((6).to_bytes(32, "big"))
TREASURY = EVEN.key33
KEYS = TreasuryKeys(1, (TREASURY,))


def treasury_of(epoch: int) -> WholeKey:
    return EVEN if epoch == 1 else WholeKey(secret_of(f"treasury of epoch {epoch}"))


NEXT, LATER = treasury_of(2), treasury_of(3)
BOTH = KEYS.then(NEXT.key33)


def successor(epoch: int, key: WholeKey) -> Successor:
    anchor, mint = (
        WholeKey(secret_of(f"{purpose} of epoch {epoch}")).key33 for purpose in ("anchor", "mint")
    )
    return Successor(epoch, key.key33, anchor, mint, sha256(b"succession %d" % epoch))


SECOND, THIRD = successor(2, NEXT), successor(3, LATER)

K = 3
PARAMS = Params(
    k=K,
    range_length=10,
    reclaim_delay=40,
    min_deposit=10_000,
    max_deposit=100_000_000,
    supply_cap=1_000_000_000,
    min_withdrawal=5_000,
    deposit_fee=1_000,
    withdrawal_fee=800,
    min_fee_rate=1,
    max_fee_rate=100,
    batch_fee_cap=100_000,
    expiry_blocks=1_000,
)


def coin(name: str, vout: int = 0) -> OutPoint:
    return OutPoint(Txid(sha256(name.encode())), vout)


ACTIVATION = Activation(
    rollup_id=7,
    genesis_hash=sha256(b"genesis"),
    committee_hash=sha256(b"committee"),
    network="regtest",
    epoch=1,
    treasury_key=TREASURY,
    anchor_key=ODD.key33,
    mint_key=WholeKey(secret_of("mint")).key33,
    treasury=coin("treasury"),
    treasury_value=Sats(1_000_000),
    lanes=(Lane(0, coin("lane"), Sats(100_000)),),
    height=100,
    params=PARAMS,
)


def params_of(name: str, delay: int = PARAMS.reclaim_delay) -> DepositParams:
    return DepositParams(key_of(f"{name} rollup"), key_of(f"{name} bitcoin"), delay)


def payee(name: str) -> bytes:
    return p2tr(key_of(name))


def swept(name: str, value: int = 50_000, fee_share: int = PARAMS.deposit_fee) -> SweptDeposit:
    return SweptDeposit(coin(name), Sats(value), params_of(name), Sats(fee_share), 1)


def payout(name: str, amount: int = 30_000, fee_share: int = PARAMS.withdrawal_fee) -> Payout:
    return Payout(sha256(name.encode()), payee(name), Sats(amount), Sats(fee_share))


def sweep_manifest(*deposits: SweptDeposit, fee: int = 1_000, **changes: object) -> SweepManifest:
    chosen = tuple(sorted(deposits or (swept("alice"),), key=lambda d: d.outpoint.encode()))
    return SweepManifest(**(_head(fee) | changes), deposits=chosen)


def payout_manifest(*payouts: Payout, fee: int = 1_000, **changes: object) -> PayoutManifest:
    chosen = tuple(sorted(payouts or (payout("bob"),), key=lambda p: p.withdrawal))
    return PayoutManifest(**(_head(fee) | changes), payouts=chosen)


def _head(fee: int) -> dict[str, object]:
    """What a manifest on the activation record's coin says first."""
    a = ACTIVATION
    return {
        "epoch": a.epoch,
        "sequence": 1,
        "tip": a.treasury,
        "tip_value": a.treasury_value,
        "previous": a.hash,
        "fee": Sats(fee),
    }
