"""What the HTTP answers about the node, deposits and withdrawals look like; requests, too.

Amounts in sats, times in Unix seconds; txids and block hashes in display order, all other 32-byte things in plain
hex.
"""

from typing import Any

import msgspec

from anchor.api_wire import BlockStatus


class MemberView(msgspec.Struct, frozen=True):
    """A committee member."""

    name: str
    host_key: str


class CommitteeView(msgspec.Struct, frozen=True):
    """The committee of this node's file in short; `words` are its hash, to be compared aloud."""

    name: str
    epoch: int
    hash: str
    words: str
    threshold: int
    members: list[MemberView]


class RollupView(msgspec.Struct, frozen=True):
    """The rollup as this node executed it: newest certified block, newest final one."""

    id: int
    genesis_hash: str
    height: int
    final_height: int


class Info(msgspec.Struct, frozen=True):
    """Who this node is; key epoch of new addresses, its keys, and parameters once the bridge is active."""

    name: str
    role: str
    network: str
    version: str
    committee: CommitteeView
    rollup: RollupView
    activation_hash: str | None
    epoch: int | None
    keys: dict[str, str] | None
    params: dict[str, int] | None
    treasury_address: str | None
    boot_id: str | None


class CheckView(msgspec.Struct, frozen=True):
    """One line of the node's health."""

    name: str
    ok: bool
    text: str


class ChainTip(msgspec.Struct, frozen=True):
    """Own chain's tip; `agrees` tells whether bitcoind's tip is our heaviest one."""

    height: int
    hash: str
    agrees: bool


class Health(msgspec.Struct, frozen=True):
    """How the node is; alarms newest first; `paused` says why value does not move."""

    status: str
    checks: list[CheckView]
    alarms: list[dict[str, Any]]
    bitcoin: ChainTip
    paused: str | None


class MemberStand(msgspec.Struct, frozen=True):
    """Another member as this node sees it: Unix seconds, seconds; `why` when it is not up."""

    name: str
    up: bool
    why: str | None
    last_seen: float | None
    rtt: float | None
    skew: float | None
    version: str | None


class KeyStand(msgspec.Struct, frozen=True):
    """A key that this node holds, or held, a share of."""

    purpose: str
    epoch: int
    state: str


class NodeStatus(msgspec.Struct, frozen=True):
    """What `holdfast node status` prints."""

    name: str
    role: str
    network: str
    version: str
    pid: int
    boot_id: str | None
    started: int
    uptime: int
    peak_memory_mb: int
    public_url: str
    active: bool
    bitcoin_height: int
    rollup_height: int
    rollup_final: int
    status: str
    paused: str | None
    disk_free_mb: int
    members: list[MemberStand]
    keys: list[KeyStand]
    checks: list[CheckView]
    alarms: list[dict[str, Any]]


class AddressRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Whom to credit on the rollup and who may reclaim; x-only keys."""

    recipient: str
    user_key: str


class AddressView(msgspec.Struct, frozen=True):
    """A deposit address with everything to check it and to reclaim; `delay` in blocks.

    `epoch` is its key's. `pay_until` is the Bitcoin height up to which it should be paid, null until the bridge is
    handed on to another key; a payment too late for a sweep comes back only by its reclaim.
    """

    address: str
    uri: str
    recipient: str
    user_key: str
    delay: int
    descriptor: str
    leaf: str
    control_block: str
    script_pubkey: str
    min_sats: int
    max_sats: int
    fee_sats: int
    k: int
    epoch: int
    pay_until: int | None
    recovery: dict[str, str | int]


class LateDeposit(msgspec.Struct, frozen=True):
    """Parameters were taken; payments that stood on the chain before.

    `address` is what the present key makes of them; `addresses` are all whose key is not retired, oldest first.
    """

    address: str
    found: list[str]
    addresses: list[str]


class ReclaimView(msgspec.Struct, frozen=True):
    """Whether the next block may hold the reclaim; `at_height` is the first that may.

    `at_height` is null while the payment is in no block, and once it is swept or taken back.
    """

    available: bool
    at_height: int | None


class DepositView(msgspec.Struct, frozen=True):
    """A payment to a deposit address; credited when its sweep has `required` confirmations.

    `reason` says why a REJECTED one will not be swept.
    """

    outpoint: str
    address: str
    recipient: str
    epoch: int
    value: int
    state: str
    reason: str | None
    confirmations: int
    required: int
    sweep_txid: str | None
    sweep_depth: int
    minted: int | None
    fee: int
    status: BlockStatus
    reclaim: ReclaimView


class Deposits(msgspec.Struct, frozen=True, omit_defaults=True):
    """Deposits, newest first. `known`: whether the address that was asked for is one of this bridge's."""

    deposits: list[DepositView]
    known: bool | None = None


class WithdrawalView(msgspec.Struct, frozen=True):
    """A withdrawal; PENDING until the rollup block of its lock is final. `txid` is the payout's."""

    id: str
    state: str
    amount: int
    fee: int
    script: str
    address: str | None
    txid: str | None
    depth: int
    required: int
    expiry: int
    rollup_height: int


class Withdrawals(msgspec.Struct, frozen=True):
    """Withdrawals, newest first."""

    withdrawals: list[WithdrawalView]


class EpochStep(msgspec.Struct, frozen=True):
    """A transaction that brought a lane or the treasury to an epoch's key; `lane` is null for the treasury."""

    txid: str
    height: int
    final: bool
    lane: int | None


class EpochView(msgspec.Struct, frozen=True):
    """A key epoch; keys are compressed points of 33 bytes in hex.

    `state`: announced, rotating, moving, active, draining, retired. `until`: Bitcoin height up to which deposits to
    its addresses are swept, once the treasury has left it. `rollup_height` is null for the first epoch, which the
    activation record began.
    """

    epoch: int
    state: str
    until: int | None
    record: str
    rollup_height: int | None
    committee_hash: str
    host_keys: list[str]
    threshold: int
    treasury_key: str
    anchor_key: str
    mint_key: str
    treasury_address: str
    lane_address: str
    rotations: list[EpochStep]
    move: EpochStep | None


class EpochsView(msgspec.Struct, frozen=True):
    """All key epochs, oldest first.

    `latest` certifies and decides, `treasury` holds the coin on this node's chain, new addresses are of `address`.
    """

    latest: int
    treasury: int
    address: int
    epochs: list[EpochView]


class GenesisCoins(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The funded genesis outpoints, "txid:number"."""

    treasury: str
    lanes: list[str]


class Consent(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The hash of the record, activation or succession, that this operator agrees to."""

    hash: str


class ConfirmTip(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The tip (block hash in display order) of the chain that the operator confirms or refuses."""

    tip: str
