"""How tests judge: as a stranger does, from bytes."""

from tests.tss.simnet import ENGINE, SEALER
from tss.dkg.committee import Committee
from tss.evidence import collect
from tss.evidence.form import Evidence
from tss.evidence.judge import Judgement, judge
from tss.frost.engine import GroupPublic
from tss.signing.faults import Finding


def judged(evidence: Evidence, committee: Committee | None = None) -> Judgement:
    return judge(ENGINE, SEALER, Evidence.decode(evidence.encode()), committee)


def proven(committee: Committee, public: GroupPublic, finding: Finding) -> bool:
    """Whether a stranger convicts by what a coordinator or signer found."""
    found = collect.signing(ENGINE, committee, public, finding)
    return found is not None and judged(found).proven
