"""From running nodes to an active bridge: three keys by DKG, genesis coins, the activation record signed by all."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from regtest.command import CommandFault, holdfast, holdfast_json
from regtest.operators import Node
from regtest.waiting import wait_until
from regtest.wallets import Payment
from regtest.world import World

PURPOSES = ("treasury", "anchor", "mint")
TREASURY_SATS = 2_000_000  # the first fee reserve
LANE_SATS = 10_000_000  # pays for anchors
TRIES = 3  # of a key generation


def make_keys(world: World) -> dict[str, Any]:
    """Run the three key generations, each driven by another operator; return what each driver says of its key."""
    with ThreadPoolExecutor(len(PURPOSES)) as pool:
        made = pool.map(partial(_make_key, world), range(len(PURPOSES)))
    keys = dict(zip(PURPOSES, made, strict=True))
    epoch = keys[PURPOSES[0]]["epoch"]
    for node in world.operators:
        wait_until(
            partial(_all_serve, node, epoch), f"{node.name} to hold three verified keys of epoch {epoch}"
        )
    return keys


def _make_key(world: World, which: int) -> Any:
    """Drive one key generation; when a member could not be reached, do as the driver is told: run it again."""
    driver = world.operators[which % len(world.operators)]
    for _ in range(TRIES - 1):
        try:
            return holdfast_json("tss", "dkg", "--dir", driver.folder, "--purpose", PURPOSES[which])
        except CommandFault as fault:
            if "run it again" not in str(fault):
                raise
    return holdfast_json("tss", "dkg", "--dir", driver.folder, "--purpose", PURPOSES[which])


def keys_of(node: Node, epoch: int | None = None) -> dict[str, Any]:
    """What a node says of its keys of an epoch, by purpose; of the newest of each by default."""
    known = sorted(node.admin.get("/v1/tss/keys")["keys"], key=lambda key: int(key["epoch"]))
    return {key["purpose"]: key for key in known if epoch in (None, key["epoch"])}


def _all_serve(node: Node, epoch: int) -> bool:
    keys = keys_of(node, epoch)
    return all(purpose in keys and keys[purpose]["state"] in ("verified", "active") for purpose in PURPOSES)


def fund(world: World) -> tuple[Payment, Payment]:
    """Pay treasury and lane their genesis coins and confirm them; return both outpoints."""
    found = holdfast_json("bridge", "genesis", "addresses", "--dir", world.operators[0].folder)
    treasury = world.pay(found["treasury_address"], TREASURY_SATS)
    lane = world.pay(found["lane_address"], LANE_SATS)
    world.mine()
    return treasury, lane


def activate(world: World, treasury: Payment, lane: Payment) -> str:
    """Have all sign the activation record, wait until nodes and rollup have it; return its hash."""
    driver = world.operators[0]
    holdfast(
        *("bridge", "genesis", "propose", "--dir", driver.folder),
        *("--treasury", treasury, "--lane", lane, "-o", world.activation_file),
    )
    wait_until(lambda: bool(world.rollup.status()["active"]), "the rollup to take the record", seconds=90)
    digest = str(driver.get("/v1/info")["activation_hash"])
    for node in world.operators:
        wait_until(
            lambda node=node: node.get("/v1/info")["activation_hash"] == digest,  # type: ignore[misc]  # mypy infers no defaults
            f"{node.name} to be active",
            seconds=90,
        )
    return digest


def complete(world: World) -> None:
    """All of the above."""
    make_keys(world)
    activate(world, *fund(world))
