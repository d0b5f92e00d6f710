"""The payload of a signing request under the `mint` key: which statement, said without doubt.

One kind byte before the statement's own encoding, because the signer must know what it is asked to believe.
"""

from anchor.rollup.statements import MintStatement, SettleStatement

MINT, SETTLE = 1, 2
MAX_PAYLOAD = 1024

Statement = MintStatement | SettleStatement


class CertificateFault(ValueError):
    """A payload that is no statement of ours."""


def encode(statement: Statement) -> bytes:
    """Return the payload: kind u8 (1 mint, 2 settle), then the statement."""
    kind = MINT if isinstance(statement, MintStatement) else SETTLE
    return bytes([kind]) + statement.encode()


def decode(payload: bytes) -> Statement:
    """Read what `encode` wrote (at most 1 KiB). CertificateFault for anything else."""
    if not 2 <= len(payload) <= MAX_PAYLOAD:
        raise CertificateFault(f"no statement has {len(payload)} bytes")
    try:
        match payload[0]:
            case 1:
                return MintStatement.decode(payload[1:])
            case 2:
                return SettleStatement.decode(payload[1:])
    except ValueError as error:
        raise CertificateFault(f"not a statement: {error}") from error
    raise CertificateFault(f"no statement has kind {payload[0]}")
