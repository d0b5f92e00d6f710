"""The engine's key work: the same key in new shares (refresh), and a lost share made again (repair).

Both are the crate's parts behind the checks that it lacks: every share, delta and sigma is checked against what
its sender committed to, so that a culprit has a name. Errors are `tss.frost.errors.FrostError`.
"""

from collections.abc import Iterable, Mapping, Sequence

from tss.frost import abi
from tss.frost.abi import C
from tss.frost.errors import LENGTH, EncodingFault
from tss.frost.group import POINT_BYTES, GroupPublic, encoded_bytes
from tss.frost.handles import SHARE_BYTES, KeyShare, RefreshSecret


class KeyWork:
    """The half of the engine that changes shares; `Engine` has it too."""

    def refresh_part1(
        self, index: int, members: Iterable[int], threshold: int
    ) -> tuple[RefreshSecret, bytes]:
        """Begin a refresh among `members`: our secrets and our package (33·(t - 1) bytes) to broadcast.

        The package has no proof of knowledge: its constant term is zero and can move no key.
        """
        everyone = tuple(sorted(members))
        if not 2 <= threshold <= 128:
            raise EncodingFault(f"{threshold} is no threshold: take 2 to 128", code=LENGTH)
        package, place = abi.result(POINT_BYTES * (threshold - 1))
        handle = abi.handle_place()
        arguments = (abi.number(index), *abi.given(abi.listed(everyone)), threshold, handle, *place)
        abi.call(C.holdfast_frost_refresh_begin, *arguments)
        return RefreshSecret(handle[0], index, everyone), bytes(package)

    def refresh_part2(self, secret: RefreshSecret, r1: Mapping[int, bytes]) -> dict[int, bytearray]:
        """Make the share for every member that takes part, ourselves included (32 bytes each).

        Moves the secret on, so it succeeds once; refused input changes nothing: EncodingFault names all culprits,
        EngineState missing members, strangers, or our own package come back changed. The caller wipes.
        """
        shares, place = abi.result(SHARE_BYTES * len(secret.members))
        try:
            abi.call(C.holdfast_frost_refresh_share, secret.handle, *abi.given(abi.packed(r1)), *place)
            return {
                member: shares[SHARE_BYTES * at : SHARE_BYTES * (at + 1)]
                for at, member in enumerate(secret.members)
            }
        finally:
            abi.wipe(shares)

    def refresh_part3(
        self, secret: RefreshSecret, old: KeyShare, r1: Mapping[int, bytes], shares: Mapping[int, bytes]
    ) -> KeyShare:
        """Check what all dealt to us and make our new key; the old one stays. The secret is burnt, also on error.

        `r1` must be that of part2 (else EngineState). EncodingFault or ShareFault name all culprits.
        """
        public, place = abi.result(encoded_bytes(len(secret.members)))
        handle, laid = abi.handle_place(), abi.packed(shares)
        arguments = (old.handle, *abi.given(abi.packed(r1)), *abi.given(laid), handle, *place)
        try:
            abi.call(C.holdfast_frost_refresh_finish, secret.handle, *arguments)
        finally:
            abi.wipe(laid)
        return KeyShare(handle[0], old.index, GroupPublic.decode(bytes(public)))

    def refresh_restore(
        self, old: KeyShare, r1: Mapping[int, bytes], shares: Mapping[int, bytes]
    ) -> KeyShare:
        """Make our refreshed key again from the one before and the decrypted transcript; errors as in part3."""
        public, place = abi.result(encoded_bytes(len(r1)))
        handle, laid = abi.handle_place(), abi.packed(shares)
        try:
            given = (*abi.given(abi.packed(r1)), *abi.given(laid))
            abi.call(C.holdfast_frost_refresh_restore, old.handle, *given, handle, *place)
        finally:
            abi.wipe(laid)
        return KeyShare(handle[0], old.index, GroupPublic.decode(bytes(public)))

    def refresh_public(self, old: GroupPublic, r1: Mapping[int, bytes]) -> GroupPublic:
        """Compute, as an outsider can, the group after a refresh: the same key, the senders of `r1` its members.

        EncodingFault names senders of malformed packages, EngineState strangers or too few members.
        """
        public, place = abi.result(encoded_bytes(len(r1)))
        arguments = (*abi.given(old.encode()), *abi.given(abi.packed(r1)), *place)
        abi.call(C.holdfast_frost_refresh_public, *arguments)
        return GroupPublic.decode(bytes(public))

    def refresh_share_ok(self, package: bytes, receiver: int, share: bytes | bytearray) -> bool:
        """Judge a refresh share: does it lie on its sender's committed polynomial (Feldman, zero constant term)?

        False for a malformed share; EncodingFault for a malformed package.
        """
        valid = abi.flag_place()
        arguments = (*abi.given(package), abi.number(receiver), *abi.given(share), valid)
        abi.call(C.holdfast_frost_refresh_check, *arguments)
        return bool(valid[0])

    def repair_split(
        self, key: KeyShare, receiver: int, helpers: Iterable[int]
    ) -> tuple[dict[int, bytearray], bytes]:
        """Split our weighted share into a secret delta per helper (32 bytes, the caller wipes), and commit to each.

        The commitments (33 bytes per helper, ascending) are for everybody. EngineState for strangers and for fewer
        than t helpers.
        """
        everyone = sorted(helpers)
        deltas, place = abi.result(SHARE_BYTES * len(everyone))
        commitments, open_place = abi.result(POINT_BYTES * len(everyone))
        arguments = (abi.number(receiver), *abi.given(abi.listed(everyone)), *place, *open_place)
        try:
            abi.call(C.holdfast_frost_repair_split, key.handle, *arguments)
            parts = {
                member: deltas[SHARE_BYTES * at : SHARE_BYTES * (at + 1)]
                for at, member in enumerate(everyone)
            }
            return parts, bytes(commitments)
        finally:
            abi.wipe(deltas)

    def repair_commitments_ok(
        self, public: GroupPublic, receiver: int, sender: int, helpers: Iterable[int], commitments: bytes
    ) -> bool:
        """Whether a helper's commitments add up to its weighted verifying share; malformed ones do not."""
        valid = abi.flag_place()
        numbers = (abi.number(receiver), abi.number(sender))
        given = (*abi.given(abi.listed(helpers)), *abi.given(commitments))
        abi.call(C.holdfast_frost_repair_check, *abi.given(public.encode()), *numbers, *given, valid)
        return bool(valid[0])

    def repair_value_ok(self, commitments: Sequence[bytes], value: bytes | bytearray) -> bool:
        """Whether a delta (one commitment) or a sigma (the sum of several) is what was committed to."""
        valid = abi.flag_place()
        abi.call(C.holdfast_frost_repair_opens, *abi.given(b"".join(commitments)), *abi.given(value), valid)
        return bool(valid[0])

    def repair_sum(self, deltas: Mapping[int, bytes | bytearray]) -> bytearray:
        """Add up the deltas that all helpers gave us: our sigma, 32 bytes, which the caller seals and wipes."""
        sigma, place = abi.result(SHARE_BYTES)
        laid = abi.packed(deltas)
        try:
            abi.call(C.holdfast_frost_repair_add, *abi.given(laid), *place)
        finally:
            abi.wipe(laid)
        return sigma

    def repair_finish(
        self, receiver: int, public: GroupPublic, sigmas: Mapping[int, bytes | bytearray]
    ) -> KeyShare:
        """Make our lost key from all helpers' sigmas; ShareFault when their sum is not our share."""
        handle, laid = abi.handle_place(), abi.packed(sigmas)
        try:
            arguments = (*abi.given(public.encode()), *abi.given(laid), handle)
            abi.call(C.holdfast_frost_repair_finish, abi.number(receiver), *arguments)
        finally:
            abi.wipe(laid)
        return KeyShare(handle[0], receiver, public)
