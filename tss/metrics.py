"""What a signer counts, in Prometheus' text form (version 0.0.4).

Names begin with holdfast_tss_; members are labelled by name, times are Unix seconds. Nothing here is secret, but it
tells a thief which node is weak: it belongs on the admin port.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from tss.key_types import ABANDONED

if TYPE_CHECKING:
    from tss.node import TssNode

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_NAME = re.compile(r"[a-z_][a-z0-9_]*")


@dataclass(slots=True)
class Family:
    """One metric with its samples: labels and value."""

    name: str
    kind: Literal["counter", "gauge"]
    help: str
    samples: list[tuple[Mapping[str, str], float]] = field(default_factory=list)

    def add(self, value: float | None, /, **labels: str) -> "Family":
        """One more sample; None is no sample."""
        if value is not None:
            self.samples.append((labels, float(value)))
        return self


def render(families: Iterable[Family]) -> str:
    """The text that Prometheus reads."""
    lines: list[str] = []
    for family in families:
        assert _NAME.fullmatch(family.name), "a metric's name is fixed text"
        lines.append(f"# HELP {family.name} {family.help}")
        lines.append(f"# TYPE {family.name} {family.kind}")
        for labels, value in family.samples:
            inside = ",".join(f'{name}="{_escaped(text)}"' for name, text in labels.items())
            lines.append(
                f"{family.name}{{{inside}}} {value:.17g}" if inside else f"{family.name} {value:.17g}"
            )
    return "\n".join(lines) + "\n"


async def collect(tss: "TssNode") -> list[Family]:
    """Everything that this signer counts."""
    return [
        *_members(tss),
        *_keys(tss),
        *_signing(tss),
        *await _nonces(tss),
        *await _records(tss),
    ]


def _members(tss: "TssNode") -> list[Family]:
    up = Family("holdfast_tss_member_up", "gauge", "1 while the member answers our calls.")
    trip = Family("holdfast_tss_member_round_trip_seconds", "gauge", "The last call's round trip.")
    skew = Family("holdfast_tss_member_clock_skew_seconds", "gauge", "The member's clock minus ours.")
    seen = Family("holdfast_tss_member_last_seen_seconds", "gauge", "When the member last spoke to us.")
    for info in tss.peers.seen.values():
        up.add(info.down is None, member=info.name)
        trip.add(info.rtt, member=info.name)
        skew.add(info.skew, member=info.name)
        seen.add(info.last_seen, member=info.name)
    refused = Family(
        "holdfast_tss_member_refused_total", "counter", "Calls of a member that were refused here."
    )
    for (member, code), count in sorted(tss.peers.refusals.counts.items()):
        refused.add(count, member=tss.peers.name(member), code=code)
    ends = Family("holdfast_tss_certificate_end_seconds", "gauge", "When the TLS certificate shown ends.")
    for standing in tss.certificates.standings():
        if standing.certificate is not None:
            ends.add(standing.certificate.not_after, member=standing.name)
    return [up, trip, skew, seen, refused, ends]


def _keys(tss: "TssNode") -> list[Family]:
    state = Family("holdfast_tss_key_state", "gauge", "1 for the state that each key is in.")
    serving = Family(
        "holdfast_tss_key_serving", "gauge", "1 while our share of this key may sign, a retiring one's too."
    )
    for info in tss.every_key():
        which = {"purpose": info.purpose, "epoch": str(info.epoch)}
        state.add(1, **which, state=info.state)
        if info.state not in ("retired", ABANDONED):
            serving.add(tss.public(info.purpose, info.epoch) is not None, **which)
    return [state, serving]


def _signing(tss: "TssNode") -> list[Family]:
    ended = Family(
        "holdfast_tss_sessions_total", "counter", "Signing runs that this node led, by how they ended."
    )
    for (purpose, epoch, end), count in sorted(tss.session_counts.items()):
        ended.add(count, purpose=purpose, epoch=str(epoch), state=end)
    running = Family("holdfast_tss_sessions_running", "gauge", "Signing sessions that this node leads now.")
    running.add(sum(info.state in ("gathering", "open") for info in tss.sessions()))
    verdicts = Family("holdfast_tss_verdicts_total", "counter", "Answers to requests, by key and yes or no.")
    for (purpose, epoch, approved), count in sorted(tss.verdict_counts.items()):
        said = "approved" if approved else "refused"
        verdicts.add(count, purpose=purpose, epoch=str(epoch), verdict=said)
    paused = Family("holdfast_tss_paused", "gauge", "1 while the operator lets this node sign nothing.")
    paused.add(tss.pause.now is not None)
    return [ended, running, verdicts, paused]


async def _nonces(tss: "TssNode") -> list[Family]:
    nonces = Family(
        "holdfast_tss_nonces_total", "counter", "Nonces of this start, by key and what became of them."
    )
    unused = Family("holdfast_tss_nonces_unused", "gauge", "Commitments that are out and not signed with.")
    keys = {info.public.share_set: (info.purpose, str(info.epoch)) for info in tss.every_key()}
    for row in await tss.nonces():
        counts = row.counts
        if counts.boot_id != tss.boot_id:
            continue
        key, epoch = keys.get(counts.share_set, (counts.share_set.hex()[:16], ""))
        for event in ("made", "spent", "voided", "refused"):
            nonces.add(getattr(counts, event), key=key, epoch=epoch, event=event)
        unused.add(counts.unused, key=key, epoch=epoch)
    return [nonces, unused]


async def _records(tss: "TssNode") -> list[Family]:
    number, _hash = await tss.audit.store.head()
    rows = Family("holdfast_tss_audit_rows", "gauge", "Rows of the audit log.").add(number)
    lost = Family("holdfast_tss_audit_alarms", "gauge", "Logs that lost a row their member had signed.")
    alarms = Counter(tss.seats.name(a.member, a.at) for a in await tss.audit.store.alarms())
    for member, count in sorted(alarms.items()):
        lost.add(count, member=member)
    clones = Family("holdfast_tss_clone_alarms", "gauge", "Signs that two copies of a node run at once.")
    proven = Family("holdfast_tss_evidence", "gauge", "Proven faults, by member and kind.")
    faults = Counter((piece.culprit, piece.kind) for piece in await tss.evidence())
    for (member, kind), count in sorted(faults.items()):
        proven.add(count, member=member, kind=kind)
    return [rows, lost, clones.add(len(tss.clones)), proven]


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
