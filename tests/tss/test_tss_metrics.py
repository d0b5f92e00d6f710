"""Prometheus text: what a signer counts, readable line by line, and nothing secret in it."""

import re

from tests.tss.shells import committee_of
from tss.metrics import Family, collect, render

LINE = re.compile(r'[a-z_][a-z0-9_]*(\{[a-z_]+="([^"\\\n]|\\.)*"(,[a-z_]+="([^"\\\n]|\\.)*")*\})? [0-9.e+-]+')


def values(text):
    found = {}
    for line in text.splitlines():
        if not line.startswith("# "):
            assert LINE.fullmatch(line), line
            name, _, value = line.rpartition(" ")
            assert name not in found, "a sample is told once"
            found[name] = float(value)
    return found


def test_labels_are_escaped_and_every_family_says_what_it_is():
    odd = Family("odd", "gauge", "Odd.").add(1.5, name='a"b\\c\nd').add(None, name="none")
    assert render([odd]).splitlines() == [
        "# HELP odd Odd.",
        "# TYPE odd gauge",
        'odd{name="a\\"b\\\\c\\nd"} 1.5',
    ]
    assert values(render([Family("n", "counter", "N.").add(123456789012345)]))["n"] == 123456789012345


async def test_a_signer_tells_of_members_keys_sessions_nonces_and_the_stop(tmp_path):
    async with committee_of(tmp_path, 3, 2) as (alice, bob, _carol):
        await alice.node.dkg("anchor")
        await alice.node.sign("anchor", b"pay")
        await bob.node.pause.pause("lunch")
        here = values(render(await collect(alice.node)))
        assert here['holdfast_tss_member_up{member="bob"}'] == 1
        assert here['holdfast_tss_member_round_trip_seconds{member="bob"}'] < 5
        assert abs(here['holdfast_tss_member_clock_skew_seconds{member="carol"}']) < 5
        assert here['holdfast_tss_key_state{purpose="anchor",epoch="1",state="verified"}'] == 1
        assert here['holdfast_tss_key_serving{purpose="anchor",epoch="1"}'] == 1
        assert here['holdfast_tss_sessions_total{purpose="anchor",epoch="1",state="done"}'] == 1
        assert here['holdfast_tss_verdicts_total{purpose="anchor",epoch="1",verdict="approved"}'] >= 1
        assert here['holdfast_tss_nonces_total{key="anchor",epoch="1",event="spent"}'] >= 3
        assert here["holdfast_tss_sessions_running"] == 0
        assert here["holdfast_tss_paused"] == 0
        assert here["holdfast_tss_audit_rows"] >= 4
        assert here["holdfast_tss_clone_alarms"] == 0
        assert values(render(await collect(bob.node)))["holdfast_tss_paused"] == 1
        bob.node._approvals.counts.clear()
        await bob.node._approvals.ask(bob.node._keyring.serving("anchor"), "x" * 30, b"")
        told = render(await collect(bob.node))
        assert "x" * 30 not in told, "who asks for odd purposes makes no new names"


async def test_members_tell_their_release(tmp_path):
    async with committee_of(tmp_path, 2, 2) as (alice, _bob):
        assert re.fullmatch(r"\d+\.\d+.*", alice.peers.seen[2].version)
