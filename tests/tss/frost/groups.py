"""Groups made by a real DKG, and the arithmetic that judges them from outside."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from hashlib import sha256

import coincurve
from ecc.ecc import ssa

from tss.frost.engine import Engine, GroupPublic, KeyShare, verify
from tss.frost.package import SigningPackage
from tss.frost.path import SigningPath

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
ENGINE = Engine()


@dataclass(frozen=True, slots=True)
class Group:
    threshold: int
    r1: dict[int, bytes]
    dealt: dict[int, dict[int, bytes]]  # by sender, then receiver
    keys: dict[int, KeyShare]

    @property
    def public(self) -> GroupPublic:
        return self.keys[1].public

    def shares_for(self, receiver: int) -> dict[int, bytes]:
        return {sender: shares[receiver] for sender, shares in self.dealt.items()}


def new_group(n: int, threshold: int) -> Group:
    begun = {i: ENGINE.dkg_part1(i, n, threshold) for i in range(1, n + 1)}
    r1 = {i: package for i, (_, package) in begun.items()}
    dealt = {
        i: {j: bytes(share) for j, share in ENGINE.dkg_part2(secret, r1).items()}
        for i, (secret, _) in begun.items()
    }
    keys = {
        i: ENGINE.dkg_part3(secret, r1, {j: dealt[j][i] for j in dealt}) for i, (secret, _) in begun.items()
    }
    return Group(threshold, r1, dealt, keys)


@cache
def group(n: int = 5, threshold: int = 3) -> Group:
    """The same group for all tests that change nothing in it."""
    return new_group(n, threshold)


def committed(
    of: Group, signers: Iterable[int], message: bytes, path: SigningPath
) -> tuple[SigningPackage, dict[int, bytes]]:
    """A package of these signers with fresh commitments, and their nonce handles."""
    nonces = {i: ENGINE.commit(of.keys[i], 1)[0] for i in signers}
    package = SigningPackage(message, {i: commitment for i, (_, commitment) in nonces.items()}, path)
    return package, {i: handle for i, (handle, _) in nonces.items()}


def signed(of: Group, signers: Iterable[int], message: bytes, path: SigningPath) -> bytes:
    package, nonces = committed(of, signers, message, path)
    shares = {i: ENGINE.sign(of.keys[i], nonce, package) for i, nonce in nonces.items()}
    return ENGINE.session(of.public, package).aggregate(shares)


def holds_everywhere(x_only: bytes, message: bytes, signature: bytes) -> bool:
    """coincurve, the ecc package and our engine must agree."""
    verdicts = {
        coincurve.PublicKeyXOnly(x_only).verify(signature, message),
        ssa.verify_(message, x_only, signature),
        verify(x_only, message, signature),
    }
    assert len(verdicts) == 1, "independent verifiers disagree"
    return verdicts.pop()


def taproot_output(internal_x: bytes, root: bytes | None) -> tuple[bytes, int]:
    """Q of BIP341 by coincurve and hashlib alone: x-only key and parity."""
    tag = sha256(b"TapTweak").digest()
    tweak = sha256(tag + tag + internal_x + (root or b"")).digest()
    key = coincurve.PublicKeyXOnly(internal_x)
    key.tweak_add(tweak)
    return key.format(), int(key.parity)


def interpolate(shares: dict[int, int]) -> int:
    """f(0) of the polynomial through these points: only a test may ever hold a whole key."""
    total = 0
    for i, share in shares.items():
        numerator = denominator = 1
        for j in shares:
            if j != i:
                numerator = numerator * j % ORDER
                denominator = denominator * (j - i) % ORDER
        total += share * numerator * pow(denominator, -1, ORDER)
    return total % ORDER


def point(secret: int) -> bytes:
    return coincurve.PrivateKey.from_int(secret).public_key.format()


def flipped(data: bytes, at: int) -> bytes:
    changed = bytearray(data)
    changed[at] ^= 1
    return bytes(changed)
