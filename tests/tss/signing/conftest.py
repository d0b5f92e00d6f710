"""Committees with a key, made once per run of the tests; each test gets fresh pools and signers."""

import pytest

from tests.tss.simnet import Dkg, SimCommittee


@pytest.fixture(scope="session")
def made_keys():
    return {}


@pytest.fixture
def committee_of(made_keys):
    def make(n: int, t: int) -> SimCommittee:
        if (n, t) not in made_keys:
            dkg = Dkg(n, t)
            made_keys[n, t] = dkg, dkg.run()[0]
        return SimCommittee.of(*made_keys[n, t])

    return make


@pytest.fixture
def three(committee_of):
    return committee_of(3, 2)


@pytest.fixture
def five(committee_of):
    return committee_of(5, 3)
