"""A package from built to buried: each transition, then random stories against a model of the chain."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as hs

from anchor.btc.hashing import sha256
from anchor.outbox import effects as ef
from anchor.outbox import events as ev
from anchor.outbox import states as st
from anchor.outbox.transitions import Context, Ignored, Step, step

COMMIT, R0, R1, R2 = (sha256(name) for name in (b"commit", b"r0", b"r1", b"r2"))
OTHER, VOID, PARENT = (sha256(name) for name in (b"other", b"void", b"parent"))
H = [sha256(b"block %d" % n) for n in range(10)]
ANCHOR = Context(b"i" * 32, "anchor", b"payload", ((COMMIT,), (R0, R1, R2)))
BATCH = Context(b"j" * 32, "treasury", b"sweep", ((COMMIT,),))


def after(context, *events, state=None):
    """The state and the last step's effects after events that must all count."""
    state, effects = state or st.Built(), ()
    for event in events:
        answer = step(context, state, event)
        assert isinstance(answer, Step), (state, event, answer)
        state, effects = answer.state, answer.effects
    return state, effects


def accepted(*txids):
    return ev.SubmitResult(tuple(ev.Result(txid, accepted=True) for txid in txids))


def mined(txid, n):
    return ev.MinedAt(txid, H[n], n)


def at(txid, n):
    return st.Mined(txid, H[n], n)


TO_SUBMITTING = (ev.Begin(), ev.Signed(), ev.Shared())
TO_MEMPOOL = (*TO_SUBMITTING, accepted(COMMIT, R0))
TO_CONFIRMED = (*TO_MEMPOOL, mined(COMMIT, 1), mined(R0, 2))


def test_the_way_of_an_anchor_from_built_to_final():
    assert after(ANCHOR, ev.Begin()) == (
        st.Signing(),
        (ef.RequestSignature(b"i" * 32, "anchor", b"payload"),),
    )
    assert after(ANCHOR, ev.Begin(), ev.Signed()) == (st.Signed(), (ef.Share(),))
    assert after(ANCHOR, *TO_SUBMITTING) == (st.Submitting(), (ef.Submit((COMMIT, R0)),))
    assert after(ANCHOR, *TO_MEMPOOL) == (st.Mempool(), ())
    assert after(ANCHOR, *TO_MEMPOOL, mined(COMMIT, 1)) == (st.Committed(mined=(at(COMMIT, 1),)), ())
    assert after(ANCHOR, *TO_CONFIRMED) == (st.Confirmed(mined=(at(COMMIT, 1), at(R0, 2))), ())
    assert after(ANCHOR, *TO_CONFIRMED, ev.Buried(H[2])) == (
        st.Final(mined=(at(COMMIT, 1), at(R0, 2))),
        (),
    )


def test_a_package_of_one_has_no_committed_state():
    assert after(BATCH, *TO_SUBMITTING, accepted(COMMIT), mined(COMMIT, 1)) == (
        st.Confirmed(mined=(at(COMMIT, 1),)),
        (),
    )


def test_signed_bytes_are_shared_before_they_are_sent():
    for event in (accepted(COMMIT, R0), ev.Bump(1), ev.Begin()):
        assert isinstance(step(ANCHOR, st.Signed(), event), Ignored)
    assert step(ANCHOR, st.Signed(), ev.Again()).effects == (ef.Share(),)


def test_a_failed_session_goes_back_to_built_and_says_why():
    state, (alarm,) = after(ANCHOR, ev.Begin(), ev.SigningFailed("only 2 of 3 are up"))
    assert state == st.Built()
    assert "only 2 of 3" in alarm.text


def test_a_member_that_fetches_the_bytes_goes_on_without_asking():
    assert after(ANCHOR, ev.Signed()) == (st.Signed(), (ef.Share(),))


