"""The mint key's third kind of payload: a succession with its operators' signatures, and nothing else."""

from dataclasses import replace

import pytest

from anchor.rollup.succession import SignedSuccession
from anchor.rollup.tx import Succeed
from bridge.treasury import certificates
from bridge.treasury.certificates import MAX_SUCCESSION, CertificateFault
from tests.anchor.rollup.rollup_world import World


@pytest.fixture
def signed() -> SignedSuccession:
    made: Succeed = World().activate().succeed()
    return made.signed


def test_what_is_to_be_signed_comes_back_without_the_mint_keys_signature(signed: SignedSuccession) -> None:
    payload = certificates.encode_succession(signed)
    assert certificates.is_succession(payload)
    assert certificates.decode_succession(payload) == replace(signed, mint_signature=bytes(64))


def test_a_record_that_carries_a_mint_signature_already_is_refused(signed: SignedSuccession) -> None:
    with pytest.raises(CertificateFault, match="no signature of the mint key yet"):
        certificates.decode_succession(b"\x03" + signed.encode())


def test_cut_long_and_foreign_bytes_are_refused(signed: SignedSuccession) -> None:
    payload = certificates.encode_succession(signed)
    bad = [payload[:n] for n in range(len(payload))]
    bad += [payload + b"\0", b"\x01" + payload[1:], b"\x03" * (MAX_SUCCESSION + 1)]
    for each in bad:
        with pytest.raises(CertificateFault):
            certificates.decode_succession(each)


def test_a_succession_is_never_read_as_a_statement_nor_the_reverse(signed: SignedSuccession) -> None:
    with pytest.raises(CertificateFault):
        certificates.decode(certificates.encode_succession(signed))
    for other in (b"", b"\x01" + bytes(100), b"\x02" + bytes(100)):
        assert not certificates.is_succession(other)


def test_the_largest_committee_fits() -> None:
    signed = World().activate().succeed().signed
    keys = signed.succession.host_keys
    many = SignedSuccession(signed.succession, tuple(bytes(64) for _ in range(128)))
    assert len(certificates.encode_succession(many)) + 32 * (128 - len(keys)) < MAX_SUCCESSION
