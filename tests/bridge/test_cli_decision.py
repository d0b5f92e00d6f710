"""`holdfast bridge decision`: the commands as processes, over the node's admin port, to a real rollup."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import structlog

from anchor.rollup.tx import Activate
from anchor.rollup_client import RollupClient
from anchor.sequencer import Sequencer
from bridge.api_decisions import DecisionApi
from bridge.http import admin_app
from bridge.store import DepositRow
from tests.anchor.feeding import Branch, FeedHome, serving
from tests.anchor.rollup.rollup_world import ALICE, GEN, HOSTS, K, Whole, an_activation, reign, signed
from tests.anchor.rollup_parts import a_sequencer
from tests.anchor.test_sequencer import Shadow, certify
from tests.bridge.commands import command
from tests.bridge.keys import params_of

TOKEN = "00" * 32


@asynccontextmanager
async def operators(
    folder: Path, hosts: Sequence[Whole] = HOSTS, *, handed_on: bool = False
) -> AsyncIterator[tuple[list[Path], Sequencer, RollupClient, Branch]]:
    """Operators' admin ports over one rollup that a deep reorg has paused; each has its own signature."""
    branch = Branch().mine(6)
    async with (
        a_sequencer(folder, branch, run=False) as (s, client),
        FeedHome(folder / "feed", k=K).feed(branch, hold=False) as feed,
    ):
        await certify(s, client, Activate(signed(an_activation())))
        mint = Shadow(branch).at(s.state).mint(ALICE, 500_000)
        await certify(s, client, mint)
        if handed_on:
            await certify(s, client, Shadow(branch).at(s.state).succeed())
        branch.reorg(K + 1, K + 3)
        await certify(s, client)
        await feed.sync()
        folders = [folder / str(place) for place in range(len(hosts))]
        async with AsyncExitStack() as stack:
            for place, host in enumerate(hosts):
                node = _node(s, client, feed, host)
                app = admin_app(DecisionApi(node).routes(), TOKEN)
                url = await stack.enter_async_context(serving(app))
                folders[place].mkdir()
                (folders[place] / "admin.json").write_text(json.dumps({"url": url, "token": TOKEN}))
            yield folders, s, client, branch


def _node(s: Sequencer, client: RollupClient, feed: Any, host: Whole) -> Any:
    """What the handlers ask of a node, with the follower's state read from the sequencer."""

    class Follower:
        genesis = GEN

        @property
        def state(self) -> Any:
            return s.state

    async def touched(_: object) -> dict[int, list[Any]]:
        return {}

    lying = [  # at height 4, unswept since the reorg
        DepositRow(
            o.encode(), b"", params_of("alice", 40).encode(), 1, False, 4, bytes(32), None, None, {}, 0, 1
        )
        for o in s.state.minted
    ]
    return SimpleNamespace(
        genesis=GEN,
        follower=Follower(),
        feed=feed,
        rollup=client,
        log=structlog.get_logger("tests"),
        identity=SimpleNamespace(host_key=host.x),
        tss=SimpleNamespace(host_sign=host.sign),
        active=SimpleNamespace(
            totals=lambda: SimpleNamespace(deficit=0),
            reorgs=SimpleNamespace(touched=touched),
            book=SimpleNamespace(deposits=lying),
        ),
    )


async def decision(verb: str, folder: Path, *words: object, status: int = 0) -> tuple[str, str]:
    out, err, _ = await command("bridge", "decision", verb, "--dir", folder, *words, status=status)
    return out, " ".join(err.split())


