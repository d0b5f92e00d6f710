"""A toy world to play on, addresses in it, and an observer that saw nothing but blocks and rollup."""

from dataclasses import replace

from anchor.btc.amounts import Sats
from anchor.btc.tx import TxOut
from bridge.deposit.address import DepositParams, output, treasury_script
from bridge.ledger.totals import Totals, totals, treasury_facts
from bridge.treasury.manifest import Manifest
from tests.bridge.keys import ACTIVATION, TREASURY, treasury_of
from tests.bridge.toy_chain import START, ToyChain
from tests.bridge.toy_lane import LaneSeen, keys_up_to
from tests.bridge.toy_rollup import Rollup
from tests.bridge.toy_scan import Address
from tests.bridge.toy_world import READER, Node


def audit(chain: ToyChain, rollup: Rollup) -> Totals:
    """What an observer that saw nothing prints: blocks, activation record and rollup are all it reads."""
    state, lane = READER.start(), LaneSeen()
    for height, block in enumerate(chain.blocks, START + 1):
        lane = lane.after(block, height)
        state, _ = READER.apply_block(state, block, height, lane.successors)
    facts, keys = rollup.facts(), keys_up_to(rollup.epoch)
    return totals(facts, treasury_facts(state, facts.final_height, rollup.manifests, keys, 0))


def new_world() -> tuple[ToyChain, Rollup, Node]:
    chain = ToyChain()
    chain.coins[ACTIVATION.treasury] = TxOut(ACTIVATION.treasury_value, treasury_script(TREASURY))
    lane = ACTIVATION.lanes[0]
    chain.coins[lane.outpoint] = TxOut(lane.value, b"\x51")
    rollup = Rollup(chain)
    return chain, rollup, Node(chain, rollup)


def issue(node: Node, params: DepositParams, epoch: int = 1) -> bytes:
    script = output(params, treasury_of(epoch).key33).script_pubkey
    node.addresses[script] = Address(params, epoch)
    return script


def another_version(manifest: Manifest, extra: int) -> Manifest:
    return replace(manifest, fee=Sats(max(0, manifest.fee + extra)))
