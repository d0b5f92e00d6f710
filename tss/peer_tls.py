"""Mutual TLS 1.3 between members that know each other by the committee file's fingerprints and host keys.

The dialling side judges the certificate it is shown (`pins.py`). The listening side needs the dialler's whole
certificate before OpenSSL lets it in, so a node learns a member's certificate when it first dials that member, or
when another member hands it on, and keeps it in keys/peers/. Until then that member's calls are refused by TLS;
both sides dial every member at start, so this lasts one round of pings.
"""

import asyncio
import ssl
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import aiohttp

from tss.certificate import CertificateFault
from tss.identity import TlsFiles

if TYPE_CHECKING:
    from tss.pins import Pins

Refused = Callable[[str, str], None]  # a code and a reason
Generation = Callable[[], int]  # counts our own certificates since the start

_EXPIRED = 10  # X509_V_ERR_CERT_HAS_EXPIRED


def server_context(tls: TlsFiles, refused: Refused, generation: Generation) -> ssl.SSLContext:
    """TLS 1.3 that asks for a certificate and admits only those that `Pins` trusts; `refused` hears of the rest.

    What `generation` gave when a connection began is that connection's `ssl_object.generation`.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(tls.certificate, tls.key)
    context.sslobject_class = _watched(refused, generation)
    return context


def client_context(tls: TlsFiles) -> ssl.SSLContext:
    """TLS 1.3 that shows our certificate; the other's is judged after the handshake."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.load_cert_chain(tls.certificate, tls.key)
    return context


class Unpinned(aiohttp.ServerFingerprintMismatch):
    """A server showed a certificate that is not its member's; `reason` reads after the name."""

    def __init__(self, fault: CertificateFault, got: bytes, host: str, port: int) -> None:
        super().__init__(bytes(32), got, host, port)
        self.code, self.reason = fault.code, fault.reason


class MemberPin(aiohttp.Fingerprint):
    """Has aiohttp ask `Pins` on every new connection instead of comparing with one fingerprint."""

    def __init__(self, pins: "Pins", member: int) -> None:
        super().__init__(bytes(32))
        self._pins, self._member = pins, member

    def check(self, transport: asyncio.Transport) -> None:
        """Raise Unpinned unless the certificate is one that this member may show now."""
        der = transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
        try:
            self._pins.admit(self._member, der)
        except CertificateFault as fault:
            host, port, *_ = transport.get_extra_info("peername")
            raise Unpinned(fault, der[:32], host, port) from fault


async def shown(url: str, context: ssl.SSLContext) -> bytes:
    """The certificate (DER) that a server shows; OSError when there is no server."""
    where = urlsplit(url)
    _reader, writer = await asyncio.open_connection(where.hostname, where.port, ssl=context)
    try:
        der: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return der
    finally:
        writer.transport.abort()


def _watched(refused: Refused, now: Generation) -> type[ssl.SSLObject]:
    """An SSLObject that tells of handshakes that failed; asyncio drops those without a word."""

    class Watched(ssl.SSLObject):
        generation: int | None = None

        def do_handshake(self) -> Any:
            if self.generation is None:
                self.generation = now()
            try:
                return super().do_handshake()
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                raise
            except ssl.SSLError as error:
                refused(*_named(error))
                raise

    return Watched


def _named(error: ssl.SSLError) -> tuple[str, str]:
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code == _EXPIRED:
            return "tls-expired", "it shows a certificate that has expired (or this clock is wrong)"
        return (
            "tls-stranger",
            "it shows a certificate that is not known here; a member's is learned when it is dialled",
        )
    if error.reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE":
        return "tls-no-certificate", "it shows no certificate"
    return "tls", f"it does not speak TLS 1.3 as a member does ({error.reason or type(error).__name__})"
