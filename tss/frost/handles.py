"""What the Rust library keeps for us: secrets behind handles, wiped when they are closed or lost."""

from collections.abc import Mapping
from typing import Any, NoReturn, Self
from weakref import finalize

from tss.frost import abi
from tss.frost.abi import C
from tss.frost.group import GroupPublic

SHARE_BYTES = 32


class Held:
    """Something the library keeps for us; closing it (or losing it) wipes it there."""

    __slots__ = ("__weakref__", "_close", "handle")

    def __init__(self, handle: int, drop: Any) -> None:
        self.handle = handle
        self._close = finalize(self, abi.release, drop, handle)

    def close(self) -> None:
        """Wipe it now; a second time is no error, later use is EngineState."""
        self._close()

    @property
    def closed(self) -> bool:
        """Whether it was wiped: a share is, some seconds after a refresh replaced it."""
        return not self._close.alive

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"a {type(self).__name__} never leaves its process: export and seal what must be kept"
        )


class DkgSecret(Held):
    """One member's secrets between the steps of a DKG."""

    __slots__ = ("index", "n", "threshold")

    def __init__(self, handle: int, index: int, n: int, threshold: int) -> None:
        super().__init__(handle, C.holdfast_frost_dkg_drop)
        self.index, self.n, self.threshold = index, n, threshold

    def __repr__(self) -> str:
        return f"DkgSecret(index={self.index}, n={self.n}, threshold={self.threshold}, <redacted>)"


class KeyShare(Held):
    """One member's share of a group key, with its unused nonces."""

    __slots__ = ("index", "public")

    def __init__(self, handle: int, index: int, public: GroupPublic) -> None:
        super().__init__(handle, C.holdfast_frost_key_drop)
        self.index, self.public = index, public

    def __repr__(self) -> str:
        return f"KeyShare(index={self.index}, group={self.public.x_only.hex()[:16]}…, <redacted>)"

    def export_secret(self) -> bytearray:
        """Copy the secret share out: 32 bytes, which the caller seals and then wipes."""
        secret, place = abi.result(SHARE_BYTES)
        abi.call(C.holdfast_frost_key_export, self.handle, *place)
        return secret


class Session(Held):
    """One signing package under one group, for anybody: checks shares one by one and adds them up."""

    __slots__ = ()

    def __init__(self, handle: int) -> None:
        super().__init__(handle, C.holdfast_frost_session_drop)

    def verify_share(self, index: int, share: bytes) -> bool:
        """Whether these bytes are that signer's share; malformed ones are not.

        EngineState when the member is no signer of the package.
        """
        valid = abi.flag_place()
        abi.call(C.holdfast_frost_session_check, self.handle, abi.number(index), *abi.given(share), valid)
        return bool(valid[0])

    def aggregate(self, shares: Mapping[int, bytes]) -> bytes:
        """Add up the shares of exactly the package's signers: 64 bytes, verified, BIP340.

        SignatureShareFault names every member whose share is wrong or malformed; EngineState those who are
        missing or no signers.
        """
        signature, place = abi.result(64)
        abi.call(C.holdfast_frost_session_aggregate, self.handle, *abi.given(abi.packed(shares)), *place)
        return bytes(signature)


class RefreshSecret(Held):
    """One member's secrets between the steps of a refresh."""

    __slots__ = ("index", "members")

    def __init__(self, handle: int, index: int, members: tuple[int, ...]) -> None:
        super().__init__(handle, C.holdfast_frost_refresh_drop)
        self.index, self.members = index, members

    def __repr__(self) -> str:
        return f"RefreshSecret(index={self.index}, members={self.members}, <redacted>)"
