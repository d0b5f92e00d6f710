"""Every committee size, every number of members away, every malice, over networks that misbehave in six ways.

The protocol is the product's pure code on virtual time; a seed repeats a run.

What "t honest members can talk" means here: an honest member can talk when every exchange of the coordinator with
it is over within the time-out. While t can, the coordinator among them, the signature must appear within n - t + 1
sessions; else the request may fail, must say so, and must succeed when it is asked again over a network that has
healed. Nobody honest is ever blamed.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random

from tests.soak.faults import SoakFault
from tests.soak.nonces import Nonces
from tests.soak.roles import NETS, ROLES, Role, bad_coordinators, two_packages
from tests.tss.evidence.judging import proven
from tests.tss.simnet import ENGINE, Dkg, Shell, SimCommittee, approve
from tests.tss.simwire import Net
from tss.frost.engine import KeyShare, verify
from tss.signing.coordinator import MAX_STALE
from tss.signing.effects import Blame, Done, Failed
from tss.signing.pool import Pool

SIZES = ((3, 2), (5, 3), (9, 6), (15, 11), (21, 14))
GOOD, WORST = "a good network", "all at once"
_CUT_OFF = 30.0  # seconds of a part that leaves too few


@dataclass
class Scenario:
    """Who is away, who is malicious and how, and over what."""

    n: int
    t: int
    away: int
    role: str | None
    net: str
    seed: int

    def __post_init__(self) -> None:
        order = Random(self.name).sample(range(1, self.n + 1), self.n)
        spare = self.n - self.t
        self.gone = order[: self.away]
        # All that may fail are away or malicious; where a part must cut somebody off as well, half of the rest.
        self.bad = order[self.away : spare] if self.role else []
        if self.role and self.net == WORST:
            self.bad = self.bad[: (len(self.bad) + 1) // 2]
        self.cut = order[self.away + len(self.bad) : spare] if self.net == WORST else []
        self.honest = order[self.away + len(self.bad) :]
        self.coordinator = order[-1]
        # Every other leader does not wait for those who take longer than usual.
        self.hasty = Random(f"hasty {self.name}").choice((0.0, 0.3))
        # The malicious are asked first, so that each of them gets its chance.
        self.order = (*self.bad, *self.honest)

    @property
    def name(self) -> str:
        who = self.role or "the rest honest"
        return f"{self.t} of {self.n}, {self.away} away, {who}, {self.net}, seed {self.seed}"


@dataclass
class Matrix:
    """Counts what was run; one committee's key per size is made once."""

    nonces: Nonces
    seed: int = 0
    signatures: int = 0
    refused: int = 0
    culprits: int = 0
    healed: int = 0
    most_sessions: dict[tuple[int, int], int] = field(default_factory=dict)
    faults: Counter[str] = field(default_factory=Counter)

    def of(self, n: int, t: int) -> None:
        """The whole list for one size."""
        dkg = Dkg(n, t, seed=f"soak {self.seed}")
        keys, _ = dkg.run()
        for scenario in self._scenarios(n, t):
            self._sign(_fresh(dkg, keys), scenario)
        self._cut_below(_fresh(dkg, keys), n, t)
        self._too_few(_fresh(dkg, keys), n, t)
        committee = _fresh(dkg, keys)
        self.refused += two_packages(committee, n)
        self.culprits += 1
        self._count(committee)
        committee.pools[1] = Pool()
        self.refused += sum(t for _ in bad_coordinators(committee, tuple(range(2, t + 2))))
        for key in keys.values():
            key.close()

    def _scenarios(self, n: int, t: int) -> Iterator[Scenario]:
        for away in range(n - t + 1):
            for net in NETS:
                yield Scenario(n, t, away, None, net, self.seed)
            if away == n - t:
                continue  # the rest of those that may fail are malicious
            for number, role in enumerate(ROLES):
                yield Scenario(n, t, away, role, GOOD, self.seed)
                if number % (n - t) == (away + self.seed) % (n - t):
                    yield Scenario(n, t, away, role, WORST, self.seed)

    def _sign(self, committee: SimCommittee, scenario: Scenario) -> None:
        role = ROLES[scenario.role] if scenario.role else None
        for member in scenario.gone:
            committee.signers[member].up = False
        for member in scenario.bad:
            assert role is not None
            role.spoil(committee.signers[member])
        net = NETS[scenario.net](Random(scenario.name).getrandbits(32))
        shell = self._run(committee, scenario, net, b"")
        talking = [member for member in scenario.honest if member not in net.mute]
        if isinstance(shell.ended, Failed):
            if len(talking) >= scenario.t:
                raise SoakFault(f"{scenario.name}: no signature, {shell.ended}")
            if not shell.ended.retryable:
                raise SoakFault(f"{scenario.name}: a broken network is called final: {shell.ended}")
            self.healed += 1
        self._judge(committee, scenario, shell, role)
        if scenario.net not in (GOOD, "delays and reorders", "duplicates"):
            self.faults += net.seen
            net.heal()
            scenario.cut = []
            again = self._run(committee, scenario, net, b" again")
            if not isinstance(again.ended, Done):
                raise SoakFault(f"{scenario.name}: not even when the network has healed: {again.ended}")
            self._judge(committee, scenario, again, role)
        self._count(committee)

    def _run(self, committee: SimCommittee, scenario: Scenario, net: Net, more: bytes) -> Shell:
        payload = scenario.name.encode() + more
        task = committee.task(payload, coordinator=scenario.coordinator, order=scenario.order)
        shell = committee.shell(net, task)
        shell.hasty = scenario.hasty
        shell.start()
        if scenario.cut:
            net.run(lambda: bool(shell.opened) or shell.ended is not None)
            net.part(scenario.cut, one_way=bool(scenario.seed + scenario.away & 1))
        net.run(lambda: shell.ended is not None)
        if shell.ended is None:
            raise SoakFault(f"{scenario.name}: neither a signature nor a reason")
        self._check(committee, scenario, shell, payload)
        return shell

    def _check(self, committee: SimCommittee, scenario: Scenario, shell: Shell, payload: bytes) -> None:
        bound, able = scenario.n - scenario.t + 1, set(scenario.honest) - shell.net.mute
        if len(able) < scenario.t:
            bound = MAX_STALE * scenario.n
        if len(shell.opened) > bound:
            raise SoakFault(f"{scenario.name}: {len(shell.opened)} sessions, {bound} are allowed")
        size = scenario.n, scenario.t
        if len(able) >= scenario.t:
            self.most_sessions[size] = max(self.most_sessions.get(size, 0), len(shell.opened))
        if not isinstance(shell.ended, Done):
            return
        wanted = approve("test", payload).messages
        for (message, path), signature in zip(wanted, shell.ended.signatures, strict=True):
            x_only, _ = committee.signers[1].key.public.output_key(path)
            if not verify(x_only, message, signature):
                raise SoakFault(f"{scenario.name}: the signature does not verify")
        self.signatures += len(shell.ended.signatures)

    def _judge(self, committee: SimCommittee, scenario: Scenario, shell: Shell, role: Role | None) -> None:
        name, blamed = scenario.name, {blame.member for blame in shell.blames}
        if not blamed <= set(scenario.bad):
            raise SoakFault(f"{name}: honest members were blamed: {blamed - set(scenario.bad)}")
        if role is None:
            return
        if role.harmless and blamed:
            raise SoakFault(f"{name}: blamed for what may be bad luck")
        if role.proof:
            self._proofs(committee, name, shell.blames)
            used = {member for opened in shell.opened for member in opened.members}
            if scenario.net == GOOD and used & set(scenario.bad) and not blamed:
                raise SoakFault(f"{name}: nobody is named")
        self.culprits += len(blamed)

    def _proofs(self, committee: SimCommittee, name: str, blames: list[Blame]) -> None:
        public = committee.signers[1].key.public
        for blame in blames:
            if blame.evidence is None or not proven(committee.committee, public, blame.evidence):
                raise SoakFault(f"{name}: a blame that a stranger cannot check: {blame}")

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

    def _cut_below(self, committee: SimCommittee, n: int, t: int) -> None:
        """A part leaves the coordinator with t - 1: it says who is missing; when it ends the same pool signs."""
        net = Net(self.seed, delay=0.2, again=0.4)
        net.part(range(t, n + 1), _CUT_OFF)
        cut = Scenario(n, t, 0, None, GOOD, self.seed)
        cut.coordinator, cut.order = 1, tuple(range(n, 0, -1))
        ended = self._run(committee, cut, net, b"cut below").ended
        if not isinstance(ended, Failed) or f"only {t - 1} of the {t} signers" not in ended.reason:
            raise SoakFault(f"{t} of {n} parted: {ended}")
        net.now = _CUT_OFF
        if not isinstance(self._run(committee, cut, net, b"whole again").ended, Done):
            raise SoakFault(f"{t} of {n}: no signature after the part ended")
        self.faults += net.seen
        self.healed += 1
        self._count(committee)


def _fresh(dkg: Dkg, keys: dict[int, KeyShare]) -> SimCommittee:
    for key in keys.values():
        ENGINE.drop_nonces(key)
    return SimCommittee.of(dkg, keys)
