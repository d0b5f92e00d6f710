"""A nonce signs once. Whatever happens to it, there is no second time."""

import threading
from collections import Counter

import pytest

from tests.tss.frost.groups import ENGINE, committed, group, holds_everywhere
from tss.frost.errors import EncodingFault, EngineState, FrostError, NonceSpent
from tss.frost.hashing import tagged_hash
from tss.frost.package import SigningPackage
from tss.frost.path import INTERNAL, KEY_ONLY

MESSAGE = tagged_hash("test/message")


def spent(key, nonce, package):
    with pytest.raises(NonceSpent) as caught:
        ENGINE.sign(key, nonce, package)
    return caught.value.code == 400


def test_a_nonce_signs_once_even_the_same_package():
    package, nonces = committed(group(), (1, 2, 3), MESSAGE, INTERNAL)
    key = group().keys[1]
    ENGINE.sign(key, nonces[1], package)
    assert spent(key, nonces[1], package)


def bad_packages(good, fresh):
    few = {1: good.commitments[1], 2: good.commitments[2]}
    return {
        "another commitment of ours": ({**good.commitments, 1: fresh}, NonceSpent),
        "none of ours": ({i: good.commitments[i] for i in (2, 3)} | {4: fresh}, NonceSpent),
        "too few signers": (few, EngineState),
        "a stranger": ({**good.commitments, 6: fresh}, EngineState),
        "no point": ({**good.commitments, 2: bytes(66)}, EncodingFault),
    }


def test_an_error_burns_the_nonce():
    made = group()
    for case in ("another commitment of ours", "none of ours", "too few signers", "a stranger", "no point"):
        good, nonces = committed(made, (1, 2, 3), MESSAGE, INTERNAL)
        [(_, fresh)] = ENGINE.commit(made.keys[1], 1)
        commitments, kind = bad_packages(good, fresh)[case]
        with pytest.raises(kind):
            ENGINE.sign(made.keys[1], nonces[1], SigningPackage(MESSAGE, commitments, INTERNAL))
        assert spent(made.keys[1], nonces[1], good), case


def test_a_nonce_belongs_to_its_key():
    package, nonces = committed(group(), (1, 2, 3), MESSAGE, INTERNAL)
    assert spent(group().keys[2], nonces[1], package)
    assert ENGINE.sign(group().keys[1], nonces[1], package)


@pytest.mark.parametrize("handle", [b"", bytes(15), bytes(17)])
def test_a_handle_of_another_length_is_an_encoding_fault(handle):
    package, _ = committed(group(), (1, 2, 3), MESSAGE, INTERNAL)
    with pytest.raises(EncodingFault):
        ENGINE.sign(group().keys[1], handle, package)


def test_commitments_and_handles_never_repeat():
    made = ENGINE.commit(group().keys[1], 200)
    assert len({handle for handle, _ in made}) == len({commitment for _, commitment in made}) == 200
    assert {(len(handle), len(commitment)) for handle, commitment in made} == {(16, 66)}
    ENGINE.drop_nonces(group().keys[1], [handle for handle, _ in made])


def test_dropped_nonces_are_gone_and_the_others_stay():
    made = group(3, 2)
    first, first_nonces = committed(made, (1, 2), MESSAGE, KEY_ONLY)
    second, second_nonces = committed(made, (1, 2), MESSAGE, KEY_ONLY)
    third, third_nonces = committed(made, (1, 2), MESSAGE, KEY_ONLY)
    ENGINE.drop_nonces(made.keys[1], [first_nonces[1], bytes(16)])
    assert spent(made.keys[1], first_nonces[1], first)
    assert ENGINE.sign(made.keys[1], second_nonces[1], second)
    ENGINE.drop_nonces(made.keys[1])
    assert spent(made.keys[1], third_nonces[1], third)
    with pytest.raises(EncodingFault):
        ENGINE.drop_nonces(made.keys[1], [bytes(15)])


def test_the_pool_of_unused_nonces_is_bounded():
    key = group().keys[1]
    for count in (0, -1, 65_536):
        with pytest.raises(FrostError):
            ENGINE.commit(key, count)


def test_of_many_threads_only_one_signs_with_a_nonce():
    made = group()
    package, nonces = committed(made, (1, 2, 3), MESSAGE, INTERNAL)
    outcomes, start = [], threading.Barrier(8)

    def attempt():
        start.wait()
        try:
            outcomes.append(ENGINE.sign(made.keys[1], nonces[1], package))
        except NonceSpent as error:
            outcomes.append(error.code)

    threads = [threading.Thread(target=attempt) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counter(type(outcome) for outcome in outcomes) == {bytes: 1, int: 7}
    shares = {i: ENGINE.sign(made.keys[i], nonces[i], package) for i in (2, 3)}
    shares[1] = next(outcome for outcome in outcomes if isinstance(outcome, bytes))
    signature = ENGINE.session(made.public, package).aggregate(shares)
    assert holds_everywhere(made.public.x_only, MESSAGE, signature)
