"""What a signed batch's machine is told: from any belief, it ends where an oracle reads the batch to be."""

from hypothesis import given, settings
from hypothesis import strategies as some

from anchor.btc.ids import Txid
from anchor.outbox import events as ev
from anchor.outbox import states as st
from anchor.outbox.effects import Alarm
from anchor.outbox.transitions import Context
from bridge.outgoing import Whereabouts, advance


def txid(name: str) -> Txid:
    return Txid(name.encode().ljust(32, b"\0"))


COMMIT, RUNGS = txid("commit"), (txid("rung 0"), txid("rung 1"), txid("rung 2"))
CONTEXT = Context(b"i" * 32, "anchor", b"p", ((COMMIT,), RUNGS))
BLOCKS = [bytes([n]) * 32 for n in range(1, 5)]
START = [st.Submitting(), st.Signed()]


def mined(name: Txid, block: bytes) -> st.Mined:
    return st.Mined(name, block, 100 + BLOCKS.index(block))


@some.composite
def places(draw: some.DrawFn) -> Whereabouts:
    """Everything that one chain can say of a package: nothing, parts of it, all of it, or what took its place."""
    block = draw(some.sampled_from(BLOCKS))
    later = draw(some.sampled_from([b for b in BLOCKS if b >= block]))
    commit, rung = mined(COMMIT, block), draw(some.sampled_from(RUNGS))
    match draw(some.sampled_from(["none", "mempool", "commit", "all", "final", "void", "other", "parent"])):
        case "none":
            return Whereabouts()
        case "mempool":
            return Whereabouts(mempool=rung)
        case "commit":
            return Whereabouts((commit,), mempool=draw(some.sampled_from([None, rung])))
        case "all":
            return Whereabouts((commit, mined(rung, later)))
        case "final":
            return Whereabouts((commit, mined(rung, later)), buried=True)
        case "void":
            return Whereabouts((commit,), displaced=(mined(txid("void"), later), ev.Spender.VOID, "voided"))
        case "other":
            return Whereabouts(displaced=(mined(txid("rival"), block), ev.Spender.OTHER_PACKAGE, "rival"))
        case _:
            return Whereabouts(survivor=mined(txid("other parent"), block))


def right(now: Whereabouts, state: st.State) -> bool:
    """The oracle: what a state may be, written without looking at events."""
    if now.survivor is not None:
        return isinstance(state, st.ParentChanged) and state.by == now.survivor
    if now.displaced is not None:
        kind = st.Void if now.displaced[1] is ev.Spender.VOID else st.Superseded
        return type(state) is kind and state.by == now.displaced[0]
    if len(now.mined) == 2:
        kinds = (
            (st.Final,) if now.buried else (st.Confirmed, st.Final)
        )  # what was final stays so in its block
        return (
            isinstance(state, kinds) and state.mined == now.mined and RUNGS[state.rung] == now.mined[1].txid
        )
    if isinstance(state, st.Signed):  # not told to the others yet; nobody has sent it either
        return not now.mined and now.mempool is None
    if not isinstance(state, st.Waiting) or state.mined != now.mined:
        return False
    if now.mempool is not None:
        calm = st.Committed if now.mined else st.Mempool
        return isinstance(state, calm) and RUNGS[state.rung] == now.mempool
    return True


@given(some.lists(places(), min_size=1, max_size=6), some.sampled_from(START))
@settings(max_examples=400, deadline=None)
def test_a_machine_ends_where_the_batch_is_whatever_it_believed(
    story: list[Whereabouts], state: st.State
) -> None:
    for now in story:
        before = state
        state, _ = advance(CONTEXT, state, now)
        assert right(now, state), (before, now, state)
        again, effects = advance(CONTEXT, state, now)
        assert again == state, "looking twice changes nothing"
        assert not [e for e in effects if isinstance(e, Alarm)], "and alarms nobody"
        assert st.from_row(st.to_row(state)) == state


@given(some.lists(places(), min_size=1, max_size=6))
@settings(max_examples=200, deadline=None)
def test_finality_that_is_lost_is_said_aloud(story: list[Whereabouts]) -> None:
    state: st.State = st.Submitting()
    for now in story:
        before = state
        state, effects = advance(CONTEXT, state, now)
        lost = isinstance(before, st.Final) and before.mined != now.mined
        assert lost == any(isinstance(e, Alarm) and e.level == "pause" for e in effects), (before, now)
