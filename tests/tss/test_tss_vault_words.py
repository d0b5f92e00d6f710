"""The host key on paper: every word that is misread, left out, swapped or invented is noticed."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tss import words
from tss.dkg.committee import CONSONANTS, VOWELS
from tss.words import WordsFault, from_words, to_words

SECRET = bytes(range(7, 39))


@given(st.binary(min_size=32, max_size=32))
@settings(max_examples=50, deadline=None)
def test_words_and_secret_are_two_forms_of_one_thing(secret):
    spelled = to_words(secret)
    assert len(spelled) == 18
    assert from_words(" ".join(spelled)) == secret


def test_the_words_of_a_secret_never_change():
    assert " ".join(to_words(SECRET)) == (
        "bisam bohap bosas buhav busib dahif dasih dihik disim dohip dosis duhiv dusob fahof fasoh fihok "
        "pujok rupub"
    )


def test_every_single_wrong_word_is_noticed_and_named():
    """Five thousand other words at one place, a sample at each of the others; the sum of all shows every one."""
    symbols = [words._read(1, word) for word in to_words(SECRET)]
    for place in range(18):
        for difference in range(1, 1 << 16, 13 if place == 5 else 997):
            changed = [*symbols]
            changed[place] ^= difference
            with pytest.raises(WordsFault, match=f"word {place + 1} is wrong"):
                words._check(changed)


def test_x_generates_the_whole_field_so_no_two_places_weigh_the_same():
    seen, value = set(), 1
    for _ in range((1 << 16) - 1):
        seen.add(value)
        value = words._times(value, 2)
    assert value == 1
    assert len(seen) == (1 << 16) - 1


def test_any_two_words_in_each_others_place_are_noticed():
    spelled = to_words(SECRET)
    for a in range(18):
        for b in range(a):
            swapped = [*spelled]
            swapped[a], swapped[b] = swapped[b], swapped[a]
            with pytest.raises(WordsFault):
                from_words(" ".join(swapped))


def test_two_wrong_words_are_noticed_whatever_they_are():
    chance = random.Random(5)
    symbols = [words._read(1, word) for word in to_words(SECRET)]
    for _ in range(5000):
        changed = [*symbols]
        for place in chance.sample(range(18), 2):
            changed[place] ^= chance.randrange(1, 1 << 16)
        with pytest.raises(WordsFault):
            words._check(changed)


def test_any_single_letter_that_is_misread_is_noticed():
    spelled = to_words(SECRET)
    for place, word in enumerate(spelled):
        for at, letter in enumerate(word):
            for other in set((CONSONANTS, VOWELS)[at % 2]) - {letter}:
                misread = word[:at] + other + word[at + 1 :]
                with pytest.raises(WordsFault, match=f"word {place + 1} is wrong"):
                    from_words(" ".join([*spelled[:place], misread, *spelled[place + 1 :]]))


def test_words_may_come_with_numbers_capitals_and_lines():
    spelled = to_words(SECRET)
    paper = "\r\n".join(f" {number}. {word.upper()}," for number, word in enumerate(spelled, 1))
    assert from_words(bytearray(paper.encode())) == SECRET
    assert from_words("-".join(spelled)) == SECRET


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "0 words came"),
        ("lusab", "1 words came"),
        (" ".join(to_words(SECRET)[:17]), "17 words came"),
        (" ".join([*to_words(SECRET), "lusab"]), "19 words came"),
        (" ".join(["lusax", *to_words(SECRET)[1:]]), "word 1 is none"),
        (" ".join([*to_words(SECRET)[:3], "lusabb", *to_words(SECRET)[4:]]), "word 4 is none"),
        ("lusab " * 18, "words are wrong|is wrong"),
        ("x" * 2000, "longer than 18 words"),
        (b"\xff\xfe" * 40, "words came|is none"),
    ],
)
def test_what_is_no_paper_of_ours_is_refused_without_repeating_it(text, said):
    with pytest.raises(WordsFault, match=said) as refused:
        from_words(text)
    spelled = {*to_words(SECRET), "lusab"}
    assert not spelled & set(str(refused.value).split())
