"""Whose seat a number was: after a rotation, what was written down of member 3 may be of who sat there before."""

from collections.abc import Sequence

from tss.dkg.committee import Committee


class Seats:
    """Names for the member numbers in signer.db, by the time of the row."""

    def __init__(self, committees: Sequence[Committee], starts: Sequence[tuple[float, int]]) -> None:
        """`committees` known by the folder; `starts` of this node, oldest first: Unix time and committee epoch."""
        self._by_epoch, self._present = {one.epoch: one for one in committees}, committees[-1]
        self._starts = tuple(starts)

    def name(self, member: int, at: float) -> str:
        """Who had this seat at that Unix time, as far as this node's starts tell."""
        epoch = self._present.epoch
        for began, of in reversed(self._starts):
            if began <= at:
                epoch = of
                break
        return self.in_epoch(member, epoch)

    def in_epoch(self, member: int, epoch: int) -> str:
        """Who has this seat in the committee of an epoch."""
        committee = self._by_epoch.get(epoch)
        return f"member {member} of epoch {epoch}" if committee is None else committee.name_of(member)
