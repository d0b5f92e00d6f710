"""What may go to a node now, held against a small mempool that knows TRUC's rules."""

from hypothesis import given
from hypothesis import strategies as st

from anchor.btc.ids import OutPoint, Txid
from anchor.btc.tx import Tx, TxIn, TxOut
from anchor.outbox.resend import order

ROOT = OutPoint(Txid(bytes([7]) * 32), 0)
SCRIPT = b"\x51"


def a_tx(*coins: OutPoint, salt: int = 0) -> Tx:
    return Tx(3, tuple(TxIn(coin, 0xFFFFFFFD) for coin in coins), (TxOut(1000 + salt, SCRIPT),))


def a_line(length: int) -> list[Tx]:
    coin, txs = ROOT, []
    for _ in range(length):
        txs.append(a_tx(coin))
        coin = txs[-1].outpoint(0)
    return txs


A, B, C, D = a_line(4)


def test_a_parent_and_its_child_go_as_one_package_and_the_grandchild_waits():
    assert order([A, B, C, D], []) == ((A, B),)


def test_the_child_of_a_mined_parent_goes_alone_or_with_its_own_child():
    assert order([A, B], [A.txid]) == ((B,),)
    assert order([A, B, C, D], [A.txid]) == ((B, C),)


def test_the_child_of_a_parent_in_the_mempool_goes_alone_and_the_grandchild_waits():
    assert order([A, B, C], [], [A.txid]) == ((B,),)
    assert order([A, B, C], [], [A.txid, B.txid]) == ()
    assert order([A, B, C], [A.txid], [B.txid]) == ((C,),)


def test_nothing_is_sent_that_is_mined_or_in_the_mempool():
    assert order([A, B], [A.txid, B.txid]) == ()
    assert order([A, B], [A.txid], [B.txid]) == ()
    assert order([], []) == ()


def test_the_order_in_which_transactions_are_given_does_not_matter_for_parents():
    assert order([D, C, B, A], []) == ((A, B),)


def test_of_two_versions_the_first_goes_and_what_spends_the_other_does_not():
    other = a_tx(ROOT, salt=1)
    upon_other = a_tx(other.outpoint(0))
    assert order([A, other, upon_other, B], []) == ((A, B),)
    assert order([other, A, upon_other, B], []) == ((other, upon_other),)


def test_a_version_in_the_mempool_or_a_block_keeps_its_coin():
    other = a_tx(ROOT, salt=1)
    assert order([A, B, other], [], [other.txid]) == ()
    assert order([A, B, other], [other.txid]) == ()


def test_rungs_of_a_ladder_conflict_and_one_goes():
    rungs = [a_tx(A.outpoint(0), salt=n) for n in range(4)]
    assert order([A, *rungs], []) == ((A, rungs[0]),)
    assert order([A, *reversed(rungs)], [A.txid]) == ((rungs[3],),)


def test_what_spends_a_coin_that_is_gone_is_held_with_its_descendants():
    elsewhere = a_tx(OutPoint(Txid(bytes([9]) * 32), 1))
    assert order([A, B, elsewhere], [], (), [ROOT]) == ((elsewhere,),)


def test_a_version_that_cannot_be_does_not_hold_up_one_that_can():
    lost = OutPoint(Txid(bytes([8]) * 32), 0)
    both = a_tx(ROOT, lost)
    assert order([both, A], [], (), [lost]) == ((A,),)


def test_an_output_that_its_parent_does_not_have_is_held():
    odd = a_tx(OutPoint(A.txid, 5))
    assert order([A, odd], []) == ((A,),)


def test_a_child_of_two_unmined_parents_waits():
    other = a_tx(OutPoint(Txid(bytes([6]) * 32), 0))
    both = a_tx(A.outpoint(0), other.outpoint(0))
    assert order([A, other, both], []) == ((A,), (other,))
    assert order([A, other, both], [A.txid]) == ((other, both),)


def test_a_parent_has_one_unconfirmed_child_at_a_time():
    parent = Tx(3, A.inputs, A.outputs * 3)
    one, two = a_tx(parent.outpoint(0)), a_tx(parent.outpoint(1))
    assert order([parent, one, two], []) == ((parent, one),)
    assert order([parent, one, two], [], [parent.txid]) == ((one,),)
    assert order([parent, one, two], [], [parent.txid, one.txid]) == ()
    assert order([parent, one, two], [parent.txid]) == ((one,), (two,))


def test_a_child_of_two_parents_in_the_mempool_waits_for_a_block():
    other = a_tx(OutPoint(Txid(bytes([6]) * 32), 0))
    both = a_tx(A.outpoint(0), other.outpoint(0))
    assert order([A, other, both], [], [A.txid, other.txid]) == ()
    assert order([A, other, both], [other.txid], [A.txid]) == ((both,),)


class Node:
    """A mempool that refuses what TRUC refuses, and blocks."""

    def __init__(self) -> None:
        self.mempool: dict[Txid, Tx] = {}
        self.confirmed: dict[Txid, Tx] = {}
        self.spent: set[OutPoint] = set()

    def take(self, group: tuple[Tx, ...]) -> None:
        for tx in group:
            coins = [txin.outpoint for txin in tx.inputs]
            assert not self.spent & set(coins), "a coin was spent twice"
            parents = {c.txid for c in coins if c.txid in self.mempool}
            missing = {c for c in coins if c.txid != ROOT.txid} - {
                other.outpoint(0) for other in [*self.mempool.values(), *self.confirmed.values()]
            }
            assert not missing, "a parent is missing"
            assert len(parents) <= 1, "TRUC: one unconfirmed parent"
            for parent in parents:
                assert not {c.txid for c in self._coins(parent)} & set(self.mempool), "TRUC: two generations"
                siblings = [t for t in self.mempool.values() if parent in {i.outpoint.txid for i in t.inputs}]
                assert not siblings, "TRUC: one unconfirmed child"
            self.mempool[tx.txid] = tx
            self.spent.update(coins)

    def _coins(self, txid: Txid) -> list[OutPoint]:
        return [txin.outpoint for txin in self.mempool[txid].inputs]

    def mine(self) -> None:
        self.confirmed.update(self.mempool)
        self.mempool.clear()


@st.composite
def forests(draw):
    """Random conflicting chains: each transaction spends the root's coin i or an output of an earlier one."""
    txs: list[Tx] = []
    for salt in range(draw(st.integers(1, 10))):
        coins = [OutPoint(ROOT.txid, i) for i in range(3)] + [tx.outpoint(0) for tx in txs]
        picked = draw(st.lists(st.sampled_from(coins), min_size=1, max_size=2, unique=True))
        txs.append(a_tx(*picked, salt=salt))
    return draw(st.permutations(txs))


@given(forests(), st.data())
def test_whatever_is_lost_a_truc_mempool_takes_every_submission_and_all_that_can_confirms(txs, data):
    node = Node()
    for _ in range(2 * len(txs) + 1):
        groups = order(txs, node.confirmed, node.mempool)
        for group in groups:
            node.take(group)
        if data.draw(st.booleans()):
            node.mine()
        elif not groups:
            node.mine()
            if not order(txs, node.confirmed):
                break
    left = [tx for tx in txs if tx.txid not in node.confirmed]
    made = {tx.outpoint(0) for tx in node.confirmed.values()} | {OutPoint(ROOT.txid, i) for i in range(3)}
    for tx in left:
        coins = {txin.outpoint for txin in tx.inputs}
        assert coins & node.spent or not coins <= made, "it could have confirmed"


@given(forests())
def test_the_answer_depends_on_nothing_else(txs):
    assert order(txs, []) == order(list(txs), set())
