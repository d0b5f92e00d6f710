"""What is long buried is not looked at in every round, until the chain turns, however deep."""

from types import SimpleNamespace
from typing import Any

from anchor.headers.chain import HeaderChain
from bridge.book import RESTS, Book
from bridge.deposit import states as dst
from bridge.treasury.machine import InBatch
from tests.anchor.headers.minting import chain_of, run

OUTPOINT = b"\x05" * 36


class Counting(Book):
    """Counts what it looks at."""

    looked = 0

    async def _deposit(self, *_: Any) -> None:
        self.looked += 1


def buried(at: int) -> Any:
    sweep = InBatch(1, b"s" * 32, b"m" * 32, at, b"b" * 32, 1_000)
    state = dst.encode(dst.Credited(dst.Coin(50_000, at - 1, b"c" * 32), sweep, b"r" * 32, 49_000))
    return SimpleNamespace(
        outpoint=OUTPOINT, height=at - 1, spent_by=b"s" * 32, spent_height=at, state=state, block=b"c" * 32
    )


def page(chain: HeaderChain) -> Any:
    view = SimpleNamespace(height=chain.tip.height, hash=chain.tip.hash, treasury=SimpleNamespace(batches=()))
    rollup = SimpleNamespace(withdrawals={})
    return SimpleNamespace(
        chain=chain,
        view=view,
        rollup=rollup,
        final=0,
        manifests={},
        waiting=(),
        epoch=1,
        keys=None,
        retires={},
    )


async def test_a_buried_deposit_rests_until_the_chain_turns_below_it() -> None:
    chain = chain_of(*run(chain_of().tip.header, RESTS + 20))
    rows = [buried(10)]

    async def deposits() -> list[Any]:
        return rows

    async def none() -> dict[bytes, Any]:
        return {}

    store: Any = SimpleNamespace(deposits=deposits, withdrawals=none)
    anything: Any = SimpleNamespace(params=SimpleNamespace(reclaim_delay=60))
    book = Counting(anything, anything, store, anything, lambda: 0.0, anything)
    await book.advance(page(chain))
    assert book.looked == 1, "once after a start: nobody knows what happened meanwhile"
    for header in run(chain.tip.header, 3):
        chain.add(header)
        await book.advance(page(chain))
    assert book.looked == 1
    fork = chain.at_height(5)
    assert fork is not None
    for header in run(fork.header, RESTS + 40, salt=7):
        chain.add(header)
    assert chain.tip.height > RESTS + 23, "the new branch is longer and the sweep as deep in it"
    await book.advance(page(chain))
    assert book.looked == 2
