"""Looks at the rollup as a stranger would: counts stakes, checks each vote, executes every block again."""

from collections.abc import Sequence
from fractions import Fraction

from anchor.btc.curve import schnorr_verify
from anchor.btc.header import Header
from anchor.btc.ids import display
from anchor.headers.bundle import Bundle
from anchor.rollup.block import CertifiedBlock
from anchor.rollup.state import RollupState
from anchor.rollup.transitions import check_block
from regtest.story.scene import Scene


def stake_that_signed(scene: Scene, block: CertifiedBlock) -> tuple[int, int]:
    """Check every vote's signature under genesis' keys; return the stake that voted, and all stake."""
    validators = scene.genesis.validators
    message = block.block.header.hash(scene.genesis.hash)
    voters = set()
    for vote in block.certificate.votes:
        held = schnorr_verify(validators[vote.validator].key, message, vote.signature)
        scene.tell.check(held, f"validator {vote.validator} signed block {vote.height}")
        voters.add(vote.validator)
    return sum(validators[i].stake for i in voters), sum(v.stake for v in validators)


def more_than_two_thirds(voted: int, total: int) -> bool:
    """The rule again, by other arithmetic."""
    return Fraction(voted, total) > Fraction(2, 3)


def executed_again(scene: Scene, blocks: Sequence[CertifiedBlock]) -> RollupState:
    """Execute blocks from genesis on, as an auditor does; raises BlockRefused when one does not follow."""
    state = RollupState.at_genesis(scene.genesis)
    for certified in blocks:
        state = check_block(scene.genesis, state, certified.block)
    return state


def bundled_headers(blocks: Sequence[CertifiedBlock]) -> list[str]:
    """The Bitcoin blocks whose headers came in bundles, in their order, in display order."""
    bundles = [Bundle.decode(each.block.bundle) for each in blocks if each.block.bundle]
    return [display(Header.parse(raw).hash) for bundle in bundles for raw in bundle.headers]
