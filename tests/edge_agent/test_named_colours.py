"""A body's named colours rank it by a description, and never more than that."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from edge_agent.vision.colours import colour_signatures
from protocol.clothes import COLOURS, parse_clothes


def _person(upper: tuple[int, int, int], lower: tuple[int, int, int]) -> np.ndarray:
    """A crop (128, 64, 3) BGR of a figure in two colours, red green blue, before a pale wall."""
    crop = np.full((128, 64, 3), 190, np.uint8)
    cv2.rectangle(crop, (14, 22), (49, 66), upper[::-1], -1)
    cv2.rectangle(crop, (17, 67), (46, 122), lower[::-1], -1)
    return crop


@pytest.mark.parametrize(
    ("name", "tone"),
    [
        ("black", (20, 20, 24)),
        ("white", (238, 238, 235)),
        ("grey", (120, 122, 120)),
        ("red", (170, 30, 35)),
        ("orange", (230, 125, 45)),
        ("yellow", (235, 205, 70)),
        ("green", (45, 110, 60)),
        ("blue", (50, 75, 150)),
        ("purple", (100, 55, 130)),
        ("pink", (235, 150, 180)),
        ("brown", (110, 75, 45)),
    ],
)
def test_a_colour_gets_the_name_that_people_give_it(name: str, tone: tuple[int, int, int]) -> None:
    signature = colour_signatures(_person(tone, (20, 20, 24))[None])[0]
    assert COLOURS[int(signature[: len(COLOURS)].argmax())] == name
    assert COLOURS[int(signature[len(COLOURS) :].argmax())] == "black"


def test_words_rank_who_wears_it_first() -> None:
    people = np.stack(
        [
            _person((40, 60, 140), (30, 30, 30)),
            _person((180, 30, 35), (35, 35, 40)),
            _person((180, 30, 35), (230, 230, 225)),
            _person((225, 225, 225), (180, 30, 35)),
        ]
    )
    signatures = colour_signatures(people)
    assert np.allclose(np.linalg.norm(signatures, axis=1), 1, atol=1e-5)
    for words in ("red jacket, dark trousers", "빨간 재킷, 어두운 바지"):
        scores = signatures @ np.array(parse_clothes(words).signature(), np.float32)
        assert scores.argmax() == 1
        assert scores.max() <= 1 + 1e-5


def test_what_was_not_said_does_not_count() -> None:
    probe = np.array(parse_clothes("red jacket").signature(), np.float32)
    scores = (
        colour_signatures(
            np.stack(
                [_person((180, 30, 35), (35, 35, 40)), _person((180, 30, 35), (230, 230, 225))]
            )
        )
        @ probe
    )
    assert scores[0] == pytest.approx(scores[1], abs=1e-3)
