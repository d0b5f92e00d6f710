"""Errors: the numbers of C and Python agree, and each has the right exception."""

import pytest

from tss.frost import abi, errors
from tss.frost.codec import DecodeError


def test_python_s_numbers_are_those_of_the_library():
    for name in ("LENGTH", "CANONICAL", "MEMBER", "THRESHOLD"):
        assert getattr(errors, name) == getattr(abi.C, f"HOLDFAST_FROST_{name}")


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("NULL", errors.EncodingFault),
        ("ELEMENT", errors.EncodingFault),
        ("INCONSISTENT", errors.EncodingFault),
        ("PROOF", errors.ProofFault),
        ("SHARE", errors.ShareFault),
        ("SIGNATURE_SHARE", errors.SignatureShareFault),
        ("ORDER", errors.EngineState),
        ("HANDLE", errors.EngineState),
        ("NONCE", errors.NonceSpent),
        ("COMMITMENT", errors.NonceSpent),
        ("FORKED", errors.EngineState),
        ("PANIC", errors.EngineState),
        ("SELF_CHECK", errors.EngineState),
    ],
)
def test_each_code_has_its_exception(name, kind):
    code = getattr(abi.C, f"HOLDFAST_FROST_{name}")
    error = errors.from_code(code, "text", (1, 2))
    assert type(error) is kind
    assert (error.code, error.culprits, str(error)) == (code, (1, 2), "text (members 1, 2)")


def test_a_decoder_s_caller_may_catch_one_error_for_all_of_tss():
    assert issubclass(errors.EncodingFault, DecodeError)
    assert not issubclass(errors.ProofFault, DecodeError)
