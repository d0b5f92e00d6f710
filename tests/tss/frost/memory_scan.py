"""Run alone: does a key share stay in this process's memory after it is closed? Prints copies held, then left.

The engine keeps a share as little-endian limbs, a serialised one is big-endian; half of either is searched for.
The patterns are masked, so that looking for a secret does not put it into memory.
"""

from pathlib import Path

from tss.frost import abi
from tss.frost.engine import Engine
from tss.frost.package import SigningPackage
from tss.frost.path import KEY_ONLY

MASK = 0x5A


def masked_halves(secret: bytearray) -> list[bytearray]:
    return [bytearray(b ^ MASK for b in half) for half in (secret[:16], reversed(secret[16:]))]


def writable_regions() -> list[tuple[int, int]]:
    lines = [line.split() for line in Path("/proc/self/maps").read_text().splitlines()]
    spans = [line[0].split("-") for line in lines if line[1].startswith("rw")]
    return [(int(low, 16), int(high, 16)) for low, high in spans]


def copies(masked: bytearray) -> int:
    pattern = bytearray(b ^ MASK for b in masked)
    found = 0
    with Path("/proc/self/mem").open("rb", buffering=0) as memory:
        for low, high in writable_regions():
            data = bytearray(high - low)
            try:
                memory.seek(low)
                memory.readinto(data)
            except OSError:
                continue
            found += data.count(pattern)
            abi.wipe(data)
    abi.wipe(pattern)
    return found - 1  # the pattern itself


def main() -> None:
    engine = Engine()
    begun = {i: engine.dkg_part1(i, 2, 2) for i in (1, 2)}
    r1 = {i: package for i, (_, package) in begun.items()}
    dealt = {i: engine.dkg_part2(secret, r1) for i, (secret, _) in begun.items()}
    keys = {i: engine.dkg_part3(begun[i][0], r1, {j: dealt[j][i] for j in dealt}) for i in begun}
    share = dealt[1][2]
    dealt_share = masked_halves(share)
    for shares in dealt.values():
        for share in shares.values():
            abi.wipe(share)
    secret = keys[1].export_secret()
    key_share = masked_halves(secret)
    abi.wipe(secret)
    nonces = {i: engine.commit(key, 1)[0] for i, key in keys.items()}
    package = SigningPackage(bytes(32), {i: commitment for i, (_, commitment) in nonces.items()}, KEY_ONLY)
    for i, key in keys.items():
        engine.sign(key, nonces[i][0], package)
    own = sum(copies(half) for half in key_share)
    for key in keys.values():
        key.close()
    left = sum(copies(half) for half in key_share)
    dealt_left = sum(copies(half) for half in dealt_share)
    print(own, left, dealt_left)  # noqa: T201


if __name__ == "__main__":
    main()
