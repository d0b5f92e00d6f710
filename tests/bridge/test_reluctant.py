"""How long an epoch whose members did not sign is left out."""

from bridge.reluctant import LONGEST_SECONDS, Reluctant


def test_each_failure_in_a_row_doubles_the_pause_up_to_an_hour_and_a_signature_ends_it() -> None:
    now = [0.0]
    it = Reluctant(10.0, lambda: now[0])
    assert it.epochs() == frozenset()
    lengths = []
    for _ in range(12):
        it.failed(3)
        began = now[0]
        while 3 in it.epochs():
            now[0] += 10.0
        lengths.append(now[0] - began)
    assert lengths[:3] == [10.0, 20.0, 40.0]
    assert lengths[-1] == LONGEST_SECONDS
    it.failed(3)
    it.failed(4)
    it.signed(3)
    assert it.epochs() == {4}
    it.failed(3)
    now[0] += 10.0
    assert it.epochs() == frozenset(), "the next failure is a first one again"