def test_what_was_evicted_goes_out_again_with_the_same_bytes():
    state, effects = after(ANCHOR, *TO_MEMPOOL, ev.Evicted(R0))
    assert state == st.Evicted()
    assert effects[0] == ef.Submit((COMMIT, R0))
    assert after(ANCHOR, accepted(COMMIT, R0), state=state)[0] == st.Mempool()
    state, effects = after(ANCHOR, *TO_MEMPOOL, mined(COMMIT, 1), ev.Evicted(R0))
    assert state == st.Evicted(mined=(at(COMMIT, 1),))
    assert effects[0] == ef.Submit((R0,))
    assert isinstance(step(ANCHOR, st.Mempool(), ev.Evicted(R1)), Ignored)


def test_after_a_reorg_exactly_what_left_the_chain_goes_out_again():
    state, effects = after(ANCHOR, *TO_CONFIRMED, ev.Unmined(H[2]))
    assert (state, effects) == (st.Reorged(mined=(at(COMMIT, 1),)), (ef.Submit((R0,)),))
    state, effects = after(ANCHOR, ev.Unmined(H[1]), state=state)
    assert (state, effects) == (st.Reorged(), (ef.Submit((COMMIT, R0)),))
    assert after(ANCHOR, accepted(COMMIT, R0), state=state)[0] == st.Mempool()


def test_a_block_that_held_both_takes_both_away():
    state, _ = after(ANCHOR, *TO_MEMPOOL, mined(COMMIT, 1), mined(R0, 1), ev.Unmined(H[1]))
    assert state == st.Reorged()


def test_after_a_reorg_the_version_that_was_mined_is_the_one_sent_again():
    state, _ = after(ANCHOR, *TO_MEMPOOL, mined(COMMIT, 1), mined(R2, 2))
    assert state.rung == 2
    state, effects = after(ANCHOR, ev.Unmined(H[2]), state=state)
    assert effects == (ef.Submit((R2,)),)


def test_another_version_may_confirm_after_a_reorg_but_never_beside_the_first():
    state, _ = after(ANCHOR, *TO_CONFIRMED)
    assert isinstance(step(ANCHOR, state, mined(R1, 3)), Ignored)
    state, _ = after(ANCHOR, ev.Unmined(H[2]), mined(R1, 3), state=state)
    assert state == st.Confirmed(rung=1, mined=(at(COMMIT, 1), at(R1, 3)))


def test_a_refusal_is_told_and_sent_again_later():
    refusal = ev.SubmitResult(
        (ev.Result(COMMIT, accepted=True), ev.Result(R0, accepted=False, reason="TRUC"))
    )
    state, (alarm,) = after(ANCHOR, *TO_SUBMITTING, refusal)
    assert state == st.Submitting()
    assert "TRUC" in alarm.text
    assert after(ANCHOR, ev.Again(), state=state)[1] == (ef.Submit((COMMIT, R0)),)


def test_results_about_other_versions_or_some_only_change_nothing():
    state = st.Submitting(rung=1)
    for result in (accepted(COMMIT), accepted(COMMIT, R0), accepted(OTHER), ev.SubmitResult(())):
        assert isinstance(step(ANCHOR, state, result), Ignored)


def test_a_sighting_of_the_last_stage_shows_that_all_are_there():
    assert after(ANCHOR, ev.SeenInMempool(R1), state=st.Submitting())[0] == st.Mempool(rung=1)
    assert after(ANCHOR, ev.SeenInMempool(R1), state=st.Signed())[0] == st.Mempool(rung=1)
    assert isinstance(step(ANCHOR, st.Submitting(), ev.SeenInMempool(COMMIT)), Ignored)
    assert isinstance(step(ANCHOR, st.Submitting(), ev.SeenInMempool(OTHER)), Ignored)


def test_a_bump_goes_up_the_ladder_only():
    state, effects = after(ANCHOR, *TO_MEMPOOL, ev.Bump(2))
    assert (state, effects) == (st.Submitting(rung=2), (ef.Submit((COMMIT, R2)),))
    for rung in (2, 1, 3, -1):
        assert isinstance(step(ANCHOR, state, ev.Bump(rung)), Ignored)


