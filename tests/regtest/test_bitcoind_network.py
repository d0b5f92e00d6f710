"""Peered bitcoinds as verbs: what a split keeps apart, what a reorg replaces, where a payment goes."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from regtest.network import WALLET, Network

pytestmark = pytest.mark.regtest


@pytest.fixture(scope="module")
def three(bitcoind_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Network]:
    """Three peered bitcoinds, shared by this file: each test leaves them healed and agreed."""
    with Network(tmp_path_factory.mktemp("three"), 3, binary=bitcoind_path) as network:
        yield network


def own_address(network: Network) -> str:
    """A fresh address of the miner's wallet."""
    return str(network.nodes[network.wallet_node].rpc(WALLET).getnewaddress("", "bech32m"))


def test_a_pair_begins_agreed_and_with_money(bitcoind_pair: Network) -> None:
    assert bitcoind_pair.height(0) == bitcoind_pair.height(1) == 110
    assert bitcoind_pair.nodes[1].rpc(WALLET).getbalance() == 500


def test_a_payment_reaches_every_mempool_and_is_mined_anywhere(three: Network) -> None:
    txid = three.fund(own_address(three), 12_345_678)
    three.wait_in_mempools(txid)
    (block,) = three.mine(0)
    assert three.wait_same_tip() == block
    assert txid in three.nodes[1].rpc().getblock(block)["tx"]


def test_a_split_keeps_blocks_and_payments_apart_until_it_heals(three: Network) -> None:
    three.split([0, 1], [2])
    loser = three.mine(2, 2)
    txid = three.fund(own_address(three), 5_000)
    winner = three.mine(0, 3)
    assert three.wait_same_tip([0, 1]) == winner[-1]
    assert three.nodes[2].rpc().getbestblockhash() == loser[-1]
    assert txid not in three.nodes[0].rpc().getrawmempool()
    three.heal()
    assert three.wait_same_tip() == winner[-1]


def test_rival_blocks_of_one_height_are_never_the_same_block(three: Network) -> None:
    three.split([0], [1], [2])
    assert len({three.mine_empty(i)[0] for i in range(3)}) == 3
    three.heal()
    three.mine(0)
    three.wait_same_tip()


def test_a_reorg_replaces_blocks_on_every_node_and_frees_what_they_held(three: Network) -> None:
    txid = three.fund(own_address(three), 70_000)
    three.wait_in_mempools(txid)
    held = three.mine(1, 2)
    three.wait_same_tip()
    top = three.height()
    done = three.reorg(2)
    assert (done.lost, len(done.won), done.fork_height) == (tuple(held), 3, top - 2)
    assert {node.rpc().getbestblockhash() for node in three.nodes} == {done.won[-1]}
    assert all(node.rpc().getrawmempool() == [] or txid in node.rpc().getrawmempool() for node in three.nodes)
    assert txid in three.nodes[2].rpc().getrawmempool()
    three.mine(2)
    three.wait_same_tip()


def test_an_empty_block_can_be_replaced_in_the_second_it_was_made(three: Network) -> None:
    for _ in range(3):
        (block,) = three.mine_empty(2)
        three.wait_same_tip()
        assert three.reorg(1).lost == (block,)


def test_a_reorg_upon_a_reorg_does_not_go_back_to_the_branch_before(three: Network) -> None:
    three.mine(2, 4)
    three.wait_same_tip()
    first = three.reorg(4)
    done = three.reorg(3)
    assert (done.lost, done.fork_height) == (first.won[-3:], first.fork_height + 2)
    rpc = three.nodes[0].rpc
    assert rpc().getblockhash(done.fork_height) == first.won[1]
    assert {node.rpc().getbestblockhash() for node in three.nodes} == {done.won[-1]}
    assert all(tip["status"] != "invalid" for tip in rpc().getchaintips())


def test_a_block_holds_exactly_the_transactions_that_it_is_told_to(three: Network) -> None:
    wanted, other = (three.fund(own_address(three), sats) for sats in (5_000, 6_000))
    three.wait_in_mempools(other)
    block = three.mine_these(2, [wanted])
    assert three.nodes[2].rpc().getblock(block)["tx"][1:] == [wanted]
    three.mine(2)
    three.wait_same_tip()


def test_empty_blocks_leave_the_mempool_alone(three: Network) -> None:
    txid = three.fund(own_address(three), 5_000)
    three.wait_in_mempools(txid)
    empty = three.mine_empty(0, 2)
    three.wait_same_tip()
    blocks = [three.nodes[1].rpc().getblock(block)["tx"] for block in empty]
    assert [len(txids) for txids in blocks] == [1, 1], "a coinbase each"
    assert all(txid in node.rpc().getrawmempool() for node in three.nodes)
    (block,) = three.mine(0)
    assert txid in three.nodes[0].rpc().getblock(block)["tx"]
    three.wait_same_tip()


def test_a_node_that_comes_back_catches_up(three: Network) -> None:
    three.nodes[1].kill()
    (block,) = three.mine(0)
    three.nodes[1].start()
    three.connect()
    assert three.wait_same_tip() == block


@pytest.mark.parametrize("depth", [0, 1_000])
def test_an_impossible_reorg_is_refused(three: Network, depth: int) -> None:
    with pytest.raises(ValueError, match="not possible"):
        three.reorg(depth)


def test_a_node_in_two_groups_is_refused(three: Network) -> None:
    with pytest.raises(ValueError, match="one group"):
        three.split([0, 1], [1, 2])
