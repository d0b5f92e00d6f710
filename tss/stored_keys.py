"""Keys as signer.db holds them: what is public of a key, and its chain of refreshes."""

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from tss.dkg.committee import Committee
from tss.dkg.transcript import RecoveryData
from tss.frost.codec import DecodeError
from tss.frost.engine import Engine, GroupPublic
from tss.frost.errors import FrostError
from tss.rotation.chain import Chain
from tss.rotation.link import Link
from tss.rotation.rules import Proven, counts
from tss.rotation.succession import staying
from tss.rotation_store import RotationRow, RotationStore
from tss.store import KeyRow


class KeyFault(Exception):
    """A key that cannot be taken up, or not moved to a state; the sentence names the next move."""


def public_of(row: KeyRow) -> GroupPublic:
    """What is public of a key; KeyFault when the row is damaged."""
    try:
        return GroupPublic.decode(row.public)
    except (DecodeError, FrostError) as error:
        raise KeyFault(
            f"signer.db is damaged (the {row.purpose} key of epoch {row.epoch}): keep a copy, then build a folder "
            "anew with `holdfast node restore`"
        ) from error


async def stored_chain(engine: Engine, rotations: RotationStore, row: KeyRow) -> Chain:
    """The key's recovery data with the refreshes that lead to its present group, or as far as they are there."""
    base = RecoveryData.decode(row.recovery)
    chain, rows = Chain(base), await rotations.of_key(row.sid, "proved")
    if not rows:
        return chain
    chain = replace(chain, repairs=tuple(Link.decode(r.body) for r in rows if r.work == "repair"))
    start = engine.dkg_public(base.transcript.r1s.packages, base.transcript.committee.threshold).share_set
    refreshes = [r for r in rows if r.work == "refresh"]
    path = refreshes_to(public_of(row).share_set, refreshes)
    whole = path and path[0].base == start
    for following in path if whole else _forward(refreshes, start):
        chain = chain.with_link(Link.decode(following.body))
    return chain


def refreshes_to(share_set: bytes, rows: Iterable[RotationRow]) -> list[RotationRow]:
    """The refreshes that lead to a share set, oldest first; others were given up."""
    by_group = {GroupPublic.decode(row.public).share_set: row for row in rows}
    found = list[RotationRow]()
    while share_set in by_group:
        found.insert(0, by_group.pop(share_set))
        share_set = found[0].base
    return found


def _forward(rows: Iterable[RotationRow], share_set: bytes) -> list[RotationRow]:
    """The refreshes that count, from the first shares on: all that is left where one is missing."""
    found, listed = list[RotationRow](), list(rows)
    while after := {row.sid: row for row in listed if row.base == share_set}:
        chosen = counts(Proven(row.attempt, row.sid) for row in after.values())
        assert chosen is not None, "some follow"
        found.append(after[chosen.sid])
        share_set = GroupPublic.decode(found[-1].public).share_set
    return found


def without_quorum(folder: Path, following: Committee, abandoned: bytes = b"") -> list[str]:
    """A sentence for each key of a folder that could not sign any more under this next committee.

    `abandoned` is the hash of a committee file that this one replaces: its keys are given up, but for active ones,
    which a bridge was handed on to. Keys that are over do not count, nor do damaged rows; a folder without
    signer.db has no keys. OSError when it cannot be read.
    """
    path, said = folder / "signer.db", list[str]()
    if not path.exists():
        return said
    wanted = (
        "SELECT purpose, epoch, public, recovery, state FROM keys "
        "WHERE state IN ('verified', 'active', 'retiring')"
    )
    try:
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as db:
            rows = db.execute(wanted).fetchall()
    except sqlite3.Error as error:
        raise OSError(0, f"{path} cannot be read: {error}") from error
    for purpose, epoch, public, recovery, state in rows:
        try:
            key = GroupPublic.decode(public)
            of = RecoveryData.decode(recovery).transcript.committee
        except (DecodeError, FrostError):
            continue
        if of.hash == abandoned:
            if state == "active":
                said.append(
                    f"the {purpose} key of epoch {epoch} serves the bridge: the file that made it did not come to "
                    "nothing, keep it"
                )
            continue
        left = len(staying(of, following, key.verifying_shares))
        if left < key.threshold:
            said.append(
                f"only {left} of those who hold the {purpose} key of epoch {epoch} are in this file, and it needs "
                f"{key.threshold}: keep more of them, or let its coins move and finish it first (`holdfast tss "
                "rotate finish`)"
            )
    return said
