"""The committee file: signatures, words, JSON, and what is refused."""

from dataclasses import replace

import pytest

from tests.tss.simnet import make_committee
from tss.dkg.committee import Committee, Member, SignedCommittee
from tss.dkg.faults import CommitteeFault
from tss.frost.codec import DecodeError


def signed(n=3, t=2):
    committee, identities = make_committee(n, t)
    whole = SignedCommittee.unsigned(committee)
    for who in identities:
        whole = whole.with_signature(who.index, who.sign(committee.hash))
    return whole, identities


def test_a_file_signed_by_all_survives_its_json():
    whole, _ = signed()
    whole.verify()
    assert whole.complete
    again = SignedCommittee.from_json(whole.to_json())
    assert again == whole
    assert Committee.decode(whole.committee.encode()) == whole.committee


def test_words_are_eight_pronounceable_words_of_the_hash():
    committee, _ = make_committee(3, 2)
    words = committee.words.split("-")
    assert [len(word) for word in words] == [5] * 8
    assert replace(committee, epoch=1).words != committee.words


def test_a_missing_signature_is_named():
    committee, identities = make_committee(3, 2)
    half = SignedCommittee.unsigned(committee).with_signature(2, identities[1].sign(committee.hash))
    half.verify(partial=True)
    assert half.missing == (1, 3)
    with pytest.raises(CommitteeFault, match="alice and carol") as caught:
        half.verify()
    assert caught.value.culprits == (1, 3)


def test_merging_brings_signatures_together():
    committee, identities = make_committee(3, 2)
    empty = SignedCommittee.unsigned(committee)
    parts = [empty.with_signature(who.index, who.sign(committee.hash)) for who in identities]
    parts[0].merge(parts[1]).merge(parts[2]).verify()


def test_files_that_differ_do_not_merge_and_say_their_words():
    committee, _ = make_committee(3, 2)
    other = replace(committee, threshold=3)
    with pytest.raises(CommitteeFault, match=other.words):
        SignedCommittee.unsigned(committee).merge(SignedCommittee.unsigned(other))


def test_a_signature_of_somebody_else_is_refused():
    committee, identities = make_committee(3, 2)
    with pytest.raises(CommitteeFault, match="alice's signature") as caught:
        SignedCommittee.unsigned(committee).with_signature(1, identities[1].sign(committee.hash))
    assert caught.value.culprits == (1,)


def test_a_file_changed_after_signing_is_noticed():
    whole, _ = signed()
    changed = SignedCommittee.from_json(whole.to_json().replace("127.0.0.1:7002", "127.0.0.1:7009"))
    with pytest.raises(CommitteeFault, match="changed after signing"):
        changed.verify()


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('"threshold": 2', '"threshold": 4', "threshold 4 of 3"),
        ('"threshold": 2', '"threshold": 1', "a key that one member can use alone"),
        ('"threshold": 2', '"threshold": "2"', "wrong type"),
        ('"threshold": 2', '"threshold": true', "wrong type"),
        ('"epoch": 0', '"epoch": -1', "epoch"),
        ('"name": "bob"', '"name": "alice"', "same name"),
        ('"name": "bob"', '"name": "Bob!"', "member name"),
        ("https://127.0.0.1:7002", "http://127.0.0.1:7002", "https://host:port"),
        ("https://127.0.0.1:7002", "https://127.0.0.1:7002/x", "https://host:port"),
        ('"chain": "regtest"', '"chains": "regtest"', "exactly the keys"),
        ("{", "[", "no JSON"),
    ],
)
def test_a_bad_file_is_refused_with_its_reason(old, new, words):
    text = signed()[0].to_json()
    with pytest.raises(CommitteeFault, match=words):
        SignedCommittee.from_json(text.replace(old, new, 1))


@pytest.mark.parametrize("text", ["", "null", "[]", "{}", "[" * 100_000, '{"members": 1}'])
def test_nonsense_is_refused_not_crashed_on(text):
    with pytest.raises(CommitteeFault):
        SignedCommittee.from_json(text)


def test_hex_in_capitals_is_not_canonical():
    whole, _ = signed()
    host_key = whole.committee.members[0].host_key.hex()
    with pytest.raises(CommitteeFault, match="lower-case hex"):
        SignedCommittee.from_json(whole.to_json().replace(host_key, host_key.upper()))


def test_truncated_committee_bytes_are_refused():
    encoded = make_committee(3, 2)[0].encode()
    for size in range(len(encoded)):
        with pytest.raises(DecodeError):
            Committee.decode(encoded[:size])
    with pytest.raises(DecodeError):
        Committee.decode(encoded + b"\0")


def test_a_file_names_the_one_it_succeeds_and_its_hash_shows_it():
    first = signed()[0].committee
    later = replace(first, epoch=first.epoch + 1, previous=first.hash)
    assert Committee.decode(later.encode()) == later
    assert SignedCommittee.from_json(SignedCommittee.unsigned(later).to_json()).committee == later
    assert later.hash != replace(later, previous=bytes(32)).hash != replace(later, previous=b"").hash
    assert "previous" not in signed()[0].to_json(), "the first file has none"
    with pytest.raises(CommitteeFault, match="32-byte hash"):
        replace(first, previous=b"short")
    text = SignedCommittee.unsigned(later).to_json()
    for bad in (later.previous.hex()[:-2], later.previous.hex().upper(), ""):
        with pytest.raises(CommitteeFault):
            SignedCommittee.from_json(text.replace(later.previous.hex(), bad))


@pytest.mark.parametrize(
    ("n", "threshold", "said"),
    [
        (2, 1, "a key that one member can use alone"),
        (3, 1, "a key that one member can use alone"),
        (3, 0, "a key that one member can use alone"),
        (3, 4, "nothing could ever be signed"),
        (129, 3, "at most 128"),
    ],
)
def test_a_committee_of_a_wrong_size_is_refused_with_the_reason(n, threshold, said):
    with pytest.raises(CommitteeFault, match=said):
        big_committee(n, threshold)


def test_one_of_one_is_for_regtest_only():
    alone = big_committee(1, 1)
    assert Committee.decode(alone.encode()) == alone
    for chain in ("mainnet", "testnet4", "signet"):
        with pytest.raises(CommitteeFault, match="1 of 1 is for regtest only"):
            replace(alone, chain=chain)


@pytest.mark.parametrize(("n", "threshold"), [(2, 2), (128, 2), (128, 128)])
def test_every_size_from_two_to_a_hundred_and_twenty_eight_is_a_committee(n, threshold):
    made = big_committee(n, threshold)
    assert Committee.decode(made.encode()) == made


def big_committee(n, threshold):
    members = tuple(
        Member(f"m{i}", i.to_bytes(32, "big"), i.to_bytes(32, "big"), f"https://127.0.0.1:{1000 + i}")
        for i in range(1, n + 1)
    )
    return Committee("big", "regtest", 1, threshold, members)