def test_a_tip_that_another_package_spends_has_the_content_planned_anew():
    spent = ev.TipSpentBy(OTHER, H[1], 1, ev.Spender.OTHER_PACKAGE)
    state, (anew,) = after(ANCHOR, *TO_MEMPOOL, spent)
    assert state == st.Superseded(by=at(OTHER, 1))
    assert anew.survivor == OTHER
    for event in (ev.Again(), accepted(COMMIT, R0), ev.Bump(1), mined(COMMIT, 2), ev.SeenInMempool(R0)):
        assert isinstance(step(ANCHOR, state, event), Ignored)
    state, effects = after(ANCHOR, ev.Unmined(H[1]), state=state)
    assert (state, effects) == (st.Reorged(), (ef.Submit((COMMIT, R0)),))


def test_a_void_uses_up_the_commit_and_sleeps_until_its_block_leaves():
    spent = ev.TipSpentBy(VOID, H[2], 2, ev.Spender.VOID)
    state, (anew,) = after(ANCHOR, *TO_MEMPOOL, mined(COMMIT, 1), spent)
    assert state == st.Void(mined=(at(COMMIT, 1),), by=at(VOID, 2))
    assert isinstance(anew, ef.SignAnew)
    state, effects = after(ANCHOR, ev.Unmined(H[2]), state=state)
    assert (state, effects) == (st.Reorged(mined=(at(COMMIT, 1),)), (ef.Submit((R0,)),))


def test_void_and_commit_in_one_block_leave_together():
    spent = ev.TipSpentBy(VOID, H[1], 1, ev.Spender.VOID)
    state, _ = after(ANCHOR, *TO_MEMPOOL, mined(COMMIT, 1), spent, ev.Unmined(H[1]))
    assert state == st.Reorged()


def test_a_void_still_counts_when_only_the_commits_block_is_said_to_leave():
    spent = ev.TipSpentBy(VOID, H[2], 2, ev.Spender.VOID)
    state, effects = after(ANCHOR, *TO_MEMPOOL, mined(COMMIT, 1), spent, ev.Unmined(H[1]))
    assert (state, effects) == (st.Void(by=at(VOID, 2)), ())
    assert after(ANCHOR, ev.Unmined(H[2]), state=state)[0] == st.Reorged()


def test_a_changed_parent_has_the_content_signed_anew_and_these_bytes_rest():
    state, effects = after(ANCHOR, *TO_MEMPOOL, ev.ParentGone(PARENT, H[1], 1))
    assert state == st.ParentChanged(by=at(PARENT, 1))
    assert effects[0] == ef.SignAnew(PARENT, "another version of the parent is in a block")
    assert isinstance(step(ANCHOR, state, ev.Again()), Ignored)
    assert after(ANCHOR, ev.Unmined(H[1]), state=state)[0] == st.Reorged()
    confirmed, _ = after(ANCHOR, *TO_CONFIRMED)
    assert isinstance(step(ANCHOR, confirmed, ev.ParentGone(PARENT, H[3], 3)), Ignored)


def test_a_foreign_spend_halts_for_good():
    spent = ev.TipSpentBy(OTHER, H[1], 1, ev.Spender.FOREIGN, "two outputs")
    state, (alarm,) = after(ANCHOR, *TO_MEMPOOL, spent)
    assert state == st.ForeignSpend(txid=OTHER, reason="two outputs")
    assert alarm.level == "pause"
    for event in (ev.Unmined(H[1]), ev.Begin(), mined(COMMIT, 2), ev.Again()):
        assert isinstance(step(ANCHOR, state, event), Ignored)


def test_final_stays_final_unless_finality_itself_is_violated():
    state, _ = after(ANCHOR, *TO_CONFIRMED, ev.Buried(H[2]))
    spent = ev.TipSpentBy(OTHER, H[9], 9, ev.Spender.FOREIGN)
    for event in (ev.Evicted(R0), ev.Again(), ev.Buried(H[2]), mined(R1, 5), spent, ev.Unmined(H[7])):
        assert isinstance(step(ANCHOR, state, event), Ignored)
    state, (submit, alarm) = after(ANCHOR, ev.Unmined(H[2]), state=state)
    assert state == st.Reorged(mined=(at(COMMIT, 1),))
    assert submit == ef.Submit((R0,))
    assert alarm.level == "pause"


