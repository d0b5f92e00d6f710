"""The sequencer: one proposal at a time, once per height, certified by votes; and its HTTP interface."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from anchor.finality.votes import check_certified
from anchor.rollup.block import Block
from anchor.rollup.state import RollupState
from anchor.rollup.transitions import check_block
from anchor.rollup.tx import Activate, RollupTx
from anchor.rollup_client import RollupClient, RollupRefused, RollupUnreachable
from tests.anchor.feeding import Branch
from tests.anchor.rollup.rollup_world import (
    ALICE,
    BOB,
    GEN,
    MALLORY,
    World,
    an_activation,
    nothing,
    signed,
    vote,
)
from tests.anchor.rollup_parts import a_sequencer, a_validator, until


class Shadow(World):
    """Signs transactions for whatever state the sequencer is in."""

    def __init__(self, branch: Branch) -> None:
        super().__init__()
        self.bitcoin = branch.chain

    def at(self, state: RollupState) -> "Shadow":
        self.state = state
        return self


async def certify(sequencer: Any, client: RollupClient, *txs: RollupTx) -> Block:
    """Submit, propose, and vote with three keys."""
    for tx in txs:
        await client.submit(tx.encode())
    block = await sequencer.propose()
    await client.vote([vote(GEN, block, i) for i in range(3)])
    return block


async def test_a_whole_life_of_coins_over_http(tmp_path: Path) -> None:
    branch = Branch().mine(6)
    async with a_sequencer(tmp_path, branch, run=False) as (s, client):
        w = Shadow(branch)
        assert (await client.genesis()) == GEN
        assert await client.activation() is None
        await certify(s, client, Activate(signed(an_activation())))
        assert (await client.activation()) == signed(an_activation())
        await certify(s, client, w.at(s.state).mint(ALICE, 500_000))
        await certify(s, client, w.at(s.state).transfer(ALICE, BOB, 100_000))
        lock = w.at(s.state).lock(BOB, 50_000)
        await certify(s, client, lock)
        withdrawal_id = lock.txid(GEN.hash)
        found = await client.withdrawal(withdrawal_id)
        assert found is not None
        assert (found.state, found.amount, found.settlement) == ("locked", 50_000, None)
        await certify(s, client, w.at(s.state).settle(lock))
        found = await client.withdrawal(withdrawal_id)
        assert found is not None
        assert found.settlement is not None
        assert (found.state, found.settlement.paid) == ("settled", 48_500)
        status = await client.status()
        assert (status.supply, status.escrow, status.certified_height, status.final_height) == (
            450_000,
            0,
            5,
            4,
        )
        assert (status.bitcoin.tip_height, status.bitcoin.final_height) == (6, 4)
        assert (await client.account(BOB.x)).balance == 50_000
        state = RollupState.at_genesis(GEN)
        for certified in await client.blocks(0):
            check_certified(GEN, certified)
            state = check_block(GEN, state, certified.block)
        assert state.root().hex() == status.state_root


async def test_a_transaction_is_told_where_it_is(tmp_path: Path) -> None:
    branch = Branch().mine(6)
    async with a_sequencer(tmp_path, branch, run=False) as (s, client):
        tx = Activate(signed(an_activation()))
        txid = tx.txid(GEN.hash)
        assert await client.transaction(txid) is None
        assert await client.submit(tx.encode()) == txid
        assert await client.submit(tx.encode()) == txid
        states = [(await client.transaction(txid)).state]
        block = await s.propose()
        states.append((await client.transaction(txid)).state)
        await client.vote([vote(GEN, block, i) for i in range(3)])
        states.append((await client.transaction(txid)).state)
        await certify(s, client)
        states.append((await client.transaction(txid)).state)
        assert states == ["pending", "proposed", "certified", "final"]
        assert await client.submit(tx.encode()) == txid, "sending again is harmless"


async def test_a_refused_transaction_says_why_and_whether_to_try_again(tmp_path: Path) -> None:
    branch = Branch().mine(6)
    async with a_sequencer(tmp_path, branch, run=False) as (s, client):
        w = Shadow(branch)
        await certify(s, client, Activate(signed(an_activation())))
        early = w.at(s.state).mint(ALICE, 20_000, block_hash=branch.chain[6].hash, height=6)
        with pytest.raises(RollupRefused) as caught:
            await client.submit(early.encode())
        assert (caught.value.status, caught.value.code, caught.value.retryable) == (409, "not_final", True)
        with pytest.raises(RollupRefused) as caught:
            await client.submit(w.at(s.state).transfer(MALLORY, BOB, 5).encode())
        assert caught.value.code == "insufficient_funds"
        with pytest.raises(RollupRefused) as caught:
            await client.submit(b"garbage")
        assert (caught.value.status, caught.value.code, caught.value.retryable) == (400, "malformed", False)


async def test_a_wallet_may_send_several_transactions_before_a_block(tmp_path: Path) -> None:
    branch = Branch().mine(6)
    async with a_sequencer(tmp_path, branch, run=False) as (s, client):
        w = Shadow(branch)
        await certify(s, client, Activate(signed(an_activation())))
        await certify(s, client, w.at(s.state).mint(ALICE, 500_000))
        for _ in range(3):
            nonce = (await client.account(ALICE.x)).next_nonce
            await client.submit(w.at(s.state).transfer(ALICE, BOB, 5, nonce=nonce).encode())
        block = await certify(s, client)
        assert block.header.tx_count == 3
        assert (await client.account(ALICE.x)).nonce == 3


async def test_the_next_block_waits_for_the_certificate_of_this_one(tmp_path: Path) -> None:
    async with a_sequencer(tmp_path, Branch()) as (s, client):
        await until(lambda: s.proposal is not None, "the first proposal")
        block = await client.proposal(1, wait=5)
        assert block is not None
        await client.vote([vote(GEN, block, i) for i in (0, 1)])
        assert await client.proposal(2, wait=0.3) is None, "two of four stake is no quorum"
        assert await client.blocks(0) == []
        await client.vote([vote(GEN, block, 3)])
        second = await client.proposal(2, wait=5)
        assert second is not None
        assert second.header.parent == block.header.hash(GEN.hash)
        assert [c.block for c in await client.blocks(0)] == [block]


async def test_a_restart_serves_the_same_proposal_and_keeps_its_votes(tmp_path: Path) -> None:
    branch = Branch().mine(4)
    async with a_sequencer(tmp_path, branch, run=False) as (s, client):
        await certify(s, client, Activate(signed(an_activation())))
        block = await s.propose()
        await client.vote([vote(GEN, block, i) for i in (0, 1)])
    branch.mine(3)
    async with a_sequencer(tmp_path, branch, run=False) as (s, client):
        assert s.state.activation is not None
        assert await client.proposal(2) == block
        await client.vote([vote(GEN, block, 2)])
        assert (await client.status()).certified_height == 2


async def test_a_crash_between_the_last_vote_and_the_certificate_heals(tmp_path: Path) -> None:
    async with a_sequencer(tmp_path, Branch(), run=False) as (s, _):
        block = await s.propose()
        await s.store.add_votes([vote(GEN, block, i) for i in range(4)])
    async with a_sequencer(tmp_path, Branch(), run=False) as (s, client):
        assert (s.proposal, s.state.height) == (None, 1)
        assert len(await client.blocks(0)) == 1


async def test_blocks_are_waited_for_and_cut_into_pages(tmp_path: Path) -> None:
    async with a_sequencer(tmp_path, Branch(), run=False) as (s, client):
        assert await client.blocks(0, wait=0.05) == []
        for _ in range(5):
            await certify(s, client)
        assert [b.height for b in await client.blocks(0, 2)] == [1, 2]
        assert [b.height for b in await client.blocks(3)] == [4, 5]


async def test_votes_that_do_not_count_are_refused(tmp_path: Path) -> None:
    async with a_sequencer(tmp_path, Branch(), run=False) as (s, client):
        with pytest.raises(RollupRefused, match="not_this_block"):
            await client.vote([vote(GEN, World().block(), 0)])
        block = await s.propose()
        with pytest.raises(RollupRefused, match="bad_vote"):
            await client.vote([vote(GEN, block, 0, MALLORY)])
        with pytest.raises(RollupRefused, match="bad_vote"):
            await client.vote([vote(GEN, block, 1), vote(GEN, block, 0, MALLORY)])
        assert await s.store.votes(1) == []
        votes = [vote(GEN, block, i) for i in range(4)]
        assert await client.vote(votes[:3]) == 1
        assert await client.vote(votes[3:]) == 1, "a late vote is harmless"


async def test_reorgs_in_the_view_are_served(tmp_path: Path) -> None:
    branch = Branch().mine(6)
    async with a_sequencer(tmp_path, branch, run=False) as (s, client):
        await certify(s, client)
        branch.reorg(2, 3)
        await certify(s, client)
        [reorg] = await client.reorgs()
        assert (reorg.depth, reorg.fork_height, reorg.rollup_height) == (2, 4, 2)


BAD = [
    ("GET", "/v1/nothing", None, 404),
    ("GET", "/v1/accounts/zz", None, 400),
    ("GET", f"/v1/accounts/{'0' * 65}", None, 400),
    ("GET", f"/v1/withdrawals/{'00' * 32}", None, 404),
    ("GET", f"/v1/transactions/{'00' * 32}", None, 404),
    ("GET", "/v1/transactions/%F0%9F%92%A9", None, 400),
    ("GET", "/v1/activation", None, 404),
    ("GET", "/v1/blocks?after=-1", None, 400),
    ("GET", "/v1/blocks?after=1e9", None, 400),
    ("GET", "/v1/blocks?wait=999999", None, 400),
    ("GET", "/v1/proposal?height=x", None, 400),
    ("DELETE", "/v1/status", None, 405),
    ("POST", "/v1/transactions", b"", 400),
    ("POST", "/v1/transactions", b"{", 400),
    ("POST", "/v1/transactions", b"\xff\xfe", 400),
    ("POST", "/v1/transactions", b'{"tx": 5}', 400),
    ("POST", "/v1/transactions", b'{"tx": "zz"}', 400),
    ("POST", "/v1/transactions", b'{"tx": "00 00"}', 400),
    ("POST", "/v1/transactions", b'{"tx": "00", "more": 1}', 400),
    ("POST", "/v1/transactions", b'{"tx": "' + b"0" * 300_000 + b'"}', 400),
    ("POST", "/v1/transactions", b"[" * 100_000, 400),
    ("POST", "/v1/transactions", b"0" * (1 << 21), 413),
    ("POST", "/v1/blocks", b'{"blocks": []}', 400),
    ("POST", "/v1/blocks", b'{"blocks": ["zz"]}', 400),
    ("POST", "/v1/blocks", b'{"blocks": ["00"]}', 422),
    ("POST", "/v1/blocks", b'{"blocks": [' + b'"00",' * 200 + b'"00"]}', 400),
    ("POST", "/v1/blocks", b"0" * ((8 << 20) + 1), 413),
    ("POST", "/v1/votes", b'{"votes": []}', 400),
    ("POST", "/v1/votes", b'{"votes": ["00"]}', 422),
    ("POST", "/v1/votes", b'{"votes": ["00", "00", "00", "00", "00"]}', 400),
]


@pytest.mark.parametrize(("method", "path", "body", "status"), BAD)
async def test_bad_requests_are_problems_and_never_tracebacks(
    tmp_path: Path, method: str, path: str, body: bytes | None, status: int
) -> None:
    async with a_sequencer(tmp_path, Branch(), run=False) as (_, client), aiohttp.ClientSession() as session:
        async with session.request(method, client.url + path, data=body) as response:
            told = await response.json(content_type="application/problem+json")
        assert response.status == status == told["status"]
        assert set(told) == {"type", "code", "title", "status", "detail", "retryable", "remedy"}
        assert told["remedy"]
        assert "Traceback" not in str(told)


async def test_an_error_of_our_own_is_told_without_a_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_sequencer(tmp_path, Branch(), run=False) as (s, client):
        monkeypatch.setattr(s, "state", None)
        with pytest.raises(RollupRefused) as caught:
            await client.status()
        assert (caught.value.status, caught.value.code, caught.value.retryable) == (500, "internal", True)
        assert "NoneType" not in str(caught.value)


async def test_a_client_names_a_rollup_that_is_down_or_none() -> None:
    async with RollupClient("http://127.0.0.1:1") as client:
        with pytest.raises(RollupUnreachable, match="does not answer"):
            await client.status()


async def test_the_whole_chain_works_with_a_real_validator(tmp_path: Path) -> None:
    branch = Branch().mine(6)
    async with a_sequencer(tmp_path, branch) as (s, client), a_validator(tmp_path, branch, client.url) as v:
        w = Shadow(branch)
        await client.submit(Activate(signed(an_activation())).encode())
        await until(lambda: s.state.activation is not None, "the activation")
        await client.submit(w.at(s.state).mint(ALICE, 500_000).encode())
        await until(lambda: s.state.account(ALICE.x).balance == 500_000, "the mint")
        height = s.state.height
        branch.reorg(2, 3)
        await until(lambda: len(s.state.reorgs) == 1, "the reorg in the view")
        await until(lambda: s.tracker.final > height + 2, "empty blocks to go on")
        await until(lambda: v.state.height >= height + 2, "the validator to follow")
        assert s.state.supply == 500_000
        await client.submit(w.at(s.state).succeed().encode())
        await until(lambda: len(s.state.successions) == 1, "the next key epoch")
        await client.submit(w.at(s.state).mint(ALICE, 20_000, "by the new key").encode())
        await until(lambda: s.state.supply == 520_000, "a mint by the new key")
        await until(lambda: v.state.height >= s.state.successions[0].height, "the validator to follow")
        assert v.state.successions == s.state.successions
        assert await client.withdrawal(nothing("x")) is None


async def test_key_epochs_and_the_records_that_began_them_are_served(tmp_path: Path) -> None:
    branch = Branch().mine(6)
    async with a_sequencer(tmp_path, branch, run=False) as (s, client):
        w = Shadow(branch)
        assert ((await client.status()).epoch, await client.epochs()) == (None, [])
        await certify(s, client, Activate(signed(an_activation())))
        assert (await client.status()).epoch == 1
        tx = w.at(s.state).succeed()
        assert await client.succession(2) is None
        await certify(s, client, tx)
        first, second = await client.epochs()
        assert (first.epoch, first.record, first.since) == (1, an_activation().hash.hex(), None)
        record = tx.signed.succession
        assert (second.epoch, second.record, second.since) == (2, record.hash.hex(), s.state.height)
        assert (second.mint_key, second.threshold) == (record.mint_key.hex(), record.threshold)
        assert [bytes.fromhex(key) for key in second.host_keys] == list(record.host_keys)
        assert await client.succession(2) == tx.signed
        assert [await client.succession(n) for n in (1, 3)] == [None, None]
        assert (await client.status()).epoch == 2
        assert await client.submit(tx.encode()) == tx.txid(GEN.hash), "sending again is harmless"
    async with a_sequencer(tmp_path, branch, run=False) as (s, client):
        assert [e.epoch for e in await client.epochs()] == [1, 2], "a restart replays it"


async def test_a_record_that_does_not_count_is_refused_over_http_with_its_code(tmp_path: Path) -> None:
    branch = Branch().mine(6)
    async with a_sequencer(tmp_path, branch, run=False) as (s, client):
        w = Shadow(branch)
        await certify(s, client, Activate(signed(an_activation())))
        tx, other = w.at(s.state).succeed(), w.succeed(threshold=1)
        old = w.mint(ALICE, 20_000)
        forged = replace(tx, signed=replace(tx.signed, mint_signature=bytes(64)))
        for bad, code in ((forged, "bad_certificate"), (w.succeed(previous=bytes(32)), "wrong_previous")):
            with pytest.raises(RollupRefused) as caught:
                await client.submit(bad.encode())
            assert (caught.value.status, caught.value.code, caught.value.retryable) == (409, code, False)
        await certify(s, client, tx)
        for late in (other, old):
            with pytest.raises(RollupRefused) as caught:
                await client.submit(late.encode())
            assert caught.value.code == "wrong_epoch"
