"""Who signs: the committee file, signed by every member's host key and read aloud as words."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self
from urllib.parse import urlsplit

from tss.dkg.faults import CommitteeFault
from tss.dkg.signed import MAX_MEMBERS, SIGNATURE_SIZE, Encoded, is_slug, read_purpose
from tss.frost import bip340
from tss.frost.codec import DecodeError, Reader, Writer
from tss.frost.hashing import tagged_hash

MAX_URL = 255
MAX_JSON = 256 * 1024
CONSONANTS = "bdfghjklmnprstvz"  # proquints: arXiv:0901.4016
VOWELS = "aiou"


@dataclass(frozen=True, slots=True)
class Member:
    """One member: host_key x-only 32 bytes, tls_fingerprint SHA-256 of the certificate's DER."""

    name: str
    host_key: bytes
    tls_fingerprint: bytes
    peer_url: str

    def __post_init__(self) -> None:
        if not is_slug(self.name):
            raise CommitteeFault(f"member name {self.name!r}: use 1 to 32 characters of a-z, 0-9 and -")
        if len(self.host_key) != 32 or len(self.tls_fingerprint) != 32:
            raise CommitteeFault(f"{self.name}: host key and TLS fingerprint are 32 bytes each")
        if not _is_peer_url(self.peer_url):
            raise CommitteeFault(f"{self.name}: peer URL must read https://host:port, not {self.peer_url!r}")


class _Named(Encoded):
    """Has a hash that is computed once."""

    __slots__ = ("_hash",)
    _hash: bytes


@dataclass(frozen=True, slots=True)
class Committee(_Named):
    """Who signs for one key epoch; a member's index is its position + 1. Raises CommitteeFault if unsound.

    `previous` is the hash of the committee file that this one succeeds, empty in the first.
    """

    KIND: ClassVar[int] = 1
    LIMIT: ClassVar[int] = 64 * 1024
    name: str
    chain: str
    epoch: int
    threshold: int
    members: tuple[Member, ...]
    previous: bytes = b""

    def __post_init__(self) -> None:
        if len(self.previous) not in (0, 32):
            raise CommitteeFault("previous is the 32-byte hash of the committee file before, or left out")
        if not is_slug(self.name) or not is_slug(self.chain):
            raise CommitteeFault("names of committee and chain are 1 to 32 characters of a-z, 0-9 and -")
        if not 0 <= self.epoch < 1 << 32:
            raise CommitteeFault(f"epoch {self.epoch} is not a 32-bit number")
        _check_size(self.threshold, len(self.members), self.chain)
        for what in ("name", "host_key", "tls_fingerprint", "peer_url"):
            _unique(self.members, what)

    @property
    def size(self) -> int:
        """The number of members, n."""
        return len(self.members)

    @property
    def hash(self) -> bytes:
        """What the members sign, 32 bytes."""
        try:
            return self._hash
        except AttributeError:
            object.__setattr__(self, "_hash", tagged_hash("holdfast/committee/v1", self.encode()))
            return self._hash

    @property
    def words(self) -> str:
        """The first 128 bits of the hash as 8 pronounceable words, to compare by voice."""
        digest = self.hash
        return "-".join(_proquint(int.from_bytes(digest[i : i + 2], "big")) for i in range(0, 16, 2))

    def member(self, index: int) -> Member:
        """The member with this index, 1 to n; IndexError outside."""
        if not 1 <= index <= len(self.members):
            raise IndexError(f"no member {index} of {len(self.members)}")
        return self.members[index - 1]

    def name_of(self, index: int) -> str:
        """A name for sentences, whatever the index."""
        return self.members[index - 1].name if 1 <= index <= len(self.members) else f"member {index}"

    def names_of(self, indexes: tuple[int, ...] | list[int] | set[int]) -> str:
        """Names for sentences: "alice, bob and carol"."""
        names = [self.name_of(index) for index in sorted(indexes)]
        return (
            names[0]
            if len(names) == 1
            else ", ".join(names[:-1]) + " and " + names[-1]
            if names
            else "nobody"
        )

    def index_of(self, host_key: bytes) -> int | None:
        """The index of the member with this host key."""
        return next((i for i, m in enumerate(self.members, 1) if m.host_key == host_key), None)

    def write(self, writer: Writer) -> None:
        """name, chain, u32 epoch, u16 threshold, u16 n, each member, and previous unless it is empty."""
        writer.text(self.name, 32).text(self.chain, 32).u32(self.epoch).u16(self.threshold)
        writer.u16(len(self.members))
        for member in self.members:
            writer.text(member.name, 32).raw(member.host_key, 32).raw(member.tls_fingerprint, 32)
            writer.text(member.peer_url, MAX_URL)
        if self.previous:
            writer.raw(self.previous, 32)

    @classmethod
    def read(cls, reader: Reader) -> Self:
        """Take what `write` appended; an unsound committee is a DecodeError."""
        name, chain = read_purpose(reader), read_purpose(reader)
        epoch, threshold = reader.u32(), reader.u16()
        count = reader.between(reader.u16(), 1, MAX_MEMBERS, "the number of members")
        try:
            members = tuple(
                Member(reader.text(32), reader.raw(32), reader.raw(32), reader.text(MAX_URL))
                for _ in range(count)
            )
            return cls(name, chain, epoch, threshold, members, reader.raw(32) if reader.left else b"")
        except CommitteeFault as fault:
            raise DecodeError(fault.reason) from fault


