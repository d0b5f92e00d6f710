"""Key generation: everybody gets the same key, nobody holds it, and every fault has a name."""

import json
from itertools import combinations
from pathlib import Path

import pytest

from tests.tss.frost.groups import (
    ENGINE,
    ORDER,
    flipped,
    group,
    interpolate,
    new_group,
    point,
    taproot_output,
)
from tss.frost.errors import EncodingFault, EngineState, ProofFault, ShareFault

SIZES = [(1, 1), (2, 2), (3, 2), (5, 3), (5, 5), (7, 4)]
VECTOR = json.loads((Path(__file__).parent / "dkg_vector.json").read_text())


@pytest.mark.parametrize(("n", "threshold"), SIZES)
def test_all_members_and_an_outsider_compute_the_same_group(n, threshold):
    made = new_group(n, threshold)
    assert {key.public for key in made.keys.values()} == {ENGINE.dkg_public(made.r1, threshold)}
    assert made.public.threshold == threshold
    assert list(made.public.verifying_shares) == list(range(1, n + 1))


@pytest.mark.parametrize(("n", "threshold"), SIZES)
def test_any_threshold_of_shares_interpolates_to_the_key_and_fewer_do_not(n, threshold):
    made = new_group(n, threshold)
    secrets = {i: int.from_bytes(key.export_secret()) for i, key in made.keys.items()}
    for chosen in combinations(secrets, threshold):
        assert point(interpolate({i: secrets[i] for i in chosen})) == made.public.group_key
    too_few = dict(list(secrets.items())[: threshold - 1])
    assert threshold == 1 or point(interpolate(too_few)) != made.public.group_key
    assert {i: point(secret) for i, secret in secrets.items()} == dict(made.public.verifying_shares)


def test_the_group_key_is_the_tweaked_sum_of_the_constant_terms():
    made = group()
    constants = interpolate(
        {j: sum(int.from_bytes(share) for share in made.shares_for(j).values()) % ORDER for j in (1, 2, 3)}
    )
    assert taproot_output(point(constants)[1:], None) == (made.public.x_only, made.public.group_key[0] - 2)


def test_a_restored_share_equals_the_one_of_part3():
    made = group()
    for i, key in made.keys.items():
        again = ENGINE.restore(i, made.r1, made.shares_for(i), made.threshold)
        assert (again.public, again.index) == (key.public, i)
        assert again.export_secret() == key.export_secret()


def test_the_published_transcript_gives_the_published_shares():
    """frost-secp256k1-tr 3.0.0, tests/helpers/vectors_dkg.json (MIT OR Apache-2.0)."""
    members = {int(i): entry for i, entry in VECTOR.items() if i.isdigit()}
    r1 = {
        i: bytes.fromhex("".join(m["vss_commitments"]) + m["proof_of_knowledge"]) for i, m in members.items()
    }
    for i, member in members.items():
        constant, slope = int(member["signing_key"], 16), int(member["coefficient"], 16)
        shares = {int(j): bytes.fromhex(share) for j, share in member["signing_shares"].items()}
        shares[i] = ((constant + slope * i) % ORDER).to_bytes(32)
        key = ENGINE.restore(i, r1, shares, 2)
        assert key.public.group_key.hex() == VECTOR["verifying_key"]
        assert key.export_secret().hex() == member["signing_share"]
        assert key.public.verifying_shares[i].hex() == member["verifying_share"]


def begun(n=3, threshold=2):
    started = {i: ENGINE.dkg_part1(i, n, threshold) for i in range(1, n + 1)}
    secrets = {i: secret for i, (secret, _) in started.items()}
    return secrets, {i: package for i, (_, package) in started.items()}


def test_wrong_proofs_name_all_their_senders_and_leave_the_dkg_usable():
    secrets, r1 = begun(4)
    forged = {**r1, 2: r1[2][:-64] + r1[3][-64:], 4: r1[4][:-64] + r1[3][-64:]}
    with pytest.raises(ProofFault) as caught:
        ENGINE.dkg_part2(secrets[1], forged)
    assert caught.value.culprits == (2, 4)
    with pytest.raises(ProofFault):
        ENGINE.dkg_public(forged, 2)
    assert len(ENGINE.dkg_part2(secrets[1], r1)) == 4


def test_a_package_replayed_under_another_number_is_a_wrong_proof():
    secrets, r1 = begun()
    with pytest.raises(ProofFault) as caught:
        ENGINE.dkg_part2(secrets[1], {**r1, 3: r1[2]})
    assert caught.value.culprits == (3,)
    with pytest.raises(ProofFault) as caught:
        ENGINE.dkg_check_r1(3, 3, 2, r1[2])
    assert caught.value.culprits == (3,)
    ENGINE.dkg_check_r1(2, 3, 2, r1[2])


def malformed_r1(package):
    order = ORDER.to_bytes(32)
    return {
        "empty": b"",
        "truncated": package[:-1],
        "one byte more": package + b"\x00",
        "one coefficient more": package[:33] + package,
        "one coefficient fewer": package[33:],
        "an uncompressed mark": b"\x04" + package[1:],
        "SEC1's compact mark": b"\x05" + package[1:],
        "the identity": bytes(33) + package[33:],
        "an x beyond the field": package[:1] + b"\xff" * 32 + package[33:],
        "a scalar equal to the order": package[:-32] + order,
        "a nonce that is no x": package[:-64] + bytes(32) + package[-32:],
    }


