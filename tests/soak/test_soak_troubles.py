"""What befalls a machine, once and quickly, in real processes; the long run does it at length."""

import pytest

from tests.soak.committee import Counts, committee
from tests.soak.faults import SoakFault
from tests.soak.troubles import Troubles, no_room


async def test_after_every_trouble_the_members_share_signs_and_no_nonce_has_two_packages(tmp_path):
    counts = Counts()
    async with committee(tmp_path / "c") as nodes:
        troubles = Troubles(nodes, counts, lambda _text: None)
        await troubles.begin()
        await troubles.older_database(tmp_path)
        await troubles.second_process()
        await troubles.full_disk("no file may grow", no_room)
        await troubles.clock_jump()
        counts.take(nodes)
    assert len(counts.troubles) == 4
    assert counts.nonces.commitments > 20
    assert (counts.nonces.duplicates, counts.unrecorded) == (0, 0)


def test_a_share_that_left_without_a_row_is_seen(tmp_path):
    class Forgetful:
        def recorded(self):
            return {b"one": b"package"}

        def left(self):
            return [(b"one", b"package"), (b"two", b"package"), (b"one", b"another")]

    counts = Counts()
    counts.take([Forgetful()])
    assert (counts.unrecorded, counts.nonces.duplicates) == (2, 1)


def test_a_signature_that_does_not_verify_ends_a_run():
    from tests.soak.committee import holds

    signed = {"public_key": "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"}
    with pytest.raises(SoakFault, match="does not verify"):
        holds(signed | {"signature": "00" * 64, "message": "00" * 32})
