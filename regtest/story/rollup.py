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
from regtest.command import holdfast_json
from regtest.story.scene import Person, Scene
from regtest.telling import short


def transfer(s: Scene, sender: Person, recipient: Person, sats: int) -> int:
    """Send coins by command and wait until the transfer is final; return its block's height."""
    words = ("--key", sender.file, "--to", recipient.key, "--amount", sats, "--rollup", s.world.rollup.url)
    before = s.balance(recipient)
    txid = str(holdfast_json("rollup", "transfer", *words)["txid"])
    where = f"/v1/transactions/{txid}"
    s.until(lambda: s.world.rollup.get(where)["state"] == "final", "the transfer to be final")
    height = int(s.world.rollup.get(where)["height"])
    after = holdfast_json("rollup", "balance", recipient.key, "--rollup", s.world.rollup.url)["balance"]
    s.tell.equal(after, before + sats, f"{short(txid)} moved {sats} sats in block {height}")
    return height


def attested_and_final(s: Scene, height: int) -> None:
    """More than two thirds of the stake signed the block and its child."""
    for each in (s.block(height), s.block(height + 1)):
        voted, total = _stake_that_signed(s, each)
        number = each.block.header.height
        held = Fraction(voted, total) > Fraction(2, 3)  # the rule again, by other arithmetic
        s.tell.check(
            held, f"block {number} is attested: stake {voted} of {total} signed, 3·{voted} > 2·{total}"
        )
    parent = s.block(height + 1).block.header.parent
    s.tell.equal(parent, s.block(height).hash, f"{height} is final: its child is attested, too")


def _stake_that_signed(s: Scene, block: CertifiedBlock) -> tuple[int, int]:
    """Check every vote's signature under genesis' keys; return the stake that voted, and all stake."""
    validators = s.genesis.validators
    message = block.block.header.hash(s.genesis.hash)
    for vote in block.certificate.votes:
        held = schnorr_verify(validators[vote.validator].key, message, vote.signature)
        s.tell.check(
            held, f"validator {vote.validator} signed block {vote.height}: {short(vote.signature.hex())}"
        )
    voters = {vote.validator for vote in block.certificate.votes}
    return sum(validators[i].stake for i in voters), sum(v.stake for v in validators)


def empty_blocks_came(s: Scene, height: int, count: int = 3) -> None:
    """Blocks come with nothing to carry."""
    s.until(lambda: s.status()["certified_height"] >= height + count + 1, "blocks to keep coming")
    empty = [b.block.header.height for b in s.blocks(height) if not b.block.transactions]
    s.tell.check(
        len(empty) >= count, f"empty blocks keep coming: {', '.join(map(str, empty[:count]))} …", empty
    )


def executes_again(s: Scene) -> list[CertifiedBlock]:
    """Execute all blocks from genesis on, as an auditor does; their bundles end in bitcoind's own tip."""
    s.rollup_sees_tip()
    blocks, state = list(s.blocks()), RollupState.at_genesis(s.genesis)
    for certified in blocks:
        state = check_block(s.genesis, state, certified.block)
    s.tell.equal(state.tip, blocks[-1].hash, f"all {len(blocks)} blocks executed again give the same state")
    tip = s.world.network.nodes[s.world.miner].rpc().getbestblockhash()
    carried = _carried(blocks)
    s.tell.equal(
        display(state.view.tip.hash), tip, f"their bundles carry {len(carried)} headers up to {short(tip)}"
    )
    s.tell.equal(len(set(carried)), len(carried), "each header once: append-only")
    replays_alone(s)
    return blocks


def replays_alone(s: Scene) -> None:
    """The command replays the chain from genesis.json and blocks alone, live and from a file, to the live view."""
    words = ("rollup", "verify-headers", "--genesis", s.world.rollup.genesis_file)
    file = s.world.folder / f"blocks-{s.status()['certified_height']}"
    found = holdfast_json(*words, "--rollup", s.world.rollup.url, "--save", file)
    view, live = found["bitcoin"], s.status()["bitcoin"]
    said = (
        f"`holdfast rollup verify-headers`: {found['height']} blocks give the live tip, work 0x{view['work']}"
    )
    s.tell.equal((view["tip_hash"], view["work"]), (live["tip_hash"], live["work"]), said)
    told = s.world.rollup.get("/v1/reorgs")
    s.tell.equal(found["reorgs"], told, f"and the {len(told)} reorgs that the rollup tells of")
    again = holdfast_json(*words, "--blocks", file)
    s.tell.equal(again, found, "a file of the blocks gives the same, with no server and no bitcoind")


def _carried(blocks: Sequence[CertifiedBlock]) -> list[str]:
    """The Bitcoin blocks whose headers came in bundles, in their order."""
    bundles = [Bundle.decode(each.block.bundle) for each in blocks if each.block.bundle]
    return [display(Header.parse(raw).hash) for bundle in bundles for raw in bundle.headers]
