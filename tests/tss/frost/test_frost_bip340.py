"""Host keys sign and verify as BIP340's published vectors say."""

import csv

import pytest

from tests.tss.frost.groups import ORDER
from tss.frost import bip340, engine

SECRET = (7).to_bytes(32)


def rows(vectors):
    with (vectors / "bips" / "bip340.csv").open() as file:
        for row in csv.DictReader(file):
            yield {name: row[name] if name == "comment" else row[name].strip() for name in row}


def test_the_published_signatures_are_made_exactly(vectors):
    made = 0
    for row in rows(vectors):
        message = bytes.fromhex(row["message"])
        if not row["secret key"] or len(message) != 32:
            continue
        secret, aux = bytes.fromhex(row["secret key"]), bytes.fromhex(row["aux_rand"])
        assert bip340.public_key(secret).hex().upper() == row["public key"]
        assert bip340.sign(secret, message, aux).hex().upper() == row["signature"]
        made += 1
    assert made >= 4


def test_the_published_verdicts_are_given_by_both_verifiers(vectors):
    judged = 0
    for row in rows(vectors):
        message = bytes.fromhex(row["message"])
        if len(message) != 32:
            continue  # we sign 32-byte hashes only
        public, signature = bytes.fromhex(row["public key"]), bytes.fromhex(row["signature"])
        for verify in (bip340.verify, engine.verify):
            assert verify(public, message, signature) is (row["verification result"] == "TRUE"), row[
                "comment"
            ]
        judged += 1
    assert judged >= 15


@pytest.mark.parametrize("secret", [b"", bytes(31), bytes(33), bytes(32), ORDER.to_bytes(32), b"\xff" * 32])
def test_an_invalid_secret_is_refused(secret):
    assert not bip340.valid_secret(secret)
    with pytest.raises(ValueError, match="host secret"):
        bip340.public_key(secret)
    with pytest.raises(ValueError, match="host secret"):
        bip340.sign(secret, bytes(32), bytes(32))


def test_malformed_input_to_verify_is_false():
    public, message = bip340.public_key(SECRET), bytes(32)
    signature = bip340.sign(SECRET, message, bytes(32))
    for verify in (bip340.verify, engine.verify):
        assert verify(public, message, signature)
        for bad in (b"", public[:-1], b"\x02" + public, bytes(32), b"\xff" * 32):
            assert not verify(bad, message, signature)
        for bad in (b"", message[:-1], message + b"\x00"):
            assert not verify(public, bad, signature)
        for bad in (b"", signature[:-1], signature + b"\x00", bytes(64), b"\xff" * 64):
            assert not verify(public, message, bad)


def test_only_whole_hashes_are_signed():
    for message, aux in ((b"short", bytes(32)), (bytes(33), bytes(32)), (bytes(32), bytes(31))):
        with pytest.raises(ValueError, match="32 bytes"):
            bip340.sign(SECRET, message, aux)


def test_a_signature_that_was_good_is_good_for_nothing_else():
    secret, other = bytes([7]) * 32, bytes([8]) * 32
    public, message = bip340.public_key(secret), bytes([1]) * 32
    signature = bip340.sign(secret, message, bytes(32))
    bip340.made(public, message, signature)
    assert bip340.verify(public, message, signature)
    assert bip340.verify(bytearray(public), message, memoryview(signature))
    assert not bip340.verify(bip340.public_key(other), message, signature)
    assert not bip340.verify(public, bytes([2]) * 32, signature)
    assert not bip340.verify(public, message, signature[:63] + bytes([signature[63] ^ 1]))


def test_only_so_many_good_signatures_are_remembered():
    secret = bytes([7]) * 32
    public = bip340.public_key(secret)
    for number in range(bip340._MOST + 50):
        bip340.made(public, number.to_bytes(32, "big"), bytes(64))
    assert len(bip340._known) == bip340._MOST
    bip340._known.clear()
