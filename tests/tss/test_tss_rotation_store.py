"""The rows of refreshes and repairs: what is kept, what makes room, what an operator agreed to."""

from dataclasses import replace

import pytest

from tss.rotation_store import KEPT_ATTEMPTS, RotationRow, RotationStore
from tss.store import Store

ROW = RotationRow(bytes(32), b"k" * 32, "refresh", b"b" * 33, 1, 1, "open", "", b"body", b"", b"", 1.0)


@pytest.fixture
async def rows(tmp_path):
    store = Store(tmp_path / "signer.db", lambda: 1000.0)
    yield RotationStore(store, lambda: 1000.0)
    await store.close()


def numbered(number, **changes):
    return replace(ROW, sid=number.to_bytes(32, "big"), attempt=number, **changes)


async def test_a_member_that_begins_attempts_for_ever_does_not_fill_the_disk(rows):
    await rows.save(numbered(1, state="proved"))
    await rows.save(numbered(2, state="acked"))
    for number in range(3, 60):
        await rows.save(numbered(number, state=("open", "signed", "failed")[number % 3]))
    kept = await rows.of_key(ROW.key_sid, "open", "signed", "failed")
    assert [row.attempt for row in kept] == list(range(60 - KEPT_ATTEMPTS, 60))
    assert [row.attempt for row in await rows.of_key(ROW.key_sid, "acked", "proved")] == [1, 2]
    assert await rows.highest_attempt(ROW.base) == 59
    await rows.save(numbered(5, key_sid=b"other key" + bytes(23)))
    assert len(await rows.of_key(ROW.key_sid, "open", "signed", "failed")) == KEPT_ATTEMPTS


async def test_a_row_moves_through_its_states_and_is_found(rows):
    await rows.save(ROW)
    assert await rows.open() == [ROW]
    signed = replace(ROW, state="signed", body=b"transcript")
    await rows.save(signed)
    assert await rows.get(ROW.sid) == signed
    assert await rows.open() == []
    assert await rows.get(b"x" * 32) is None
    assert await rows.highest_attempt(b"z" * 33) == 0


async def test_consent_is_to_one_share_set_and_to_exactly_those_members(rows):
    await rows.consent(b"b" * 33, (5, 3))
    await rows.consent(b"b" * 33, (3, 5))
    await rows.consent(b"b" * 33, (4,))
    assert await rows.consents(b"b" * 33) == frozenset({frozenset({3, 5}), frozenset({4})})
    assert await rows.consents(b"c" * 33) == frozenset()
