"""The engine: distributed key generation, nonces and signature shares (RFC 9591 with BIP340 and BIP341).

Secrets stay in the Rust library behind handles of this process; after `os.fork` the child is refused. A nonce
leaves its handle's memory at its first use, whether signing succeeds or not. Members are numbered from 1.
All methods may be called from any thread. Every error is a `tss.frost.errors.FrostError`.
"""

from collections.abc import Iterable, Mapping

from tss.frost import abi
from tss.frost.abi import C
from tss.frost.errors import LENGTH, EncodingFault
from tss.frost.group import GroupPublic, encoded_bytes
from tss.frost.handles import SHARE_BYTES, DkgSecret, KeyShare, RefreshSecret, Session
from tss.frost.keywork import KeyWork
from tss.frost.package import COMMITMENT_BYTES, SigningPackage

__all__ = ["DkgSecret", "Engine", "GroupPublic", "KeyShare", "RefreshSecret", "Session", "verify"]

NONCE_HANDLE_BYTES = 16


class Engine(KeyWork):
    """What a member can do. It holds no state of its own: make one per process and pass it on."""

    def dkg_part1(self, index: int, n: int, threshold: int) -> tuple[DkgSecret, bytes]:
        """Begin a DKG: our secrets and our R1 package (33·t + 64 bytes) to broadcast.

        2 <= threshold <= n <= 128, 1 <= index <= n; else EngineState or EncodingFault.
        """
        package, place = abi.result(33 * abi.number(threshold) + 64)
        handle = abi.handle_place()
        abi.call(C.holdfast_frost_dkg_begin, abi.number(index), abi.number(n), threshold, handle, *place)
        return DkgSecret(handle[0], index, n, threshold), bytes(package)

    def dkg_part2(self, secret: DkgSecret, r1: Mapping[int, bytes]) -> dict[int, bytearray]:
        """Check all n R1 packages and make the share for every member, ourselves included (32 bytes each).

        Moves the secret on, so it succeeds once; refused input changes nothing: EncodingFault or ProofFault name
        all culprits, EngineState a missing member, or our own package come back changed. The caller wipes.
        """
        shares, place = abi.result(SHARE_BYTES * secret.n)
        try:
            abi.call(C.holdfast_frost_dkg_share, secret.handle, *abi.given(abi.packed(r1)), *place)
            return {j: shares[SHARE_BYTES * (j - 1) : SHARE_BYTES * j] for j in range(1, secret.n + 1)}
        finally:
            abi.wipe(shares)

    def dkg_part3(self, secret: DkgSecret, r1: Mapping[int, bytes], shares: Mapping[int, bytes]) -> KeyShare:
        """Check the shares that all n members made for us, and make our key. The secret is burnt, also on error.

        `r1` must be that of part2 (else EngineState). EncodingFault or ShareFault name all culprits.
        """
        public, place = abi.result(encoded_bytes(secret.n))
        handle, laid = abi.handle_place(), abi.packed(shares)
        arguments = (*abi.given(abi.packed(r1)), *abi.given(laid), handle, *place)
        try:
            abi.call(C.holdfast_frost_dkg_finish, secret.handle, *arguments)
        finally:
            abi.wipe(laid)
        return KeyShare(handle[0], secret.index, GroupPublic.decode(bytes(public)))

    def dkg_public(self, r1: Mapping[int, bytes], threshold: int) -> GroupPublic:
        """Compute, as an outsider can, the group that these R1 packages make.

        Proofs are checked. With A the sum of the constant terms, P = lift_x(A) + H_TapTweak(x(A))·G.
        """
        public, place = abi.result(encoded_bytes(len(r1)))
        arguments = (*abi.given(abi.packed(r1)), abi.number(threshold), *place)
        abi.call(C.holdfast_frost_public_derive, *arguments)
        return GroupPublic.decode(bytes(public))

    def dkg_check_r1(self, index: int, n: int, threshold: int, package: bytes) -> None:
        """Check one R1 package as it arrives from `index`: EncodingFault or ProofFault, with the sender named."""
        numbers = (abi.number(index), abi.number(n), abi.number(threshold))
        abi.call(C.holdfast_frost_r1_check, *numbers, *abi.given(package))

    def dkg_share_ok(self, r1_package: bytes, receiver: int, share: bytes) -> bool:
        """Judge a share shown in a complaint: does it lie on its sender's committed polynomial (Feldman)?

        False for a malformed share; EncodingFault for a malformed package.
        """
        valid = abi.flag_place()
        numbers = (*abi.given(r1_package), abi.number(receiver), *abi.given(share))
        abi.call(C.holdfast_frost_share_check, *numbers, valid)
        return bool(valid[0])

    def restore(
        self, index: int, r1: Mapping[int, bytes], shares: Mapping[int, bytes], threshold: int
    ) -> KeyShare:
        """Make our key again from a DKG's transcript: all R1 packages and the decrypted shares for us.

        The result equals part3's. Errors as in part3.
        """
        public, place = abi.result(encoded_bytes(len(r1)))
        handle, laid = abi.handle_place(), abi.packed(shares)
        arguments = (*abi.given(abi.packed(r1)), *abi.given(laid), handle, *place)
        try:
            abi.call(C.holdfast_frost_key_restore, abi.number(index), abi.number(threshold), *arguments)
        finally:
            abi.wipe(laid)
        return KeyShare(handle[0], index, GroupPublic.decode(bytes(public)))

    def import_share(self, index: int, secret: bytes, public: GroupPublic) -> KeyShare:
        """Make our key from its exported secret (32 bytes).

        ShareFault when it does not fit its verifying share, EncodingFault when the group is inconsistent.
        """
        handle = abi.handle_place()
        arguments = (*abi.given(secret), *abi.given(public.encode()), handle)
        abi.call(C.holdfast_frost_key_import, abi.number(index), *arguments)
        return KeyShare(handle[0], index, public)

    def commit(self, key: KeyShare, count: int) -> list[tuple[bytes, bytes]]:
        """Make `count` nonces (at least 1): per nonce its handle (16 bytes) and its commitment (66 bytes).

        EngineState when the key would hold more than 65,536 unused ones.
        """
        if not 1 <= count <= 0xFFFF:
            raise EncodingFault(f"{count} nonces cannot be made at once: ask for 1 to 65535", code=LENGTH)
        size = NONCE_HANDLE_BYTES + COMMITMENT_BYTES
        made, place = abi.result(size * count)
        abi.call(C.holdfast_frost_nonce_commit, key.handle, count, *place)
        rows = [bytes(made[start : start + size]) for start in range(0, len(made), size)]
        return [(row[:NONCE_HANDLE_BYTES], row[NONCE_HANDLE_BYTES:]) for row in rows]

    def sign(self, key: KeyShare, nonce: bytes, package: SigningPackage) -> bytes:
        """Sign with one nonce: our signature share, 32 bytes, verified before it is returned.

        The nonce is removed first, so every outcome burns it. NonceSpent for an unknown or used one, and for a
        package that holds another commitment of ours; EngineState for strangers or too few signers.
        """
        share, place = abi.result(SHARE_BYTES)
        arguments = (*abi.given(nonce), *abi.given(package.encode()), *place)
        abi.call(C.holdfast_frost_key_sign, key.handle, *arguments)
        return bytes(share)

    def drop_nonces(self, key: KeyShare, handles: Iterable[bytes] | None = None) -> None:
        """Wipe these unused nonces, or all of the key's; unknown handles are passed over."""
        if handles is None:
            abi.call(C.holdfast_frost_nonce_clear, key.handle)
        else:
            abi.call(C.holdfast_frost_nonce_drop, key.handle, *abi.given(b"".join(handles)))

    def session(self, public: GroupPublic, package: SigningPackage) -> Session:
        """Open a session: EncodingFault with culprits for bad commitments, EngineState for strangers or too few."""
        handle = abi.handle_place()
        abi.call(
            C.holdfast_frost_session_open, *abi.given(public.encode()), *abi.given(package.encode()), handle
        )
        return Session(handle[0])


def verify(x_only32: bytes, message32: bytes, signature64: bytes) -> bool:
    """Whether a BIP340 signature holds for a 32-byte message; False for malformed input."""
    valid = abi.flag_place()
    arguments = (*abi.given(x_only32), *abi.given(message32), *abi.given(signature64))
    abi.call(C.holdfast_frost_signature_verify, *arguments, valid)
    return bool(valid[0])