def test_a_malformed_r1_package_is_an_encoding_fault_of_its_sender():
    secrets, r1 = begun()
    for case, bad in malformed_r1(r1[2]).items():
        with pytest.raises(EncodingFault) as caught:
            ENGINE.dkg_check_r1(2, 3, 2, bad)
        assert caught.value.culprits == (2,), case
        with pytest.raises(EncodingFault) as caught:
            ENGINE.dkg_part2(secrets[1], {**r1, 2: bad})
        assert caught.value.culprits == (2,), case


def test_an_own_package_that_comes_back_changed_is_noticed():
    secrets, r1 = begun()
    _, other = ENGINE.dkg_part1(1, 3, 2)
    with pytest.raises(EngineState):
        ENGINE.dkg_part2(secrets[1], {**r1, 1: other})


def test_missing_members_and_strangers_are_named():
    secrets, r1 = begun()
    with pytest.raises(EngineState) as caught:
        ENGINE.dkg_part2(secrets[1], {1: r1[1], 3: r1[3]})
    assert (caught.value.code, caught.value.culprits) == (303, (2,))
    with pytest.raises(EngineState) as caught:
        ENGINE.dkg_part2(secrets[1], {**r1, 4: r1[3]})
    assert (caught.value.code, caught.value.culprits) == (302, (4,))
    with pytest.raises(EncodingFault):
        ENGINE.dkg_part2(secrets[1], {**r1, 0: r1[3]})


def test_steps_happen_once_and_in_order():
    secrets, r1 = begun()
    with pytest.raises(EngineState):
        ENGINE.dkg_part3(secrets[3], r1, {1: bytes(32)})
    with pytest.raises(EngineState):  # burnt by the step that came too early
        ENGINE.dkg_part2(secrets[3], r1)
    ENGINE.dkg_part2(secrets[1], r1)
    with pytest.raises(EngineState):
        ENGINE.dkg_part2(secrets[1], r1)


def shared():
    secrets, r1 = begun()
    dealt = {i: ENGINE.dkg_part2(secret, r1) for i, secret in secrets.items()}
    return secrets, r1, {i: {j: bytes(dealt[j][i]) for j in dealt} for i in dealt}


def test_wrong_shares_name_all_their_senders_and_burn_the_secret():
    secrets, r1, shares = shared()
    with pytest.raises(ShareFault) as caught:
        ENGINE.dkg_part3(secrets[1], r1, {**shares[1], 2: shares[2][2], 3: flipped(shares[1][3], 31)})
    assert caught.value.culprits == (2, 3)
    with pytest.raises(EngineState):
        ENGINE.dkg_part3(secrets[1], r1, shares[1])


def test_an_own_share_that_comes_back_changed_names_oneself():
    secrets, r1, shares = shared()
    with pytest.raises(ShareFault) as caught:
        ENGINE.dkg_part3(secrets[1], r1, {**shares[1], 1: shares[1][2]})
    assert caught.value.culprits == (1,)
    with pytest.raises(ShareFault) as caught:
        ENGINE.restore(1, r1, {**shares[1], 1: shares[1][2], 3: shares[1][2]}, 2)
    assert caught.value.culprits == (1, 3)


@pytest.mark.parametrize("bad", [b"", bytes(31), bytes(33), bytes(32), ORDER.to_bytes(32), b"\xff" * 32])
def test_a_malformed_share_is_an_encoding_fault_of_its_sender(bad):
    secrets, r1, shares = shared()
    for attempt in (
        lambda: ENGINE.dkg_part3(secrets[1], r1, {**shares[1], 2: bad}),
        lambda: ENGINE.restore(1, r1, {**shares[1], 2: bad}, 2),
    ):
        with pytest.raises(EncodingFault) as caught:
            attempt()
        assert caught.value.culprits == (2,)
    assert not ENGINE.dkg_share_ok(r1[2], 1, bad)


def test_part3_refuses_other_packages_than_part2_saw():
    secrets, r1, shares = shared()
    _, other = ENGINE.dkg_part1(2, 3, 2)
    with pytest.raises(EngineState) as caught:
        ENGINE.dkg_part3(secrets[1], {**r1, 2: other}, shares[1])
    assert caught.value.code == 300


def test_anybody_judges_a_share_against_its_package():
    _, r1, shares = shared()
    assert ENGINE.dkg_share_ok(r1[2], 1, shares[1][2])
    assert not ENGINE.dkg_share_ok(r1[2], 3, shares[1][2])
    assert not ENGINE.dkg_share_ok(r1[3], 1, shares[1][2])
    for bad in malformed_r1(r1[2]).values():
        try:
            assert not ENGINE.dkg_share_ok(bad, 1, shares[1][2])
        except EncodingFault:
            continue
    with pytest.raises(EncodingFault):
        ENGINE.dkg_share_ok(r1[2], 0, shares[1][2])


@pytest.mark.parametrize(("n", "threshold"), [(2, 1), (3, 1), (1, 0), (3, 0), (2, 3), (129, 3), (0, 0)])
def test_impossible_committees_are_refused(n, threshold):
    with pytest.raises(EngineState) as caught:
        ENGINE.dkg_part1(1, n, threshold)
    assert caught.value.code == 301


@pytest.mark.parametrize("index", [-1, 0, 4, 129, 65536])
def test_a_number_outside_the_committee_is_refused(index):
    with pytest.raises((EngineState, EncodingFault)):
        ENGINE.dkg_part1(index, 3, 2)


def test_a_restore_refuses_a_number_that_is_not_in_the_transcript():
    made = group()
    with pytest.raises(EngineState):
        ENGINE.restore(6, made.r1, made.shares_for(5), made.threshold)


def test_the_largest_committee_works():
    secrets, r1 = begun(128, 2)
    assert len(ENGINE.dkg_part2(secrets[128], r1)) == 128
