"""Signatures: valid for everybody under every path and parity, and wrong shares have a sender."""

import pytest

from tests.tss.frost.groups import (
    ENGINE,
    ORDER,
    committed,
    flipped,
    group,
    holds_everywhere,
    new_group,
    signed,
    taproot_output,
)
from tss.frost.errors import EncodingFault, EngineState, NonceSpent, SignatureShareFault
from tss.frost.hashing import tagged_hash
from tss.frost.package import SigningPackage
from tss.frost.path import INTERNAL, KEY_ONLY, key_with_root

ROOT = tagged_hash("test/root")
PATHS = [INTERNAL, KEY_ONLY, key_with_root(ROOT)]
MESSAGE = tagged_hash("test/message")


@pytest.mark.parametrize(("n", "threshold"), [(1, 1), (2, 2), (3, 2), (5, 3), (7, 4)])
@pytest.mark.parametrize("path", PATHS, ids=["internal", "key", "root"])
def test_a_signature_of_any_threshold_holds_under_the_path_s_key(n, threshold, path):
    made = group(n, threshold)
    for signers in (range(1, threshold + 1), range(n - threshold + 1, n + 1), range(1, n + 1)):
        signature = signed(made, signers, MESSAGE, path)
        assert holds_everywhere(made.public.output_key(path)[0], MESSAGE, signature)


def test_every_combination_of_parities_signs():
    """P, Q without scripts and Q with a root: y even or odd each, eight in all."""
    seen = set()
    for _ in range(200):
        made = new_group(2, 2)
        parities = tuple(made.public.output_key(path)[1] for path in PATHS)
        if parities not in seen:
            seen.add(parities)
            for path in PATHS:
                message = tagged_hash("test/parity", made.public.group_key, path.encode())
                signature = signed(made, (1, 2), message, path)
                assert holds_everywhere(made.public.output_key(path)[0], message, signature)
        if len(seen) == 8:
            return
    pytest.fail(f"only {seen} in 200 groups")


def test_output_keys_are_those_of_bip341():
    for made in (new_group(2, 2) for _ in range(12)):
        public = made.public
        assert public.output_key(INTERNAL) == (public.x_only, public.group_key[0] - 2)
        assert public.output_key(KEY_ONLY) == taproot_output(public.x_only, None)
        assert public.output_key(key_with_root(ROOT)) == taproot_output(public.x_only, ROOT)


def test_a_signature_holds_under_no_other_path_or_message():
    made = group()
    for path in PATHS:
        signature = signed(made, (1, 2, 3), MESSAGE, path)
        for other in PATHS:
            assert holds_everywhere(made.public.output_key(other)[0], MESSAGE, signature) == (other == path)
        assert not holds_everywhere(made.public.output_key(path)[0], ROOT, signature)


def shares_of(made, signers, path=INTERNAL):
    package, nonces = committed(made, signers, MESSAGE, path)
    shares = {i: ENGINE.sign(made.keys[i], nonce, package) for i, nonce in nonces.items()}
    return package, shares, ENGINE.session(made.public, package)


@pytest.mark.parametrize("path", PATHS, ids=["internal", "key", "root"])
def test_each_share_is_checked_alone(path):
    _, shares, session = shares_of(group(), (1, 3, 5), path)
    for i, share in shares.items():
        assert session.verify_share(i, share)
        assert not session.verify_share(i, flipped(share, 31))
        assert not session.verify_share({1: 3, 3: 5, 5: 1}[i], share)


@pytest.mark.parametrize("bad", [b"", bytes(31), bytes(33), ORDER.to_bytes(32), b"\xff" * 32])
def test_a_malformed_share_is_no_share_and_names_its_sender(bad):
    _, shares, session = shares_of(group(), (1, 3, 5))
    assert not session.verify_share(3, bad)
    with pytest.raises(SignatureShareFault) as caught:
        session.aggregate({**shares, 3: bad})
    assert caught.value.culprits == (3,)


