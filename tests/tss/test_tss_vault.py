"""The passphrase's seal: what opens it, what is noticed, what it costs, and that nothing is left half done."""

import os
import re
from dataclasses import replace
from pathlib import Path

import pytest

from tss import identity, passphrase, vault
from tss.frost import bip340
from tss.identity import IdentityFault
from tss.passphrase import PassphraseFault
from tss.vault import PRODUCTION, REGTEST, Cost, Sealed, VaultFault, WrongPassphrase

CHEAP = Cost(64, 1, 1)
SECRET = bytes(range(32))
PUBLIC = b"p" * 32


def phrase(text="correct horse battery"):
    return bytearray(text.encode())


def sealed(cost=CHEAP):
    return Sealed.make(SECRET, PUBLIC, phrase(), cost)


def test_a_seal_opens_with_its_passphrase_and_no_other():
    data = sealed().encode()
    assert Sealed.is_one(data)
    assert SECRET not in data
    assert Sealed.decode(data).open(phrase()) == SECRET
    for wrong in ("", "correct horse batterz", "correct horse battery "):
        with pytest.raises(WrongPassphrase, match="nothing was changed"):
            Sealed.decode(data).open(phrase(wrong))


def test_every_flipped_bit_and_every_truncation_is_told_from_a_wrong_passphrase():
    data = sealed().encode()
    for bit in range(8 * 8, 8 * len(data)):
        flipped = bytearray(data)
        flipped[bit // 8] ^= 1 << bit % 8
        with pytest.raises(VaultFault, match="is damaged") as fault:
            Sealed.decode(bytes(flipped))
        assert not isinstance(fault.value, WrongPassphrase)
    for size in range(len(data)):
        with pytest.raises(VaultFault):
            Sealed.decode(data[:size])
    with pytest.raises(VaultFault):
        Sealed.decode(data + b"\0")


def test_the_whole_header_is_bound_to_the_seal():
    one = sealed()
    for other in (
        replace(one, public=b"q" * 32),
        replace(one, cost=Cost(64, 2, 1)),
        replace(one, cost=Cost(72, 1, 1)),
        replace(one, salt=bytes(16)),
        replace(one, nonce=bytes(12)),
    ):
        again = Sealed.decode(other.encode())  # its check sum is right: only the seal itself can notice
        with pytest.raises(WrongPassphrase):
            again.open(phrase())


def test_a_header_that_asks_for_absurd_work_is_refused_before_any_is_done():
    for cost in (
        Cost(5 << 20, 1, 1),
        Cost(64, 65, 1),
        Cost(64, 0, 1),
        Cost(64, 1, 65),
        Cost(64, 1, 0),
        Cost(0, 1, 1),
    ):
        with pytest.raises(VaultFault, match="is damaged"):
            Sealed.decode(replace(sealed(), cost=cost).encode())
    with pytest.raises(VaultFault, match="cannot be stretched here"):
        replace(sealed(), cost=Cost(8, 1, 8)).open(phrase())


def test_two_seals_of_one_secret_share_nothing():
    one, other = sealed(), sealed()
    assert one.salt != other.salt
    assert one.nonce != other.nonce
    assert one.box != other.box


def test_money_is_guarded_by_256_mib_a_guess_and_play_money_by_less():
    assert vault.cost_for("mainnet") == vault.cost_for("signet") == PRODUCTION
    assert PRODUCTION.memory_kib == 256 * 1024
    assert vault.cost_for("regtest") == REGTEST
    assert REGTEST.memory_kib >= 19 * 1024, "the least that OWASP advises"
    assert REGTEST.memory_kib * 1024 < 32 << 20, "a demo's node stays small"


def test_stretching_is_argon2id():
    """A vector of the reference implementation's own tests (version 19, t = 2, m = 256 KiB, p = 1)."""
    one = replace(sealed(), cost=Cost(256, 2, 1), salt=b"somesalt")
    expected = "9dfeb910e80bad0311fee20f9c0e2b12c17987b4cac90c2ef54d5b3021c68bfe"
    assert one.stretch(phrase("password")).hex() == expected


def test_an_identity_under_a_passphrase_is_whole_again_after_load(tmp_path):
    given = phrase()
    made = identity.create(tmp_path, "alice", "https://127.0.0.1:9301", given, CHEAP)
    assert given == bytes(len(given)), "the passphrase is wiped"
    asked = []

    def ask():
        asked.append(phrase())
        return asked[-1]

    loaded = identity.load(tmp_path, ask)
    assert len(asked) == 1, "asked and stretched once"
    assert asked[0] == bytes(len(asked[0]))
    assert loaded.sealed
    assert loaded.host_key == made.host_key
    assert loaded.derive("t", b"x") == made.derive("t", b"x")
    assert bip340.verify(made.host_key, b"m" * 32, loaded.sign(b"m" * 32))
    assert bytes(loaded.secret()) not in (tmp_path / "keys" / "host.key").read_bytes()


def test_an_open_host_key_is_read_without_asking(tmp_path):
    identity.create(tmp_path, "alice", "https://127.0.0.1:9301")
    assert not identity.load(tmp_path, lambda: pytest.fail("asked")).sealed


def test_what_cannot_be_opened_is_one_sentence(tmp_path):
    identity.create(tmp_path, "alice", "https://127.0.0.1:9301", phrase(), CHEAP)
    path = tmp_path / "keys" / "host.key"
    with pytest.raises(IdentityFault, match="is under a passphrase"):
        identity.load(tmp_path)
    with pytest.raises(IdentityFault, match="the passphrase is wrong"):
        identity.load(tmp_path, lambda: phrase("wrong"))
    good = path.read_bytes()
    path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    with pytest.raises(IdentityFault, match="is damaged: restore it from a copy, or the node from its words"):
        identity.load(tmp_path, phrase)
    identity.create(tmp_path / "other", "bob", "https://127.0.0.1:9302", phrase(), CHEAP)
    path.write_bytes((tmp_path / "other" / "keys" / "host.key").read_bytes())
    with pytest.raises(IdentityFault, match=r"does not fit member\.json"):
        identity.load(tmp_path, phrase)
    path.chmod(0o640)
    with pytest.raises(IdentityFault, match="can be read by others"):
        identity.load(tmp_path, phrase)


def test_a_change_of_passphrase_that_dies_leaves_the_old_one_good(tmp_path, monkeypatch):
    identity.create(tmp_path, "alice", "https://127.0.0.1:9301", phrase(), CHEAP)

    def dies(self, _target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", dies)
    with pytest.raises(OSError, match="No space"):
        identity.reseal(tmp_path, phrase, lambda: phrase("another one, longer"), CHEAP)
    monkeypatch.undo()
    assert identity.load(tmp_path, phrase).sealed
    identity.reseal(tmp_path, phrase, lambda: phrase("another one, longer"), CHEAP)
    assert identity.load(tmp_path, lambda: phrase("another one, longer")).sealed


def test_shares_stay_readable_over_a_change_of_passphrase_and_are_bound_to_their_name(tmp_path):
    made = identity.create(tmp_path, "alice", "https://127.0.0.1:9301", phrase(), CHEAP)
    shares = vault.ShareVault(tmp_path / "keys", made)
    shares.save("anchor", 1, bytearray(b"s" * 32))
    identity.reseal(tmp_path, phrase, lambda: phrase("another one, longer"), CHEAP)
    again = vault.ShareVault(
        tmp_path / "keys", identity.load(tmp_path, lambda: phrase("another one, longer"))
    )
    assert again.load("anchor", 1) == b"s" * 32
    os.link(again.path("anchor", 1), again.path("mint", 1))
    with pytest.raises(VaultFault, match="from another folder"):
        again.load("mint", 1)
    assert b"s" * 32 not in again.path("anchor", 1).read_bytes()


def descriptor(data):
    read, write = os.pipe()
    os.write(write, data)
    os.close(write)
    return read


def test_a_passphrase_comes_from_a_descriptor_up_to_the_lines_end():
    for data in (
        b"a long passphrase",
        b"a long passphrase\n",
        b"a long passphrase\r\n",
        b"a long passphrase\nmore",
    ):
        assert passphrase.new(descriptor(data)) == b"a long passphrase"
        assert passphrase.source(descriptor(data))() == b"a long passphrase"
    with pytest.raises(PassphraseFault, match="at least 12 bytes"):
        passphrase.new(descriptor(b"elevenbytes"))
    with pytest.raises(PassphraseFault, match="is empty"):
        passphrase.source(descriptor(b"\n"))()
    with pytest.raises(PassphraseFault, match="more than 1024 bytes"):
        passphrase.source(descriptor(b"x" * 1030))()
    with pytest.raises(PassphraseFault, match="cannot be read"):
        passphrase.source(4095)()


def test_a_passphrase_is_never_taken_from_the_environment_or_argv():
    """These modules read one environment variable: the name of systemd's folder."""
    root = Path(passphrase.__file__).parent
    read = [
        found
        for name in ("passphrase.py", "vault.py", "identity.py", "words.py")
        for found in re.findall(r"os\.environ\S*|getenv\S*|sys\.argv", (root / name).read_text())
    ]
    assert read == ['os.environ.get("CREDENTIALS_DIRECTORY")']
