"""Taking a deposit back by the leaf, after the delay, without any node of ours."""

from dataclasses import dataclass

from anchor.btc.amounts import DUST_P2TR, Sats
from anchor.btc.curve import schnorr_verify
from anchor.btc.ids import OutPoint
from anchor.btc.taproot import leaf_hash, sighash, verify_control
from anchor.btc.tx import Tx, TxIn, TxOut
from bridge.deposit.address import DepositFault, DepositParams, leaf, output


@dataclass(frozen=True, slots=True)
class Reclaim:
    """An unsigned reclaim: `message` (32 bytes) is what the user key signs."""

    tx: Tx
    params: DepositParams
    control_block: bytes
    message: bytes


def build(
    params: DepositParams,
    treasury_key33: bytes,
    outpoint: OutPoint,
    value: Sats,
    destination: bytes,
    fee: Sats,
) -> Reclaim:
    """Build the transaction that pays the whole deposit less `fee` to script `destination`.

    nSequence carries the delay (BIP68), so the network refuses it before block h + delay. BIP341 script path.
    Raises DepositFault when the fee leaves dust.
    """
    if fee < 0 or value - fee < DUST_P2TR:
        raise DepositFault(f"a fee of {fee} leaves less than {DUST_P2TR} sat of {value}: choose a lower one")
    derived = output(params, treasury_key33)
    tx = Tx(2, (TxIn(outpoint, params.delay),), (TxOut(Sats(value - fee), destination),))
    prevout = TxOut(value, derived.script_pubkey)
    message = sighash(tx, 0, [prevout], leaf=leaf_hash(leaf(params)))
    assert verify_control(derived.script_pubkey[2:], derived.control_block, leaf(params)), (
        "control block wrong"
    )
    return Reclaim(tx, params, derived.control_block, message)


def assemble(reclaim: Reclaim, signature: bytes) -> Tx:
    """Return the signed transaction. DepositFault when the signature is not the user key's."""
    if not schnorr_verify(reclaim.params.user_key, reclaim.message, signature):
        raise DepositFault(
            "the signature is not by this deposit's user key: sign with the key it was made for"
        )
    return reclaim.tx.with_witness(0, (signature, leaf(reclaim.params), reclaim.control_block))