def test_only_the_block_of_the_last_stage_makes_it_final():
    state, _ = after(ANCHOR, *TO_CONFIRMED)
    assert isinstance(step(ANCHOR, state, ev.Buried(H[1])), Ignored)
    assert isinstance(step(ANCHOR, st.Mempool(), ev.Buried(H[1])), Ignored)


def test_a_version_mined_before_this_node_signed_is_taken_from_the_chain():
    state, effects = after(ANCHOR, mined(COMMIT, 1))
    assert (state, effects) == (st.Submitting(mined=(at(COMMIT, 1),)), (ef.Submit((R0,)),))
    assert after(ANCHOR, mined(R1, 2), state=state)[0] == st.Confirmed(
        rung=1, mined=(at(COMMIT, 1), at(R1, 2))
    )


def test_a_version_of_ours_is_no_stranger_and_no_parent():
    assert isinstance(step(ANCHOR, st.Mempool(), ev.TipSpentBy(COMMIT, H[1], 1, ev.Spender.FOREIGN)), Ignored)
    assert isinstance(step(ANCHOR, st.Mempool(), ev.ParentGone(R1, H[1], 1)), Ignored)


def test_a_context_has_stages_with_versions_of_their_own():
    for stages in ((), ((),), ((COMMIT,), (COMMIT,)), ((COMMIT, COMMIT),)):
        with pytest.raises(ValueError, match="stages"):
            Context(b"", "", b"", stages)


TXIDS = hs.sampled_from([COMMIT, R0, R1, R2, OTHER, VOID, PARENT])
BLOCKS = hs.sampled_from(range(5))
EVENTS = hs.one_of(
    hs.sampled_from([ev.Begin(), ev.Signed(), ev.SigningFailed("x"), ev.Shared(), ev.Again()]),
    hs.builds(lambda ts: accepted(*ts), hs.lists(TXIDS, max_size=3)),
    hs.builds(
        lambda t: ev.SubmitResult((ev.Result(t, accepted=False, reason="no"),)),
        TXIDS,
    ),
    hs.builds(ev.SeenInMempool, TXIDS),
    hs.builds(ev.Evicted, TXIDS),
    hs.builds(mined, TXIDS, BLOCKS),
    hs.builds(lambda n: ev.Unmined(H[n]), BLOCKS),
    hs.builds(lambda n: ev.Buried(H[n]), BLOCKS),
    hs.builds(
        lambda t, n, how: ev.TipSpentBy(t, H[n], n, how),
        TXIDS,
        BLOCKS,
        hs.sampled_from([ev.Spender.OTHER_PACKAGE, ev.Spender.VOID]),
    ),
    hs.builds(lambda t, n: ev.ParentGone(t, H[n], n), TXIDS, BLOCKS),
    hs.builds(ev.Bump, hs.integers(-1, 4)),
)


def sound(state):
    """What every reachable state keeps, whatever came in whatever order."""
    places = [m.txid for m in getattr(state, "mined", ())]
    assert places in ([], [COMMIT], [COMMIT, R0], [COMMIT, R1], [COMMIT, R2])
    if isinstance(state, st.Confirmed | st.Final):
        assert len(places) == 2
        assert ANCHOR.stages[1][state.rung] == places[1]
    if isinstance(state, st.Mempool | st.Signed):
        assert not places
    if isinstance(state, st.Committed):
        assert len(places) == 1
    if isinstance(state, st.Superseded | st.ParentChanged):
        assert not places
        assert state.by.txid not in (COMMIT, R0, R1, R2)


