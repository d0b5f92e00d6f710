"""The table that must have no duplicate: over every share that ever left, one nonce commitment, one package."""


class Nonces:
    """Commitments with the hashes of the packages that a share left for."""

    def __init__(self) -> None:
        self._packages: dict[bytes, set[bytes]] = {}
        self.shares = 0

    def left(self, commitment: bytes, package_hash: bytes) -> None:
        """Note a share that left."""
        self.shares += 1
        self._packages.setdefault(commitment, set()).add(package_hash)

    @property
    def commitments(self) -> int:
        return len(self._packages)

    @property
    def packages(self) -> int:
        return sum(len(packages) for packages in self._packages.values())

    @property
    def duplicates(self) -> int:
        """Commitments that were signed with under more than one package."""
        return sum(len(packages) > 1 for packages in self._packages.values())

    def row(self, name: str) -> str:
        return (
            f"{name:<24}{self.shares:>9,} shares{self.commitments:>9,} commitments"
            f"{self.packages:>9,} packages{self.duplicates:>4} duplicates"
        )
