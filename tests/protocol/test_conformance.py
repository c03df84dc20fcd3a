"""Vectors conform as committed, and no value in them can be another."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from protocol.conformance import FORMS, NonConformant, check_vector

VECTORS = Path(__file__).parents[2] / "docs" / "vectors"
EXPLAINED = {"suite", "slot_keys", "combined", "box_seed"}
"""What a vector only says to its reader."""


def load(form: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((VECTORS / f"{form}.json").read_text())
    return value


def altered(value: Any) -> Iterator[Any]:
    """The value with one thing in it changed, for each thing in it."""
    if isinstance(value, dict):
        for name, part in value.items():
            if name not in EXPLAINED:
                yield from (value | {name: other} for other in altered(part))
    elif isinstance(value, list):
        for number, part in enumerate(value):
            for other in altered(part):
                yield [*value[:number], other, *value[number + 1 :]]
    elif isinstance(value, str):
        place = len(value) // 4  # of a sealing key's seed, a part that opening depends on
        other = "1" if value[place : place + 1] == "0" else "0"
        yield value[:place] + other + value[place + 1 :]
    elif isinstance(value, int):
        yield value + 1


def test_every_committed_vector_is_of_a_known_form() -> None:
    assert {path.stem for path in VECTORS.glob("*.json")} == set(FORMS)


@pytest.mark.parametrize("form", FORMS)
def test_the_committed_vector_conforms(form: str) -> None:
    assert check_vector(form, load(form), load) > 0


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_a_vector_with_one_thing_changed_does_not(form: str) -> None:
    vector = load(form)
    changed = list(altered(vector))
    assert changed
    for other in changed:
        with pytest.raises(NonConformant):
            check_vector(form, other, load)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("other", [{}, {"root": 1}, {"signed": "zz"}, {"entries": None}])
def test_what_is_no_vector_is_told_so(form: str, other: dict[str, Any]) -> None:
    with pytest.raises(NonConformant, match=form):
        check_vector(form, other, load)


def test_an_unknown_form_is_told_with_those_that_there_are() -> None:
    with pytest.raises(NonConformant, match="no vectors are called 'gossip'; there are announcem"):
        check_vector("gossip", {}, load)
