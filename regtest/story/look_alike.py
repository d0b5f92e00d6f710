"""A stranger pays for an anchor of his own: internal key, payload and shape are the lane's, the leaf's key is his.

He can make everything but a signature under P, so what he can prove is that his bytes existed.
"""

from dataclasses import replace

from anchor.btc.address import address_of
from anchor.btc.amounts import Sats
from anchor.btc.block import parse_block
from anchor.btc.curve import schnorr_sign, x_only_from_secret
from anchor.btc.hashing import sha256
from anchor.btc.ids import OutPoint, display
from anchor.btc.network import network_by_name
from anchor.btc.taproot import leaf_hash, sighash
from anchor.btc.tx import Tx, TxIn, TxOut
from anchor.inscription.lane import REVEAL_SEQUENCE, TRUC_VERSION, commit_output, tip_script
from anchor.inscription.payload import Payload
from anchor.inscription.reader import FIRST_ROOT
from anchor.inscription.script import leaf_script
from anchor.proofs import tree
from anchor.proofs.manifest import BatchManifest, leaves_of, manifest_of
from anchor.proofs.proof_file import AnchorProof
from anchor.proofs.proof_maker import make_proof
from anchor.proofs.records import Record, decode_record
from regtest.story.scene import Scene

SECRET = sha256(b"a stranger's key")
REGTEST = network_by_name("regtest")
PAID, KEPT = Sats(20_000), Sats(18_000)


def look_alike(scene: Scene, honest: AnchorProof) -> AnchorProof:
    """Have the stranger pay for commit and reveal of a false record, and prove it as well as he can."""
    world = scene.world
    lie = replace(decode_record(honest.record), state_after=sha256(b"the stranger's state"))
    manifest = manifest_of(FIRST_ROOT, 0, 1, [lie])
    leaf = _leaf(scene, manifest, lie)
    script, control = commit_output(scene.activation.anchor_key, leaf)
    paid = world.pay(address_of(script, REGTEST), PAID)
    world.mine()
    commit = Tx.parse(bytes.fromhex(world.wallet.rpc().gettransaction(paid.txid)["hex"]))
    reveal = _reveal(scene, commit.outpoint(paid.vout), TxOut(PAID, script), leaf, control)
    rpc = world.network.nodes[world.miner].rpc
    rpc().sendrawtransaction(reveal.serialize().hex())
    world.network.wait_in_mempools(display(reveal.txid))
    (block_hash,) = world.mine()
    block = parse_block(bytes.fromhex(rpc().getblock(block_hash, 0)))
    scene.tell.say(f"the stranger's commit {paid.txid}, his reveal {display(reveal.txid)}, both mined")
    return make_proof(REGTEST, manifest, [lie], 0, commit, block, world.network.height(), reveal.txid)


def _leaf(scene: Scene, manifest: BatchManifest, lie: Record) -> bytes:
    leaves = leaves_of(manifest, [lie])
    activation = scene.activation
    payload = Payload(activation.rollup_id, 0, 1, activation.epoch, len(leaves), tree.root(leaves))
    return leaf_script(payload.encode(), x_only_from_secret(SECRET))


def _reveal(scene: Scene, coin: OutPoint, out: TxOut, leaf: bytes, control: bytes) -> Tx:
    end = TxOut(KEPT, tip_script(scene.activation.anchor_key))
    bare = Tx(TRUC_VERSION, (TxIn(coin, REVEAL_SEQUENCE),), (end,), 0)
    message = sighash(bare, 0, [out], leaf=leaf_hash(leaf))
    return bare.with_witness(0, (schnorr_sign(SECRET, message, bytes(32)), leaf, control))
