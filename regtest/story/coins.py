"""Coins on their way in and out: what depositor and friend do, and what anybody can see of it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anchor.btc.curve import schnorr_verify
from anchor.btc.ids import display
from anchor.rollup.tx import Mint
from regtest.command import holdfast, holdfast_json
from regtest.http import HttpFault
from regtest.operators import Node
from regtest.story import trail
from regtest.story.scene import Person, Scene
from regtest.telling import refuse, short
from regtest.wallets import Payment

BLOCKS = 8  # in which a deposit is surely swept


@dataclass(frozen=True, slots=True)
class Deposit:
    """A paid deposit address."""

    owner: Person
    address: str
    paid: Payment
    sats: int


# In


def address_for(s: Scene, owner: Person, node: Node, recovery: Path | None = None) -> str:
    """Ask a node by command for a deposit address; the recovery file is kept, under that name if one is given."""
    if recovery is None:
        recovery = s.world.folder / f"recovery-{len(list(s.world.folder.glob('recovery-*')))}.json"
    words = ("--recipient", owner.key, "--reclaim-key", owner.key, "-o", recovery)
    return str(holdfast_json("bridge", "address", "--node", node.url, *words)["address"])


def deposit(s: Scene, owner: Person, sats: int, node: Node) -> Deposit:
    """Ask for an address, pay it from the depositor's wallet, wait until the payment is everywhere."""
    return pay(s, owner, address_for(s, owner, node), sats)


def pay(s: Scene, owner: Person, address: str, sats: int) -> Deposit:
    """Pay a deposit address that its owner has, from the depositor's wallet; wait until it is everywhere."""
    paid = s.world.depositor.pay(address, sats)
    s.world.network.wait_in_mempools(paid.txid)
    s.tell.say(f"{sats} sats paid to {address} in {paid}")
    return Deposit(owner, address, paid, sats)


def sweep_of(s: Scene, made: Deposit, *, other_than: str = "") -> str:
    """Wait until the committee's sweep of a confirmed deposit is in every mempool; return its txid."""
    node = s.world.awake[0]

    def sent() -> str:
        try:
            return str(node.get(f"/v1/deposits/{made.paid}")["sweep_txid"] or "")
        except HttpFault as fault:
            if fault.status != 404:  # its node has the header and has not read the block
                raise
            return ""

    s.until(lambda: sent() not in ("", other_than), "the committee to sweep the deposit")
    txid = sent()
    s.world.network.wait_in_mempools(txid)
    spent = s.world.inputs(txid)
    s.tell.check(str(made.paid) in spent, f"the committee sweeps it in {txid}", spent)
    return txid


def nothing_minted_before_depth_k(s: Scene, owner: Person) -> None:
    """With the sweep mined once, mine up to depth k − 1; the rollup sees it and goes on, and mints nothing."""
    before, k = s.balance(owner), s.activation.params.k
    s.world.mine(k - 2)
    s.rollup_sees_tip()
    height = s.status()["certified_height"]
    s.until(lambda: s.status()["certified_height"] >= height + 3, "three more rollup blocks")
    s.tell.equal(s.balance(owner), before, f"nothing is minted at depth {k - 1}, three rollup blocks long")


def minted(s: Scene, made: Deposit, sweep: str, due: int) -> None:
    """The owner's balance becomes exactly what is due, on one mint that names the sweep, k deep where it stands."""
    s.until(lambda: s.balance(made.owner) >= due, "the rollup to mint")
    s.tell.equal(s.balance(made.owner), due, f"{made.owner.name} has exactly {due} sats")
    found = mints_of(s, made)
    s.tell.equal(len(found), 1, f"one mint of {made.sats} less {s.activation.params.deposit_fee}")
    height, mint = found[0]
    statement = mint.statement
    s.tell.equal(display(statement.txid), sweep, "it names the sweep")
    header = s.block(height).block.header
    deep = statement.height <= header.final_height
    s.tell.check(
        deep,
        f"whose block {statement.height} was {s.activation.params.k} deep in rollup block {height}'s view",
    )
    epoch = s.epochs().get(statement.epoch)
    held = epoch is not None and schnorr_verify(epoch.mint_x, statement.message, mint.signature)
    said = f"on one signature under the mint key of epoch {statement.epoch}: {short(mint.signature.hex())}"
    s.tell.check(held, said)


