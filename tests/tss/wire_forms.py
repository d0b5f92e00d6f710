"""One example of everything that tss reads from others or from a disk, and what its receiver checks."""

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from types import ModuleType
from typing import Any

import tss
from tests.tss.evidence.cases import true_case
from tests.tss.rotation.session import Held, Session
from tests.tss.simnet import ENGINE, SEALER, Dkg, SimCommittee, approve
from tss import audit, dkg_member, key_proof, rehearsal, rotation_topics, rounds
from tss.audit_watch import HeadAnswer
from tss.certificate import Notice
from tss.dkg import messages as dkg_messages
from tss.dkg import participant
from tss.dkg.faults import DkgFault
from tss.dkg.transcript import Halfway
from tss.envelope import Envelope, Kind
from tss.evidence.form import Kind as Fault
from tss.evidence.judge import RULES, judge
from tss.frost.codec import DecodeError
from tss.frost.errors import FrostError
from tss.frost.group import GroupPublic
from tss.frost.package import SigningPackage
from tss.frost.path import key_with_root
from tss.handover import Handed
from tss.peers import Refuse
from tss.rotation import messages as work
from tss.rotation.link import HeldLink, acknowledge
from tss.signing import messages, signer
from tss.signing_member import Ask
from tss.vault import REGTEST, Sealed, VaultFault
from tss.views import Signed, View

TYPED = (DecodeError, DkgFault, FrostError, VaultFault, Refuse)
# Read from the bytes of others that stand here themselves, or what others are made of.
INSIDE = {"Chain", "MessageSet"}


@dataclass(frozen=True)
class Form:
    """An example, how it is read and written, and what a receiver checks before it believes it."""

    name: str
    value: Any
    read: Callable[[bytes], Any]
    write: Callable[[Any], bytes]
    check: Callable[[Any], object] | None = None

    @cached_property
    def encoded(self) -> bytes:
        return self.write(self.value)


def flipped(data: bytes, bit: int) -> bytes:
    """The same with one bit changed; bit 0 is the first byte's lowest."""
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def same_after(form: Form, bit: int, *, checked: bool) -> bool:
    """Whether a flipped bit passes: read as something that has other bytes, or past the receiver's checks."""
    changed = flipped(form.encoded, bit)
    try:
        value = form.read(changed)
        if form.write(value) != changed:
            return True
        if not checked or form.check is None:
            return False
        form.check(value)
    except TYPED:
        return False
    return True


def _of(value: Any, check: Callable[[Any], object] | None = None) -> Form:
    kind = type(value)
    name = f"{kind.__module__.removeprefix('tss.')}.{kind.__name__}"
    return Form(name, value, kind.decode, kind.encode, check)


@cache
def forms() -> tuple[Form, ...]:
    """All of them, made once."""
    return (*_key_generation(), *_signing(), *_work("refresh"), *_work("repair"), *_evidence(), *_rest())


def _key_generation() -> Iterator[Form]:
    dkg = Dkg(2, 2)
    keys, recovery = dkg.run()
    committee, transcript = dkg.committee, recovery.transcript
    roster, r1s, r2s = transcript.roster, transcript.r1s, transcript.r2s
    complaint = dkg_messages.Complaint(roster.sid, 2, (1,), r1s.hash, r2s.hash, b"\x05" * 32)

    def signed(value: Any) -> object:
        return value.check(committee)

    public = recovery.check(ENGINE)
    yield _of(committee)
    for one in (
        roster.entries[0],
        roster,
        r1s.of(1),
        r2s.of(1),
        dkg.third[1].r3,
        complaint.signed(dkg.identities[1]),
        participant.acknowledge(dkg.identities[0], recovery),
    ):
        yield _of(one, signed)
    for both in (r1s, r2s):
        yield _of(both, lambda value: value.check(committee, roster))
    yield _of(recovery.certificate, lambda value: value.check(committee, roster.sid, transcript.hash(public)))

    def same_committee(value: Any) -> None:
        if (
            value.check().committee != committee
        ):  # its members signed another file, so it is another committee
            raise DecodeError("another committee")

    yield _of(transcript, same_committee)
    yield _of(recovery, lambda value: value.check(ENGINE))
    yield _of(Halfway(roster, r1s, r2s.of(1)))
    proof = key_proof.KeyProof(SigningPackage(bytes(32), {1: bytes(66)}, key_with_root(bytes(32))), bytes(64))
    yield _of(proof)
    yield _of(key_proof.HeldKey(b"recovery", b"proof"))
    yield _of(View([r1s, r2s], Signed(bytes(32), public.encode())))
    yield _of(public)
    for key in keys.values():
        key.close()


