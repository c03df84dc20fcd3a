"""Every language has every message of the code, with its placeholders, and is compiled."""

from __future__ import annotations

import string
from pathlib import Path

import pytest

from officers.desk.report.words import ENGLISH, LANGUAGES
from tools.generate.catalogues import catalogues, compiled, lacking, template, updated

FILES = list(catalogues())


def names(message: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(message) if name}


def test_there_is_a_catalogue_of_each_language() -> None:
    assert {path.parents[1].name for path in FILES} == set(LANGUAGES) - {ENGLISH}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.parents[1].name)
def test_nothing_is_lacking_and_placeholders_are_those_of_the_message(path: Path) -> None:
    catalogue = updated(path)
    assert lacking(catalogue) == []
    for one in catalogue:
        if one.id:
            assert names(str(one.string)) == names(str(one.id)), one.id
    assert {one.id for one in catalogue if one.id} == {one.id for one in template() if one.id}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.parents[1].name)
def test_what_is_compiled_is_what_is_written(path: Path) -> None:
    assert path.with_suffix(".mo").read_bytes() == compiled(updated(path))