@dataclass(frozen=True, slots=True)
class SignedCommittee:
    """A committee with its members' signatures (BIP340 over its hash), None where one is still missing."""

    committee: Committee
    signatures: tuple[bytes | None, ...]

    def __post_init__(self) -> None:
        if len(self.signatures) != self.committee.size:
            raise CommitteeFault("a committee file has one place for a signature per member")

    @classmethod
    def unsigned(cls, committee: Committee) -> Self:
        """A proposal that nobody has signed yet."""
        return cls(committee, (None,) * committee.size)

    @property
    def missing(self) -> tuple[int, ...]:
        """The indexes of members who have not signed."""
        return tuple(i for i, signature in enumerate(self.signatures, 1) if signature is None)

    @property
    def complete(self) -> bool:
        """Whether every place holds a signature; `verify` says whether they are valid."""
        return not self.missing

    def verify(self, *, partial: bool = False) -> None:
        """Raise CommitteeFault naming the first members whose signature is wrong, or (not partial) missing."""
        for index, signature in enumerate(self.signatures, 1):
            if signature is not None:
                self._check(index, signature)
        if self.missing and not partial:
            names = self.committee.names_of(self.missing)
            raise CommitteeFault(
                f"the committee file is not signed by {names}: let them run "
                "`holdfast tss committee sign` and merge their files",
                self.missing,
            )

    def with_signature(self, index: int, signature: bytes) -> "SignedCommittee":
        """The same with one more signature; CommitteeFault when it is not that member's."""
        self.committee.member(index)
        self._check(index, signature)
        signatures = list(self.signatures)
        signatures[index - 1] = signature
        return replace(self, signatures=tuple(signatures))

    def merge(self, other: "SignedCommittee") -> "SignedCommittee":
        """The signatures of both; CommitteeFault when the committees differ or a signature is wrong."""
        if other.committee != self.committee:
            raise CommitteeFault(
                f"the files differ: one reads {self.committee.words}, the other {other.committee.words}; "
                "agree on one file and sign that"
            )
        merged = self
        for index, signature in enumerate(other.signatures, 1):
            if signature is not None and merged.signatures[index - 1] is None:
                merged = merged.with_signature(index, signature)
        return merged

    def to_json(self) -> str:
        """committee.json: sorted keys, indent 2, lower-case hex."""
        c = self.committee
        members = [
            {
                "host_key": m.host_key.hex(),
                "name": m.name,
                "peer_url": m.peer_url,
                "signature": None if s is None else s.hex(),
                "tls_fingerprint": m.tls_fingerprint.hex(),
            }
            for m, s in zip(c.members, self.signatures, strict=True)
        ]
        form: dict[str, object] = {
            "chain": c.chain,
            "epoch": c.epoch,
            "members": members,
            "name": c.name,
            "threshold": c.threshold,
        }
        if c.previous:
            form["previous"] = c.previous.hex()
        return json.dumps(form, indent=2, sort_keys=True) + "\n"

    @classmethod
    def from_json(cls, text: str | bytes) -> Self:
        """Read committee.json strictly; CommitteeFault says what is wrong. Signatures: see `verify`."""
        if len(text) > MAX_JSON:
            raise CommitteeFault(f"the committee file is longer than {MAX_JSON} bytes")
        try:
            form = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise CommitteeFault(f"the committee file is no JSON: {error}") from error
        later = isinstance(form, dict) and "previous" in form
        form = _object(form, {**_FORM, "previous": str} if later else _FORM)
        previous = _hex(form, "previous", 32) if later else b""
        rows = [_object(row, _MEMBER_FORM) for row in form["members"]]
        members = tuple(
            Member(r["name"], _hex(r, "host_key", 32), _hex(r, "tls_fingerprint", 32), r["peer_url"])
            for r in rows
        )
        named = (form["name"], form["chain"], form["epoch"], form["threshold"])
        committee = Committee(*named, members, previous)
        signatures = tuple(
            None if r["signature"] is None else _hex(r, "signature", SIGNATURE_SIZE) for r in rows
        )
        return cls(committee, signatures)

    def _check(self, index: int, signature: bytes) -> None:
        member = self.committee.member(index)
        if not bip340.verify(member.host_key, self.committee.hash, signature):
            raise CommitteeFault(
                f"{member.name}'s signature does not fit this committee file: the file was changed after signing, "
                "or another key signed it",
                (index,),
            )


