"""What the steps share: the world, who tells, the people's files, and how to look at the rollup from outside."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from anchor.rollup.activation import Activation, SignedActivation
from anchor.rollup.block import CertifiedBlock
from anchor.rollup.genesis import Genesis
from anchor.rollup.succession import Epochs, KeyEpoch, Succeeded
from anchor.rollup.tx import RollupTx, Succeed, decode_tx
from regtest import http
from regtest.command import holdfast_json
from regtest.telling import Teller
from regtest.waiting import wait_until
from regtest.world import World

PAGE = 100


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody with a rollup key: its file and its public part."""

    name: str
    file: Path
    key: str


class Scene:
    """The story so far."""

    def __init__(self, world: World, tell: Teller) -> None:
        self.world, self.tell = world, tell
        self.people: list[Person] = []

    # People

    def person(self, name: str) -> Person:
        """Somebody with a fresh rollup key."""
        file = self.world.folder / f"{name}.json"
        (key,) = holdfast_json("rollup", "key", "new", "-o", file)["keys"]
        self.people.append(Person(name, file, key))
        return self.people[-1]

    @cached_property
    def depositor(self) -> Person:
        """Who brings coins."""
        return self.person("depositor")

    @cached_property
    def friend(self) -> Person:
        """Who gets some on the rollup and takes them back to Bitcoin."""
        return self.person("friend")

    # Documents, as anybody may read them

    @cached_property
    def genesis(self) -> Genesis:
        """The rollup's genesis."""
        return Genesis.from_json(self.world.rollup.genesis_file.read_text())

    @cached_property
    def signed_activation(self) -> SignedActivation:
        """The activation record as the rollup serves it, its signatures checked."""
        signed = SignedActivation.from_json(http.get_bytes(self.world.rollup.url + "/v1/activation"))
        signed.verify(self.genesis.host_keys)
        return signed

    @property
    def activation(self) -> Activation:
        """What all have signed."""
        return self.signed_activation.activation

    def epochs(self) -> Epochs:
        """All key epochs, from activation record and certified blocks alone; every succession is checked."""
        known = Epochs.of(self.genesis, self.activation)
        for height, tx in self.transactions():
            if isinstance(tx, Succeed):
                tx.signed.verify(known.latest)
                known = Epochs((*known, KeyEpoch.begun_by(Succeeded(height, tx.signed))))
        return known

    # The rollup from outside

    def status(self) -> Any:
        """The rollup's own word on where it stands."""
        return self.world.rollup.status()

    def balance(self, person: Person) -> int:
        """Sats of a rollup key."""
        return int(self.world.rollup.get(f"/v1/accounts/{person.key}")["balance"])

    def blocks(self, after: int = 0) -> Iterator[CertifiedBlock]:
        """All certified blocks above a height, lowest first."""
        while page := self.world.rollup.get(f"/v1/blocks?after={after}&limit={PAGE}")["blocks"]:
            for raw in page:
                block = CertifiedBlock.decode(bytes.fromhex(raw))
                after = block.block.header.height
                yield block

    def transactions(self, after: int = 0) -> Iterator[tuple[int, RollupTx]]:
        """Every transaction in certified blocks with its height."""
        for certified in self.blocks(after):
            for raw in certified.block.transactions:
                yield certified.block.header.height, decode_tx(raw)

    def block(self, height: int) -> CertifiedBlock:
        """One certified block."""
        return next(self.blocks(height - 1))

    def troubles(self) -> Iterator[tuple[str, str]]:
        """What running nodes call wrong in their health, by name; for whoever looks into a failure."""
        for node in self.world.nodes:
            if node.awake:
                try:
                    checks = node.get("/v1/health")["checks"]
                except http.HttpFault as fault:
                    yield node.name, str(fault)
                    continue
                yield from ((node.name, check["text"]) for check in checks if not check["ok"])

    # Waiting

    def until(self, done: Callable[[], bool], what: str, *, seconds: float = 90) -> None:
        """Wait for a condition; TimeoutError names it."""
        wait_until(done, what, seconds=seconds)

    def rollup_sees_tip(self) -> None:
        """Wait until the rollup's view of Bitcoin ends where bitcoind's chain does."""
        tip = self.world.network.nodes[self.world.miner].rpc().getbestblockhash()
        self.until(lambda: self.status()["bitcoin"]["tip_hash"] == tip, "the rollup to see Bitcoin's tip")

    def mined(self, *txids: str) -> str:
        """Mine one block that confirms these transactions, which every mempool holds; return its hash."""
        for txid in txids:
            self.world.network.wait_in_mempools(txid)
        (block,) = self.world.mine()
        held = set(self.world.network.nodes[self.world.miner].rpc().getblock(block)["tx"])
        self.tell.check(
            held.issuperset(txids), f"block {self.world.network.height()} confirms {_count(txids)}", held
        )
        return block


def _count(txids: tuple[str, ...]) -> str:
    return "it" if len(txids) == 1 else f"all {len(txids)}"