def _signing() -> Iterator[Form]:
    dkg = Dkg(2, 2, seed="forms")
    keys, _ = dkg.run()
    two = SimCommittee.of(dkg, keys)
    request = two.sign().opened[0].request.signed(two.identities[0])
    one = two.signers[1]
    shares = messages.Shares.decode(one.handle_shares(request.encode()))
    refuse = signer.Refuse("refused", "no", retryable=True)
    commit = messages.CommitRequest(request.key, 1, 3).signed(two.identities[0])
    for value in (
        commit,
        one.issue(1, 3),
        request,
        request.order,
        shares,
        signer.refusal(one.identity, request, refuse),
        signer.verdict(one.identity, request.key, 0, "test", b"pay", approve("test", b"pay")),
    ):
        yield _of(value, lambda value: value.check(dkg.committee))
    yield _of(Ask("test", b"pay", commit))  # its payload is the envelope's to protect
    yield _of(request.packages[0])
    yield _of(request.packages[2].path)
    yield _of(Handed("test", 3, b"pay", bytes(64)))


def _work(kind: str) -> Iterator[Form]:
    held = Held.made(3, 2, seed=kind)
    plan = held.plan((1, 2, 3), lost=3) if kind == "repair" else held.plan((1, 2))
    session = Session(held, plan)
    link = session.run()
    committee, transcript, roster = held.committee, link.transcript, link.roster
    seeds = (b"\x05" * 32,)
    complaint = work.Complaint(link.sid, 1, work.FIRST, transcript.deals.hash, (2,), seeds).signed(
        held.who(1)
    )
    public = transcript.check(ENGINE, committee, held.public)
    values = (roster.entries[0], roster, transcript.r1s.of(1), transcript.deals.of(1), session.done[1].assent)
    for value in (*values, complaint, acknowledge(held.who(1), link)):
        yield _named(kind, _of(value, lambda value: value.check(committee)))
    yield _named(kind, _of(plan))
    yield _named(kind, _of(transcript.r1s, lambda value: value.check(committee, roster, roster.plan.members)))

    def dealt(value: Any) -> object:
        return value.check_deals(committee, roster, work.FIRST, transcript.r1s.hash)

    yield _named(kind, _of(transcript.deals, dealt))
    agreed = transcript.hash(public)
    yield _named(kind, _of(link.certificate, lambda value: value.check(committee, roster, agreed)))

    def certified(value: Any) -> object:
        made = value.check(ENGINE, committee, held.public)
        return link.certificate.check(committee, roster, value.hash(made))

    yield _named(kind, _of(transcript, certified))
    yield _named(kind, _of(link, lambda value: value.check(ENGINE, committee, held.public)))
    yield _named(kind, _of(HeldLink(b"link", b"proof")))
    yield Form(
        f"{kind}: deals_body",
        (transcript.deals, transcript.sigmas),
        rotation_topics.read_deals,
        lambda value: rotation_topics.deals_body(bytes(32), *value)[32:],
    )


def _named(kind: str, form: Form) -> Form:
    return Form(f"{kind}: {form.name}", form.value, form.read, form.write, form.check)


