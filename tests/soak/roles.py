"""Who misbehaves in a simulated committee, and how: members, coordinators, networks."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from tests.soak.faults import SoakFault
from tests.tss.simnet import SimCommittee, SimSigner, approve
from tests.tss.simwire import Net
from tss.frost.package import SigningPackage
from tss.frost.path import SigningPath
from tss.signing import messages, signer
from tss.signing.approval import Refused
from tss.signing.messages import NO_ERA, Commitments, Shares, SharesRequest
from tss.signing.signer import REFUSED, UNKNOWN_COMMITMENT

AGAIN = 0.4  # seconds until the peers' layer says a thing again; a signature's time-out is 2

NETS: dict[str, Callable[[int], Net]] = {
    "a good network": Net,
    # below the time-out both ways: who is later than that counts as away
    "delays and reorders": lambda seed: Net(seed, delay=0.9),
    "duplicates": lambda seed: Net(seed, duplicate=0.5),
    "drops": lambda seed: Net(seed, drop=0.25, delay=0.2, again=AGAIN),
    "corrupts": lambda seed: Net(seed, corrupt=0.25, delay=0.2, again=AGAIN),
    "all at once": lambda seed: Net(
        seed, drop=0.15, duplicate=0.3, corrupt=0.15, delay=0.5, again=AGAIN
    ),  # and it parts when the first session opens
}


@dataclass(frozen=True)
class Role:
    """What a member does; `proof`: its name must then be on record with proof; `harmless`: not even a blame."""

    spoil: Callable[[SimSigner], None]
    proof: bool = False
    harmless: bool = False


def _shares(change: Callable[[SimSigner, Shares], Shares]) -> Callable[[SimSigner], None]:
    def spoil(one: SimSigner) -> None:
        one.mangle_shares = lambda made: change(one, made).signed(one.identity).encode()

    return spoil


def _garbage(one: SimSigner) -> None:
    one.mangle_shares = one.mangle_offer = lambda _made: b"garbage"


def _bad_points(one: SimSigner) -> None:
    def mangle(made: Commitments) -> bytes:
        worse = tuple(b"\x02" + b"\xff" * 32 + c[33:] for c in made.commitments)
        return replace(made, commitments=worse).signed(one.identity).encode()

    one.mangle_offer = mangle


def _empty(one: SimSigner) -> None:
    one.handle_shares = lambda _body: b""


def _silent_then(one: SimSigner) -> None:
    one.handle_shares = lambda _body: None


def _refuses(one: SimSigner) -> None:
    one.approve = lambda _purpose, _payload: Refused("its fee is above our limit", retryable=False)


def _restarts(one: SimSigner) -> None:
    plain = one.handle_shares

    def shares(body: bytes) -> bytes:
        one.restart()
        return plain(body)

    one.handle_shares = shares


def _few(one: SimSigner) -> None:
    one.mangle_offer = lambda made: (
        replace(made, commitments=made.commitments[:1]).signed(one.identity).encode()
    )


def _offers_again(change: Callable[[Commitments, Commitments], Commitments]) -> Callable[[SimSigner], None]:
    """The next commitments contradict the first ones."""

    def spoil(one: SimSigner) -> None:
        offered: list[Commitments] = []

        def offer(made: Commitments) -> bytes:
            offered.append(made)
            return made.encode()

        def shares(made: Shares) -> bytes:
            if not offered:
                return made.encode()
            following = change(made.following, offered[0]).signed(one.identity)
            return replace(made, following=following).signed(one.identity).encode()

        one.mangle_offer, one.mangle_shares = offer, shares

    return spoil


ROLES: dict[str, Role] = {
    "sends another number as its share": Role(
        _shares(lambda _, made: replace(made, shares=(bytes(31) + b"\x05", *made.shares[1:]))), proof=True
    ),
    "sends no scalar as its share": Role(
        _shares(lambda _, made: replace(made, shares=(*made.shares[:-1], b"\xff" * 32))), proof=True
    ),
    "sends too few shares": Role(_shares(lambda _, made: replace(made, shares=made.shares[:-1])), proof=True),
    "swaps its shares": Role(_shares(lambda _, made: replace(made, shares=made.shares[::-1])), proof=True),
    "offers no points as commitments": Role(_bad_points, proof=True),
    "offers its commitments a second time": Role(
        _offers_again(lambda made, first: replace(made, commitments=first.commitments)), proof=True
    ),
    "gives two offers one number": Role(
        _offers_again(lambda made, first: replace(made, sequence=first.sequence)), proof=True
    ),
    "answers garbage": Role(_garbage),
    "sends an empty answer instead of shares": Role(_empty),
    "answers another session": Role(_shares(lambda _, made: replace(made, session=bytes(32)))),
    "answers for another key": Role(_shares(lambda _, made: replace(made, key=b"\x02" + bytes(32)))),
    "falls silent when shares are wanted": Role(_silent_then, harmless=True),
    "refuses": Role(_refuses, harmless=True),
    "starts anew before it signs": Role(_restarts, harmless=True),
    "sends too few commitments": Role(_few),
}


def bad_coordinators(committee: SimCommittee, members: tuple[int, ...]) -> Iterator[str]:
    """Whatever a coordinator asks for against the rules, each of these t members refuses by that rule's name.

    Yields what was refused; SoakFault when somebody would have signed.
    """
    for ask in _asks(committee, members):
        for member in ask.whom:
            one = committee.signers[member]
            before, plain = dict(one.rows), one.approve
            if ask.code == REFUSED:
                _refuses(one)
            decided = one.decide(ask.request)
            one.approve = plain
            if not isinstance(decided, signer.Refuse) or decided.code != ask.code or one.rows != before:
                raise SoakFault(f"a coordinator that {ask.name}: member {member} answers {decided}")
            if ask.convicts != (decided.evidence is not None):
                raise SoakFault(f"a coordinator that {ask.name}: evidence is {decided.evidence}")
        yield ask.name


@dataclass(frozen=True)
class _Ask:
    """What a coordinator asks, the code by which `whom` must refuse, and whether that convicts it."""

    name: str
    code: str
    request: SharesRequest
    whom: tuple[int, ...]
    convicts: bool = False


def _packages(
    committee: SimCommittee,
    members: tuple[int, ...],
    wanted: tuple[tuple[bytes, SigningPath], ...],
    owner: int = 1,
    era: bytes = NO_ERA,
) -> tuple[SigningPackage, ...]:
    given = {m: committee.signers[m].issue(owner, len(wanted), era).commitments for m in members}
    return tuple(
        SigningPackage(message, {m: given[m][i] for m in members}, path)
        for i, (message, path) in enumerate(wanted)
    )


def _asks(committee: SimCommittee, members: tuple[int, ...]) -> Iterator[_Ask]:
    key, me, other = committee.signers[1].key.public.share_set, committee.identities[0], members[-1]
    wanted = approve("test", b"asked").messages
    good = SharesRequest(key, 1, "test", b"asked", _packages(committee, members, wanted), 0)
    signed = good.signed(me)

    def with_(*packages: SigningPackage) -> SharesRequest:
        return replace(good, packages=packages).signed(me)

    yield _Ask("wants what nobody approved", REFUSED, signed, members)
    forged = replace(signed, signature=signed.signature[:-1] + bytes([signed.signature[-1] ^ 1]))
    yield _Ask("did not sign", "signature", forged, members)
    yield _Ask("names another key", "wrong-key", replace(good, key=b"\x02" + bytes(32)).signed(me), members)
    changed = tuple((bytes(32), path) for _, path in wanted)
    ask = with_(*_packages(committee, members, changed))
    yield _Ask("changes the messages", "messages-differ", ask, members)
    ask = with_(*_packages(committee, members, wanted, owner=other))
    yield _Ask("takes another's commitments", "foreign-commitment", ask, members)
    ask = with_(*_packages(committee, members, wanted, era=b"e" * 16))
    yield _Ask("uses those of another era", UNKNOWN_COMMITMENT, ask, members)
    one, *rest = good.packages
    ask = with_(one, *(replace(package, commitments=one.commitments) for package in rest))
    yield _Ask("uses a commitment twice at once", "nonce-reuse", ask, members, convicts=True)
    ask = with_(*(replace(p, commitments={m: p.commitments[m] for m in members[:-1]}) for p in good.packages))
    yield _Ask("names too few", "signers", ask, members[:-1])
    yield _Ask("asks who is not named", "not-a-signer", ask, members[-1:])
    for member in members:
        committee.signers[member].restart()
    yield _Ask("uses those of an earlier boot", UNKNOWN_COMMITMENT, signed, members)


def two_packages(committee: SimCommittee, n: int) -> int:
    """A coordinator uses every commitment twice: all refuse, and what they hold convicts it. How many refused."""
    first = committee.sign(b"first").opened[-1].request
    wanted = approve("test", b"second").messages
    packages = tuple(
        SigningPackage(message, package.commitments, path)
        for (message, path), package in zip(wanted, first.packages, strict=True)
    )
    again = messages.SharesRequest(first.key, 1, "test", b"second", packages, 3, NO_ERA)
    again = again.signed(committee.identities[0])
    for member in first.members:
        decided = committee.signers[member].decide(again)
        if not isinstance(decided, signer.Refuse) or decided.evidence is None:
            raise SoakFault(f"{n} members: {member} would have signed a second package")
        if decided.evidence.culprit != 1:
            raise SoakFault(f"{n} members: {member} accuses {decided.evidence.culprit}")
    return len(first.members)
