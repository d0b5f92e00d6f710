"""The record by which a committee hands on: one encoding, one file, nothing out of range, no changed bit."""

from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anchor.btc.codec import CodecError
from anchor.rollup.activation import SignedActivation
from anchor.rollup.genesis import MAX_HOST_KEYS
from anchor.rollup.succession import (
    MAX_RECORD,
    KeyEpoch,
    SignedSuccession,
    Succeeded,
    Succession,
    SuccessionRefused,
    check_follows,
)
from anchor.rollup.tx import Succeed
from tests.anchor.rollup.rollup_world import (
    GEN,
    HOSTS,
    MALLORY,
    MINT,
    Whole,
    a_succession,
    an_activation,
    nothing,
    reign,
    signed,
    signed_succession,
)

FIRST = KeyEpoch.first(GEN, an_activation())
RECORD = a_succession(FIRST)
SIGNED = signed_succession(RECORD)


def verdict(signed_record: SignedSuccession, before: KeyEpoch = FIRST) -> str:
    """The code of the refusal, "" for none."""
    try:
        signed_record.verify(before)
    except SuccessionRefused as refused:
        return refused.code
    return ""


def test_a_record_signed_by_all_begins_the_next_epoch() -> None:
    assert verdict(SIGNED) == ""
    begun = KeyEpoch.begun_by(Succeeded(12, SIGNED))
    assert (begun.number, begun.record, begun.since) == (2, RECORD.hash, 12)
    assert (begun.committee_hash, begun.host_keys) == (RECORD.committee_hash, RECORD.host_keys)
    assert (begun.mint_x, begun.anchor_x) == (reign(2).mint.x, reign(2).anchor.x)


def test_every_field_is_in_the_encoding_the_name_and_the_mint_keys_message() -> None:
    other = {
        "rollup_id": 8,
        "genesis_hash": nothing("genesis"),
        "network": "signet",
        "epoch": 3,
        "previous": nothing("previous"),
        "committee_hash": nothing("committee"),
        "host_keys": RECORD.host_keys[::-1],
        "threshold": 1,
        "treasury_key": b"\x02" + RECORD.treasury_key[1:],
        "anchor_key": b"\x03" + RECORD.anchor_key[1:],
        "mint_key": b"\x02" + RECORD.mint_key[1:],
    }
    assert set(other) == {f.name for f in fields(RECORD)}
    changed = [replace(RECORD, **{name: value}) for name, value in other.items()]
    for of in (Succession.encode, lambda r: r.hash, lambda r: r.message):
        assert len({of(RECORD), *map(of, changed)}) == len(changed) + 1
    for each in changed:
        assert verdict(replace(SIGNED, succession=each)) != "", each


def test_hosts_and_mint_key_sign_different_messages_and_neither_signs_for_the_other() -> None:
    assert RECORD.hash != RECORD.message
    swapped = SignedSuccession(
        RECORD, tuple(h.sign(RECORD.message) for h in reign(2).hosts), MINT.sign(RECORD.message)
    )
    assert verdict(swapped) == "not_signed"
    assert verdict(replace(SIGNED, mint_signature=MINT.sign(RECORD.hash))) == "bad_certificate"


def test_the_first_operator_who_did_not_sign_is_named() -> None:
    hosts = reign(2).hosts
    with pytest.raises(SuccessionRefused, match=r"operator 2 \("):
        signed_succession(RECORD, (hosts[0], MALLORY, *hosts[2:])).check_operators()
    with pytest.raises(SuccessionRefused, match="3 signatures for 4 operators: collect one from each"):
        signed_succession(RECORD, hosts[:3]).check_operators()


def test_of_a_strangers_record_one_signature_is_checked_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bytes] = []
    monkeypatch.setattr(
        "anchor.rollup.succession.schnorr_verify", lambda key, *_: seen.append(key) or key != MINT.x
    )
    assert verdict(SIGNED) == "bad_certificate"
    assert seen == [MINT.x]


@pytest.mark.parametrize(
    ("code", "change"),
    [
        ("wrong_epoch", {"epoch": 1}),
        ("wrong_epoch", {"epoch": 3}),
        ("wrong_previous", {"previous": nothing("previous")}),
        ("same_committee", {"committee_hash": GEN.committee_hash}),
        ("same_key", {"treasury_key": b"\x02" + MINT.x}),
        ("same_key", {"mint_key": b"\x03" + MINT.x}),
    ],
    ids=str,
)
def test_what_does_not_follow_is_refused_by_name(code: str, change: dict[str, object]) -> None:
    with pytest.raises(SuccessionRefused) as caught:
        check_follows(replace(RECORD, **change), FIRST)
    assert caught.value.code == code