async def test_the_operators_see_make_sign_join_and_hand_in_a_decision(tmp_path: Path) -> None:
    async with operators(tmp_path) as ((alice, bob, _), s, client, _):
        said, _ = await decision("show", alice)
        assert "credited 500000 sats for deposit" in said
        assert "2 of the 3 operators of committee " + GEN.committee_hash.hex()[:16] in said
        assert "its sweep left the chain; its depositor may take it back from block 44\n" in said
        made, one, two, both = (tmp_path / name for name in ("made", "one", "two", "both"))
        await decision("make", alice, "--reason", "all is well", "-o", made)
        said, _ = await decision("sign", alice, made, "-o", one)
        assert "signed by 1" in said
        await decision("sign", bob, made, "-o", two)
        _, err = await decision("submit", alice, one, status=1)
        assert "1 operators signed, 2 are needed" in err
        await decision("combine", bob, one, two, "-o", both)
        said, _ = await decision("submit", bob, both, "--json")
        await certify(s, client)
        assert s.state.paused is None
        view = await client.transaction(bytes.fromhex(json.loads(said)["txid"]))
        assert view is not None
        assert view.state == "certified"
        [decided] = await client.decisions()
        assert (decided.operators, decided.reason) == ([1, 2], "all is well")
        assert (await decision("show", alice))[0] == "value moves: there is nothing to decide\n"
        _, err = await decision("submit", bob, both)
        assert err == "", "handing it in twice does nothing"
        _, err = await decision("make", alice, "--reason", "again", "-o", tmp_path / "x", status=1)
        assert "there is nothing to decide" in err


async def test_after_a_succession_the_new_committee_decides_and_who_left_does_not(tmp_path: Path) -> None:
    new = reign(2).hosts
    async with operators(tmp_path, (HOSTS[0], *new), handed_on=True) as ((left, *folders), s, client, _):
        said, _ = await decision("show", left)
        assert f"3 of the 4 operators of committee {s.state.committee(GEN).committee_hash.hex()[:16]}" in said
        made, all_of_them = tmp_path / "made", tmp_path / "all"
        await decision("make", folders[3], "--reason", "looked", "-o", made)
        _, err = await decision("sign", left, made, "-o", tmp_path / "no", status=1)
        assert "is not of the committee that decides now: ask one of its operators" in err
        copies = []
        for place in (0, 2, 3):
            copies.append(tmp_path / f"by {place + 1}")
            said, _ = await decision("sign", folders[place], made, "-o", copies[-1])
            assert f"signed by {place + 1}" in said
        await decision("combine", folders[0], *copies, "-o", all_of_them)
        await decision("submit", left, all_of_them)
        await certify(s, client)
        assert s.state.paused is None
        assert [d.operators for d in await client.decisions()] == [[1, 3, 4]]


async def test_files_that_are_no_decision_false_signatures_and_long_reasons_are_refused(
    tmp_path: Path,
) -> None:
    async with operators(tmp_path) as ((alice, bob, _), _, client, _):
        made, one = tmp_path / "made", tmp_path / "one"
        _, err = await decision("make", alice, "--reason", "x" * 201, "-o", made, status=1)
        assert "one line of 1 to 200 ASCII" in err
        await decision("make", alice, "--reason", "ok", "-o", made)
        _, err = await decision("make", alice, "--reason", "ok", "-o", made, status=1)
        assert "never overwritten" in err
        await decision("sign", alice, made, "-o", one)
        false = json.loads(one.read_text())
        false["reason"] = "something else"
        (tmp_path / "false").write_text(json.dumps(false))
        _, err = await decision("sign", bob, tmp_path / "false", "-o", tmp_path / "y", status=1)
        assert "operator 1 did not sign this decision" in err
        _, err = await decision("combine", bob, one, tmp_path / "false", "-o", tmp_path / "y", status=1)
        assert "these are different decisions" in err
        for number, text in enumerate(
            ("", "{}", "[1]", "\x00", made.read_text().replace('"pause"', '"pose"'))
        ):
            bad = tmp_path / f"bad{number}"
            bad.write_text(text)
            _, err = await decision("sign", bob, bad, "-o", tmp_path / "y", status=1)
            assert "that is no decision" in err, text
        _, err = await decision("sign", bob, made, "-o", tmp_path / "y", "--despite-deficit", 5, status=1)
        assert "--despite-deficit 0" in err
        assert (await client.pause()).pause is not None
        _, err = await decision("show", tmp_path / "nobody", status=1)
        assert "no node runs on" in err
