"""A member's TLS certificate: made, read, and announced by the member's host key inside it.

The committee file pins each member's first certificate by fingerprint; that one has number 0. A later one carries
a notice in an extension, signed by the host key together with its TLS key and dates: which committee and seat, a
number that only grows, and which one before it is good beside it, until when. So whoever is shown a certificate can
judge it at once, however long it was away and whoever handed it on. The TLS key alone, stolen, announces nothing.

The notice, big-endian: u8 form, committee hash 32, u16 member, u64 number (Unix seconds of its making, or one more
than the last), u64 before (the number that stays good; the own number when none does), u64 until (Unix seconds),
BIP340 signature 64.
"""

import datetime as dt
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Self

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.x509.oid import NameOID

from tss.frost import bip340
from tss.frost.codec import DecodeError, Reader, Writer
from tss.frost.hashing import tagged_hash

MAX_DER: Final = 4096
YEARS: Final = 10
DAY: Final = 86_400
EARLY: Final = 300  # seconds by which clocks may differ

# An arc of our own under 2.25 (ITU-T X.667: the number is a UUID), so that nobody had to give it to us.
_OID: Final = x509.ObjectIdentifier("2.25.2744836012825139460223766763574775264")
_UNREADABLE: Final = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
_ORDER: Final = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551  # of P-256, SP 800-186
_ECDSA_SHA256: Final = bytes.fromhex("300a06082a8648ce3d040302")  # RFC 5758, 3.2
_FORM: Final = 1
_SIGNATURE: Final = 64


class CertificateFault(Exception):
    """A certificate that is not taken: a stable code, and a sentence that reads after the member's name."""

    def __init__(self, code: str, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


@dataclass(frozen=True, slots=True)
class Notice:
    """What a host key says of a certificate; see the module for its layout."""

    committee: bytes
    member: int
    number: int
    before: int
    until: int
    signature: bytes = b""

    def digest(self, key_hash: bytes, not_before: int, not_after: int) -> bytes:
        """What the host key signs: the notice, SHA-256 of the TLS key's SubjectPublicKeyInfo, and the dates."""
        dates = Writer().u64(not_before).u64(not_after).done()
        return tagged_hash("holdfast/certificate/v1", self._head(), key_hash, dates)

    def encode(self) -> bytes:
        """The value of the extension."""
        return self._head() + Writer().raw(self.signature, _SIGNATURE).done()

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """DecodeError for anything but what `encode` writes."""
        reader = Reader(data, 256)
        reader.between(reader.u8(), _FORM, _FORM, "a notice's form")
        notice = cls(
            reader.raw(32), reader.u16(), reader.u64(), reader.u64(), reader.u64(), reader.raw(_SIGNATURE)
        )
        reader.finish()
        return notice

    def _head(self) -> bytes:
        writer = Writer().u8(_FORM).raw(self.committee, 32).u16(self.member)
        return writer.u64(self.number).u64(self.before).u64(self.until).done()


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate as far as members look at it; dates in Unix seconds."""

    der: bytes
    fingerprint: bytes
    key_hash: bytes
    not_before: int
    not_after: int
    notice: Notice | None

    @property
    def number(self) -> int:
        """0 for one without a notice."""
        return 0 if self.notice is None else self.notice.number

    @property
    def pem(self) -> bytes:
        """The same as PEM."""
        return x509.load_der_x509_certificate(self.der).public_bytes(serialization.Encoding.PEM)

    @classmethod
    def read(cls, der: bytes) -> Self:
        """CertificateFault when it is no certificate, or its notice is damaged."""
        try:
            if len(der) > MAX_DER:
                raise DecodeError(f"{len(der)} bytes are over the limit {MAX_DER}")
            one = x509.load_der_x509_certificate(der)
            spki = one.public_key().public_bytes(
                serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
            )
            start, end = int(one.not_valid_before_utc.timestamp()), int(one.not_valid_after_utc.timestamp())
            if start < 0 or end < 0:
                raise DecodeError("a date before 1970")
            prints = hashlib.sha256(der).digest(), hashlib.sha256(spki).digest()
            return cls(der, *prints, start, end, _notice(one))
        except _UNREADABLE as error:
            raise CertificateFault("cert-malformed", f"shows no readable certificate: {error}") from error

    def check(self, committee: bytes, member: int, host_key: bytes) -> None:
        """CertificateFault unless this member's host key announced it to this committee."""
        notice = self.notice
        if notice is None:
            raise CertificateFault(
                "cert-foreign",
                "shows a TLS certificate that committee.json does not pin and its host key did not announce: "
                "someone else answers there, or keys/tls.crt was replaced by hand",
            )
        if not notice.number:
            raise CertificateFault("cert-malformed", "announced a certificate without a number")
        if notice.committee != committee:
            raise CertificateFault(
                "cert-committee",
                "shows a certificate that it announced to another committee: its operator runs "
                "`holdfast tss certificate rotate`",
            )
        if notice.member != member:
            raise CertificateFault("cert-member", "shows another member's certificate")
        digest = notice.digest(self.key_hash, self.not_before, self.not_after)
        if not bip340.verify(host_key, digest, notice.signature):
            raise CertificateFault(
                "cert-signature", "shows a certificate whose announcement its host key did not sign"
            )
        if not _is_canonical(self.der):
            raise CertificateFault("cert-copy", "shows a rewritten copy of a certificate")


@dataclass(frozen=True, slots=True)
class Announcing:
    """Who announces a new certificate: the notice without a signature, and the host key's signing."""

    notice: Notice
    sign: Callable[[bytes], bytes]


def make(
    name: str, now: float, announcing: Announcing | None = None, *, days: int = 365 * YEARS
) -> tuple[bytes, bytes]:
    """A P-256 key and a self-signed certificate, both PEM: pinned or announced, so no authority is needed."""
    key = ec.generate_private_key(ec.SECP256R1())
    # OpenSSL finds a trusted certificate by its subject: two of one subject, and it may look at the wrong one only.
    title = name if announcing is None else f"{name} {announcing.notice.number}"
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, title)])
    start, end = int(now) - DAY, int(now) + days * DAY
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(dt.datetime.fromtimestamp(start, dt.UTC))
        .not_valid_after(dt.datetime.fromtimestamp(end, dt.UTC))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    )
    if announcing is not None:
        spki = key.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        bare = announcing.notice
        signature = announcing.sign(bare.digest(hashlib.sha256(spki).digest(), start, end))
        value = replace(bare, signature=signature).encode()
        builder = builder.add_extension(x509.UnrecognizedExtension(_OID, value), critical=False)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    made = builder.sign(key, hashes.SHA256())
    while not _is_low(made.signature):
        made = builder.sign(key, hashes.SHA256())
    return pem, made.public_bytes(serialization.Encoding.PEM)


