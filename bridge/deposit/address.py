"""Where a depositor pays: one Taproot output that the committee can sweep and the user can reclaim.

Internal key: the treasury's group key P. One leaf, fixed but for its three values, nothing in it written by the
user: <recipient commitment> DROP <delay> CHECKSEQUENCEVERIFY DROP <user key> CHECKSIG. Whoever knows the
parameters derives the same script; so a node stores only parameters, and a recovery file needs no server.
"""

from dataclasses import dataclass
from typing import NamedTuple, Self

from anchor.btc.address import address_of
from anchor.btc.codec import CodecError, Reader, Writer
from anchor.btc.curve import is_x_only
from anchor.btc.hashing import tagged_hash
from anchor.btc.network import Network
from anchor.btc.script import (
    OP_CHECKSEQUENCEVERIFY,
    OP_CHECKSIG,
    OP_DROP,
    p2tr,
    push,
    push_number,
)
from anchor.btc.taproot import control_block, leaf_hash, output_key

MAX_DELAY = 0xFFFF  # BIP68: sixteen bits of blocks
PARAMS_SIZE = 66
MIN_MARGIN = 10


class DepositFault(ValueError):
    """Deposit parameters, keys or a recovery file that no node of ours gave out."""


@dataclass(frozen=True, slots=True)
class DepositParams:
    """Who is credited and who may reclaim.

    `recipient` is the rollup account and `user_key` the reclaim key, both x-only (32 bytes); `delay` is in blocks
    after the deposit's own (1..65535). Raises DepositFault for keys on no point, which nobody could spend.
    """

    recipient: bytes
    user_key: bytes
    delay: int

    def __post_init__(self) -> None:
        if not is_x_only(self.recipient):
            raise DepositFault("the recipient is no rollup key: give the 32-byte x-only key of an account")
        if not is_x_only(self.user_key):
            raise DepositFault("the reclaim key is no x-only key: give 32 bytes that BIP340 can lift")
        if type(self.delay) is not int or not 1 <= self.delay <= MAX_DELAY:
            raise DepositFault(f"a reclaim delay is 1 to {MAX_DELAY} blocks, not {self.delay}")

    @property
    def commitment(self) -> bytes:
        """What the leaf says about the recipient: a tagged hash, 32 bytes."""
        return tagged_hash("holdfast/deposit/recipient/v1", self.recipient)

    def encode(self) -> bytes:
        """Return the canonical 66 bytes: recipient, user key, delay (u16)."""
        return Writer().fixed(self.recipient, 32).fixed(self.user_key, 32).u16(self.delay).done()

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Read what `encode` wrote. DepositFault for anything else."""
        try:
            reader = Reader(data)
            params = cls(reader.fixed(32), reader.fixed(32), reader.u16())
            reader.end()
        except CodecError as error:
            raise DepositFault(f"not deposit parameters: {error}") from error
        return params


class DepositOutput(NamedTuple):
    """What the parameters derive to: scriptPubKey (34 bytes), the tree's root and the leaf's control block."""

    script_pubkey: bytes
    root: bytes
    control_block: bytes


def leaf(params: DepositParams) -> bytes:
    """Return the reclaim leaf. BIP112 (CSV), BIP342 (CHECKSIG takes an x-only key)."""
    return b"".join(
        (
            push(params.commitment),
            bytes([OP_DROP]),
            push_number(params.delay),
            bytes([OP_CHECKSEQUENCEVERIFY, OP_DROP]),
            push(params.user_key),
            bytes([OP_CHECKSIG]),
        )
    )


def x_only(key33: bytes) -> bytes:
    """Return the internal key of a group key (33 bytes, parity first). DepositFault when it is none."""
    if len(key33) != 33 or key33[0] not in (2, 3) or not is_x_only(key33[1:]):
        raise DepositFault("a group key is a compressed point: 02 or 03 and 32 bytes")
    return key33[1:]


def output(params: DepositParams, treasury_key33: bytes) -> DepositOutput:
    """Derive the output that is paid to. BIP341: Q = P + H_TapTweak(P‖root)·G, one leaf, so root = its hash."""
    internal = x_only(treasury_key33)
    root = leaf_hash(leaf(params))
    key, parity = output_key(internal, root)
    return DepositOutput(p2tr(key), root, control_block(internal, parity))


def treasury_script(treasury_key33: bytes) -> bytes:
    """Return the treasury's own scriptPubKey: P's key path, no scripts (BIP341 key-only tweak)."""
    return p2tr(output_key(x_only(treasury_key33), None)[0])


def margin(delay: int) -> int:
    """Blocks a sweep must keep clear of the reclaim: 144 for a delay of 1008, never less than 10.

    A function of the delay, so that it is equal for all signers without a parameter of its own.
    """
    return max(MIN_MARGIN, delay // 7)


def blocks_to_reclaim(confirmed_at: int, delay: int, tip: int) -> int:
    """Return how many blocks can still come before one may hold the reclaim; 0 when the next may.

    BIP68: a coin of block h with delay d can be spent by the leaf from block h + d on.
    """
    return max(0, confirmed_at + delay - 1 - tip)


def recovery_file(params: DepositParams, treasury_key33: bytes, network: Network) -> dict[str, str | int]:
    """Return what a depositor keeps: enough to find and reclaim the coins with no server of ours.

    JSON-able, keys in plain hex. It holds no secret: the reclaim also takes the user key's secret.
    """
    derived = output(params, treasury_key33)
    return {
        "kind": "holdfast-deposit-recovery-v1",
        "network": network.name,
        "address": address_of(derived.script_pubkey, network),
        "script_pubkey": derived.script_pubkey.hex(),
        "treasury_key": treasury_key33.hex(),
        "recipient": params.recipient.hex(),
        "user_key": params.user_key.hex(),
        "delay": params.delay,
        "leaf": leaf(params).hex(),
        "control_block": derived.control_block.hex(),
        "descriptor": f"rawtr({derived.script_pubkey[2:].hex()})",
    }


def read_recovery_file(
    content: dict[str, str | int], treasury_key33: bytes, network: Network
) -> DepositParams:
    """Return the parameters of a recovery file after deriving every field of it again.

    Raises DepositFault when one differs: a file for another treasury or network, or a damaged one.
    """
    try:
        params = DepositParams(
            bytes.fromhex(str(content["recipient"])),
            bytes.fromhex(str(content["user_key"])),
            int(content["delay"]),
        )
    except (KeyError, ValueError) as error:
        raise DepositFault(
            f"the recovery file lacks or garbles a field ({error}): use the original"
        ) from error
    for name, value in recovery_file(params, treasury_key33, network).items():
        if content.get(name) != value:
            raise DepositFault(
                f"the recovery file's {name!r} does not follow from its keys: use the original"
            )
    return params