_FORM: Mapping[str, type | tuple[type, ...]] = {
    "chain": str,
    "epoch": int,
    "members": list,
    "name": str,
    "threshold": int,
}

_MEMBER_FORM: Mapping[str, type | tuple[type, ...]] = {
    "host_key": str,
    "name": str,
    "peer_url": str,
    "signature": (str, type(None)),
    "tls_fingerprint": str,
}


def _object(value: object, form: Mapping[str, type | tuple[type, ...]]) -> dict[str, Any]:
    if not isinstance(value, dict) or set(value) != set(form):
        raise CommitteeFault(f"the committee file needs exactly the keys {', '.join(sorted(form))}")
    for key, kind in form.items():
        if not isinstance(value[key], kind) or isinstance(value[key], bool):
            raise CommitteeFault(f"{key} has the wrong type in the committee file")
    return value


def _hex(row: Mapping[str, Any], key: str, size: int) -> bytes:
    text = row[key]
    try:
        data = bytes.fromhex(text)
    except ValueError:
        data = b""
    if len(data) != size or data.hex() != text:
        raise CommitteeFault(f"{row['name']}: {key} must be {size} bytes in lower-case hex")
    return data


def _check_size(threshold: int, members: int, chain: str) -> None:
    if members > MAX_MEMBERS:
        raise CommitteeFault(f"{members} members: a committee has at most {MAX_MEMBERS}; leave some out")
    if threshold < 2 and (threshold, members, chain) != (1, 1, "regtest"):
        raise CommitteeFault(
            f"threshold {threshold}: a key that one member can use alone is no committee's; use 2 or more (1 of 1 "
            "is for regtest only)"
        )
    if threshold > members:
        raise CommitteeFault(
            f"threshold {threshold} of {members} members: nothing could ever be signed; use 2 ≤ threshold ≤ members"
        )


def _unique(members: tuple[Member, ...], what: str) -> None:
    seen: dict[object, str] = {}
    for member in members:
        value = getattr(member, what)
        if value in seen:
            raise CommitteeFault(f"{seen[value]} and {member.name} have the same {what.replace('_', ' ')}")
        seen[value] = member.name


def _is_peer_url(url: str) -> bool:
    if len(url.encode()) > MAX_URL or not url.isascii() or not url.isprintable() or " " in url:
        return False
    try:
        parts = urlsplit(url)
        sound = parts.scheme == "https" and bool(parts.hostname) and parts.port is not None
    except ValueError:
        return False
    return sound and url == f"https://{parts.netloc}" and "@" not in url


def _proquint(number: int) -> str:
    return (
        CONSONANTS[number >> 12]
        + VOWELS[number >> 10 & 3]
        + CONSONANTS[number >> 6 & 15]
        + VOWELS[number >> 4 & 3]
        + CONSONANTS[number & 15]
    )