def _evidence() -> Iterator[Form]:
    for kind in Fault:
        evidence = true_case(kind)

        def proves(value: Any, wanted: Any = evidence) -> None:
            # Some bits are nobody's word, like the place of a second bad share: then the truth stays the same.
            found = judge(ENGINE, SEALER, value)
            told = (value.culprit, value.kind, value.committee.member(value.culprit).host_key)
            same = (wanted.culprit, wanted.kind, wanted.committee.member(wanted.culprit).host_key)
            if not found.proven or told == same:
                raise DecodeError("it convicts nobody else")

        yield Form(f"evidence: {kind.slug}", evidence, type(evidence).decode, type(evidence).encode, proves)
        body = RULES[kind].body
        yield Form(
            f"evidence body: {kind.slug}, {body.__name__}",
            body.decode(evidence.body),
            body.decode,
            body.encode,
        )


def _rest() -> Iterator[Form]:
    dkg = Dkg(2, 2)
    who, committee = dkg.identities[0], dkg.committee
    fields = (
        Kind.ANSWER,
        committee.hash,
        1,
        2,
        b"b" * 16,
        7,
        1_800_000_000_000,
        "tss.topic",
        bytes(32),
        "ok",
    )
    bare = Envelope(*fields, b"body")

    def by_sender(value: Any) -> None:
        if not value.signed_by(who.host_key):
            raise DecodeError("not signed by its sender")

    yield _of(bare.with_signature(who.sign(bare.digest)), by_sender)
    head = audit.Head(1, 7, b"h" * 32, 1_800_000_000_000)
    head = head.with_signature(who.sign(head.digest(committee.hash)))
    answer = HeadAnswer(head, b"t" * 32, audit.Head(2, 3, b"g" * 32, 5, bytes(64)))
    yield Form(
        "audit_watch.HeadAnswer", answer, lambda data: HeadAnswer.decode(data, 1, 2), HeadAnswer.encode
    )
    yield _of(Notice(committee.hash, 1, 2, 3, 4, bytes(64)))
    yield _of(Sealed.make(bytes(32), who.host_key, bytearray(b"words"), REGTEST))
    heads = [rehearsal.Head(bytes(32), "anchor", 1, 2), rehearsal.Head(b"\x01" * 32, "mint", 1, 0)]
    yield Form("rehearsal heads", heads, rehearsal.decode_heads, rehearsal.encode_heads)
    told = [("dkg", "anchor", "round 1", {1, 2})]
    yield Form(
        "rounds",
        told,
        lambda data: [(one.work, one.purpose, one.step, one.waiting) for one in rounds.decode(data)],
        lambda value: rounds.encode(rounds.Round(*one) for one in value),
    )
    asked = ("anchor", 1, 2)
    offer = dkg_member.offer_request
    yield Form("dkg offer", asked, dkg_member.read_offer_request, lambda value: offer(*value))
    failed = ("anchor", "no")
    yield Form("dkg failure", failed, dkg_member.read_failure, lambda value: dkg_member.failure(*value))
    lost = (bytes(32), "no")
    topic = rotation_topics
    yield Form("work failure", lost, topic.read_failure, lambda value: topic.failure(*value))
    links = (bytes(32), [b"\x02" * 33, b"\x03" * 33])
    yield Form("links request", links, topic.read_links_request, lambda value: topic.links_request(*value))
    wish, held = ("anchor", 1), key_proof.held_request
    yield Form("held request", wish, key_proof.read_held_request, lambda value: held(*value))


def readers() -> set[str]:
    """Every class of tss that reads bytes, by name: what `forms` must have an example of."""
    found = {GroupPublic.__name__}
    for module in _modules():
        for name, kind in inspect.getmembers(module, inspect.isclass):
            if kind.__module__ != module.__name__ or inspect.isabstract(kind):
                continue
            if callable(getattr(kind, "decode", None)):
                found.add(name)
    return found


def _modules() -> Iterator[ModuleType]:
    for one in pkgutil.walk_packages(tss.__path__, "tss."):
        if not one.name.startswith("tss.frost._native"):
            yield importlib.import_module(one.name)
