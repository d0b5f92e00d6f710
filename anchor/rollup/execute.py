"""What one transaction does: every check first, then the change. Coins come only from mints.

Supply (all balances) plus escrow (all open locks) changes by a mint's amount and a settled lock's amount only.
"""

from typing import assert_never

from anchor.btc.amounts import DUST_P2TR, MAX_MONEY, Height, Sats
from anchor.btc.curve import is_x_only, schnorr_verify
from anchor.btc.hashing import tagged_hash
from anchor.btc.ids import BlockHash, XOnlyKey
from anchor.headers.finality import missing
from anchor.rollup.activation import Activation, ActivationRefused
from anchor.rollup.decisions import LIFE, Decided, Decision, DecisionRefused, check_subject
from anchor.rollup.genesis import Genesis
from anchor.rollup.refusals import TxRefused
from anchor.rollup.state import Account, RollupState, Withdrawal
from anchor.rollup.statements import MintStatement, SettleStatement
from anchor.rollup.succession import Epochs, Succeeded, SuccessionRefused
from anchor.rollup.tx import Activate, Decide, Lock, Mint, RollupTx, Settle, Succeed, Transfer


def manifest_hash(manifest: bytes) -> bytes:
    """Name of a treasury manifest, 32 bytes."""
    return tagged_hash("holdfast/manifest/v1", manifest)


def apply_in_place(state: RollupState, tx: RollupTx, genesis: Genesis) -> None:
    """Change `state` by one transaction; TxRefused leaves it as it was."""
    match tx:
        case Transfer():
            _transfer(state, tx, genesis)
        case Lock():
            _lock(state, tx, genesis)
        case Activate():
            _activate(state, tx, genesis)
        case Mint():
            _mint(state, tx, genesis)
        case Settle():
            _settle(state, tx, genesis)
        case Decide():
            _decide(state, tx, genesis)
        case Succeed():
            _succeed(state, tx, genesis)
        case _:
            assert_never(tx)


def is_payable(script: bytes) -> bool:
    """Tell whether a payout to this scriptPubKey is standard: P2PKH, P2SH, P2WPKH, P2WSH or P2TR."""
    if len(script) == 25:
        return script[:3] == b"\x76\xa9\x14" and script[23:] == b"\x88\xac"
    if len(script) == 23:
        return script[:2] == b"\xa9\x14" and script[22:] == b"\x87"
    return (len(script) == 22 and script[:2] == b"\x00\x14") or (
        len(script) == 34 and script[:2] in (b"\x00\x20", b"\x51\x20")
    )


def _transfer(state: RollupState, tx: Transfer, genesis: Genesis) -> None:
    sender = _spender(state, tx, genesis)
    if not is_x_only(tx.recipient):
        raise TxRefused("bad_recipient", "the recipient is no rollup key: its coins could never move again")
    state.put_account(tx.sender, Account(Sats(sender.balance - tx.amount), sender.nonce + 1))
    recipient = state.account(tx.recipient)
    state.put_account(tx.recipient, Account(Sats(recipient.balance + tx.amount), recipient.nonce))


def _lock(state: RollupState, tx: Lock, genesis: Genesis) -> None:
    params = _activated(state).params
    sender = _spender(state, tx, genesis)
    _not_paused(state)
    if tx.amount < params.min_withdrawal:
        raise TxRefused("below_minimum", f"a withdrawal is at least {params.min_withdrawal} sats")
    if tx.max_fee < params.withdrawal_fee:
        raise TxRefused("fee_too_low", f"the fee share is {params.withdrawal_fee} sats: allow at least that")
    if tx.amount - params.withdrawal_fee < DUST_P2TR:
        raise TxRefused(
            "below_minimum", f"after the fee less than {DUST_P2TR} sats would be paid, which is dust"
        )
    if not is_payable(tx.script):
        raise TxRefused("bad_script", "give the script of a P2PKH, P2SH, P2WPKH, P2WSH or P2TR address")
    if tx.expiry <= state.view.tip.height:
        raise TxRefused("expired", f"it expires at Bitcoin height {tx.expiry}, which has passed")
    state.put_account(tx.sender, Account(Sats(sender.balance - tx.amount), sender.nonce + 1))
    state.put_withdrawal(tx.txid(genesis.hash), Withdrawal(tx, state.height))
    state.supply, state.escrow = Sats(state.supply - tx.amount), Sats(state.escrow + tx.amount)


