"""Mutual TLS 1.3 between members that know each other only by the fingerprints in the committee file.

The dialling side checks the fingerprint of the certificate it is shown. The listening side needs the dialler's
whole certificate before OpenSSL lets it in, so a node learns a member's certificate when it first dials that
member, checks it against the committee file, and keeps it in keys/peers/. Until then that member's calls are
refused by TLS; both sides dial every member at start, so this lasts one round of pings.
"""

import asyncio
import datetime as dt
import hashlib
import ssl
from pathlib import Path
from urllib.parse import urlsplit

from cryptography import x509

from tss.files import write_atomically
from tss.identity import TlsFiles


class PinFault(Exception):
    """A member showed a certificate that the committee file does not pin."""


def server_context(tls: TlsFiles) -> ssl.SSLContext:
    """TLS 1.3 that asks for a certificate and admits only those given to `Pins.trust`."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(tls.certificate, tls.key)
    return context


def client_context(tls: TlsFiles) -> ssl.SSLContext:
    """TLS 1.3 that shows our certificate; the other's is checked by fingerprint after the handshake."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.load_cert_chain(tls.certificate, tls.key)
    return context


class Pins:
    """The members' certificates learned so far and the fingerprints they must have."""

    def __init__(self, fingerprints: dict[int, bytes], names: dict[int, str], tls: TlsFiles) -> None:
        """Read what earlier runs learned; files that the committee file does not pin are ignored."""
        self._members = {fingerprint: member for member, fingerprint in fingerprints.items()}
        self._names = names
        self._folder = tls.learned
        self._client = client_context(tls)
        self.server = server_context(tls)
        self.learned: set[int] = set()
        for member, name in names.items():
            path = self._folder / f"{name}.crt"
            if path.exists():
                self._recall(member, path)

    @property
    def client(self) -> ssl.SSLContext:
        """What to dial with."""
        return self._client

    def member_of(self, certificate_der: bytes | None) -> int | None:
        """The member whose certificate this is."""
        return None if certificate_der is None else self._members.get(_fingerprint(certificate_der))

    async def learn(self, member: int, url: str) -> None:
        """Dial the member once, check its certificate and admit it; OSError when down, PinFault when foreign."""
        if member in self.learned:
            return
        where = urlsplit(url)
        _reader, writer = await asyncio.open_connection(where.hostname, where.port, ssl=self._client)
        try:
            der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        finally:
            writer.transport.abort()
        if self.member_of(der) != member:
            raise PinFault(
                f"{self._names[member]} at {url} shows a TLS certificate that committee.json does not pin: "
                "someone else answers there, or the member's keys/tls.crt was replaced"
            )
        if _expired(der):
            raise PinFault(
                f"the TLS certificate of {self._names[member]} has expired (or this clock is wrong): it needs "
                "a new one, and all a committee file that pins it"
            )
        self._trust(member, der)
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        pem = ssl.DER_cert_to_PEM_cert(der).encode()
        write_atomically(self._folder / f"{self._names[member]}.crt", pem, 0o644)

    def _recall(self, member: int, path: Path) -> None:
        try:
            der = ssl.PEM_cert_to_DER_cert(path.read_text("ascii"))
        except ValueError:
            return
        if self.member_of(der) == member and not _expired(der):
            self._trust(member, der)

    def _trust(self, member: int, der: bytes) -> None:
        self.server.load_verify_locations(cadata=der)
        self.learned.add(member)


def _expired(der: bytes) -> bool:
    return x509.load_der_x509_certificate(der).not_valid_after_utc < dt.datetime.now(dt.UTC)


def _fingerprint(der: bytes) -> bytes:
    return hashlib.sha256(der).digest()
