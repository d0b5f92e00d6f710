"""Refresh and repair in the engine: what the new shares do, what the old ones cannot, and who is named."""

from itertools import combinations

import pytest

from tests.tss.frost.groups import (
    ENGINE,
    ORDER,
    Group,
    committed,
    flipped,
    holds_everywhere,
    interpolate,
    new_group,
    point,
    signed,
)
from tss.frost.errors import EncodingFault, EngineState, ShareFault, SignatureShareFault
from tss.frost.path import INTERNAL, KEY_ONLY

MESSAGE = b"m" * 32


def dealt(group, members):
    """R1 and the shares by sender, then receiver, with every member's open secret."""
    begun = {i: ENGINE.refresh_part1(i, members, group.threshold) for i in members}
    r1 = {i: package for i, (_, package) in begun.items()}
    shares = {
        i: {j: bytes(share) for j, share in ENGINE.refresh_part2(secret, r1).items()}
        for i, (secret, _) in begun.items()
    }
    return {i: secret for i, (secret, _) in begun.items()}, r1, shares


def received(shares, me):
    return {sender: row[me] for sender, row in shares.items()}


def refreshed(group, members=None):
    members = tuple(members or group.keys)
    secrets, r1, shares = dealt(group, members)
    keys = {i: ENGINE.refresh_part3(secrets[i], group.keys[i], r1, received(shares, i)) for i in members}
    return Group(group.threshold, group.r1, group.dealt, keys), r1, shares


def secret_of(key):
    return int.from_bytes(key.export_secret(), "big")


@pytest.mark.parametrize(("n", "t"), [(2, 2), (3, 2), (5, 3), (9, 6)])
def test_a_refresh_keeps_the_key_and_changes_every_share(n, t):
    old = new_group(n, t)
    new, r1, _ = refreshed(old)
    public = new.keys[1].public
    assert all(key.public == public for key in new.keys.values())
    assert public == ENGINE.refresh_public(old.public, r1)
    assert public.group_key == old.public.group_key
    assert public.share_set != old.public.share_set
    for i, key in new.keys.items():
        assert secret_of(key) != secret_of(old.keys[i])
        assert point(secret_of(key)) == public.verifying_shares[i]
    signers = list(new.keys)[-t:]
    for path in (INTERNAL, KEY_ONLY):
        signature = signed(new, signers, MESSAGE, path)
        assert holds_everywhere(public.output_key(path)[0], MESSAGE, signature)
    whole = interpolate({i: secret_of(new.keys[i]) for i in signers})
    assert whole == interpolate({i: secret_of(old.keys[i]) for i in list(old.keys)[:t]})
    assert point(whole)[1:] == public.x_only


def test_old_and_new_shares_together_are_useless():
    old = new_group(5, 3)
    new, _, _ = refreshed(old)
    whole = interpolate({i: secret_of(old.keys[i]) for i in (1, 2, 3)})
    for count in (1, 2):
        for stale in combinations((1, 2, 3), count):
            mixed = {i: secret_of((old if i in stale else new).keys[i]) for i in (1, 2, 3)}
            assert interpolate(mixed) != whole
    package, nonces = committed(new, (1, 2, 3), MESSAGE, INTERNAL)
    handle, commitment = ENGINE.commit(old.keys[3], 1)[0]
    package = type(package)(MESSAGE, {**package.commitments, 3: commitment}, INTERNAL)
    shares = {i: ENGINE.sign(new.keys[i], nonces[i], package) for i in (1, 2)}
    shares[3] = ENGINE.sign(old.keys[3], handle, package)
    with pytest.raises(SignatureShareFault) as caught:
        ENGINE.session(new.public, package).aggregate(shares)
    assert caught.value.culprits == (3,)


def test_an_old_quorum_alone_still_signs_which_is_what_a_refresh_does_not_protect_against():
    old = new_group(5, 3)
    new, _, _ = refreshed(old)
    signature = signed(old, (2, 4, 5), MESSAGE, INTERNAL)
    assert holds_everywhere(new.public.x_only, MESSAGE, signature)


