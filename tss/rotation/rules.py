"""What a member may join, and which of two refreshes of the same shares counts.

Two refreshes of one share set can both end in a certificate, when a relay died or lied. They do no harm: a share
set counts only once all its members have signed together under it, and among those of one origin the one with the
higher attempt counts, until all have refreshed on from another (`rank`). A member joins only attempts higher than
any it has seen, so all come to the same one.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from tss.dkg.committee import Committee
from tss.dkg.faults import DkgFault
from tss.frost.group import GroupPublic
from tss.rotation.plan import Plan, Work


class NotJoined(DkgFault):
    """We do not take part in this plan; the sentence says what to do."""

    code = "plan"


class NoConsent(NotJoined):
    """A plan takes members' shares away and this node's operator has not agreed."""

    code = "consent"


class OldAttempt(NotJoined):
    """Its number was taken: the one who drives may have forgotten an attempt, in a crash or on a full disk."""

    code = "old-attempt"


class Behind(NotJoined):
    """The asking member works on shares that have been refreshed since."""

    code = "superseded"


@dataclass(frozen=True, slots=True)
class Standing:
    """What a member knows when a plan arrives.

    The key's present group, the highest attempt seen on it, and whom its operator agreed to remove from it.
    """

    public: GroupPublic
    attempt: int
    consents: frozenset[frozenset[int]] = frozenset()
    states: ClassVar[frozenset[str]] = frozenset({"verified", "active", "retiring"})


def check_plan(committee: Committee, plan: Plan, standing: Standing, state: str, relay: int) -> None:
    """Raise NotJoined, or what it is in particular, when we should not take part in a plan that `relay` brings."""
    public = standing.public
    if plan.committee_hash != committee.hash:
        raise NotJoined("the plan is for another committee file: compare its words with the others")
    if state not in Standing.states:
        raise NotJoined(f"a key in state {state} is not refreshed: it must be verified first")
    if plan.base != public.share_set:
        raise Behind(
            "the plan starts from other shares than ours: the one who is behind catches up by itself"
        )
    if plan.attempt <= standing.attempt:
        raise OldAttempt(f"attempt {plan.attempt} is not new: start one above {standing.attempt}")
    strangers = [member for member in plan.members if member not in public.verifying_shares]
    if strangers:
        raise NotJoined(
            f"{committee.names_of(strangers)} holds no share of this key: make a new key to add members"
        )
    if len(plan.dealers) < public.threshold:
        raise NotJoined(f"{len(plan.dealers)} members are too few for a key that needs {public.threshold}")
    if plan.work is Work.REPAIR:
        _check_repair(committee, plan, relay)
    else:
        _check_removal(committee, plan, standing)


def _check_repair(committee: Committee, plan: Plan, relay: int) -> None:
    if relay != plan.receiver:
        name = committee.name_of(plan.receiver)
        raise NotJoined(f"only {name} itself may ask for its share: run `holdfast tss repair` there")


def _check_removal(committee: Committee, plan: Plan, standing: Standing) -> None:
    removed = plan.removed(standing.public)
    if removed and frozenset(removed) not in standing.consents:
        names = committee.names_of(removed)
        options = " ".join(f"--without {committee.name_of(member)}" for member in removed)
        raise NoConsent(
            f"this node's operator has not agreed to remove {names}: let him run "
            f"`holdfast tss refresh {options} --consent`"
        )


@dataclass(frozen=True, slots=True)
class Proven:
    """A certified refresh that all its members have signed under."""

    attempt: int
    sid: bytes


def counts(candidates: Iterable[Proven]) -> Proven | None:
    """Which of the proven refreshes of one share set counts."""
    return max(candidates, key=lambda one: (one.attempt, one.sid), default=None)


def rank(chain: Sequence[Proven]) -> tuple[int, list[tuple[int, bytes]]]:
    """The order of two chains of proven refreshes of one key: the greater one counts.

    The longer one: its last refresh was proved by all who hold a share, so all had taken up those before it, and
    nobody makes one longer without them. Among equals the higher attempt where they part. Whoever moves, moves to a
    greater chain only; so all who hear of each other's come to the same.
    """
    return len(chain), [(one.attempt, one.sid) for one in chain]


def choose_helpers(
    holders: Collection[int], receiver: int, threshold: int, up: Iterable[int]
) -> tuple[int, ...]:
    """The t helpers among those who are up, in the order given; fewer when there are not enough."""
    chosen = [m for m in dict.fromkeys(up) if m in holders and m != receiver][:threshold]
    return tuple(sorted(chosen))
