"""Our header rules and our tip against Core's own, in process, on random headers."""

import random
from dataclasses import replace

import pbk
import pytest

from anchor.headers.chain import HeaderChain
from anchor.headers.rules import HeaderRefused
from tests.anchor.headers.minting import GENESIS, RULES, child, mine

ROUNDS = 1500


@pytest.fixture
def core(tmp_path):
    context = pbk.make_context(pbk.ChainType.REGTEST)
    options = pbk.ChainstateManagerOptions(context, str(tmp_path / "core"), str(tmp_path / "core/blocks"))
    options.update_block_tree_db_in_memory(True)
    options.update_chainstate_db_in_memory(True)
    return pbk.ChainstateManager(options)


def core_accepts(core, header) -> bool:
    try:
        return core.process_block_header(pbk.BlockHeader(header.raw)) is not False
    except pbk.ProcessBlockHeaderException:
        return False


def variant(rng: random.Random, header, chain: HeaderChain):
    """The header itself, or one that is wrong (or odd but right) in one way."""
    parent = chain.get(header.parent)
    times = [parent.ancestor(max(parent.height - n, 0)).header.time for n in range(12)]
    kind = rng.randrange(9)
    if kind == 0:
        return mine(replace(header, version=rng.choice((-1, 0, 1, 2, 3, 4, 5, 0x20000000, 2**31 - 1))))
    if kind == 1:
        return mine(replace(header, time=rng.choice(times) + rng.choice((-1, 0, 1))))
    if kind == 2:
        return replace(
            header, bits=rng.choice((0x207FFFFE, 0x1D00FFFF, 0, 0x20800000, 0x21007FFF, 0xFFFFFFFF))
        )
    if kind == 3:
        return mine(header, fail=True)
    if kind == 4:
        return mine(replace(header, parent=type(header.parent)(rng.randbytes(32))))
    return header


def test_core_and_we_agree_on_random_headers(core):
    rng = random.Random(94)
    chain, known = HeaderChain(RULES, GENESIS), [GENESIS]
    refused = {}
    for salt in range(ROUNDS):
        parent = known[-1] if rng.random() < 0.7 else rng.choice(known[-30:])
        header = variant(rng, child(parent, salt, after=rng.choice((1, 600, 5000, -2000))), chain)
        try:
            chain.add(header)
            ours = True
        except HeaderRefused as error:
            ours = False
            refused[error.rule] = refused.get(error.rule, 0) + 1
        assert core_accepts(core, header) == ours, (salt, header)
        if ours:
            known.append(header)
    assert len(known) > ROUNDS // 3
    assert set(refused) == {"version", "median-time", "bits", "work", "parent"}
    assert all(count > 20 for count in refused.values()), refused
    assert core.best_entry.height == chain.tip.height
