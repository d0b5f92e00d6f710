"""Random stories of several chains that share a tree: adding, runs, forks, packing; each against a plain model."""

from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from anchor.btc.header import Header, work_of
from anchor.btc.ids import BlockHash
from anchor.headers import chain as chains
from anchor.headers.chain import HeaderAt, HeaderChain, branch
from tests.anchor.headers.minting import GENESIS, chain_of, run

UNIT = work_of(GENESIS.bits)


@dataclass
class Model:
    """What one chain knows: every header with its height, and the tip; most work, first seen."""

    heights: dict[BlockHash, int] = field(default_factory=lambda: {GENESIS.hash: 0})
    headers: dict[BlockHash, Header] = field(default_factory=lambda: {GENESIS.hash: GENESIS})
    tip: BlockHash = GENESIS.hash

    def add(self, header: Header) -> None:
        if header.hash in self.heights:
            return
        self.heights[header.hash] = self.heights[header.parent] + 1
        self.headers[header.hash] = header
        if self.heights[header.hash] > self.heights[self.tip]:
            self.tip = header.hash

    def copy(self) -> "Model":
        return Model(dict(self.heights), dict(self.headers), self.tip)

    def path(self, block: BlockHash) -> list[Header]:
        found = [self.headers[block]]
        while found[-1] != GENESIS:
            found.append(self.headers[found[-1].parent])
        return found[::-1]


@pytest.fixture(autouse=True)
def packed_early(monkeypatch):
    monkeypatch.setattr(chains, "KEEP", 3)
    monkeypatch.setattr(chains, "_LOOK", 1)


def agree(
    chain: HeaderChain, model: Model, everything: list[Header], held: dict[BlockHash, HeaderAt]
) -> None:
    main = model.path(model.tip)
    assert (chain.tip.hash, chain.tip.height, chain.tip.work) == (model.tip, len(main) - 1, UNIT * len(main))
    assert chain.raws(0, len(main)) == b"".join(header.raw for header in main)
    for header in everything:
        node = chain.get(header.hash)
        if header.hash not in model.heights:
            assert node is None, "only another chain of the tree knows it"
            continue
        path = model.path(header.hash)
        if header.hash[0] % 2:  # half of them are held, the others may be let go
            assert held.setdefault(header.hash, node) is node
        assert node.height == len(path) - 1
        assert node.work == UNIT * len(path)
        on_main = node.height < len(main) and main[node.height] == header
        assert chain.is_main(header.hash) == on_main
        assert chain.depth(header.hash) == (len(main) - node.height if on_main else 0)
    parents = {header.parent for block, header in model.headers.items()}
    assert {head.hash for head in chain.heads} == set(model.headers) - parents
    assert [at.header for at in branch(chain.tip, None)] == main[::-1]


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["add", "add", "run", "run", "fork", "become", "bury", "pack"]),
        st.integers(0, 7),
        st.integers(0, 10**6),
    ),
    min_size=1,
    max_size=30,
)


@given(STEPS)
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_chains_of_one_tree_are_each_what_a_plain_model_says(steps):
    pairs = [(chain_of(), Model())]
    everything, held = [GENESIS], dict[BlockHash, HeaderAt]()
    for salt, (what, which, size) in enumerate(steps):
        chain, model = pairs[which % len(pairs)]
        known = list(model.headers.values())
        if what == "add":
            made = run(known[-1 - size % min(len(known), 9)], 1 + size % 4, salt)
            everything += made
            for header in made:
                chain.add(header)
                model.add(header)
        elif what == "run":
            # Sometimes one that another chain has taken already.
            parent = model.headers[model.tip]
            longer = [
                m for _, m in pairs if parent.hash in m.heights and m.heights[m.tip] > m.heights[parent.hash]
            ]
            theirs = [m.path(m.tip) for m in longer if m.path(m.tip)[m.heights[parent.hash]] == parent]
            made = (
                theirs[0][model.heights[parent.hash] + 1 :][: 1 + size % 9]
                if theirs and size % 2
                else run(parent, size % 9, salt)
            )
            everything += [header for header in made if header not in everything]
            if chain.extend(b"".join(h.raw for h in made)) != [h.hash for h in made]:
                raise AssertionError
            for header in made:
                model.add(header)
        elif what == "fork" and len(pairs) < 5:
            pairs.append((chain.fork(), model.copy()))
        elif what == "become" and len(pairs) > 1:
            other = pairs.pop()
            if other[0] is not chain:
                chain.become(other[0])
                model.__dict__.update(other[1].copy().__dict__)
        elif what == "bury":
            chain._tree.bury(chain.get(known[size % len(known)].hash))
        elif what == "pack":
            packed = chain.pack(chain.tip.height)
            again = chain_of()
            again.adopt(bytearray(chain.raws(0, chain.tip.height + 1)), packed)
            assert (again.tip.hash, again.tip.work) == (chain.tip.hash, chain.tip.work)
        for pair in pairs:
            agree(*pair, everything, held)
