"""Which certificates each member may show: the committee file's, and later ones that its host key announced.

At most two of a member are good at a time: the newest, and for a while the one before that its notice names. An
older number is never taken again. What is known survives restarts in keys/peers/NAME.crt, newest first.
"""

import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from tss.certificate import EARLY, Certificate, CertificateFault, read_file
from tss.files import write_atomically
from tss.identity import TlsFiles
from tss.peer_bounds import Bucket
from tss.peer_tls import client_context, server_context, shown
from tss.peering import CommitteeLike

_KNOWN = 12  # of a member, good or replaced
_NEW_AT_ONCE = 8  # new certificates of a member, then one in ten minutes: OpenSSL's trust store only grows
_NEW_A_SECOND = 1 / 600

Hear = Callable[[int, str, str], None]  # member (0: a stranger), code, reason


@dataclass(slots=True)
class _Known:
    """One member's certificates by fingerprint; `newest` is the one that all others give way to."""

    pinned: bytes
    newest: Certificate | None = None
    certificates: dict[bytes, Certificate] = field(default_factory=dict)
    allowance: Bucket = field(default_factory=lambda: Bucket(_NEW_A_SECOND, _NEW_AT_ONCE))


class Pins:
    """Judges certificates of all members, our own too, and holds the two TLS contexts."""

    def __init__(
        self,
        committee: CommitteeLike,
        index: int,
        tls: TlsFiles,
        clock: Callable[[], float] = time.time,
        hear: Hear | None = None,
    ) -> None:
        """Read what earlier runs learned; what is not good any more is left out."""
        self._committee, self._index, self._tls, self._clock = committee, index, tls, clock
        self._hear: Hear = hear or (lambda _member, _code, _reason: None)
        self._members = {i: _Known(m.tls_fingerprint) for i, m in enumerate(committee.members, 1)}
        self._owners: dict[bytes, int] = {}
        self.client = client_context(tls)
        self.generation = 0
        self.server = server_context(
            tls, lambda code, reason: self._hear(0, code, reason), lambda: self.generation
        )
        self.news: list[tuple[int, Certificate]] = []  # announced certificates that are new here
        for member in self._members:
            if member != index:
                self._recall(member)
        self.own = self._take_own()

    @property
    def learned(self) -> set[int]:
        """The other members of whom a certificate is known."""
        return {m for m, known in self._members.items() if known.certificates and m != self._index}

    def newest(self, member: int) -> Certificate | None:
        """The certificate that a member shows now, as far as we know."""
        return self._members[member].newest

    def announced(self) -> list[Certificate]:
        """Every member's newest announced certificate, to be handed on; what the file pins needs no telling."""
        newest = ((known.pinned, known.newest) for known in self._members.values())
        now = self._clock()
        return [
            one
            for pinned, one in newest
            if one is not None and one.fingerprint != pinned and one.not_after > now
        ]

    def overtaken(self) -> bool:
        """Whether others know a later certificate of ours than the one we show."""
        newest = self._members[self._index].newest
        return newest is not None and newest.number > self.own.number

    def whose(self, der: bytes | None) -> tuple[int, CertificateFault | None]:
        """The member whose certificate this is (0: nobody's that we know) and why it is not good any more."""
        if der is None:
            return 0, None
        fingerprint = hashlib.sha256(der).digest()
        member = self._owners.get(fingerprint, 0)
        if not member:
            return 0, None
        return member, self._fault(member, self._members[member].certificates[fingerprint])

    def admit(self, member: int, der: bytes) -> Certificate:
        """Take a certificate for a member's from now on; CertificateFault when it is not, or not any more."""
        known = self._members[member]
        certificate = known.certificates.get(hashlib.sha256(der).digest())
        fresh = certificate is None
        if certificate is None:
            certificate = Certificate.read(der)
            if certificate.fingerprint != known.pinned:
                certificate.check(self._committee.hash, member, self._committee.members[member - 1].host_key)
        fault = self._fault(member, certificate)
        if fault is not None:
            raise fault
        if fresh:
            self._add(member, certificate)
        return certificate

    def take(self, der: bytes) -> tuple[int, Certificate]:
        """Admit an announced certificate that somebody hands on; gives whose it is."""
        certificate = Certificate.read(der)
        notice = certificate.notice
        if notice is None:
            raise CertificateFault("cert-foreign", "hands on a certificate that nobody announced")
        if notice.member not in self._members:
            raise CertificateFault("cert-member", "hands on a certificate of nobody in this committee")
        return notice.member, self.admit(notice.member, der)

    async def learn(self, member: int, url: str) -> None:
        """Dial a member of whom nothing is known and admit what it shows; OSError when down, CertificateFault."""
        if member not in self.learned:
            self.admit(member, await shown(url, self.client))

    def renew(self) -> None:
        """Show the certificate that now lies in keys/ on every new connection; those that are open go on."""
        self.server.load_cert_chain(self._tls.certificate, self._tls.key)
        self.client = client_context(self._tls)
        self.generation += 1
        self.own = self._take_own()

    def _take_own(self) -> Certificate:
        own = read_file(self._tls.certificate)[0]
        known = self._members.get(self._index)
        if known is not None and (known.newest is None or own.number > known.newest.number):
            known.newest = own
        return own

    def _fault(self, member: int, one: Certificate) -> CertificateFault | None:
        """Why a certificate whose announcement holds is not good now."""
        now, newest = self._clock(), self._members[member].newest
        if one.not_after < now:
            return CertificateFault(
                "cert-expired",
                "shows a TLS certificate that has expired (or this clock is wrong): its operator runs "
                "`holdfast tss certificate rotate`",
            )
        if one.number > now + EARLY:
            return CertificateFault(
                "cert-early", "shows a certificate from the future: set both clocks by NTP"
            )
        if newest is None or one.number > newest.number:
            return None
        if one.number == newest.number:
            same = one.key_hash == newest.key_hash
            return (
                None if same else CertificateFault("cert-twice", "announced two certificates as one number")
            )
        notice = newest.notice
        if notice is not None and one.number == notice.before and now < notice.until:
            return None
        return CertificateFault(
            "cert-old",
            "shows a certificate that it replaced: an older copy of the node, or a thief of its TLS key",
        )

    def _add(self, member: int, one: Certificate) -> None:
        known = self._members[member]
        if one.number and not known.allowance.holds(1):
            raise CertificateFault(
                "cert-too-many", "shows too many certificates: one in ten minutes is taken"
            )
        if one.number:
            known.allowance.take(1)
            self.news.append((member, one))
        self._keep(member, one)
        if member != self._index:
            self._save(member)

    def _keep(self, member: int, one: Certificate) -> None:
        """Know a certificate. One that was replaced stays known for a while, so that its bearer is named."""
        known = self._members[member]
        known.certificates[one.fingerprint] = one
        self._owners[one.fingerprint] = member
        if known.newest is None or one.number > known.newest.number:
            known.newest = one
        if len(known.certificates) > _KNOWN:
            oldest = min(known.certificates.values(), key=lambda c: c.number)
            del known.certificates[oldest.fingerprint], self._owners[oldest.fingerprint]
        if member != self._index:
            self.server.load_verify_locations(cadata=one.der)

    def _save(self, member: int) -> None:
        """Newest first, on the disk before anybody is let in by it."""
        known, folder = self._members[member], self._tls.learned
        good = [c for c in known.certificates.values() if self._fault(member, c) is None]
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        newest_first = sorted(good, key=lambda c: c.number, reverse=True)
        path = folder / f"{self._committee.members[member - 1].name}.crt"
        write_atomically(path, b"".join(c.pem for c in newest_first), 0o644)

    def _recall(self, member: int) -> None:
        """What was saved; the newest counts also when it has expired, lest an older one come back."""
        of, known = self._committee.members[member - 1], self._members[member]
        try:
            for one in read_file(self._tls.learned / f"{of.name}.crt"):
                if one.fingerprint != known.pinned:
                    one.check(self._committee.hash, member, of.host_key)
                if known.newest is None:
                    known.newest = one
                if self._fault(member, one) is None:
                    self._keep(member, one)
        except (CertificateFault, OSError):
            return