def _spender(state: RollupState, tx: Transfer | Lock, genesis: Genesis) -> Account:
    """The sender's account, once nonce, amount and signature are right."""
    account = state.account(tx.sender)
    if tx.nonce < account.nonce:
        raise TxRefused("nonce_used", f"nonce {tx.nonce} was used: the next is {account.nonce}")
    if tx.nonce > account.nonce:
        raise TxRefused(
            "nonce_gap", f"nonce {tx.nonce} is too far: the next is {account.nonce}", retryable=True
        )
    if not 0 < tx.amount <= MAX_MONEY:
        raise TxRefused("bad_amount", f"{tx.amount} is no amount: give satoshis above 0")
    if tx.amount > account.balance:
        raise TxRefused(
            "insufficient_funds", f"{tx.amount} sats wanted, the balance is {account.balance}", retryable=True
        )
    if not schnorr_verify(tx.sender, tx.txid(genesis.hash), tx.signature):
        raise TxRefused("bad_signature", "the sender's key did not sign this transaction for this rollup")
    return account


def _activate(state: RollupState, tx: Activate, genesis: Genesis) -> None:
    record = tx.signed.activation
    if state.activation is not None:
        raise TxRefused("already_active", "the rollup has its activation record already")
    if (record.rollup_id, record.genesis_hash) != (genesis.rollup_id, genesis.hash):
        raise TxRefused(
            "wrong_rollup", "the record is for another rollup: make it from this rollup's genesis"
        )
    if (record.committee_hash, record.network) != (genesis.committee_hash, genesis.network):
        raise TxRefused("wrong_committee", "the record names another committee or network than the genesis")
    if record.params.k != genesis.k:
        raise TxRefused(
            "wrong_parameters", f"k is {genesis.k} in the genesis, {record.params.k} in the record"
        )
    try:
        tx.signed.verify(genesis.host_keys)
    except ActivationRefused as error:
        raise TxRefused("not_signed", str(error)) from error
    state.activation = tx.signed


def _mint(state: RollupState, tx: Mint, genesis: Genesis) -> None:
    s = tx.statement
    mint_x = _certified(state, s, genesis)
    again = _credited_before(state, s)
    params, value = _activated(state).params, s.amount + s.fee
    if s.fee != params.deposit_fee or s.amount <= 0:
        raise TxRefused("wrong_fee", f"the fee share of a deposit is {params.deposit_fee} sats")
    if not params.min_deposit <= value <= params.max_deposit:
        raise TxRefused(
            "out_of_bounds", f"a deposit is {params.min_deposit} to {params.max_deposit} sats, not {value}"
        )
    if not again and state.supply + state.escrow + s.amount > params.supply_cap:
        raise TxRefused("supply_cap", f"it would exceed the cap of {params.supply_cap} sats", retryable=True)
    _check_manifest(state, tx)
    _check_final(state, s.block_hash, s.height, genesis.k)
    if not schnorr_verify(mint_x, s.message, tx.signature):
        raise TxRefused("bad_certificate", "the mint key did not sign this statement")
    _keep_manifest(state, tx)
    state.put_minted(s)
    if again:
        return
    account = state.account(s.recipient)
    state.put_account(s.recipient, Account(Sats(account.balance + s.amount), account.nonce))
    state.supply = Sats(state.supply + s.amount)


def _credited_before(state: RollupState, s: MintStatement) -> bool:
    """Whether this only says where the deposit is swept now: the block that its credit stood on left the view."""
    known = state.minted.get(s.outpoint)
    if known is None:
        return False
    if state.view.is_main(known.statement.block_hash):
        raise TxRefused("already_minted", f"deposit {s.outpoint} was credited: nothing is left to do")
    if (known.statement.recipient, known.statement.amount) != (s.recipient, s.amount):
        raise TxRefused("already_minted", f"deposit {s.outpoint} was credited to another key or amount")
    return True


def _settle(state: RollupState, tx: Settle, genesis: Genesis) -> None:
    s = tx.statement
    mint_x = _certified(state, s, genesis)
    withdrawal = state.withdrawals.get(s.withdrawal)
    if withdrawal is None:
        raise TxRefused("unknown_withdrawal", f"no withdrawal {s.withdrawal.hex()} was locked here")
    if withdrawal.settled is not None:
        raise TxRefused(
            "already_settled", f"withdrawal {s.withdrawal.hex()} is settled: nothing is left to do"
        )
    lock = withdrawal.lock
    if s.script != lock.script or s.paid + s.fee != lock.amount or s.fee > lock.max_fee:
        raise TxRefused("wrong_payment", "script, amount or fee are not what the withdrawal locked")
    _check_manifest(state, tx)
    _check_final(state, s.block_hash, s.height, genesis.k)
    if not schnorr_verify(mint_x, s.message, tx.signature):
        raise TxRefused("bad_certificate", "the mint key did not sign this statement")
    _keep_manifest(state, tx)
    state.put_withdrawal(s.withdrawal, Withdrawal(lock, withdrawal.height, s))
    state.escrow = Sats(state.escrow - lock.amount)