@given(at=st.integers(0, len(SIGNED.encode()) * 8 - 1))
def test_one_changed_bit_makes_it_unreadable_or_unsigned(at: int) -> None:
    raw = bytearray(SIGNED.encode())
    raw[at // 8] ^= 1 << at % 8
    try:
        found = SignedSuccession.decode(bytes(raw))
    except CodecError:
        return
    assert found.encode() == bytes(raw)
    assert verdict(found) != ""


@given(cut=st.integers(0, len(SIGNED.encode()) - 1), tail=st.binary(max_size=3))
def test_a_cut_or_lengthened_record_is_not_read(cut: int, tail: bytes) -> None:
    raw = SIGNED.encode()
    with pytest.raises(CodecError):
        SignedSuccession.decode(raw[:cut])
    with pytest.raises(CodecError):
        SignedSuccession.decode(raw + b"\x00" + tail)


@given(raw=st.binary(max_size=600))
def test_noise_is_a_codec_error_and_nothing_else(raw: bytes) -> None:
    for kind in (Succession, SignedSuccession):
        with pytest.raises(CodecError):
            kind.decode(raw)
    with pytest.raises(CodecError):
        SignedSuccession.from_json(raw)


def test_the_file_says_what_the_bytes_say_and_is_written_in_one_way() -> None:
    text = SIGNED.to_json()
    assert SignedSuccession.from_json(text) == SIGNED
    assert SignedSuccession.from_json(text.encode()).to_json() == text
    assert text.endswith("}\n")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"epoch": 2', '"epoch": "2"'),
        ('"epoch": 2', '"epoch": 0'),
        ('"epoch": 2', '"epoch": 2, "extra": 1'),
        ('"epoch": 2', '"epoche": 2'),
        ('"network": "regtest"', '"network": "moon"'),
        (RECORD.previous.hex(), RECORD.previous.hex()[2:]),
        (RECORD.mint_key.hex(), "04" + RECORD.mint_key.hex()[2:]),
        (RECORD.mint_key.hex(), "zz" + RECORD.mint_key.hex()[2:]),
        (SIGNED.mint_signature.hex(), SIGNED.mint_signature.hex()[2:]),
        (SIGNED.signatures[0].hex(), SIGNED.signatures[0].hex() + "00"),
    ],
)
def test_a_damaged_file_is_a_clear_error(old: str, new: str) -> None:
    text = SIGNED.to_json()
    assert old in text
    with pytest.raises(CodecError, match=r"succession"):
        SignedSuccession.from_json(text.replace(old, new))


def test_an_activation_record_is_no_succession_and_the_reverse() -> None:
    activation = signed(an_activation())
    with pytest.raises(CodecError):
        SignedSuccession.from_json(activation.to_json())
    with pytest.raises(CodecError):
        SignedActivation.from_json(SIGNED.to_json())
    with pytest.raises(CodecError):
        SignedSuccession.decode(activation.encode())


MANY = tuple(Whole.named(f"many {i}").x for i in range(MAX_HOST_KEYS + 1))


@pytest.mark.parametrize(
    "change",
    [
        {"rollup_id": 0},
        {"rollup_id": 1 << 32},
        {"genesis_hash": b""},
        {"previous": bytes(31)},
        {"committee_hash": bytes(33)},
        {"network": "moon"},
        {"epoch": 0},
        {"epoch": 1 << 32},
        {"host_keys": ()},
        {"host_keys": (HOSTS[0].x, HOSTS[0].x)},
        {"host_keys": (bytes(32),)},
        {"host_keys": MANY},
        {"threshold": 0},
        {"threshold": len(RECORD.host_keys) + 1},
        {"treasury_key": bytes(33)},
        {"anchor_key": b"\x04" + MALLORY.x},
        {"mint_key": MALLORY.x},
        {"mint_key": b"\x02" + RECORD.treasury_key[1:]},
    ],
    ids=lambda change: f"{next(iter(change))}-{len(str(change))}",
)
def test_a_record_out_of_range_cannot_exist(change: dict[str, object]) -> None:
    with pytest.raises(CodecError, match="succession: "):
        replace(RECORD, **change)


def test_the_largest_committee_fits_the_record() -> None:
    largest = replace(RECORD, host_keys=MANY[:-1], threshold=86)
    assert len(largest.encode()) < MAX_RECORD
    full = SignedSuccession(largest, (bytes(64),) * MAX_HOST_KEYS)
    assert SignedSuccession.from_json(full.to_json()) == full
    assert Succeed.decode(Succeed(full).encode()).signed == full
