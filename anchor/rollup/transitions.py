"""What a block does to the state: bundle first, then its transactions in order, then the roots must agree."""

from collections.abc import Sequence

from anchor.btc.amounts import Sats
from anchor.btc.codec import CodecError
from anchor.btc.ids import BlockHash, display
from anchor.headers.bundle import BundleRefused
from anchor.rollup import bitcoin_view
from anchor.rollup.bitcoin_view import ViewReorg
from anchor.rollup.block import MAX_BLOCK_BYTES, MAX_TXS, Block, BlockHeader, data_root, tx_root
from anchor.rollup.decisions import Pause
from anchor.rollup.execute import apply_in_place
from anchor.rollup.genesis import Genesis
from anchor.rollup.refusals import BlockRefused, TxRefused
from anchor.rollup.state import RollupState, Withdrawal
from anchor.rollup.tx import RollupTx, decode_tx

_HEADROOM = 1024  # header, counts and lengths of a block

Rejected = tuple[bytes, TxRefused]


def apply_tx(state: RollupState, tx: RollupTx | bytes, genesis: Genesis) -> RollupState:
    """Return the state after one transaction in the block at `state.height`; TxRefused leaves `state` as it was."""
    after = state.copy()
    apply_in_place(after, _decoded(tx) if isinstance(tx, bytes) else tx, genesis)
    return after


def begin_block(genesis: Genesis, state: RollupState, bundle: bytes, time: int) -> RollupState:
    """Return the state inside the next block, its bundle applied, before any transaction.

    Raises BlockRefused for a bundle that does not decode or lies.
    """
    inside = state.copy()
    inside.height, inside.time = state.height + 1, max(time, state.time)
    try:
        taken = bitcoin_view.take(inside.view, bundle, inside.height)
    except (CodecError, BundleRefused) as error:
        raise BlockRefused("bundle", f"its Bitcoin headers are refused: {error}") from error
    inside.turning = taken.turning
    if taken.reorg is not None:
        inside.put_reorg(taken.reorg)
        _undo(inside, taken.reorg, taken.lost, genesis.k)
    return inside


def _undo(state: RollupState, reorg: ViewReorg, lost: frozenset[BlockHash], k: int) -> None:
    """Pause after a reorg of `k` or more, or one that took what counted as final; open again what it had settled.

    Fewer blocks may do that where a shorter branch can have more work. A mint stays: its coins may have moved on.
    """
    mints = [o for o, m in state.minted.items() if m.statement.block_hash in lost]
    settles = [
        i for i, w in state.withdrawals.items() if w.settled is not None and w.settled.block_hash in lost
    ]
    if reorg.depth < k and not mints and not settles:
        return
    for identity in settles:
        withdrawal = state.withdrawals[identity]
        state.put_withdrawal(identity, Withdrawal(withdrawal.lock, withdrawal.height))
        state.escrow = Sats(state.escrow + withdrawal.lock.amount)
    pause = Pause(
        since=state.height,
        until=state.height,
        depth=reorg.depth,
        fork_height=reorg.fork_height,
        tip=reorg.new_tip,
        mints=tuple(sorted(mints)),
        settles=tuple(sorted(settles)),
    )
    state.pause = pause if state.pause is None else state.pause.and_then(pause)


def make_block(
    genesis: Genesis, state: RollupState, txs: Sequence[bytes], bundle: bytes, time: int
) -> tuple[Block, RollupState, list[Rejected]]:
    """Build the next block from encoded transactions that apply, in the given order.

    Returns the block, the state after it, and what was refused with why. Transactions beyond the block's size
    are neither in the block nor refused. `time` is Unix seconds; an earlier one than the parent's is lifted.
    """
    after = begin_block(genesis, state, bundle, time)
    taken: list[bytes] = []
    ids: list[bytes] = []
    rejected: list[Rejected] = []
    size = _HEADROOM + len(bundle)
    for raw in txs:
        if len(taken) == MAX_TXS or size + len(raw) + 4 > MAX_BLOCK_BYTES:
            break
        try:
            tx = _decoded(raw)
            apply_in_place(after, tx, genesis)
        except TxRefused as refusal:
            rejected.append((raw, refusal))
            continue
        taken.append(raw)
        ids.append(tx.txid(genesis.hash))
        size += len(raw) + 4
    header = _header(genesis, state, after, ids, data_root(bundle, taken))
    after.tip = header.hash(genesis.hash)
    return Block(header, tuple(taken), bundle), after, rejected


