"""The judge: decides a piece of evidence with public data alone, trusting nobody's word."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from tss.dkg.committee import Committee
from tss.dkg.faults import DkgFault
from tss.dkg.ports import Sealer
from tss.evidence import key_faults, signing_faults, work_faults
from tss.evidence.form import Body, Court, Evidence, Kind, NotProven
from tss.frost.codec import DecodeError
from tss.frost.engine import Engine
from tss.frost.errors import FrostError


@dataclass(frozen=True, slots=True)
class Rule:
    """The body that a kind of evidence holds, and what a conviction says and leaves open."""

    body: type[Body]
    proves: str
    open: str


@dataclass(frozen=True, slots=True)
class Judgement:
    """Whether the culprit is convicted; `reason` is a sentence either way."""

    proven: bool
    reason: str
    proves: str
    open: str


_SESSION = "The attempt made no key; other keys are not touched."
_WORK = "The shares before serve on: nothing was changed."
_HARMLESS = "No key or signature is at risk: the honest members did not use it."
_HOST_KEY = "It does not tell a malicious operator from a stolen host key or a defect."

RULES: Final[Mapping[Kind, Rule]] = {
    Kind.BAD_PROOF: Rule(
        key_faults.BadProof,
        "the culprit's host key signed, for this session, a first message that fails its check",
        _SESSION,
    ),
    Kind.BAD_R2: Rule(
        key_faults.BadR2,
        "the culprit's host key signed, for this session, shares for another number of members",
        _SESSION,
    ),
    Kind.BAD_DKG_SHARE: Rule(
        key_faults.Accusation,
        "the culprit sealed to the complainant a share that contradicts its own signed commitments",
        f"It says nothing about the shares sealed to others. {_SESSION}",
    ),
    Kind.FALSE_COMPLAINT: Rule(
        key_faults.Accusation,
        "the culprit complained of a member that had sealed a good share to it",
        f"It says nothing about the shares sealed to others. {_SESSION}",
    ),
    Kind.EQUIVOCATION: Rule(
        key_faults.Equivocation,
        "the culprit's host key signed two contradicting messages for one place in one session",
        "It does not show which members saw which message, nor that a relay took part.",
    ),
    Kind.FALSE_KEY: Rule(
        key_faults.FalseKey,
        "the culprit signed that a session made a key which its own signed messages do not make",
        "It does not show who knows that key's secret.",
    ),
    Kind.BAD_SIGNATURE_SHARE: Rule(
        signing_faults.BadSignatureShare,
        "the culprit's host key signed, for this session, shares that do not verify under its public share",
        _HARMLESS,
    ),
    Kind.TWO_PACKAGES: Rule(
        signing_faults.TwoPackages,
        "the culprit, coordinating, ordered two signatures with one nonce, which would reveal a share",
        "It does not show that the member answered both: a holdfast signer refuses the second.",
    ),
    Kind.REPLAYED_COMMITMENT: Rule(
        signing_faults.ReplayedCommitment,
        "the culprit offered one nonce for two uses",
        _HARMLESS,
    ),
    Kind.BAD_WORK: Rule(
        work_faults.BadWork,
        "the culprit's host key signed, for this refresh or repair, a first message that fails its check",
        _WORK,
    ),
    Kind.BAD_WORK_SHARE: Rule(
        work_faults.WorkAccusation,
        "the culprit sealed to the complainant a value that contradicts its own signed commitments",
        _WORK,
    ),
    Kind.FALSE_WORK_COMPLAINT: Rule(
        work_faults.WorkAccusation,
        "the culprit complained of a member without being able to show a fault",
        _WORK,
    ),
    Kind.FALSE_REFRESH: Rule(
        work_faults.FalseWork,
        "the culprit signed that a refresh made shares of a group which its signed messages do not make",
        f"It does not show who knows those shares. {_WORK}",
    ),
    Kind.FALSE_REPAIR: Rule(
        work_faults.FalseWork,
        "the culprit signed that a repair left another group than the one it was for",
        f"It does not show who knows the shares of that group. {_WORK}",
    ),
    Kind.BAD_COMMITMENT: Rule(
        signing_faults.BadCommitment,
        "the culprit's host key signed a nonce commitment that no session can use",
        _HARMLESS,
    ),
}


def judge(
    engine: Engine, sealer: Sealer, evidence: Evidence, committee: Committee | None = None
) -> Judgement:
    """Decide `evidence` about the committee inside it, which must be `committee` where one is given."""
    court = Court(engine, sealer, evidence.committee, evidence.kind)
    rule = RULES[evidence.kind]
    if committee is not None and committee.hash != evidence.committee.hash:
        return _no(
            f"it is about the committee {evidence.committee.name} ({evidence.committee.words}), not about "
            f"{committee.name} ({committee.words})"
        )
    try:
        said = rule.body.decode(evidence.body).convict(court, evidence.culprit)
    except NotProven as no:
        return _no(str(no))
    except DecodeError as error:
        return _no(f"its messages are damaged: {error}")
    except DkgFault as fault:
        return _no(fault.reason)
    except FrostError as error:
        return _no(f"its messages cannot be checked: {error}")
    return Judgement(True, f"{evidence.culprit_name} {said}", rule.proves, f"{rule.open} {_HOST_KEY}")


def _no(why: str) -> Judgement:
    return Judgement(False, why, "nothing about anyone", "")