def _decide(state: RollupState, tx: Decide, genesis: Genesis) -> None:
    decision, committee = tx.signed.decision, state.committee(genesis)
    try:
        check_subject(decision, genesis, committee, state.pause)
        _check_fresh(state, decision, genesis.k)
        tx.signed.verify(committee)
    except DecisionRefused as refused:
        raise TxRefused(refused.code, refused.reason) from refused
    operators = tuple(operator for operator, _ in tx.signed.signatures)
    state.put_decision(Decided(state.height, decision, operators))


def _check_fresh(state: RollupState, decision: Decision, k: int) -> None:
    """A decision holds for the chain that its signers saw, and for a day."""
    lacks = missing(state.view, decision.block, k)
    at = state.view.get(decision.block)
    if lacks is not None or at is None or at.height != decision.height:
        raise DecisionRefused(
            "not_final",
            "the Bitcoin block it was decided upon is not final in the rollup's view: decide anew",
        )
    if state.view.tip.height - at.height > LIFE + k:
        raise DecisionRefused("expired", f"it was decided more than {LIFE} Bitcoin blocks ago: decide anew")


def _succeed(state: RollupState, tx: Succeed, genesis: Genesis) -> None:
    record, epochs = tx.signed.succession, _epochs(state, genesis)
    if (record.rollup_id, record.genesis_hash) != (genesis.rollup_id, genesis.hash):
        raise TxRefused(
            "wrong_rollup", "the record is for another rollup: make it from this rollup's genesis"
        )
    if record.network != genesis.network:
        raise TxRefused(
            "wrong_network", f"the record is for {record.network}, the rollup for {genesis.network}"
        )
    if any(epoch.record == record.hash for epoch in epochs):
        raise TxRefused(
            "already_succeeded", f"epoch {record.epoch} has begun by this record: nothing is left to do"
        )
    _not_paused(state)
    try:
        epochs.check_next(record)
        tx.signed.check_signatures(epochs.latest)
    except SuccessionRefused as refused:
        raise TxRefused(refused.code, refused.reason) from refused
    state.put_succession(Succeeded(state.height, tx.signed))


def _epochs(state: RollupState, genesis: Genesis) -> Epochs:
    _activated(state)
    epochs = state.epochs(genesis)
    assert epochs is not None, "an active rollup has its first epoch"
    return epochs


def _activated(state: RollupState) -> Activation:
    if state.activation is None:
        raise TxRefused(
            "not_active", "the bridge is not active yet: wait for the activation record", retryable=True
        )
    return state.activation.activation


def _not_paused(state: RollupState) -> None:
    if state.paused is not None:
        raise TxRefused("paused", f"value does not move: {state.paused}", retryable=True)


def _certified(state: RollupState, s: MintStatement | SettleStatement, genesis: Genesis) -> XOnlyKey:
    """The mint key whose signature the statement needs, once it is for this rollup and value may move."""
    latest = _epochs(state, genesis).latest
    if (s.rollup_id, s.genesis_hash) != (genesis.rollup_id, genesis.hash):
        raise TxRefused("wrong_rollup", "the statement is for another rollup")
    if s.epoch != latest.number:
        raise TxRefused(
            "wrong_epoch",
            f"the mint key's epoch is {latest.number}, the statement's {s.epoch}: have that key certify it",
        )
    _not_paused(state)
    return latest.mint_x


def _check_manifest(state: RollupState, tx: Mint | Settle) -> None:
    wanted = tx.statement.manifest_hash
    if tx.manifest and manifest_hash(tx.manifest) != wanted:
        raise TxRefused("wrong_manifest", "the manifest is not the one that the statement names")
    if not tx.manifest and wanted not in state.manifests:
        raise TxRefused("manifest_missing", "the rollup lacks this manifest: send it with the certificate")


def _keep_manifest(state: RollupState, tx: Mint | Settle) -> None:
    if tx.statement.manifest_hash not in state.manifests:
        state.put_manifest(tx.statement.manifest_hash, tx.manifest)


def _check_final(state: RollupState, block: BlockHash, height: Height, k: int) -> None:
    lacks = missing(state.view, block, k)
    if lacks is not None:
        raise TxRefused("not_final", f"in the rollup's view {lacks}: send it again later", retryable=True)
    at = state.view.get(block)
    assert at is not None, "a final block is known"
    if at.height != height:
        raise TxRefused("wrong_height", f"the block has height {at.height}, the statement says {height}")
