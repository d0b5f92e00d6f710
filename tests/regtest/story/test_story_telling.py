"""How the story is told: what held is counted, what did not ends it, what is missing is named."""

import io
from types import SimpleNamespace

import pytest

from regtest import demo
from regtest.stage import play
from regtest.story.scene import Scene
from regtest.telling import DoesNotHold, Teller


@pytest.fixture
def tell():
    return Teller(out=io.StringIO())


def told(tell):
    return tell.out.getvalue()


def test_what_holds_is_printed_and_counted(tell):
    with tell.step(1, "World"):
        tell.check(True, "six bitcoinds")
        tell.equal(3, 3, "three keys")
    assert "✓ six bitcoinds" in told(tell)
    assert "held: 2 checks" in told(tell)


def test_what_does_not_hold_says_what_was_seen(tell):
    with pytest.raises(DoesNotHold, match="three keys; but seen was 2 instead of 3"), tell.step(1, "Keys"):
        tell.equal(2, 3, "three keys")
    assert tell.steps[0].outcome == "failed"


def test_the_table_names_steps_and_memory(tell):
    with tell.step(1, "World"):
        tell.check(True, "it is there")
    tell.missing(2, "Keys")
    tell.table({"alice's node": 117_000_000})
    rows = [line.split() for line in told(tell).splitlines()]
    assert any(row[:2] == ["1.", "World"] and row[-1] == "held" for row in rows)
    assert any(row[:2] == ["2.", "Keys"] and row[-1] == "missing" for row in rows)
    assert ["alice's", "node", "117"] in rows


def played(tell, *steps):
    return play(Scene(SimpleNamespace(nodes=[]), tell), steps)  # these steps look at no world


def test_a_story_in_which_all_holds_ends_with_0(tell):
    assert played(tell, ("World", lambda s: s.tell.check(True, "yes"))) == 0


def test_a_story_with_missing_steps_tells_the_others_and_ends_with_3(tell):
    assert played(tell, ("World", None), ("Keys", lambda s: s.tell.check(True, "yes"))) == 3
    assert "missing" in told(tell)
    assert "✓ yes" in told(tell)


def test_a_step_that_does_not_hold_ends_the_story_with_1(tell, capsys):
    later = []
    steps = (("World", lambda s: s.tell.check(False, "six")), ("Keys", later.append))
    assert played(tell, *steps) == 1
    assert later == []
    assert "Step 1 failed: six" in capsys.readouterr().out


def test_a_crash_of_the_story_itself_ends_it_with_1_and_its_traceback(tell, capsys):
    def crash(_):
        raise KeyError("height")

    assert played(tell, ("World", crash)) == 1
    assert "Traceback" in capsys.readouterr().out


def test_the_story_has_the_nine_steps_and_none_is_missing():
    assert [title for title, _ in demo.STEPS] == [
        *("World", "Keys", "Deposit", "Rollup", "Anchor", "Withdrawal", "Reorg", "Faults", "Audit")
    ]
    assert all(step is not None for _, step in demo.STEPS)
