"""The long runs' own judgement: a table that would not see a nonce used twice proves nothing."""

from tests.bench.report import below, unmeasured
from tests.soak.matrix import Matrix
from tests.soak.nonces import Nonces


def test_a_commitment_with_two_packages_is_a_duplicate_and_a_repeated_share_is_not():
    table = Nonces()
    table.left(b"one", b"package")
    table.left(b"one", b"package")
    table.left(b"two", b"package")
    assert (table.shares, table.commitments, table.packages, table.duplicates) == (3, 2, 2, 0)
    table.left(b"two", b"another")
    assert (table.packages, table.duplicates) == (3, 1)


def test_the_smallest_committee_goes_through_the_whole_matrix():
    run = Matrix(Nonces())
    run.of(3, 2)
    assert run.most_sessions[3, 2] <= 2
    assert run.culprits >= 5
    assert run.nonces.commitments > 0
    assert run.nonces.duplicates == 0


def test_what_was_not_measured_is_missed():
    assert unmeasured("a figure", "its goal", "no time").met is False
    assert below("a figure", "≤ 1", 1.0, 1, "×").met is True
    assert below("a figure", "≤ 1", 1.1, 1, "×").met is False
