"""Words become a template by directions that the signed manifest holds, or are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from protocol.clothes import COLOURS, parse_clothes
from runtime.bundle import Bundle, Manifest, ModelEntry
from runtime.clothes_words import (
    LOWER,
    RATE,
    THRESHOLD,
    UPPER,
    WordDirections,
    WordsUnusable,
    packed,
    word_directions,
)

DIMENSION = 2 * len(COLOURS)
EYE = np.eye(DIMENSION)
GOOD: dict[str, float | int | str] = {
    UPPER: packed(EYE[: len(COLOURS)]),
    LOWER: packed(EYE[len(COLOURS) :]),
    THRESHOLD: 0.15,
    RATE: 0.3,
}


def bundle(**changed: object) -> Bundle:
    entry = ModelEntry(
        role="appearance_embedder",
        name="clothes",
        model_id=f"clothes-{DIMENSION}@{'0' * 8}",
        file="clothes.onnx",
        sha256="0" * 64,
        size=1,
        engine="onnx",
        parameters={k: v for k, v in {**GOOD, **changed}.items() if v is not None},  # type: ignore[misc]
        licence="none",
        upstream="none",
    )
    manifest = Manifest(name="toy", version="1", models=(entry,))
    return Bundle(folder=Path("toy"), manifest=manifest, signer=bytes(32))


def test_what_is_said_of_each_garment_counts_alike() -> None:
    vector = word_directions(bundle()).template(parse_clothes("red jacket, blue trousers"))
    red, blue = COLOURS.index("red"), len(COLOURS) + COLOURS.index("blue")
    assert vector.dtype == np.float32
    assert np.flatnonzero(vector).tolist() == [red, blue]
    assert vector[[red, blue]] == pytest.approx(0.5**0.5)


def test_what_is_not_said_counts_nothing() -> None:
    vector = word_directions(bundle()).template(parse_clothes("노란 원피스"))
    yellow = COLOURS.index("yellow")
    assert np.flatnonzero(vector).tolist() == [yellow, len(COLOURS) + yellow]
    vector = word_directions(bundle()).template(parse_clothes("yellow coat"))
    assert np.flatnonzero(vector).tolist() == [yellow]


def test_a_bundle_of_before_says_that_it_knows_no_words() -> None:
    with pytest.raises(WordsUnusable, match="knows no words"):
        word_directions(bundle(**{UPPER: None}))


@pytest.mark.parametrize(
    "wrong",
    [
        {LOWER: None},
        {UPPER: "*"},
        {UPPER: packed(EYE[:3])},
        {UPPER: 7},
        {LOWER: packed(np.full((len(COLOURS), DIMENSION), np.nan))},
        {LOWER: packed(np.full((len(COLOURS), DIMENSION), np.inf))},
        {THRESHOLD: None},
        {THRESHOLD: "low"},
        {THRESHOLD: 1.5},
        {RATE: -2},
    ],
)
def test_a_manifest_whose_words_are_none_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(WordsUnusable, match="install the site's bundle again"):
        word_directions(bundle(**wrong))


def test_colours_that_cancel_one_another_out_are_no_template() -> None:
    rows = np.tile(EYE[0], (len(COLOURS), 1))
    against = WordDirections("clothes-22@00000000", rows, -rows, 0.1, 0.3)
    with pytest.raises(WordsUnusable, match="cancel"):
        against.template(parse_clothes("red dress"))