@settings(max_examples=300)
@given(hs.lists(EVENTS, max_size=40))
def test_no_order_of_events_confirms_two_versions_or_breaks_a_state(events):
    state = st.Built()
    for event in events:
        answer = step(ANCHOR, state, event)
        assert answer == step(ANCHOR, state, event), "deterministic"
        if isinstance(answer, Ignored):
            assert answer.reason
            continue
        for effect in answer.effects:
            if isinstance(effect, ef.Submit):
                places = [ANCHOR.place(txid)[0] for txid in effect.txids]
                assert places == list(range(2 - len(places), 2)), "parents first, the last stage always"
                assert not isinstance(answer.state, st.Asleep | st.Confirmed | st.Final | st.ForeignSpend)
        state = answer.state
        sound(state)
        assert st.from_row(json.loads(json.dumps(st.to_row(state)))) == state


class Chain:
    """Blocks over the tip: what may be mined follows from what is, as consensus has it."""

    def __init__(self) -> None:
        self.blocks: list[tuple[bytes, list[bytes]]] = []
        self.made = 0

    @property
    def txids(self) -> list[bytes]:
        return [txid for _, txids in self.blocks for txid in txids]

    def possible(self) -> list[bytes]:
        there = self.txids
        if not there:
            return [COMMIT, OTHER]
        if there == [COMMIT]:
            return [R0, R1, R2, VOID]
        return []

    def connect(self, txids):
        self.made += 1
        self.blocks.append((sha256(b"made %d" % self.made), txids))
        name, height = self.blocks[-1][0], len(self.blocks)
        strange = {OTHER: ev.Spender.OTHER_PACKAGE, VOID: ev.Spender.VOID}
        for txid in txids:
            if txid in strange:
                yield ev.TipSpentBy(txid, name, height, strange[txid])
            else:
                yield ev.MinedAt(txid, name, height)
        if len(self.blocks) >= 3:
            yield ev.Buried(self.blocks[-3][0])

    def disconnect(self):
        yield ev.Unmined(self.blocks.pop()[0])


@settings(max_examples=300)
@given(hs.data())
def test_the_machine_agrees_with_the_chain_after_any_story_of_blocks_and_reorgs(data):
    chain, state = Chain(), st.Built()
    for _ in range(data.draw(hs.integers(1, 25))):
        kind = data.draw(hs.sampled_from(["local", "block", "block", "reorg"]))
        if kind == "local":
            tx = data.draw(hs.sampled_from([R0, R1, R2]))
            choices = [*TO_MEMPOOL, ev.Again(), ev.Evicted(tx), ev.Bump(1), ev.SeenInMempool(tx)]
            events = [data.draw(hs.sampled_from(choices))]
        elif kind == "reorg" and chain.blocks:
            events = list(chain.disconnect())
        else:
            txids = []
            while data.draw(hs.booleans()) and (more := Chain.possible(_with(chain, txids))):
                txids.append(data.draw(hs.sampled_from(more)))
            events = list(chain.connect(txids))
        for event in events * data.draw(hs.integers(1, 2) if len(events) == 1 else hs.just(1)):
            answer = step(ANCHOR, state, event)
            state = answer.state if isinstance(answer, Step) else state
        sound(state)
        agree(state, chain.txids)


def _with(chain, txids):
    other = Chain()
    other.blocks = [*chain.blocks, (b"", txids)]
    return other


def agree(state, there):
    """The state says of the chain what is on it."""
    if there == [OTHER]:
        assert isinstance(state, st.Superseded)
    elif VOID in there:
        assert isinstance(state, st.Void)
    elif len(there) == 2:
        assert isinstance(state, st.Confirmed | st.Final)
        assert [m.txid for m in state.mined] == there
    elif there == [COMMIT]:
        assert isinstance(state, st.Submitting | st.Committed | st.Evicted | st.Reorged)
        assert [m.txid for m in state.mined] == there
    else:
        assert not isinstance(state, st.Asleep | st.Committed | st.Confirmed | st.Final)


@pytest.mark.parametrize(
    "row", [{}, {"state": "nowhere"}, {"state": "void"}, {"state": "mempool", "rung": "x"}]
)
def test_a_stored_state_that_cannot_be_read_is_named(row):
    with pytest.raises(st.StateError, match="outbox state"):
        st.from_row(row)