def test_members_left_out_hold_nothing_that_fits():
    old = new_group(5, 3)
    new, _, _ = refreshed(old, (1, 3, 5))
    assert tuple(new.public.verifying_shares) == (1, 3, 5)
    assert holds_everywhere(new.public.x_only, MESSAGE, signed(new, (1, 3, 5), MESSAGE, INTERNAL))
    package, _ = committed(old, (1, 2, 3), MESSAGE, INTERNAL)
    with pytest.raises(EngineState) as caught:
        ENGINE.session(new.public, package)
    assert caught.value.culprits == (2,)
    again, _, _ = refreshed(new)
    assert holds_everywhere(old.public.x_only, MESSAGE, signed(again, (1, 3, 5), MESSAGE, INTERNAL))


@pytest.mark.parametrize("liars", [(2,), (1, 4), (2, 3, 5)])
def test_every_bad_refresh_share_names_its_sender_and_burns_only_the_new_secret(liars):
    group = new_group(5, 3)
    secrets, r1, shares = dealt(group, (1, 2, 3, 4, 5))
    me = next(i for i in (1, 2, 3, 4, 5) if i not in liars)
    wrong = {i: (flipped(s, 31) if i in liars else s) for i, s in received(shares, me).items()}
    for i, share in wrong.items():
        assert ENGINE.refresh_share_ok(r1[i], me, share) is (i not in liars)
    with pytest.raises(ShareFault) as caught:
        ENGINE.refresh_part3(secrets[me], group.keys[me], r1, wrong)
    assert caught.value.culprits == liars
    with pytest.raises(EngineState):
        ENGINE.refresh_part3(secrets[me], group.keys[me], r1, received(shares, me))
    assert signed(group, (1, 2, 3), MESSAGE, INTERNAL)


def test_a_share_with_another_constant_term_is_a_bad_share():
    group = new_group(3, 2)
    _, r1, shares = dealt(group, (1, 2, 3))
    moved = (int.from_bytes(shares[2][1], "big") + 1) % ORDER
    assert not ENGINE.refresh_share_ok(r1[2], 1, moved.to_bytes(32, "big"))
    assert not ENGINE.refresh_share_ok(r1[2], 1, bytes(32))
    assert not ENGINE.refresh_share_ok(r1[2], 1, ORDER.to_bytes(32, "big"))


def test_malformed_packages_and_strangers_are_named():
    group = new_group(4, 3)
    begun = {i: ENGINE.refresh_part1(i, (1, 2, 4), 3) for i in (1, 2, 4)}
    r1 = {i: package for i, (_, package) in begun.items()}
    for bad in (b"", r1[2][:-1], r1[2] + b"\0", b"\x05" + r1[2][1:], b"\0" * 66):
        with pytest.raises(EncodingFault) as caught:
            ENGINE.refresh_part2(begun[1][0], {**r1, 2: bad})
        assert caught.value.culprits == (2,)
        with pytest.raises(EncodingFault):
            ENGINE.refresh_public(group.public, {**r1, 2: bad})
    with pytest.raises(EngineState) as stranger:
        ENGINE.refresh_part2(begun[1][0], {**r1, 3: r1[2]})
    assert stranger.value.culprits == (3,)
    with pytest.raises(EngineState) as missing:
        ENGINE.refresh_part2(begun[1][0], {1: r1[1], 2: r1[2]})
    assert missing.value.culprits == (4,)
    with pytest.raises(EngineState, match="comes back changed"):
        ENGINE.refresh_part2(begun[1][0], {**r1, 1: r1[2]})
    with pytest.raises(EngineState, match="is not among those who refresh"):
        ENGINE.refresh_part1(3, (1, 2, 4), 3)
    with pytest.raises(EngineState, match="no committee"):
        ENGINE.refresh_part1(1, (1, 2), 3)
    with pytest.raises(EngineState, match="take more of them"):
        ENGINE.refresh_public(group.public, {1: r1[1], 2: r1[2]})
    with pytest.raises(EngineState) as outsider:
        ENGINE.refresh_public(group.public, {1: r1[1], 2: r1[2], 9: r1[4]})
    assert outsider.value.culprits == (9,)


