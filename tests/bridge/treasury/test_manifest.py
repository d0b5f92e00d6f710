"""Manifests: one encoding, canonical order, nothing worthless."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as some

from anchor.btc.amounts import MAX_MONEY, Sats
from bridge.treasury.manifest import (
    MAX_ITEMS,
    MAX_MANIFEST,
    ManifestFault,
    Payout,
    PayoutManifest,
    SweepManifest,
    decode,
)
from tests.bridge.keys import ACTIVATION, payee, payout, payout_manifest, sweep_manifest, swept

SWEEP = sweep_manifest(swept("alice"), swept("bob"))
PAYOUT = payout_manifest(payout("carol"), payout("dave"))


@pytest.mark.parametrize("manifest", [SWEEP, PAYOUT], ids=["sweep", "payout"])
def test_a_manifest_survives_its_bytes_and_no_byte_can_be_cut_or_added(manifest):
    data = manifest.encode()
    assert decode(data) == manifest == type(manifest).decode(data)
    for at in range(len(data)):
        with pytest.raises(ManifestFault):
            decode(data[:at])
    with pytest.raises(ManifestFault):
        decode(data + b"\0")


@given(some.binary(max_size=400))
def test_any_bytes_are_a_manifest_or_a_manifest_fault(data):
    for start in (b"", SWEEP.encode()[:100], PAYOUT.encode()[:100]):
        try:
            found = decode(start + data)
        except ManifestFault:
            continue
        assert found.encode() == start + data


@given(some.integers(0, len(SWEEP.encode()) - 1), some.integers(1, 255))
def test_every_changed_byte_is_refused_or_changes_the_hash(at, flip):
    data = bytearray(SWEEP.encode())
    data[at] ^= flip
    try:
        assert decode(bytes(data)).hash != SWEEP.hash
    except ManifestFault:
        pass


def test_a_manifest_of_the_other_kind_is_refused():
    with pytest.raises(ManifestFault, match="expected"):
        SweepManifest.decode(PAYOUT.encode())
    with pytest.raises(ManifestFault, match="expected"):
        PayoutManifest.decode(SWEEP.encode())
    with pytest.raises(ManifestFault, match="kind 9"):
        decode(b"\x09" + SWEEP.encode()[1:])


def test_a_giant_is_refused_unread():
    with pytest.raises(ManifestFault, match="longer"):
        decode(bytes(MAX_MANIFEST + 1))


def test_items_must_ascend_each_once_and_there_must_be_some():
    a, b = SWEEP.deposits
    c, d = PAYOUT.payouts
    for bad in ((b, a), (a, a)):
        with pytest.raises(ManifestFault, match="ascend"):
            replace(SWEEP, deposits=bad)
    for worse in ((d, c), (c, c)):
        with pytest.raises(ManifestFault, match="ascend"):
            replace(PAYOUT, payouts=worse)
    for none in (SWEEP, PAYOUT):
        with pytest.raises(ManifestFault, match="not 0"):
            replace(none, **{"deposits" if none is SWEEP else "payouts": ()})
    many = tuple(
        Payout(n.to_bytes(32, "big"), payee("x"), Sats(9_000), Sats(0)) for n in range(MAX_ITEMS + 1)
    )
    with pytest.raises(ManifestFault, match="not 401"):
        replace(PAYOUT, payouts=many)


@pytest.mark.parametrize(
    "change",
    [
        {"epoch": 1 << 32},
        {"epoch": -1},
        {"sequence": 0},
        {"sequence": 1 << 32},
        {"previous": bytes(31)},
        {"tip_value": Sats(MAX_MONEY + 1)},
        {"fee": Sats(-1)},
    ],
    ids=str,
)
def test_a_head_out_of_range_is_refused(change):
    for manifest in (SWEEP, PAYOUT):
        with pytest.raises(ManifestFault):
            replace(manifest, **change)


@pytest.mark.parametrize(("value", "share"), [(0, 0), (1_000, 1_000), (1_000, -1), (MAX_MONEY + 1, 0)])
def test_an_item_whose_fee_share_eats_it_is_refused(value, share):
    with pytest.raises(ManifestFault, match="fee share"):
        sweep_manifest(swept("a", value, share))
    with pytest.raises(ManifestFault, match="fee share"):
        payout_manifest(payout("a", value, share))


def test_the_treasury_itself_cannot_be_named_as_a_deposit():
    with pytest.raises(ManifestFault, match="tip"):
        sweep_manifest(replace(swept("a"), outpoint=ACTIVATION.treasury))


@pytest.mark.parametrize("script", [b"", bytes(35)])
def test_a_payout_script_out_of_bounds_is_refused(script):
    with pytest.raises(ManifestFault, match="script"):
        payout_manifest(replace(payout("a"), script=script))


def test_the_treasury_s_new_value_follows_from_the_manifest():
    assert SWEEP.treasury_value == 1_000_000 + 100_000 - 1_000
    assert PAYOUT.treasury_value == 1_000_000 - 2 * 29_200 - 1_000
    assert (SWEEP.shares, PAYOUT.shares) == (2_000, 1_600)
    assert (SWEEP.deposits[0].minted, PAYOUT.payouts[0].paid) == (49_000, 29_200)
