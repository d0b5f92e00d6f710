"""The states of a key and every move between them; whatever is not in the table is refused.

proposed   an attempt is under way, or ended in R3 signatures that may yet become a certificate
certified  n signatures on one transcript exist: the key is there for everybody, whoever knows of it
acked      this node has stored the recovery data and restored its share from it once
verified   a test signature of all members held, our own share in it: only now does the key sign
active     the activation record is signed: only now does anything pay to it
retiring   a later key serves; this one signs what moves coins off it
retired    nothing is left on it and our share is wiped
removed    a refresh made new shares without this node
abandoned  another committee file of its epoch lies here than the one that made it; back with that one
failed     the attempt ended before this node signed R3 (a certificate that proves otherwise still counts)
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from tss.dkg.faults import DkgFault

PURPOSES: Final = frozenset({"treasury", "anchor", "mint"})


class KeyState(StrEnum):
    """One of the states above."""

    PROPOSED = "proposed"
    CERTIFIED = "certified"
    ACKED = "acked"
    VERIFIED = "verified"
    ACTIVE = "active"
    RETIRING = "retiring"
    RETIRED = "retired"
    REMOVED = "removed"
    ABANDONED = "abandoned"
    FAILED = "failed"


_S = KeyState
_KNOWN: Final = frozenset(state.value for state in KeyState)
MOVES: Final[Mapping[KeyState, frozenset[KeyState]]] = MappingProxyType(
    {
        _S.PROPOSED: frozenset({_S.CERTIFIED, _S.FAILED}),
        _S.FAILED: frozenset({_S.CERTIFIED}),
        _S.CERTIFIED: frozenset({_S.ACKED}),
        _S.ACKED: frozenset(
            {_S.VERIFIED, _S.FAILED, _S.ABANDONED}
        ),  # failed: another key of its place was verified
        _S.VERIFIED: frozenset({_S.ACTIVE, _S.RETIRING, _S.REMOVED, _S.ABANDONED}),
        _S.ACTIVE: frozenset({_S.RETIRING, _S.REMOVED, _S.ABANDONED}),
        _S.RETIRING: frozenset({_S.ACTIVE, _S.RETIRED, _S.REMOVED, _S.ABANDONED}),
        _S.ABANDONED: frozenset({_S.ACKED, _S.VERIFIED}),
        _S.RETIRED: frozenset(),
        _S.REMOVED: frozenset(),
    }
)

SIGNS_TESTS: Final = frozenset({_S.ACKED, _S.VERIFIED, _S.ACTIVE, _S.RETIRING})
SIGNS: Final = frozenset({_S.VERIFIED, _S.ACTIVE, _S.RETIRING})
IS_PAID_TO: Final = frozenset({_S.ACTIVE})


class KeyStateFault(DkgFault):
    """A key cannot move so; the sentence says where it can."""

    code = "key-state"


def moves_from(state: str) -> frozenset[KeyState]:
    """The states that a key can move to; none from a word that is no state."""
    return MOVES[KeyState(state)] if state in _KNOWN else frozenset()


def check_move(what: str, old: str, new: str) -> None:
    """KeyStateFault unless a key in `old` may move to `new`; staying is no move. `what` names the key."""
    reachable = moves_from(old)
    if new in reachable or (old == new and old in _KNOWN):
        return
    where = f"it can become {', '.join(sorted(reachable))}" if reachable else "it stays so"
    raise KeyStateFault(f"{what} is {old} and cannot become {new}: {where}")


def unserved(purpose: str, epoch: int = 0, state: str = "") -> str:
    """Why nothing serves a purpose, whose newest key is in this state (none: no key), and the next move."""
    make = f"run `holdfast tss dkg --purpose {purpose}` first"
    if not state and purpose not in PURPOSES:
        return f"no key is for {purpose}: the keys are {', '.join(sorted(PURPOSES))}"
    if not state:
        return f"there is no {purpose} key: {make}"
    moves = {
        "lost": f"run `holdfast tss repair --purpose {purpose}`",
        "removed": "this member was left out by a refresh, ask one that holds a share",
        "retired": "its epoch is over, see `holdfast tss keys`",
    }
    return f"the {purpose} key of epoch {epoch} is only {state} here: {moves.get(state, make)}"
