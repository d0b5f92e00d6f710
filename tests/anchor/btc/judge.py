"""Judges that are not ours: Core's script engine and btclib's signature hashes."""

from collections.abc import Sequence

import pbk
from btclib.script import sig_hash
from btclib.tx import Tx as OracleTx
from btclib.tx import TxOut as OracleOut
from pbk.script import PrecomputedTransactionData

from anchor.btc.tx import Tx, TxOut

ALL_RULES = pbk.ScriptVerificationFlags(sum(pbk.ScriptVerificationFlags))


def core_accepts(tx: Tx, prevouts: Sequence[TxOut]) -> bool:
    """Tell whether every input of `tx` satisfies the script it spends, by Core's own engine."""
    spending = pbk.Transaction(tx.serialize())
    spent = [pbk.TransactionOutput(pbk.ScriptPubkey(out.script), out.value) for out in prevouts]
    data = PrecomputedTransactionData(spending, spent)
    try:
        return all(
            pbk.ScriptPubkey(out.script).verify(out.value, spending, data, index, ALL_RULES)
            for index, out in enumerate(prevouts)
        )
    except pbk.ScriptVerifyException:
        return False


def oracle_sighash(
    tx: Tx, index: int, prevouts: Sequence[TxOut], hash_type: int, leaf: bytes | None, annex: bytes | None
) -> bytes:
    """The signature hash as btclib computes it."""
    return sig_hash.taproot(
        OracleTx.parse(tx.serialize()),
        index,
        [OracleOut.parse(out.encode(), check_validity=False) for out in prevouts],
        hash_type,
        0 if leaf is None else 1,
        annex or b"",
        b"" if leaf is None else leaf + b"\0" + b"\xff" * 4,
    )
