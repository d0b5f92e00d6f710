"""A whole key standing in for the committee's: tests only, nothing shipped signs like this."""

from dataclasses import dataclass, field

from coincurve import PrivateKey

from anchor.btc.curve import ORDER, schnorr_sign
from anchor.btc.taproot import tweak_of
from anchor.inscription.builder import Package, SignedPackage, Void, assemble, assemble_void


@dataclass(frozen=True)
class WholeKey:
    """Signs as the group would: kind "internal" under P, kind "key" under Q(P) or Q(P, root)."""

    secret: bytes = field(repr=False)

    @property
    def key33(self) -> bytes:
        return PrivateKey(self.secret).public_key.format()

    def sign(self, message: bytes, kind: str, root: bytes | None = None) -> bytes:
        if kind == "internal":
            return schnorr_sign(self.secret, message, bytes(32))
        number = int.from_bytes(self.secret, "big")
        even = number if self.key33[0] == 2 else ORDER - number
        tweaked = (even + int.from_bytes(tweak_of(self.key33[1:], root), "big")) % ORDER
        return schnorr_sign(tweaked.to_bytes(32, "big"), message, bytes(32))

    def sign_package(self, package: Package) -> SignedPackage:
        return assemble(package, [self.sign(message, kind) for message, kind in package.messages])

    def sign_void(self, void: Void):
        return assemble_void(void, self.sign(void.message, "key", void.root))


ANCHOR = WholeKey((7).to_bytes(32, "big"))
ODD = WholeKey((6).to_bytes(32, "big"))  # ANCHOR or ODD has parity 3; a test makes sure that both occur
STRANGER = WholeKey((99).to_bytes(32, "big"))
NEXT = WholeKey((8).to_bytes(32, "big"))  # the anchor key of the epoch after ANCHOR's
