"""What became of every nonce: counted per key and boot, saved with each share that leaves.

`made` is what the engine gave commitments for, `spent` what a share left for, `voided` what can never be used any
more, `refused` how many commitments a share was asked for and not given. A boot that has ended has no unused
nonces: made = spent + voided. After a kill `made` may miss the last commitments, which nothing was signed with.
"""

import sqlite3
from dataclasses import dataclass, replace
from functools import partial
from threading import Lock

import sqlalchemy as sa

from tss import tables
from tss.store import Store


@dataclass(frozen=True, slots=True)
class NonceCounts:
    """The counts of one key (by `GroupPublic.share_set`) in one boot."""

    share_set: bytes
    boot_id: bytes
    made: int = 0
    spent: int = 0
    voided: int = 0
    refused: int = 0

    @property
    def unused(self) -> int:
        """Commitments that are out and may still be signed with."""
        return max(0, self.made - self.spent - self.voided)


@dataclass(frozen=True, slots=True)
class BootCounts:
    """The counts of one key in one boot with that boot's number and start, Unix seconds."""

    counts: NonceCounts
    number: int
    at: float


class NonceBook:
    """The counts of this boot in memory, those of earlier ones in signer.db."""

    def __init__(self, store: Store, boot_id: bytes) -> None:
        self._store, self._boot_id = store, boot_id
        self._now: dict[bytes, NonceCounts] = {}
        self._saved: dict[bytes, NonceCounts] = {}
        self._adding = Lock()  # shares are counted in the database's thread

    async def load(self) -> None:
        """A start voids whatever earlier boots left unused."""
        t = tables.nonce_counts
        async with self._store.transaction() as db:
            await db.execute(
                sa.update(t)
                .where(t.c.boot_id != self._boot_id, t.c.made > t.c.spent + t.c.voided)
                .values(voided=t.c.made - t.c.spent)
            )

    def of(self, share_set: bytes) -> NonceCounts:
        """A key's counts in this boot."""
        return self._now.get(share_set) or NonceCounts(share_set, self._boot_id)

    def add(
        self, share_set: bytes, *, made: int = 0, spent: int = 0, voided: int = 0, refused: int = 0
    ) -> NonceCounts:
        """Count on; gives the new counts."""
        with self._adding:
            old = self.of(share_set)
            new = replace(
                old,
                made=old.made + made,
                spent=old.spent + spent,
                voided=old.voided + voided,
                refused=old.refused + refused,
            )
            self._now[share_set] = new
        return new

    async def save(self) -> None:
        """Bring signer.db up to date."""
        changed = [counts for key, counts in self._now.items() if self._saved.get(key) != counts]
        if not changed:
            return
        async with self._store.transaction() as db:
            for counts in changed:
                await db.run(partial(save_counts, counts=counts))
        self._saved |= {counts.share_set: counts for counts in changed}

    async def all(self) -> list[BootCounts]:
        """Every key in every boot, newest boot first."""
        await self.save()
        c, b = tables.nonce_counts.c, tables.boots.c
        wanted = (
            sa.select(c.share_set, c.boot_id, c.made, c.spent, c.voided, c.refused, b.number, b.at)
            .join(tables.boots, b.boot_id == c.boot_id)
            .order_by(b.number.desc(), c.share_set)
        )
        return [BootCounts(NonceCounts(*row[:6]), row[6], row[7]) for row in await self._store.rows(wanted)]


class Spending:
    """Shares that are about to leave: counted in the transaction that records them, taken back when it fails."""

    def __init__(self, book: NonceBook, share_set: bytes, count: int) -> None:
        self._book, self._share_set, self._count = book, share_set, count
        self._counted, self._over = 0, False

    def save(self, db: sqlite3.Connection) -> None:
        """Count and write, within the transaction."""
        self._counted = self._count
        save_counts(db, self._book.add(self._share_set, spent=self._count))

    def committed(self) -> None:
        """The rows are durable: these nonces are spent, whatever happens to the answer."""
        self._over = True

    def failed(self) -> None:
        """No share leaves: the nonces are burnt. A second time changes nothing."""
        if self._over:
            return
        self._over = True
        self._book.add(self._share_set, spent=-self._counted, voided=self._count, refused=self._count)


def save_counts(db: sqlite3.Connection, counts: NonceCounts) -> None:
    """Write one key's counts, within a transaction."""
    db.execute(
        "INSERT OR REPLACE INTO nonce_counts (share_set, boot_id, made, spent, voided, refused) "
        "VALUES (?, ?, ?, ?, ?, ?)",
        (counts.share_set, counts.boot_id, counts.made, counts.spent, counts.voided, counts.refused),
    )