def test_all_wrong_shares_are_named_and_the_honest_one_is_not():
    _, shares, session = shares_of(group(), (1, 2, 3, 5))
    wrong = {**shares, 1: flipped(shares[1], 0), 2: bytes(32), 5: shares[3]}
    with pytest.raises(SignatureShareFault) as caught:
        session.aggregate(wrong)
    assert caught.value.culprits == (1, 2, 5)
    assert str(caught.value).endswith("(members 1, 2, 5)")


def test_shares_that_cancel_each_other_out_still_make_the_same_signature():
    """Only the sum is signed, so there is nobody to blame."""
    _, shares, session = shares_of(group(), (1, 2, 3))
    up = (int.from_bytes(shares[1]) + 1) % ORDER
    down = (int.from_bytes(shares[2]) - 1) % ORDER
    shifted = {**shares, 1: up.to_bytes(32), 2: down.to_bytes(32)}
    assert session.aggregate(shifted) == session.aggregate(shares)


def test_missing_and_unasked_shares_are_named():
    _, shares, session = shares_of(group(), (1, 3, 5))
    with pytest.raises(EngineState) as caught:
        session.aggregate({1: shares[1], 5: shares[5]})
    assert (caught.value.code, caught.value.culprits) == (303, (3,))
    with pytest.raises(EngineState) as caught:
        session.aggregate({**shares, 2: shares[1]})
    assert (caught.value.code, caught.value.culprits) == (302, (2,))
    with pytest.raises(EngineState) as caught:
        session.verify_share(2, shares[1])
    assert (caught.value.code, caught.value.culprits) == (302, (2,))


def test_a_session_needs_enough_signers_and_only_members():
    made = group()
    package, _ = committed(made, (1, 2), MESSAGE, INTERNAL)
    with pytest.raises(EngineState) as caught:
        ENGINE.session(made.public, package)
    assert caught.value.code == 303
    package, _ = committed(group(7, 4), (1, 2, 7), MESSAGE, INTERNAL)
    with pytest.raises(EngineState) as caught:
        ENGINE.session(made.public, package)
    assert (caught.value.code, caught.value.culprits) == (302, (7,))


def test_bad_commitments_name_their_senders():
    made = group()
    package, _ = committed(made, (1, 2, 3), MESSAGE, INTERNAL)
    good = package.commitments
    for bad in (
        b"\x04" + good[2][1:],
        b"\x05" + good[2][1:],
        bytes(66),
        good[2][:33] + b"\x02" + b"\xff" * 32,
    ):
        changed = SigningPackage(MESSAGE, {**good, 2: bad}, INTERNAL)
        with pytest.raises(EncodingFault) as caught:
            ENGINE.session(made.public, changed)
        assert caught.value.culprits == (2,)


def test_what_is_remembered_of_a_session_serves_that_group_and_package_only():
    one, other = new_group(3, 2), new_group(3, 2)
    message = MESSAGE
    package, handles = committed(one, (1, 2), message, KEY_ONLY)
    sessions = [ENGINE.session(of.public, package) for of in (one, other, one)]
    share = ENGINE.sign(one.keys[1], handles[1], package)
    for _ in range(2):
        assert [session.verify_share(1, share) for session in sessions] == [True, False, True]
        assert not any(session.verify_share(2, share) for session in sessions)
        for bit in (0, 100, 255):
            bad = bytearray(share)
            bad[bit // 8] ^= 1 << bit % 8
            assert not sessions[0].verify_share(1, bytes(bad)), "one share that holds vouches for no other"
    with pytest.raises(NonceSpent):
        ENGINE.sign(one.keys[1], handles[1], package)


def test_a_remembered_session_does_not_let_a_nonce_sign_for_another_ones_commitment():
    of = new_group(3, 2)
    message = MESSAGE
    package, _ = committed(of, (1, 2), message, KEY_ONLY)
    ENGINE.session(of.public, package)
    _, later = committed(of, (1, 2), message, KEY_ONLY)
    for _ in range(2):
        with pytest.raises(NonceSpent):
            ENGINE.sign(of.keys[1], later[1], package)
