"""A key's last states, and what the next epoch's committee file must say.

A new epoch has a new committee file, which names the file it succeeds, and new keys made by it. tss makes the new
keys, retires the old ones, and wipes their shares in the end. Members who stay keep their places, and with them the
numbers of their old shares, so that a quorum of them signs the move under the old keys. The move itself, which
takes the coins from the old key to the new one, is a transaction: the bridge builds it, the approval port approves
it, and tss knows nothing of it.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

from tss.dkg.committee import Committee, Member
from tss.dkg.faults import CommitteeFault, DkgFault
from tss.dkg.key_states import KeyState, moves_from


class NotRetired(DkgFault):
    """A key cannot be moved to that state; the sentence says what comes first."""

    code = "key-state"


def check_move(purpose: str, epoch: int, state: str, wanted: str) -> None:
    """NotRetired when a key in `state` may not become `wanted`."""
    reachable = moves_from(state) - {
        KeyState.REMOVED,
        KeyState.ABANDONED,
    }  # a refresh removes, a file abandons
    if wanted not in reachable:
        told = ", ".join(sorted(reachable)) or "no other state"
        raise NotRetired(f"the {purpose} key of epoch {epoch} is {state}: from there it can become {told}")


def successor(
    old: Committee,
    replaced: Mapping[str, Member],
    added: Sequence[Member],
    dropped: Collection[str],
    threshold: int | None,
) -> Committee:
    """The next epoch's committee: members replaced by name, dropped from the end, added at the end.

    CommitteeFault when a name is unknown, a dropped member is not at the end, or the result is unsound.
    """
    names = [member.name for member in old.members]
    strangers = [name for name in (*replaced, *dropped) if name not in names]
    if strangers:
        raise CommitteeFault(f"{strangers[0]} is no member: the members are {', '.join(names)}")
    kept = len(names) - len(set(dropped))
    if set(names[kept:]) != set(dropped):
        raise CommitteeFault(
            f"only the last {len(set(dropped))} of {', '.join(names)} can be dropped, for all others keep their "
            "places: replace them instead"
        )
    members = [replaced.get(member.name, member) for member in old.members[:kept]]
    made = Committee(
        old.name,
        old.chain,
        old.epoch + 1,
        old.threshold if threshold is None else threshold,
        (*members, *added),
        old.hash,
    )
    check_successor(old, made)
    return made


def staying(old: Committee, new: Committee, holders: Iterable[int]) -> tuple[int, ...]:
    """Which holders of a key that `old` made sit in `new` too, in the same place; ascending."""
    both = [place for place in holders if place <= min(old.size, new.size)]
    return tuple(sorted(p for p in both if old.member(p).host_key == new.member(p).host_key))


def check_successor(old: Committee, new: Committee) -> None:
    """CommitteeFault unless `new` names `old` as its predecessor and continues its epoch, chain and name."""
    if new.previous != old.hash:
        raise CommitteeFault(
            f"this committee file does not succeed ours ({old.words}): propose it with "
            "`holdfast tss rotate propose`"
        )
    if (new.name, new.chain, new.epoch) != (old.name, old.chain, old.epoch + 1):
        raise CommitteeFault(
            f"the committee file after {old.name} on {old.chain}, epoch {old.epoch}, is {old.name} on {old.chain}, "
            f"epoch {old.epoch + 1}; this one is {new.name} on {new.chain}, epoch {new.epoch}"
        )
    for place, member in enumerate(old.members, 1):
        if new.index_of(member.host_key) not in (None, place):
            raise CommitteeFault(
                f"{member.name} has another place in this file: who stays keeps its place, because the old keys' "
                "shares are numbered by it"
            )
    kept = [member for member in old.members if new.index_of(member.host_key) is not None]
    if len(kept) < old.threshold:
        raise CommitteeFault(
            f"only {len(kept)} of the old members stay and the old keys need {old.threshold} to sign the move: "
            f"keep {old.threshold} of them in this file and leave them out of the next one"
        )
