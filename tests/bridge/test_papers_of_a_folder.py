"""A node's papers must be of one committee, or of a chain of them that begins with the genesis's."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from anchor.btc.curve import x_only_from_secret
from bridge.api import NodeApi
from bridge.papers import StartFault, read_papers
from tests.anchor.feeding import serving
from tests.bridge.observing import Paper, make_paper, write_observer
from tss import identity
from tss.dkg.committee import Committee, Member, SignedCommittee
from tss.identity import HostIdentity


def written(folder: Path, **changes: Any) -> Path:
    """An observer's folder whose genesis is the committee's, but for the changes."""
    (folder / "members").mkdir()
    paper = make_paper(folder / "members")
    bitcoind: Any = SimpleNamespace(rpc_url="http://127.0.0.1:1", cookie=folder / "cookie")
    other = replace(paper, genesis=replace(paper.genesis, **changes))
    return write_observer(folder / "observer", other, bitcoind)


def test_a_folder_of_one_committee_is_read(tmp_path: Path) -> None:
    assert read_papers(written(tmp_path)).genesis.threshold == 2


@pytest.mark.parametrize(
    "changes",
    [{"threshold": 1}, {"host_keys": tuple(x_only_from_secret(bytes([9, i] * 16)) for i in range(3))}],
    ids=["fewer decide", "others decide"],
)
def test_a_genesis_in_which_others_would_decide_is_refused(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(StartFault, match="names other operators, or another threshold"):
        read_papers(written(tmp_path, **changes))


def signed_by(committee: Committee, people: list[HostIdentity]) -> SignedCommittee:
    signed = SignedCommittee.unsigned(committee)
    for index, each in enumerate(people[: committee.size], 1):
        signed = signed.with_signature(index, each.sign(committee.hash))
    return signed


def member(of: HostIdentity) -> Member:
    return Member(of.name, of.host_key, of.tls.fingerprint, of.peer_url)


class Chain:
    """A folder whose committee.json is of epoch 3: carol left for dave, then erin came."""

    def __init__(self, folder: Path) -> None:
        (folder / "members").mkdir()
        self.paper = make_paper(folder / "members")
        first, (alice, bob, _) = self.paper.committee.committee, self.paper.identities
        dave = identity.create(folder / "members" / "dave", "dave", "https://127.0.0.1:7004")
        erin = identity.create(folder / "members" / "erin", "erin", "https://127.0.0.1:7005")
        self.people = [alice, bob, dave, erin]
        kept = first.members[:2]
        second = Committee("paper", "regtest", 2, 2, (*kept, member(dave)), first.hash)
        third = Committee("paper", "regtest", 3, 3, (*kept, member(dave), member(erin)), second.hash)
        self.files = [self.paper.committee, *(signed_by(c, self.people) for c in (second, third))]
        bitcoind: Any = SimpleNamespace(rpc_url="http://127.0.0.1:1", cookie=folder / "cookie")
        latest = Paper(self.paper.identities, self.files[-1], self.paper.genesis)
        self.folder = write_observer(folder / "observer", latest, bitcoind)
        for epoch, signed in enumerate(self.files[:-1], 1):
            self.path(epoch).write_text(signed.to_json())

    def path(self, epoch: int) -> Path:
        return self.folder / f"committee-{epoch}.json"


@pytest.fixture
def chain(tmp_path: Path) -> Chain:
    return Chain(tmp_path)


def test_a_later_committee_is_read_when_every_file_back_to_the_genesiss_is_there(chain: Chain) -> None:
    papers = read_papers(chain.folder)
    assert papers.committee == chain.files[-1]
    assert papers.committees == tuple(chain.files)
    assert papers.genesis.committee_hash == papers.committees[0].committee.hash


async def test_a_node_serves_the_file_of_every_epoch_to_whoever_comes_later(chain: Chain) -> None:
    node: Any = SimpleNamespace(committees=read_papers(chain.folder).committees)
    app = web.Application()
    app.router.add_get("/v1/committee/{epoch}", NodeApi(node).earlier)
    async with serving(app) as url, aiohttp.ClientSession() as session:
        for epoch, signed in enumerate(chain.files, 1):
            async with session.get(f"{url}/v1/committee/{epoch}") as found:
                assert SignedCommittee.from_json(await found.text()) == signed


@pytest.mark.parametrize("epoch", [1, 2])
def test_a_gap_in_the_chain_is_named_with_the_file_to_take(chain: Chain, epoch: int) -> None:
    chain.path(epoch).unlink()
    with pytest.raises(StartFault, match=f"no .*committee-{epoch}.json.*put that of epoch {epoch} there"):
        read_papers(chain.folder)


def test_a_file_of_the_chain_that_one_member_did_not_sign_does_not_count(chain: Chain) -> None:
    second = chain.files[1]
    unsigned = replace(second, signatures=(*second.signatures[:2], None))
    chain.path(2).write_text(unsigned.to_json())
    with pytest.raises(StartFault, match=r"committee-2.json cannot be used.*not signed by dave"):
        read_papers(chain.folder)


@pytest.mark.parametrize("text", ["", "{}", "[" * 200_000])
def test_what_is_no_committee_file_is_named(chain: Chain, text: str) -> None:
    chain.path(2).write_text(text)
    with pytest.raises(StartFault, match=r"committee-2.json cannot be used"):
        read_papers(chain.folder)


def test_a_well_signed_file_of_that_epoch_that_is_not_the_one_succeeded_is_refused(chain: Chain) -> None:
    other = replace(chain.files[1].committee, threshold=3)
    chain.path(2).write_text(signed_by(other, chain.people).to_json())
    with pytest.raises(StartFault, match=r"committee-2.json is not the committee file that epoch 3 succeeds"):
        read_papers(chain.folder)


def test_a_strangers_chain_does_not_reach_the_genesis(chain: Chain) -> None:
    stranger = replace(chain.paper.committee.committee, name="strangers")
    chain.path(1).write_text(signed_by(stranger, chain.paper.identities).to_json())
    second = replace(chain.files[1].committee, name="strangers", previous=stranger.hash)
    chain.path(2).write_text(signed_by(second, chain.people).to_json())
    third = replace(chain.files[2].committee, name="strangers", previous=second.hash)
    (chain.folder / "committee.json").write_text(signed_by(third, chain.people).to_json())
    with pytest.raises(StartFault, match=r"genesis.json names another committee file"):
        read_papers(chain.folder)


def test_a_file_that_moves_a_member_to_another_place_cannot_follow(chain: Chain) -> None:
    second = chain.files[1].committee
    alice, bob, dave = second.members
    third = replace(chain.files[2].committee, threshold=2, members=(bob, alice, dave), previous=second.hash)
    swapped = signed_by(third, [chain.people[i] for i in (1, 0, 2)])
    (chain.folder / "committee.json").write_text(swapped.to_json())
    with pytest.raises(StartFault, match=r"cannot follow.*alice has another place"):
        read_papers(chain.folder)