def test_a_refresh_is_restored_from_its_transcript():
    old = new_group(3, 2)
    new, r1, shares = refreshed(old)
    again = ENGINE.refresh_restore(old.keys[2], r1, received(shares, 2))
    assert again.public == new.public
    assert again.export_secret() == new.keys[2].export_secret()
    with pytest.raises(ShareFault) as caught:
        ENGINE.refresh_restore(old.keys[2], r1, {**received(shares, 2), 3: shares[3][1]})
    assert caught.value.culprits == (3,)


def repaired(group, lost, helpers):
    parts = {i: ENGINE.repair_split(group.keys[i], lost, helpers) for i in helpers}
    sums = {j: ENGINE.repair_sum({i: deltas[j] for i, (deltas, _) in parts.items()}) for j in helpers}
    return parts, sums


@pytest.mark.parametrize("helpers", [(1, 2, 3), (2, 3, 5), (1, 2, 3, 5)])
def test_a_repair_gives_the_very_share_that_was_lost(helpers):
    group = new_group(5, 3)
    parts, sums = repaired(group, 4, helpers)
    for i, (deltas, commitments) in parts.items():
        assert ENGINE.repair_commitments_ok(group.public, 4, i, helpers, commitments)
        for place, j in enumerate(helpers):
            assert ENGINE.repair_value_ok([commitments[33 * place : 33 * place + 33]], deltas[j])
    for place, j in enumerate(helpers):
        column = [commitments[33 * place : 33 * place + 33] for _, commitments in parts.values()]
        assert ENGINE.repair_value_ok(column, sums[j])
    key = ENGINE.repair_finish(4, group.public, sums)
    assert key.export_secret() == group.keys[4].export_secret()
    assert key.public == group.public


def test_a_refreshed_share_can_be_repaired_and_a_removed_member_cannot():
    new, _, _ = refreshed(new_group(5, 3), (1, 2, 3, 4))
    _, sums = repaired(new, 4, (1, 2, 3))
    assert ENGINE.repair_finish(4, new.public, sums).export_secret() == new.keys[4].export_secret()
    with pytest.raises(EngineState) as caught:
        ENGINE.repair_split(new.keys[1], 5, (1, 2, 3))
    assert caught.value.culprits == (5,)


def test_wrong_deltas_commitments_and_sigmas_are_noticed():
    group = new_group(5, 3)
    helpers = (1, 2, 3)
    parts, sums = repaired(group, 4, helpers)
    commitments = parts[2][1]
    for bad in (b"", commitments[:-33], commitments[33:66] + commitments[33:], flipped(commitments, 40)):
        assert not ENGINE.repair_commitments_ok(group.public, 4, 2, helpers, bad)
    assert not ENGINE.repair_commitments_ok(group.public, 4, 1, helpers, commitments)
    assert not ENGINE.repair_commitments_ok(group.public, 5, 2, helpers, commitments)
    assert not ENGINE.repair_value_ok([commitments[:33]], flipped(bytes(parts[2][0][1]), 31))
    assert not ENGINE.repair_value_ok([commitments[:33]], b"")
    with pytest.raises(ShareFault):
        ENGINE.repair_finish(4, group.public, {**sums, 2: flipped(bytes(sums[2]), 31)})
    with pytest.raises(ShareFault):
        ENGINE.repair_finish(5, group.public, sums)


def test_a_repair_needs_t_helpers_who_hold_shares_and_do_not_include_the_loser():
    group = new_group(5, 3)
    for lost, helpers, why in (
        (4, (1, 2), "take more"),
        (4, (1, 2, 4), "cannot help"),
        (4, (1, 2, 9), "leave the others out"),
        (4, (2, 3, 5), "not among the helpers"),
    ):
        with pytest.raises(EngineState, match=why):
            ENGINE.repair_split(group.keys[1], lost, helpers)
