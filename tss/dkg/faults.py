"""Bad news of a key generation: each error names its culprits and says what it proves.

A culprit is blamed only by messages that it signed, or by the member that received garbage from it over an
authenticated connection. What a relay may have altered blames nobody.
"""

from collections.abc import Iterable
from typing import ClassVar


class DkgFault(Exception):
    """A key generation cannot go on.

    code: stable word; culprits: member indexes, empty when nobody can be blamed;
    evidence: encoded signed messages; proves: what these prove, and to whom.
    """

    code: ClassVar[str] = "dkg"
    proves: ClassVar[str] = "nothing about anyone"

    def __init__(self, reason: str, culprits: Iterable[int] = (), evidence: Iterable[bytes] = ()) -> None:
        super().__init__(reason)
        self.reason = reason
        self.culprits = tuple(sorted(set(culprits)))
        self.evidence = tuple(evidence)


class CommitteeFault(DkgFault):
    """The committee file is malformed, unsigned, or not the one that the others have."""

    code = "committee"


class MalformedMessage(DkgFault):
    """An authenticated member sent bytes that are no message, or one of somebody else."""

    code = "malformed"
    proves = "to the receiver only: its connection to the culprit was authenticated"


class BadSignature(DkgFault):
    """A message does not carry its sender's signature; whoever handed it over may have altered it."""

    code = "signature"
    proves = "to the receiver only, and only about who handed the message over"


class WrongSession(DkgFault):
    """A message or roster belongs to another attempt, purpose, epoch or committee."""

    code = "session"
    proves = "to the receiver only: signed messages can be replayed by anyone"


class Missing(DkgFault):
    """Members did not answer; a key generation needs all of them."""

    code = "missing"
    proves = "to the receiver only: silence leaves no trace"


class ViewsDiffer(DkgFault):
    """Members saw different messages: the relay or one of them equivocated; compare what each holds."""

    code = "views"
    proves = "that two members were shown different messages, not by whom"


class Equivocation(DkgFault):
    """One member signed two different messages for the same place in one session."""

    code = "equivocation"
    proves = "to anyone: both signatures are the culprit's"


class BadProof(DkgFault):
    """A signed R1 holds an invalid package or proof of knowledge, or a key nobody can seal to."""

    code = "proof"
    proves = "to anyone: the signed R1 fails its check"


class BadShare(DkgFault):
    """A signed R2 holds a share that does not open or does not fit its sender's commitments."""

    code = "share"
    proves = "to anyone: the complaint's key opens the signed ciphertext"


class RestoreFault(DkgFault):
    """The share cannot be restored from this host key and this recovery data."""

    code = "restore"
