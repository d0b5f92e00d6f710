"""Points and signatures, against the published list and a second library."""

import csv
import secrets

import coincurve
import pytest

from anchor.btc import curve


def test_every_published_bip340_vector_holds(vectors):
    rows = list(csv.DictReader((vectors / "bips/bip340.csv").open()))
    assert len(rows) >= 19
    for row in rows:
        key, message, signature = (bytes.fromhex(row[c]) for c in ("public key", "message", "signature"))
        assert curve.schnorr_verify(key, message, signature) == (row["verification result"] == "TRUE"), row
        if row["secret key"] and len(message) == 32:
            secret = bytes.fromhex(row["secret key"])
            assert curve.x_only_from_secret(secret) == key
            assert curve.schnorr_sign(secret, message, bytes.fromhex(row["aux_rand"])) == signature


def test_a_second_library_agrees_on_signatures_keys_and_tweaks():
    for _ in range(50):
        secret, message, tweak = (secrets.token_bytes(32) for _ in range(3))
        other = coincurve.PublicKeyXOnly.from_secret(secret)
        assert curve.x_only_from_secret(secret) == other.format()
        assert other.verify(curve.schnorr_sign(secret, message, bytes(32)), message)
        assert curve.schnorr_verify(
            other.format(), message, coincurve.PrivateKey(secret).sign_schnorr(message)
        )
        tweaked = curve.tweak_add_x_only(other.format(), tweak)
        other.tweak_add(tweak)
        assert tweaked == (other.format(), int(other.parity))


def test_malformed_input_never_verifies():
    secret = b"\x01" * 32
    key, message = curve.x_only_from_secret(secret), bytes(32)
    signature = curve.schnorr_sign(secret, message, bytes(32))
    assert curve.schnorr_verify(key, message, signature)
    for bad in (
        signature[:-1],
        signature + b"\0",
        b"",
        bytes(64),
        b"\xff" * 64,
        signature[:32] + b"\xff" * 32,
    ):
        assert not curve.schnorr_verify(key, message, bad)
    for bad in (b"", key[:-1], b"\x02" + key, bytes(32), b"\xff" * 32):
        assert not curve.schnorr_verify(bad, message, signature)


@pytest.mark.parametrize(
    "secret", [b"", bytes(32), b"\xff" * 32, curve.ORDER.to_bytes(32, "big"), b"\x01" * 31]
)
def test_what_is_no_secret_is_refused(secret):
    assert not curve.is_secret(secret)
    with pytest.raises(curve.CurveError):
        curve.x_only_from_secret(secret)
    with pytest.raises(curve.CurveError):
        curve.schnorr_sign(secret, bytes(32), bytes(32))


def test_what_is_no_point_is_refused():
    assert curve.is_x_only(curve.NO_KEY)
    off = (5).to_bytes(32, "big")  # x = 5 is on no point of secp256k1
    for bad in (off, bytes(32), b"\xff" * 32, b"", curve.NO_KEY + b"\0"):
        assert not curve.is_x_only(bad)
        with pytest.raises(curve.CurveError):
            curve.tweak_add_x_only(bad, bytes(32))


def test_tweaks_outside_the_group_are_refused():
    for bad in (curve.ORDER.to_bytes(32, "big"), b"\xff" * 32, b"\x01" * 31):
        with pytest.raises(curve.CurveError):
            curve.tweak_add_x_only(curve.NO_KEY, bad)
    one = curve.x_only_from_secret((1).to_bytes(32, "big"))
    with pytest.raises(curve.CurveError):  # G - G
        curve.tweak_add_x_only(one, (curve.ORDER - 1).to_bytes(32, "big"))