def check_block(genesis: Genesis, state: RollupState, block: Block) -> RollupState:
    """Return the state after `block`, having executed it; BlockRefused names the first lie."""
    header = block.header
    _check_place(genesis, state, header)
    after = begin_block(genesis, state, block.bundle, header.time)
    ids: list[bytes] = []
    for position, raw in enumerate(block.transactions):
        try:
            tx = _decoded(raw)
            apply_in_place(after, tx, genesis)
        except TxRefused as refusal:
            raise BlockRefused(
                "transaction", f"transaction {position} does not apply: {refusal}"
            ) from refusal
        ids.append(tx.txid(genesis.hash))
    _check_outcome(header, _header(genesis, state, after, ids, data_root(block.bundle, block.transactions)))
    after.tip = header.hash(genesis.hash)
    return after


def _decoded(raw: bytes) -> RollupTx:
    try:
        return decode_tx(raw)
    except CodecError as error:
        raise TxRefused("malformed", f"not a transaction: {error}") from error


def _header(
    genesis: Genesis, before: RollupState, after: RollupState, ids: Sequence[bytes], data: bytes
) -> BlockHeader:
    final_height, final_hash = bitcoin_view.final_of(after.view, genesis.k)
    return BlockHeader(
        rollup_id=genesis.rollup_id,
        height=after.height,
        parent=before.tip,
        time=after.time,
        state_before=before.root(),
        state_after=after.root(),
        tx_root=tx_root(ids),
        tx_count=len(ids),
        data_root=data,
        final_height=final_height,
        final_hash=final_hash,
        validators_root=genesis.validators_root,
    )


def _check_place(genesis: Genesis, state: RollupState, header: BlockHeader) -> None:
    if header.rollup_id != genesis.rollup_id:
        raise BlockRefused("rollup", f"it is for rollup {header.rollup_id}, this is {genesis.rollup_id}")
    if header.height != state.height + 1:
        raise BlockRefused("height", f"it has height {header.height}, the next is {state.height + 1}")
    if header.parent != state.tip:
        raise BlockRefused(
            "parent", f"it extends {header.parent.hex()[:16]}…, the tip is {state.tip.hex()[:16]}…"
        )
    if header.time < state.time:
        raise BlockRefused("time", f"its time {header.time} is before its parent's, {state.time}")
    if header.validators_root != genesis.validators_root:
        raise BlockRefused("validators", "it names other validators")
    if header.state_before != state.root():
        raise BlockRefused("state-before", "the state it starts from is not the state after its parent")


def _check_outcome(claimed: BlockHeader, found: BlockHeader) -> None:
    if (claimed.tx_count, claimed.tx_root) != (found.tx_count, found.tx_root):
        raise BlockRefused("tx-root", "its transaction root or count does not fit its transactions")
    if claimed.data_root != found.data_root:
        raise BlockRefused("data-root", "its data root does not fit its bytes")
    if (claimed.final_height, claimed.final_hash) != (found.final_height, found.final_hash):
        raise BlockRefused(
            "final", f"the final Bitcoin block is {display(found.final_hash)}, it claims another"
        )
    if claimed.state_after != found.state_after:
        raise BlockRefused("state-after", "executing it gives another state than it claims")
    assert claimed == found, "every field of a header is checked"
