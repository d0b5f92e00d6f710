"""Paths, packages and groups: one form each, and everything else is a typed refusal."""

import copy
import pickle
from contextlib import suppress
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.tss.frost.groups import ENGINE, committed, flipped, group
from tss.frost.codec import DecodeError
from tss.frost.engine import GroupPublic
from tss.frost.errors import EncodingFault, EngineState
from tss.frost.hashing import tagged_hash
from tss.frost.package import SigningPackage
from tss.frost.path import INTERNAL, KEY_ONLY, SigningPath, key_with_root

ROOTS = st.binary(min_size=32, max_size=32)
PATHS = st.one_of(st.just(INTERNAL), st.just(KEY_ONLY), ROOTS.map(key_with_root))
COMMITMENTS = st.dictionaries(
    st.integers(1, 128), st.binary(min_size=66, max_size=66), min_size=1, max_size=8
)
PACKAGES = st.builds(SigningPackage, ROOTS, COMMITMENTS, PATHS)


@given(PATHS)
def test_a_path_survives_its_encoding(path):
    assert SigningPath.decode(path.encode()) == path


def test_the_paths_have_the_bytes_of_the_contract():
    root = tagged_hash("test/root")
    assert (INTERNAL.encode(), KEY_ONLY.encode()) == (b"\x00", b"\x01")
    assert key_with_root(root).encode() == b"\x02" + root


@pytest.mark.parametrize(
    "bad",
    [
        b"",
        b"\x00\x00",
        b"\x01" + bytes(32),
        b"\x02",
        b"\x02" + bytes(31),
        b"\x02" + bytes(33),
        b"\x03",
        bytes(99),
    ],
)
def test_other_bytes_are_no_path(bad):
    with pytest.raises(EncodingFault):
        SigningPath.decode(bad)


def test_impossible_paths_cannot_be_made():
    for make in (
        lambda: key_with_root(bytes(31)),
        lambda: SigningPath("internal", bytes(32)),
        lambda: SigningPath("script"),
    ):
        with pytest.raises(EncodingFault):
            make()


@given(PACKAGES)
def test_a_package_survives_its_encoding(package):
    again = SigningPackage.decode(package.encode())
    assert (again, again.hash, again.encode()) == (package, package.hash, package.encode())
    assert list(again.commitments) == sorted(package.commitments)


@given(PACKAGES, st.data())
def test_a_changed_package_has_another_hash_or_is_refused(package, data):
    raw = package.encode()
    at = data.draw(st.integers(0, len(raw) - 1))
    try:
        assert SigningPackage.decode(flipped(raw, at)).hash != package.hash
    except EncodingFault:
        return


@given(st.binary(max_size=400))
def test_random_bytes_never_break_a_decoder(raw):
    for decode in (SigningPackage.decode, GroupPublic.decode, SigningPath.decode):
        with suppress(EncodingFault):
            assert decode(raw).encode() == raw
    assert issubclass(EncodingFault, DecodeError)


def test_the_hash_of_a_package_covers_the_path():
    commitments = {1: bytes(66), 2: bytes(66)}
    hashes = {
        SigningPackage(bytes(32), commitments, path).hash
        for path in (INTERNAL, KEY_ONLY, key_with_root(bytes(32)))
    }
    assert len(hashes) == 3


def test_a_package_cannot_be_changed_after_it_was_hashed():
    given_by_caller = {2: bytes(66), 1: bytes(66)}
    package = SigningPackage(bytes(32), given_by_caller, INTERNAL)
    before = package.hash
    given_by_caller[3] = bytes(66)
    with pytest.raises(TypeError):
        package.commitments[3] = bytes(66)
    assert package.hash == before


def test_malformed_packages_cannot_be_made():
    one = {1: bytes(66)}
    for message, commitments, culprits in (
        (bytes(31), one, ()),
        (bytes(32), {}, ()),
        (bytes(32), dict.fromkeys(range(1, 130), bytes(66)), ()),
        (bytes(32), {**one, 0: bytes(66), 129: bytes(66)}, (0, 129)),
        (bytes(32), {**one, 4: bytes(65), 3: bytes(67)}, (3, 4)),
    ):
        with pytest.raises(EncodingFault) as caught:
            SigningPackage(message, commitments, INTERNAL)
        assert caught.value.culprits == culprits


def test_members_out_of_order_or_twice_are_refused_in_packages():
    head = b"\x01" + bytes(32) + b"\x00" + b"\x00\x02"
    for pair in ((2, 1), (1, 1)):
        raw = head + b"".join(member.to_bytes(2) + bytes(66) for member in pair)
        with pytest.raises(EncodingFault):
            SigningPackage.decode(raw)


def test_a_group_survives_its_encoding_and_copying():
    public = group().public
    assert GroupPublic.decode(public.encode()) == public
    assert pickle.loads(pickle.dumps(public)) == copy.deepcopy(public) == public  # noqa: S301
    package, _ = committed(group(), (1, 2, 3), bytes(32), KEY_ONLY)
    assert pickle.loads(pickle.dumps(package)) == copy.deepcopy(package) == package  # noqa: S301
    assert len({public, GroupPublic.decode(public.encode())}) == len({package, copy.copy(package)}) == 1


def test_malformed_groups_are_refused():
    raw = group().public.encode()
    reordered = raw[:38] + raw[73:108] + raw[38:73] + raw[108:]
    for bad in (
        b"",
        raw[:-1],
        raw + b"\x00",
        b"\x02" + raw[1:],
        reordered,
        raw[:1] + b"\x00\x01" + raw[3:],
        raw[:1] + b"\x00\x06" + raw[3:],
        raw[:3] + b"\x04" + raw[4:],
    ):
        with pytest.raises(EncodingFault):
            GroupPublic.decode(bad)
    with pytest.raises(EngineState):
        GroupPublic(6, group().public.group_key, group().public.verifying_shares)
    with pytest.raises(EncodingFault):
        GroupPublic(3, bytes(32), group().public.verifying_shares)


def test_a_group_key_that_is_no_point_is_refused_at_first_use():
    public = group().public
    broken = GroupPublic(3, b"\x02" + b"\xff" * 32, public.verifying_shares)
    with pytest.raises(EncodingFault):
        broken.output_key(KEY_ONLY)
    package, _ = committed(group(), (1, 2, 3), bytes(32), KEY_ONLY)
    with pytest.raises(EncodingFault):
        ENGINE.session(broken, package)


def test_a_tagged_hash_is_that_of_bip340():
    tag = sha256(b"BIP0340/aux").digest()
    assert tagged_hash("BIP0340/aux", b"a", b"b") == sha256(tag + tag + b"ab").digest()
