"""Every committee size, every number of members away, every malice, over a network that misbehaves.

The protocol is the product's pure code on virtual time; a seed repeats a run.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from random import Random

from tests.soak.nonces import Nonces
from tests.tss.simnet import ENGINE, SEALER, Dkg, Net, SimCommittee, SimSigner, approve
from tss.dkg import judge, participant, relay
from tss.dkg.faults import BadProof
from tss.dkg.messages import R1, R2, R1Set, R2Set
from tss.dkg.transcript import Transcript
from tss.frost.engine import verify
from tss.frost.package import SigningPackage
from tss.signing import messages, signer
from tss.signing.effects import Done, Failed
from tss.signing.messages import NO_ERA
from tss.signing.pool import Pool

SIZES = ((3, 2), (5, 3), (9, 6), (15, 11), (21, 14))


class SoakFault(AssertionError):
    """Something that must hold did not; the sentence says in which scenario."""


def _shares(change: Callable[[messages.Shares], messages.Shares]) -> Callable[[SimSigner], None]:
    def spoil(one: SimSigner) -> None:
        one.mangle_shares = lambda made: change(made).signed(one.identity).encode()

    return spoil


def _garbage(one: SimSigner) -> None:
    one.mangle_shares = one.mangle_offer = lambda _made: b"garbage"


def _bad_points(one: SimSigner) -> None:
    def mangle(made: messages.Commitments) -> bytes:
        worse = tuple(b"\x02" + b"\xff" * 32 + c[33:] for c in made.commitments)
        return replace(made, commitments=worse).signed(one.identity).encode()

    one.mangle_offer = mangle


def _stall(one: SimSigner) -> None:
    one.handle_shares = lambda _body: b""  # type: ignore[method-assign]


# What a member may do, and whether its name must then be on record with proof.
ROLES: dict[str, tuple[Callable[[SimSigner], None], bool]] = {
    "sends another number as its share": (
        _shares(lambda made: replace(made, shares=(bytes(31) + b"\x05", *made.shares[1:]))),
        True,
    ),
    "sends no scalar as its share": (
        _shares(lambda made: replace(made, shares=(*made.shares[:-1], b"\xff" * 32))),
        True,
    ),
    "sends too few shares": (_shares(lambda made: replace(made, shares=made.shares[:-1])), True),
    "swaps its shares": (_shares(lambda made: replace(made, shares=made.shares[::-1])), True),
    "answers garbage": (_garbage, False),
    "offers no points as commitments": (_bad_points, True),
    "sends an empty answer instead of shares": (_stall, False),
}
NETS: dict[str, Callable[[int], Net]] = {
    "a good network": Net,
    # below the time-out both ways: who is later than that counts as away
    "delays and reorders": lambda seed: Net(seed, delay=0.9),
    "duplicates": lambda seed: Net(seed, duplicate=0.5),
}


@dataclass
class Matrix:
    """Counts what was run; one committee's key per size is made once."""

    nonces: Nonces
    seed: int = 0
    signatures: int = 0
    refused: int = 0
    culprits: int = 0
    most_sessions: dict[tuple[int, int], int] = field(default_factory=dict)

    def of(self, n: int, t: int) -> None:
        """The whole list for one size."""
        dkg = Dkg(n, t, seed=f"soak {self.seed}")
        keys, _ = dkg.run()

        def fresh() -> SimCommittee:
            for key in keys.values():
                ENGINE.drop_nonces(key)
            return SimCommittee.of(dkg, keys)

        for scenario in self._scenarios(n, t):
            self._sign(fresh(), n, t, *scenario)
        self._too_few(fresh(), n, t)
        self._two_packages(fresh(), n)
        self._bad_share(n, t)
        self._bad_proof(n, t)
        for key in keys.values():
            key.close()

    def _scenarios(self, n: int, t: int) -> Iterator[tuple[int, str | None, str]]:
        for away in range(n - t + 1):
            for net in NETS:
                yield away, None, net
            if away < n - t:  # the rest of those that may fail are malicious
                for role in ROLES:
                    yield away, role, "a good network"

    def _sign(self, committee: SimCommittee, n: int, t: int, away: int, role: str | None, net: str) -> None:
        name = f"{t} of {n}, {away} away, {role or 'the rest honest'}, {net}, seed {self.seed}"
        random = Random(name)
        order = random.sample(range(1, n + 1), n)
        gone, bad = order[:away], order[away : n - t] if role else []
        coordinator = order[-1]
        for member in gone:
            committee.signers[member].up = False
        for member in bad:
            assert role is not None
            ROLES[role][0](committee.signers[member])
        # The malicious are asked first, so that each of them gets its chance.
        shell = committee.sign(
            name.encode(), NETS[net](self.seed), coordinator=coordinator, order=(*bad, *order[n - t :])
        )
        if not isinstance(shell.ended, Done):
            raise SoakFault(f"{name}: no signature, {shell.ended}")
        if len(shell.opened) > n - t + 1:
            raise SoakFault(f"{name}: {len(shell.opened)} sessions")
        for (message, path), signature in zip(
            approve("test", name.encode()).messages, shell.ended.signatures, strict=True
        ):
            x_only, _ = committee.signers[1].key.public.output_key(path)
            if not verify(x_only, message, signature):
                raise SoakFault(f"{name}: the signature does not verify")
        self._judge(name, shell.blames, bad, proof=role is not None and ROLES[role][1])
        self._count(committee)
        self.signatures += len(shell.ended.signatures)
        most = self.most_sessions.get((n, t), 0)
        self.most_sessions[n, t] = max(most, len(shell.opened))

    def _judge(self, name: str, blames: list, bad: list[int], *, proof: bool) -> None:
        blamed = {blame.member for blame in blames}
        if not blamed <= set(bad):
            raise SoakFault(f"{name}: honest members were blamed: {blamed - set(bad)}")
        if proof and any(blame.evidence is None for blame in blames):
            raise SoakFault(f"{name}: a blame without evidence")
        self.culprits += len(blamed)

    def _count(self, committee: SimCommittee) -> None:
        for one in committee.signers.values():
            for row in one.rows.values():
                self.nonces.left(row.commitment, row.package_hash)

    def _too_few(self, committee: SimCommittee, n: int, t: int) -> None:
        for member in range(t, n + 1):
            committee.signers[member].up = False
        ended = committee.sign(b"too few").ended
        if not isinstance(ended, Failed) or f"only {t - 1} of the {t} signers" not in ended.reason:
            raise SoakFault(f"{t} of {n} with one too many away: {ended}")
        self.refused += 1

    def _two_packages(self, committee: SimCommittee, n: int) -> None:
        """A coordinator uses every commitment twice: all refuse, and what they hold convicts it."""
        first = committee.sign(b"first").opened[-1].request
        wanted = approve("test", b"second").messages
        packages = tuple(
            SigningPackage(message, package.commitments, path)
            for (message, path), package in zip(wanted, first.packages, strict=True)
        )
        again = messages.SharesRequest(first.key, 1, "test", b"second", packages, 3, NO_ERA)
        again = again.signed(committee.identities[0])
        for member in first.members:
            one = committee.signers[member]
            decided = one.decide(again)
            if not isinstance(decided, signer.Refuse) or decided.evidence is None:
                raise SoakFault(f"{n} members: {member} would have signed a second package")
            if decided.evidence.culprit != 1:
                raise SoakFault(f"{n} members: {member} accuses {decided.evidence.culprit}")
            self.refused += 1
        self.culprits += 1
        self._count(committee)
        committee.pools[1] = Pool()

    def _bad_share(self, n: int, t: int) -> None:
        """A member seals a wrong share to another in a key generation: the complaint convicts it."""
        dkg = Dkg(n, t, seed=f"bad share {self.seed}", attempt=2)
        roster, r1s, answers = dkg.to_r2()
        cheater, victim = n, 1
        info = participant.share_info(r1s.of(1).sid, cheater, victim, r1s.hash)
        r2 = R2.decode(answers[cheater])
        box = SEALER.seal(r1s.of(victim).encryption_key, info, (5).to_bytes(32, "big"))
        forged = replace(r2, sealed=(box, *r2.sealed[1:])).signed(dkg.identities[cheater - 1])
        dkg.second[cheater] = replace(dkg.second[cheater], r2=forged)
        answers[cheater] = forged.encode()
        r2s = R2Set.decode(relay.bundle_r2(dkg.committee, roster, r1s, answers).encode())
        complaints = relay.certificate(dkg.committee, roster, bytes(32), dkg.round3(r2s))
        transcript = Transcript(dkg.committee, roster, r1s, r2s)
        judgement = judge.judge(ENGINE, SEALER, transcript, complaints[0])
        if judgement.culprits != (cheater,):
            raise SoakFault(f"{t} of {n}: a bad share convicts {judgement.culprits}, not {cheater}")
        self.culprits += 1

    def _bad_proof(self, n: int, t: int) -> None:
        dkg = Dkg(n, t, seed=f"bad proof {self.seed}", attempt=3)
        roster = dkg.roster()
        answers = dkg.round1(roster)
        r1 = R1.decode(answers[n])
        worse = bytes([*r1.package[:-1], r1.package[-1] ^ 1])
        answers[n] = replace(r1, package=worse).signed(dkg.identities[n - 1]).encode()
        try:
            bundle = R1Set.decode(relay.bundle_r1(dkg.committee, roster, answers).encode())
            participant.step2(ENGINE, SEALER, dkg.first[1], bundle)
        except BadProof as fault:
            if fault.culprits != (n,):
                raise SoakFault(f"{t} of {n}: a bad proof convicts {fault.culprits}") from fault
            self.culprits += 1
            return
        raise SoakFault(f"{t} of {n}: a bad proof of knowledge was accepted")
