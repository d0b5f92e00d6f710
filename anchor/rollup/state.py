"""What the rollup knows after a block: accounts, withdrawals, mints, manifests, and its view of Bitcoin.

`root()` commits to all of it except height, tip, time and `turning`, so that the state before a block is the state
after its parent, bit for bit.
"""

from dataclasses import dataclass, field
from typing import Literal, Self, get_args

from anchor.btc.amounts import Sats
from anchor.btc.codec import Writer
from anchor.btc.hashing import tagged_hash
from anchor.btc.ids import OutPoint, Txid
from anchor.headers.chain import HeaderChain
from anchor.rollup import bitcoin_view, merkle
from anchor.rollup.activation import SignedActivation
from anchor.rollup.bitcoin_view import ViewReorg
from anchor.rollup.decisions import Committee, Decided, Pause
from anchor.rollup.genesis import Genesis
from anchor.rollup.statements import MintStatement, SettleStatement
from anchor.rollup.succession import Epochs, Succeeded
from anchor.rollup.tx import Lock

Section = Literal["accounts", "withdrawals", "minted", "manifests", "reorgs", "decisions", "successions"]

NO_SATS = Sats(0)


@dataclass(frozen=True, slots=True)
class Account:
    """A rollup key's coins (sats) and how many transactions it has signed."""

    balance: Sats = NO_SATS
    nonce: int = 0


NOBODY = Account()


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """A lock in rollup block `height`; settled once its payout is final on Bitcoin."""

    lock: Lock
    height: int
    settled: SettleStatement | None = None

    @property
    def state(self) -> Literal["locked", "settled"]:
        """Whether the committee still owes the payout."""
        return "locked" if self.settled is None else "settled"

    @property
    def txid(self) -> Txid | None:
        """The Bitcoin transaction that paid it."""
        return None if self.settled is None else self.settled.txid


@dataclass(frozen=True, slots=True)
class Minted:
    """A deposit that was credited in rollup block `height`."""

    statement: MintStatement
    height: int


