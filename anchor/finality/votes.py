"""Votes and certificates: more than two thirds of the stake attest a block; its child's certificate makes it final.

Counting is in whole numbers. A single certificate is not finality: a certificate that was withheld could compete
with a skip of the same height, so the child must be certified too (DESIGN section 5).
"""

from collections.abc import Iterable

from anchor.btc.curve import schnorr_verify
from anchor.rollup.block import Certificate, CertifiedBlock, Vote
from anchor.rollup.genesis import Genesis


class VoteRefused(ValueError):
    """A vote that is not a validator's signature over the block; the sentence names the validator."""


class NoQuorum(ValueError):
    """Valid votes, but not of more than two thirds of the stake."""

    def __init__(self, voted: int, total: int) -> None:
        super().__init__(f"votes of {voted} of {total} stake: more than two thirds are needed")
        self.voted = voted
        self.total = total


class NotTheNext(ValueError):
    """A certified block that does not follow the last one."""


def quorum(voted: int, total: int) -> bool:
    """Tell whether `voted` is more than two thirds of `total` (exactly two thirds is not)."""
    return 3 * voted > 2 * total


def check_vote(genesis: Genesis, vote: Vote) -> None:
    """Return when the vote is a signature by a validator of this rollup; VoteRefused otherwise."""
    if not 0 <= vote.validator < len(genesis.validators):
        raise VoteRefused(f"validator {vote.validator} does not exist: there are {len(genesis.validators)}")
    if not schnorr_verify(genesis.validators[vote.validator].key, vote.block_hash, vote.signature):
        raise VoteRefused(f"validator {vote.validator} did not sign block {vote.block_hash.hex()[:16]}…")


def stake_of(genesis: Genesis, validators: Iterable[int]) -> int:
    """Sum of the stakes of these validators, each counted once."""
    return sum(genesis.validators[i].stake for i in set(validators))


def certify(genesis: Genesis, block_hash: bytes, votes: Iterable[Vote]) -> Certificate:
    """Make the certificate of a block from votes for it, by rising validator.

    The first vote of a validator counts. Raises VoteRefused for a vote that is not valid or names another block,
    NoQuorum when the stake does not suffice.
    """
    kept: dict[int, Vote] = {}
    for vote in votes:
        if vote.block_hash != block_hash:
            raise VoteRefused(f"validator {vote.validator} voted for another block")
        check_vote(genesis, vote)
        kept.setdefault(vote.validator, vote)
    voted = stake_of(genesis, kept)
    if not quorum(voted, genesis.total_stake):
        raise NoQuorum(voted, genesis.total_stake)
    return Certificate(block_hash, tuple(kept[i] for i in sorted(kept)))


def check_certificate(genesis: Genesis, certificate: Certificate) -> None:
    """Return when the certificate holds valid votes of a quorum at one height; else VoteRefused, NoQuorum."""
    order = [vote.validator for vote in certificate.votes]
    if order != sorted(set(order)):
        raise VoteRefused("a certificate's votes are sorted by validator, one each")
    if len({vote.height for vote in certificate.votes}) > 1:
        raise VoteRefused("the votes of a certificate name different heights")
    certify(genesis, certificate.block_hash, certificate.votes)


def check_certified(genesis: Genesis, certified: CertifiedBlock) -> None:
    """Return when the certificate is valid and is for this very block at its height; VoteRefused otherwise."""
    header = certified.block.header
    if header.hash(genesis.hash) != certified.certificate.block_hash:
        raise VoteRefused(f"the certificate at height {header.height} is for another block")
    check_certificate(genesis, certified.certificate)
    if certified.certificate.votes[0].height != header.height:
        raise VoteRefused(f"the votes for height {header.height} name another height")


class FinalTracker:
    """Follows certified blocks in order and knows which is the highest final one.

    `certified` and `final` are heights; 0 is the genesis. A block is final once its child is certified, and then
    so are its ancestors.
    """

    def __init__(self, genesis: Genesis) -> None:
        self._genesis = genesis
        self.certified = 0
        self.final = 0
        self.tip = genesis.hash

    def add(self, certified: CertifiedBlock) -> int:
        """Take the next certified block, checking its votes; return the final height after it.

        Raises NotTheNext when it is not the child of the last one, VoteRefused or NoQuorum for its certificate.
        """
        header = certified.block.header
        if header.height != self.certified + 1 or header.parent != self.tip:
            raise NotTheNext(f"block {header.height} does not follow block {self.certified}")
        check_certified(self._genesis, certified)
        self.certified, self.tip = header.height, certified.hash
        self.final = self.certified - 1
        return self.final
