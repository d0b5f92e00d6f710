"""Evidence under a committee that really runs."""

from tests.tss.evidence.cases import CHEATER
from tss.evidence import collect
from tss.signing import faults
from tss.signing.messages import Commitments


def some_evidence(seats, *, sequence=1, member=CHEATER):
    """Bob offers one commitment twice, under the committee that really runs."""
    bob = seats[member - 1].identity.seated(seats[0].committee.committee)
    made = [
        Commitments(b"\x02" * 33, member, bytes(16), number, (b"\x02" * 66,)).signed(bob)
        for number in (sequence, sequence + 1)
    ]
    finding = faults.Finding(faults.Kind.REPLAYED_COMMITMENT, member, "", tuple(made))
    return collect.signing(None, seats[0].committee.committee, None, finding)
