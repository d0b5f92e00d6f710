"""The payload of a signing request under the `mint` key: which statement, or the next committee's succession.

One kind byte before its own encoding, because the signer must know what it is asked to believe.
"""

from dataclasses import replace

from anchor.rollup.statements import MintStatement, SettleStatement
from anchor.rollup.succession import SignedSuccession

MINT, SETTLE, SUCCESSION = 1, 2, 3
MAX_PAYLOAD = 1024
MAX_SUCCESSION = 32_768  # 128 operators fit
_UNSIGNED = bytes(64)

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


def is_succession(payload: bytes) -> bool:
    """Whether a payload asks for the signature under a succession."""
    return payload[:1] == bytes([SUCCESSION])


def encode_succession(signed: SignedSuccession) -> bytes:
    """Return the payload: kind u8 (3), then the record with its operators' signatures and 64 zeros."""
    return bytes([SUCCESSION]) + replace(signed, mint_signature=_UNSIGNED).encode()


def decode_succession(payload: bytes) -> SignedSuccession:
    """Read what `encode_succession` wrote; no signature is checked. CertificateFault for anything else."""
    if not is_succession(payload) or len(payload) > MAX_SUCCESSION:
        raise CertificateFault("that is no succession to sign")
    try:
        signed = SignedSuccession.decode(payload[1:])
    except ValueError as error:
        raise CertificateFault(f"not a succession: {error}") from error
    if signed.mint_signature != _UNSIGNED:
        raise CertificateFault("a succession that is to be signed has no signature of the mint key yet")
    return signed