def read_file(path: Path) -> tuple[Certificate, ...]:
    """The certificates of a PEM file, in its order; CertificateFault when it holds none or a damaged one."""
    try:
        found = x509.load_pem_x509_certificates(path.read_bytes())
    except ValueError as error:
        raise CertificateFault("cert-malformed", f"{path} is no PEM certificate") from error
    return tuple(Certificate.read(one.public_bytes(serialization.Encoding.DER)) for one in found)


def _is_canonical(der: bytes) -> bool:
    """Whether the certificate is as its maker wrote it, and not a copy with its signature on itself rewritten.

    ECDSA signatures come in pairs (r, s) and (r, n - s); only the lower s counts, so that without the TLS key
    nobody makes a second certificate of one announcement. OpenSSL, asked for one of two, may look at the other.
    """
    one = x509.load_der_x509_certificate(der)
    tbs, signature, key = one.tbs_certificate_bytes, one.signature, one.public_key()
    body = tbs + _ECDSA_SHA256 + b"\x03" + bytes([len(signature) + 1]) + b"\0" + signature
    whole = b"\x30\x82" + len(body).to_bytes(2, "big") + body
    if whole != der or not isinstance(key, ec.EllipticCurvePublicKey) or not _is_low(signature):
        return False
    try:
        key.verify(signature, tbs, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return isinstance(key.curve, ec.SECP256R1)


def _is_low(signature: bytes) -> bool:
    try:
        r, s = decode_dss_signature(signature)
    except ValueError:
        return False
    return encode_dss_signature(r, s) == signature and 0 < 2 * s < _ORDER


def _notice(one: x509.Certificate) -> Notice | None:
    try:
        value = one.extensions.get_extension_for_oid(_OID).value
    except x509.ExtensionNotFound:
        return None
    assert isinstance(value, x509.UnrecognizedExtension), "the arc is ours"
    return Notice.decode(value.value)
