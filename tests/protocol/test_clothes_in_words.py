"""Clothes are described in Korean or English, by named colours of upper and lower body."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.clothes import (
    COLOURS,
    MAX_WORDS,
    SIGNATURE_SIZE,
    ClothesNotUnderstood,
    Shares,
    parse_clothes,
)


def _main(shares: Shares) -> str:
    return max(shares, key=shares.__getitem__) if shares else ""


@pytest.mark.parametrize(
    ("words", "upper", "lower"),
    [
        ("red jacket, dark trousers", "red", "black"),
        ("빨간 재킷, 어두운 바지", "red", "black"),
        ("a white T-shirt and jeans", "white", "blue"),
        ("흰색 티셔츠에 청바지", "white", "blue"),
        ("black jeans", "", "black"),
        ("검은색 코트를 입은", "black", ""),
        ("wearing a navy coat with beige pants", "blue", "brown"),
        ("남색 패딩과 회색 치마", "blue", "grey"),
        ("green dress", "green", "green"),
        ("노란 원피스", "yellow", "yellow"),
    ],
)
def test_colours_go_to_the_garment_that_follows_them(words: str, upper: str, lower: str) -> None:
    clothes = parse_clothes(words)
    assert (_main(clothes.upper), _main(clothes.lower)) == (upper, lower)
    assert clothes.ignored == ()


def test_two_colours_share_a_garment() -> None:
    assert parse_clothes("black and white shirt").upper == {"black": 0.5, "white": 0.5}


def test_a_dark_colour_may_look_black() -> None:
    assert parse_clothes("dark green coat").upper == {"green": 0.7, "black": 0.3}
    assert parse_clothes("짙은 초록 코트").upper == {"green": 0.7, "black": 0.3}


def test_words_without_a_meaning_here_are_handed_back() -> None:
    assert parse_clothes("tall man, red jacket").ignored == ("tall", "man")


@pytest.mark.parametrize("words", ["", "a tall man", "jacket", "red", "red " * MAX_WORDS])
def test_a_description_without_a_coloured_garment_is_refused(words: str) -> None:
    with pytest.raises(ClothesNotUnderstood):
        parse_clothes(words)


def test_a_signature_weighs_only_what_was_said() -> None:
    both = parse_clothes("red jacket, blue trousers").signature()
    upper = parse_clothes("red jacket").signature()
    assert len(both) == SIGNATURE_SIZE
    assert both[COLOURS.index("red")] == pytest.approx(math.sqrt(0.5))
    assert upper[COLOURS.index("red")] == 1
    assert not any(upper[len(COLOURS) :])


@given(st.text(max_size=MAX_WORDS))
def test_any_text_is_either_refused_or_a_unit_signature(text: str) -> None:
    try:
        signature = parse_clothes(text).signature()
    except ClothesNotUnderstood:
        return
    assert math.fsum(value**2 for value in signature) == pytest.approx(1)