@dataclass(slots=True)
class RollupState:
    """The state after block `height`, whose hash is `tip` and whose time is `time` (Unix seconds).

    `supply` is the sum of all balances, `escrow` the sum of all locks that are not settled, both in sats. `pause`:
    value does not move until the operators decide; `turning`: nor in this block, whose headers are on their way to
    a heavier branch. Change a copy only through `transitions`.
    """

    view: HeaderChain
    tip: bytes
    height: int = 0
    time: int = 0
    accounts: dict[bytes, Account] = field(default_factory=dict)
    withdrawals: dict[bytes, Withdrawal] = field(default_factory=dict)
    minted: dict[OutPoint, Minted] = field(default_factory=dict)
    manifests: dict[bytes, bytes] = field(default_factory=dict)
    reorgs: tuple[ViewReorg, ...] = ()
    activation: SignedActivation | None = None
    pause: Pause | None = None
    decisions: tuple[Decided, ...] = ()
    successions: tuple[Succeeded, ...] = ()
    turning: bool = False
    supply: Sats = NO_SATS
    escrow: Sats = NO_SATS
    _roots: dict[Section, bytes] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def at_genesis(cls, genesis: Genesis) -> Self:
        """The state before block 1, whose parent is the genesis hash."""
        return cls(bitcoin_view.begin(genesis), genesis.hash)

    def copy(self) -> "RollupState":
        """An independent copy."""
        return RollupState(
            self.view.fork(),
            self.tip,
            self.height,
            self.time,
            dict(self.accounts),
            dict(self.withdrawals),
            dict(self.minted),
            dict(self.manifests),
            self.reorgs,
            self.activation,
            self.pause,
            self.decisions,
            self.successions,
            self.turning,
            self.supply,
            self.escrow,
            dict(self._roots),
        )

    def account(self, key: bytes) -> Account:
        """The account of a key; an empty one when it never had coins."""
        return self.accounts.get(key, NOBODY)

    @property
    def paused(self) -> str | None:
        """Why value does not move, a sentence; None while it does."""
        if self.pause is None and self.turning:
            return "the view of Bitcoin is on its way to a heavier branch: value waits until it is there"
        return None if self.pause is None else str(self.pause)

    def epochs(self, genesis: Genesis) -> Epochs | None:
        """All key epochs so far, None before the activation record."""
        if self.activation is None:
            return None
        return Epochs.of(genesis, self.activation.activation, self.successions)

    def committee(self, genesis: Genesis) -> Committee:
        """Whose decisions count now: the latest epoch's operators, before the first epoch those of the genesis."""
        epochs = self.epochs(genesis)
        return genesis if epochs is None else epochs.latest

    # Changes; only `transitions` calls them, after all checks.

    def put_account(self, key: bytes, account: Account) -> None:
        """Set an account; `supply` is the caller's to keep."""
        self.accounts[key] = account
        self._roots.pop("accounts", None)

    def put_withdrawal(self, withdrawal_id: bytes, withdrawal: Withdrawal) -> None:
        """Set a withdrawal; `escrow` is the caller's to keep."""
        self.withdrawals[withdrawal_id] = withdrawal
        self._roots.pop("withdrawals", None)

    def put_minted(self, statement: MintStatement) -> None:
        """Remember that a deposit was credited."""
        self.minted[statement.outpoint] = Minted(statement, self.height)
        self._roots.pop("minted", None)

    def put_manifest(self, manifest_hash: bytes, manifest: bytes) -> None:
        """Keep a treasury manifest under its hash."""
        self.manifests[manifest_hash] = manifest
        self._roots.pop("manifests", None)

    def put_reorg(self, reorg: ViewReorg) -> None:
        """Append to the history of reorgs in the view."""
        self.reorgs = (*self.reorgs, reorg)
        self._roots.pop("reorgs", None)

    def put_decision(self, decided: Decided) -> None:
        """Append to the history of decisions; value moves again."""
        self.decisions, self.pause = (*self.decisions, decided), None
        self._roots.pop("decisions", None)

    def put_succession(self, succeeded: Succeeded) -> None:
        """Begin the next key epoch; nothing takes that back."""
        self.successions = (*self.successions, succeeded)
        self._roots.pop("successions", None)

    # Commitment

    def root(self) -> bytes:
        """Commitment to the whole state, 32 bytes; only sections that changed are hashed again."""
        tip = self.view.tip
        out = (
            Writer().u64(self.supply).u64(self.escrow).var(b"" if self.pause is None else self.pause.encode())
        )
        out.fixed(self.activation.hash if self.activation else merkle.EMPTY)
        out.u32(tip.height).fixed(tip.hash, 32).fixed(tip.work.to_bytes(32, "big"))
        for name in get_args(Section):
            out.fixed(self._section(name), 32)
        return tagged_hash("holdfast/rollup/state/v1", out.done())

    def _section(self, name: Section) -> bytes:
        if name not in self._roots:
            self._roots[name] = merkle.root([merkle.leaf(entry) for entry in self._entries(name)])
        return self._roots[name]

    def _entries(self, name: Section) -> list[bytes]:
        if name == "accounts":
            return [_account(k, a) for k, a in sorted(self.accounts.items())]
        if name == "withdrawals":
            return [_withdrawal(i, w) for i, w in sorted(self.withdrawals.items())]
        if name == "minted":
            rows = sorted(self.minted.items())
            return [Writer().var(m.statement.encode()).u64(m.height).done() for _, m in rows]
        if name == "manifests":
            return sorted(self.manifests)
        if name == "decisions":
            return [decided.encode() for decided in self.decisions]
        if name == "successions":
            return [succeeded.encode() for succeeded in self.successions]
        return [reorg.encode() for reorg in self.reorgs]


def _account(key: bytes, account: Account) -> bytes:
    return Writer().fixed(key, 32).u64(account.balance).u64(account.nonce).done()


def _withdrawal(withdrawal_id: bytes, withdrawal: Withdrawal) -> bytes:
    settled = b"" if withdrawal.settled is None else withdrawal.settled.encode()
    return Writer().fixed(withdrawal_id, 32).u64(withdrawal.height).var(settled).done()
