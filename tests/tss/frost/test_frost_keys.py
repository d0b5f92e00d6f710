"""Key shares: they survive export, fit only their group, and belong to one process."""

import copy
import gc
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tss.frost.groups import ENGINE, ORDER, committed, group, holds_everywhere, new_group
from tss.frost import abi
from tss.frost.engine import GroupPublic
from tss.frost.errors import EncodingFault, EngineState, NonceSpent, ShareFault
from tss.frost.hashing import tagged_hash
from tss.frost.path import INTERNAL

MESSAGE = tagged_hash("test/message")


def test_an_imported_share_signs_like_the_original():
    made = group()
    keys = {i: ENGINE.import_share(i, bytes(made.keys[i].export_secret()), made.public) for i in (2, 3, 4)}
    nonces = {i: ENGINE.commit(key, 1)[0] for i, key in keys.items()}
    package, _ = committed(made, (2, 3, 4), MESSAGE, INTERNAL)
    package = type(package)(MESSAGE, {i: commitment for i, (_, commitment) in nonces.items()}, INTERNAL)
    shares = {i: ENGINE.sign(keys[i], nonces[i][0], package) for i in keys}
    signature = ENGINE.session(made.public, package).aggregate(shares)
    assert holds_everywhere(made.public.x_only, MESSAGE, signature)


def test_an_import_needs_the_right_secret():
    made = group()
    secret = bytes(made.keys[1].export_secret())
    with pytest.raises(ShareFault) as caught:
        ENGINE.import_share(2, secret, made.public)
    assert caught.value.culprits == (2,)
    with pytest.raises(ShareFault):
        ENGINE.import_share(1, (ORDER - int.from_bytes(secret)).to_bytes(32), made.public)
    with pytest.raises(EngineState):
        ENGINE.import_share(6, secret, made.public)
    for bad in (b"", secret[:-1], secret + b"\x00", bytes(32), ORDER.to_bytes(32)):
        with pytest.raises(EncodingFault):
            ENGINE.import_share(1, bad, made.public)


def test_an_import_refuses_a_group_whose_points_do_not_belong_together():
    made, other = group(), new_group(5, 3)
    secret = bytes(made.keys[1].export_secret())
    shares = dict(made.public.verifying_shares)
    for changed in (
        GroupPublic(3, other.public.group_key, shares),
        GroupPublic(3, made.public.group_key, {**shares, 5: shares[4]}),
        GroupPublic(2, made.public.group_key, shares),
        GroupPublic(3, bytes([5 - made.public.group_key[0]]) + made.public.x_only, shares),
    ):
        with pytest.raises(EncodingFault) as caught:
            ENGINE.import_share(1, secret, changed)
        assert caught.value.code == 105


def test_an_exported_secret_can_be_wiped():
    secret = group().keys[1].export_secret()
    assert isinstance(secret, bytearray)
    abi.wipe(secret)
    assert secret == bytes(32)


def test_secrets_neither_show_nor_travel():
    begun, _ = ENGINE.dkg_part1(1, 3, 2)
    key = group().keys[1]
    for held in (begun, key):
        assert "<redacted>" in repr(held)
        for escape in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError):
                escape(held)
    secret = bytes(key.export_secret())
    assert secret.hex() not in repr(key)
    assert str(secret) not in repr(key)


def test_a_closed_handle_is_refused_and_closing_twice_is_fine():
    made = new_group(2, 2)
    package, nonces = committed(made, (1, 2), MESSAGE, INTERNAL)
    session = ENGINE.session(made.public, package)
    begun, package1 = ENGINE.dkg_part1(1, 2, 2)
    for held in (made.keys[1], session, begun):
        held.close()
        held.close()
    for use in (
        made.keys[1].export_secret,
        lambda: ENGINE.commit(made.keys[1], 1),
        lambda: ENGINE.sign(made.keys[1], nonces[1], package),
        lambda: session.verify_share(1, bytes(32)),
        lambda: ENGINE.dkg_part2(begun, {1: package1}),
    ):
        with pytest.raises(EngineState) as caught:
            use()
        assert caught.value.code == 304


def test_a_forgotten_key_is_wiped_with_its_nonces():
    made = new_group(2, 2)
    handle = made.keys[1].handle
    del made.keys[1]
    gc.collect()
    secret, place = abi.result(32)
    with pytest.raises(EngineState):
        abi.call(abi.C.holdfast_frost_key_export, handle, *place)
    assert secret == bytes(32)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/mem")
def test_memory_holds_a_share_once_while_it_is_open_and_never_afterwards():
    root = Path(__file__).parents[3]
    command = [sys.executable, "-m", "tests.tss.frost.memory_scan"]
    scan = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    held, left, dealt_left = map(int, scan.stdout.split())
    assert (held, left, dealt_left) == (1, 0, 0)


def refused_in_child(made, package, nonce):
    """What a forked child can still do: 0 when every use of a secret is refused with code 403."""
    uses = (
        lambda: ENGINE.sign(made.keys[1], nonce, package),
        lambda: ENGINE.commit(made.keys[1], 1),
        made.keys[1].export_secret,
        lambda: ENGINE.dkg_part1(1, 2, 2),
    )
    for number, use in enumerate(uses, start=1):
        try:
            use()
            return number
        except EngineState as error:
            if error.code != 403:
                return 100 + number
    return 0


def test_a_forked_process_cannot_sign():
    made = group()
    package, nonces = committed(made, (1, 2, 3), MESSAGE, INTERNAL)
    child = os.fork()
    if child == 0:
        os._exit(refused_in_child(made, package, nonces[1]))
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert ENGINE.sign(made.keys[1], nonces[1], package)
    with pytest.raises(NonceSpent):
        ENGINE.sign(made.keys[1], nonces[1], package)


def test_null_pointers_and_wrong_buffers_are_errors_not_crashes():
    null = abi.ffi.NULL
    flag, key = abi.flag_place(), group().keys[1].handle
    _, short = abi.result(31)
    for entry, arguments, code in (
        (abi.C.holdfast_frost_key_export, (key, null, 32), 100),
        (abi.C.holdfast_frost_key_export, (key, *short), 101),
        (abi.C.holdfast_frost_signature_verify, (null, 32, null, 32, null, 64, flag), 100),
        (abi.C.holdfast_frost_signature_verify, (null, 0, null, 0, null, 0, null), 100),
        (abi.C.holdfast_frost_dkg_begin, (1, 3, 2, null, null, 130), 100),
    ):
        with pytest.raises(EncodingFault) as caught:
            abi.call(entry, *arguments)
        assert caught.value.code == code
    assert (
        abi.C.holdfast_frost_key_export(key, null, 32, null) == 100
    )  # nor does a missing place for the error
