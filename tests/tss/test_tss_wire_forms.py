"""Everything that tss reads has one form; every cut and every flipped bit is refused, or seen as something else.

The long run (`make soak-tss`) flips all bits and asks the receivers of each; here long forms give a sample.
"""

from random import Random

import pytest

from tests.tss.wire_forms import INSIDE, TYPED, flipped, forms, readers, same_after

BITS = 3000  # of each form that are read
CHECKED = 60  # of those that go through the receiver's checks, which may cost milliseconds


def test_nothing_that_tss_reads_is_forgotten_here():
    shown = {type(form.value).__name__ for form in forms()}
    assert readers() - shown - INSIDE == set(), "give tests/tss/wire_forms.py an example of these"


def test_what_was_written_is_read_as_the_same_and_stands_before_its_receiver():
    for form in forms():
        again = form.read(form.encoded)
        assert again == form.value, form.name
        assert form.write(again) == form.encoded, form.name
        if form.check is not None and not form.name.startswith("evidence"):
            form.check(again)


def test_every_cut_and_every_tail_is_refused():
    for form in forms():
        encoded = form.encoded
        step = 1 + len(encoded) // BITS
        for size in range(0, len(encoded), step):
            with pytest.raises(TYPED):
                pytest.fail(f"{form.name} cut to {size} gives {form.read(encoded[:size])}")
        for tail in (b"\0", b"\xff", encoded):
            with pytest.raises(TYPED):
                pytest.fail(f"{form.name} with a tail gives {form.read(encoded + tail)}")


def test_every_flipped_bit_is_refused_or_makes_something_else():
    for form in forms():
        random, size = Random(form.name), len(form.encoded) * 8
        bits = random.sample(range(size), min(size, BITS))
        for number, bit in enumerate(bits):
            assert not same_after(form, bit, checked=number < CHECKED), f"{form.name}, bit {bit}"


def test_a_form_with_two_encodings_would_be_noticed():
    form = forms()[0]
    careless = type(form)(form.name, form.value, lambda _data: form.value, form.write)
    assert same_after(careless, 0, checked=False)
    trusting = type(form)(form.name, b"bytes", bytes, bytes, lambda _value: None)
    assert same_after(trusting, 0, checked=True)
    assert flipped(b"\x00\x80", 15) == b"\x00\x00"
