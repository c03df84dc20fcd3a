"""Clothes in words give a template of nobody, or an error that lists what is known."""

from __future__ import annotations

import numpy as np
import pytest

from edge_agent.enrol import EnrolmentError
from edge_agent.enrol_clothes import template_from_words
from protocol.clothes import COLOURS
from runtime.clothes_words import WordDirections

EYE = np.eye(2 * len(COLOURS))
DIRECTIONS = WordDirections(
    "clothes-22@00000000", EYE[: len(COLOURS)], EYE[len(COLOURS) :], 0.15, 0.3
)


@pytest.mark.parametrize("words", ["red jacket, dark trousers", "빨간 재킷, 어두운 바지"])
def test_the_same_said_in_english_and_korean_is_the_same_template(words: str) -> None:
    made = template_from_words(words, DIRECTIONS)
    assert (made.modality, made.model_id) == ("appearance", "clothes-22@00000000")
    assert abs(float(np.linalg.norm(made.vector)) - 1) < 1e-5
    assert COLOURS[int(np.argmax(made.vector[: len(COLOURS)]))] == "red"
    assert COLOURS[int(np.argmax(made.vector[len(COLOURS) :]))] == "black"
    made.wipe()
    assert not made.vector.any()


@pytest.mark.parametrize("words", ["", "tall", "red", "red jacket " * 30])
def test_what_names_no_colour_of_a_garment_is_refused_with_what_is_known(words: str) -> None:
    with pytest.raises(EnrolmentError, match=r"purple \(보라\).*jacket.*trousers.*원피스"):
        template_from_words(words, DIRECTIONS)


def test_a_word_that_would_be_left_out_is_named() -> None:
    with pytest.raises(EnrolmentError, match=r"'sunglasses', 'umbrella' would be left out"):
        template_from_words("red jacket, sunglasses, umbrella", DIRECTIONS)
