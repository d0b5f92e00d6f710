"""What was in a mempool or a block goes out again as it was, whatever a fee estimate says by then."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from regtest.bitcoind import Bitcoind
from tests.bridge.office import PARAMS, office


async def test_an_anchor_that_fell_out_of_the_mempool_goes_out_again_on_the_same_rung(
    tmp_path: Path, new_bitcoind: Callable[..., Bitcoind]
) -> None:
    bitcoind = new_bitcoind(wallet=True, persist_mempool=False).start()
    bitcoind.ensure_wallet("miner")
    async with office(tmp_path, bitcoind) as it:
        await it.blocks(PARAMS.range_length + 2)
        await it.until(lambda: len(it.mempool()) == 2, "an anchor's commit and reveal")
        sent = sorted(it.mempool())
        await it.round()
        bitcoind.restart()
        assert not it.mempool()

        async def dearer(*_: Any) -> int:
            return 7

        for node in it.nodes:
            node.client.estimate_fee = dearer
        await it.until(lambda: len(it.mempool()) == 2, "both again")
        assert sorted(it.mempool()) == sent