def credited(s: Scene, made: Deposit, due: int) -> None:
    """Confirm the sweep of a confirmed payment, k deep; the owner's balance becomes what is due.

    Batches come one after the other: what the treasury does first is confirmed first.
    """

    def sweep() -> trail.Step | None:
        return next((step for step in trail.treasury(s) if str(made.paid) in step.inputs), None)

    for _ in range(BLOCKS):
        s.until(lambda: sweep() is not None or _waiting(s) is not None, "the committee to sweep the deposit")
        if (found := sweep()) is not None and found.height is not None:
            s.world.mine(max(0, found.height + s.activation.params.k - 1 - s.world.network.height()))
            minted(s, made, found.txid, due)
            return
        if (batch := _waiting(s)) is not None:
            s.mined(batch.txid)
    refuse(f"no sweep of {made.paid} in {BLOCKS} blocks")


def _waiting(s: Scene) -> trail.Step | None:
    """The treasury's batch that waits for its block."""
    return next((step for step in trail.treasury(s) if step.height is None), None)


def mints_of(s: Scene, made: Deposit) -> list[tuple[int, Mint]]:
    """Every mint of a deposit, with its rollup height."""
    wanted = (made.paid.txid, made.paid.vout)
    return [
        (height, tx)
        for height, tx in s.transactions()
        if isinstance(tx, Mint)
        and (display(tx.statement.outpoint.txid), tx.statement.outpoint.vout) == wanted
    ]


# Out


def withdraw(s: Scene, owner: Person, address: str, sats: int, node: Node) -> str:
    """Lock coins on the rollup by command, to be paid to an address; return the withdrawal's id."""
    made = holdfast_json(
        *("bridge", "withdraw", "--rollup", s.world.rollup.url, "--node", node.url),
        *("--key", owner.file, "--to", address, "--amount", sats),
    )
    s.tell.say(f"{owner.name} locks {sats} sats: withdrawal {short(made['id'])}")
    return str(made["id"])


def payout_of(s: Scene, withdrawal: str) -> str:
    """Wait until the committee's payout is in every mempool; return its txid."""
    node = s.world.awake[0]

    def sent() -> str:
        known = node.get("/v1/withdrawals")["withdrawals"]
        return next((str(w["txid"] or "") for w in known if w["id"] == withdrawal), "")

    s.until(lambda: bool(sent()), "the committee to pay the withdrawal out")
    txid = sent()
    s.world.network.wait_in_mempools(txid)
    s.tell.say(f"the committee pays it in {txid}")
    return txid


def settled(s: Scene, withdrawal: str, payout: str) -> None:
    """The rollup settles it, naming the payout; nothing is left in escrow."""
    where = f"/v1/withdrawals/{withdrawal}"
    s.until(lambda: s.world.rollup.get(where)["state"] == "settled", "the rollup to settle")
    s.tell.equal(
        s.world.rollup.get(where)["settlement"]["txid"], payout, "settled at depth k, naming the payout"
    )
    s.tell.equal(s.status()["escrow"], 0, "nothing is in escrow")


# The audit


def books_agree(s: Scene, *others: Node) -> None:
    """All nodes print the same totals; they hold; bitcoind and the rollup say the same."""
    found = _agreed(s, *others)
    s.tell.check(found["holds"], f"{_names(s, *others)} print the same totals, and they hold")
    coin = s.world.coin(found["treasury_outpoint"])
    s.tell.equal(
        coin, found["treasury"], f"bitcoind has the treasury's {coin} sats in {found['treasury_outpoint']}"
    )
    status = s.status()
    s.tell.equal(
        (status["supply"], status["escrow"]),
        (found["supply"], found["escrow"]),
        f"supply is {found['supply']}",
    )
    held, names = sum(map(s.balance, s.people)), " and ".join(person.name for person in s.people)
    s.tell.equal(held, found["supply"], f"which is what {names} have together")


def _agreed(s: Scene, *others: Node) -> dict[str, Any]:
    """Wait until all awake operators (and others) print the same totals of a rollup block from now; return them."""
    found: list[dict[str, Any]] = []
    now = s.status()["certified_height"]

    def agree() -> bool:
        try:
            found[:] = [node.get("/v1/reserves") for node in (*s.world.awake, *others)]
        except HttpFault as fault:
            if fault.status != 503:  # some node is still reading blocks
                raise
            return False
        heights = [each.pop("rollup_height") for each in found]  # blocks keep coming between two questions
        return min(heights) >= now and all(one == found[0] for one in found)

    try:
        s.until(agree, "all nodes to print the same totals")
    except TimeoutError as error:
        raise TimeoutError(f"{error} They print {found}") from error
    return found[0]


def _names(s: Scene, *others: Node) -> str:
    return ", ".join(node.name for node in (*s.world.awake, *others))


def reserves_by_command(node: Node) -> str:
    """What `holdfast bridge reserves` prints, on one line."""
    said = holdfast("bridge", "reserves", "--node", node.url).splitlines()
    return ", ".join(" ".join(line.split()) for line in said)
