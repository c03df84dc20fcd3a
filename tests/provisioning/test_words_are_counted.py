"""Directions of colours are counted on drawn people, and belong to the network they are of."""

from __future__ import annotations

import numpy as np
import pytest

from models.appearance import source
from models.appearance.named import as_on_streets, name_of, of_each_name
from models.appearance.words import Names, directions
from protocol.clothes import COLOURS
from runtime.clothes_words import LOWER, UPPER


def test_clothes_are_drawn_so_that_they_are_called_by_every_name() -> None:
    drawn = [of_each_name(1)(person) for person in range(150)]
    for part in (0, 1):
        assert {name_of(pair[part]) for pair in drawn} >= set(COLOURS)
    again = of_each_name(1)(7)
    assert np.array_equal(again[0], drawn[7][0])
    assert not np.array_equal(as_on_streets(1)(7)[0], as_on_streets(2)(7)[0])


@pytest.mark.parametrize(
    ("bgr", "name"),
    [
        ((30, 30, 200), "red"),
        ((25, 25, 25), "black"),
        ((90, 30, 30), "blue"),
        ((0, 120, 110), None),
    ],
)
def test_a_colour_between_the_names_has_none(bgr: tuple[int, int, int], name: str | None) -> None:
    assert name_of(np.array(bgr, np.float32)) == name


def test_what_a_colour_adds_is_found_again() -> None:
    rng = np.random.default_rng(3)
    upper, lower = rng.normal(size=(2, len(COLOURS), 8))
    worn = rng.integers(len(COLOURS), size=(600, 2))
    vectors = np.array([[upper[u] + lower[w] + 5] * 2 for u, w in worn])
    names: list[Names] = [(COLOURS[u], COLOURS[w]) for u, w in worn]
    found = directions(vectors, names)
    for true, counted in zip((upper, lower), found, strict=True):
        assert np.allclose(counted - counted.mean(axis=0), true - true.mean(axis=0), atol=0.1)


def test_the_directions_go_with_the_network_that_they_were_counted_of() -> None:
    _, entry = source.appearance_model()
    assert {UPPER, LOWER} <= entry.parameters.keys()
    assert source._words("0" * 64) == {}
