"""Two copies of one node: noticed by their boot ids, told to the operator, and refused; never prevented.

A member's boot id may only be left for a later one. What shows a copy: a boot id that was left speaks again (a
machine restored beside its original), or one boot id signs two different messages with one number (a machine copied
while it ran). From then on that boot id is refused until the member starts anew, which voids its nonces. Boot ids
outlive our own restarts in signer.db. A copy that never speaks to us, or only after it signed elsewhere, is missed.
"""

from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa
import structlog
from sqlalchemy.dialects.sqlite import insert

from tss import tables
from tss.envelope import Envelope, ReplayWindow
from tss.store import Store

_BOOTS = 64  # remembered per member
_ALARMS = 256


@dataclass(frozen=True, slots=True)
class CloneAlarm:
    """`left` spoke beside `present`, the member's boot: the same id when a running machine was copied. Unix time.

    When a peer refuses ourselves as a copy, `member` is that peer and `left` is empty.
    """

    member: int
    left: bytes
    present: bytes
    at: float


class CloneWatch:
    """Watches the boot ids of the other members, and what they say of ours."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._boots: dict[int, list[bytes]] = {}
        self._alarms: dict[tuple[int, bytes, bytes], CloneAlarm] = {}
        self._new_boots: list[tuple[int, bytes, float]] = []
        self._new_alarms: list[CloneAlarm] = []
        self._store: Store | None = None
        self._log = structlog.get_logger("tss.clones")

    @property
    def alarms(self) -> list[CloneAlarm]:
        """Every sign of a copy, oldest first."""
        return sorted(self._alarms.values(), key=lambda alarm: alarm.at)

    def window(self, member: int) -> ReplayWindow:
        """A member's replay window that knows which of its boots are over."""
        boots = self._boots.get(member, [])
        window = ReplayWindow()
        window.leave(boots[:-1])  # the newest may be the one that still runs
        return window

    def refusal(
        self, member: int, window: ReplayWindow, envelope: Envelope, now_ms: int
    ) -> tuple[str, str] | None:
        """The window's answer, with what it shows written down."""
        refused = window.refusal(envelope, now_ms)
        if refused is None:
            self._heard(member, envelope.boot_id)
        elif refused[0] == "boot" and window.is_over(envelope.boot_id):
            self._alarm(CloneAlarm(member, envelope.boot_id, window.boot_id, self._clock()))
        return refused

    def accused(self, member: int, own_boot: bytes) -> None:
        """A member refuses us because another copy of this node spoke to it."""
        self._alarm(CloneAlarm(member, b"", own_boot, self._clock()))

    async def open(self, store: Store) -> None:
        """Take up what was known before this start."""
        self._store = store
        b, c = tables.peer_boots.c, tables.clones.c
        for member, boot_id in await store.rows(sa.select(b.member, b.boot_id).order_by(b.number)):
            self._boots.setdefault(member, []).append(boot_id)
        for row in await store.rows(sa.select(c.member, c.left, c.present, c.at).order_by(c.number)):
            alarm = CloneAlarm(*row)
            self._alarms[alarm.member, alarm.left, alarm.present] = alarm

    async def save(self) -> None:
        """Write down what is new."""
        boots, self._new_boots = self._new_boots, []
        alarms, self._new_alarms = self._new_alarms, []
        if self._store is None or not (boots or alarms):
            return
        async with self._store.transaction() as db:
            for member, boot_id, at in boots:
                row = {"member": member, "boot_id": boot_id, "at": at}
                await db.execute(insert(tables.peer_boots).values(row).on_conflict_do_nothing())
                await db.execute(_beyond(member))
            for alarm in alarms:
                row = {"member": alarm.member, "left": alarm.left, "present": alarm.present, "at": alarm.at}
                await db.execute(insert(tables.clones).values(row).on_conflict_do_nothing())
                detail = f"member {alarm.member}: {alarm.left.hex()} beside {alarm.present.hex()}"
                await self._store.audit(db, "clone", detail)

    def _heard(self, member: int, boot_id: bytes) -> None:
        boots = self._boots.setdefault(member, [])
        if boots and boots[-1] == boot_id:
            return
        self._boots[member] = [*(b for b in boots if b != boot_id), boot_id][-_BOOTS:]
        self._new_boots.append((member, boot_id, self._clock()))

    def _alarm(self, alarm: CloneAlarm) -> None:
        name = (alarm.member, alarm.left, alarm.present)
        if name in self._alarms or len(self._alarms) >= _ALARMS:
            return
        self._alarms[name] = alarm
        self._new_alarms.append(alarm)
        if alarm.left:
            said = "two copies of a member run at once: its operator must stop both and start one"
        else:
            said = "another copy of this node runs: stop both, find out why, and start one"
        self._log.error(said, member=alarm.member, left=alarm.left.hex(), present=alarm.present.hex())


def _beyond(member: int) -> sa.Delete:
    t = tables.peer_boots
    newest = sa.select(t.c.number).where(t.c.member == member).order_by(t.c.number.desc()).limit(_BOOTS)
    return sa.delete(t).where(t.c.member == member, t.c.number.not_in(newest))
