"""Coins on their way in and out: what depositor and friend do, and what anybody can see of it."""

from dataclasses import dataclass
from typing import Any

from anchor.btc.ids import display
from anchor.rollup.tx import Mint, Settle
from regtest.command import holdfast, holdfast_json
from regtest.http import HttpFault
from regtest.operators import Node
from regtest.story.scene import Person, Scene
from regtest.wallets import Payment


@dataclass(frozen=True, slots=True)
class Deposit:
    """A paid deposit address."""

    owner: Person
    address: str
    paid: Payment
    sats: int


def deposit(scene: Scene, owner: Person, sats: int, node: Node) -> Deposit:
    """Ask a node for an address by command, pay it from the depositor's wallet, wait until it is everywhere."""
    world = scene.world
    recovery = world.folder / f"recovery-{len(list(world.folder.glob('recovery-*')))}.json"
    answer = holdfast_json(
        *("bridge", "address", "--node", node.url, "--recipient", owner.key),
        *("--reclaim-key", owner.key, "-o", recovery),
    )
    paid = world.depositor.pay(answer["address"], sats)
    world.network.wait_in_mempools(paid.txid)
    return Deposit(owner, answer["address"], paid, sats)


def seen(node: Node, made: Deposit) -> Any:
    """What a node says of a deposit."""
    return node.get(f"/v1/deposits/{made.paid}")


def sweep_of(scene: Scene, made: Deposit) -> str:
    """Wait until the committee has sent the sweep of a confirmed deposit to every mempool; return its txid."""
    node = scene.world.awake[0]
    scene.until(lambda: bool(seen(node, made)["sweep_txid"]), "the committee to sweep the deposit")
    txid = str(seen(node, made)["sweep_txid"])
    scene.world.network.wait_in_mempools(txid)
    return txid


def mints(scene: Scene) -> list[Mint]:
    """Every mint in certified rollup blocks."""
    return [tx for _, tx in scene.transactions() if isinstance(tx, Mint)]


def mint_of(scene: Scene, made: Deposit) -> Mint:
    """The one mint of a deposit; more or fewer do not hold."""
    found = [
        mint
        for mint in mints(scene)
        if display(mint.statement.outpoint.txid) == made.paid.txid
        and mint.statement.outpoint.vout == made.paid.vout
    ]
    scene.tell.equal(len(found), 1, "the rollup holds one mint of that outpoint")
    return found[0]


def settles(scene: Scene) -> list[Settle]:
    """Every settlement in certified rollup blocks."""
    return [tx for _, tx in scene.transactions() if isinstance(tx, Settle)]


def transfer(scene: Scene, sender: Person, recipient: Person, sats: int) -> str:
    """Send coins on the rollup by command; return the transaction's id."""
    url = scene.world.rollup.url
    words = ("--key", sender.file, "--to", recipient.key, "--amount", sats, "--rollup", url)
    return str(holdfast_json("rollup", "transfer", *words)["txid"])


def withdraw(scene: Scene, owner: Person, address: str, sats: int, node: Node) -> str:
    """Lock coins on the rollup by command, to be paid to an address; return the withdrawal's id."""
    made = holdfast_json(
        *("bridge", "withdraw", "--rollup", scene.world.rollup.url, "--node", node.url),
        *("--key", owner.file, "--to", address, "--amount", sats),
    )
    return str(made["id"])


def payout_of(scene: Scene, withdrawal: str) -> str:
    """Wait until the committee has sent the payout to every mempool; return its txid."""
    node = scene.world.awake[0]

    def sent() -> Any:
        known = node.get("/v1/withdrawals")["withdrawals"]
        return next((w["txid"] for w in known if w["id"] == withdrawal), None)

    scene.until(lambda: bool(sent()), "the committee to pay the withdrawal out")
    txid = str(sent())
    scene.world.network.wait_in_mempools(txid)
    return txid


def totals(node: Node) -> dict[str, Any]:
    """A node's audit, without the rollup height: blocks keep coming between two questions."""
    found = dict(node.get("/v1/reserves"))
    del found["rollup_height"]
    return found


def agreed_totals(scene: Scene, *others: Node) -> dict[str, Any]:
    """Wait until all awake operators (and others) print the same totals; return them."""
    found: list[dict[str, Any]] = []

    def agree() -> bool:
        try:
            found[:] = [totals(node) for node in (*scene.world.awake, *others)]
        except HttpFault as fault:
            if fault.status != 503:  # some node is still reading blocks
                raise
            return False
        return all(one == found[0] for one in found)

    scene.until(agree, f"all nodes to print the same totals: {found}")
    return found[0]


def reserves_by_command(node: Node) -> str:
    """What `holdfast bridge reserves` prints."""
    return holdfast("bridge", "reserves", "--node", node.url).strip()
