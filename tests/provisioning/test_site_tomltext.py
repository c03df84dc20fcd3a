"""What is written as TOML reads back as it was."""

from __future__ import annotations

import tomllib
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from runtime import tomltext

_TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_LEAF = st.one_of(_TEXT, st.booleans(), st.integers(-(2**53), 2**53), st.floats(allow_nan=False))
_TABLES = st.recursive(
    st.dictionaries(_TEXT, st.one_of(_LEAF, st.lists(_LEAF, max_size=3)), max_size=4),
    lambda inner: st.dictionaries(
        _TEXT, st.one_of(_LEAF, inner, st.lists(inner, min_size=1, max_size=3)), max_size=4
    ),
    max_leaves=12,
)


@given(_TABLES)
def test_tables_read_back(content: dict[str, Any]) -> None:
    assert tomllib.loads(tomltext.table(content)) == content


def test_comments_stand_over_their_key() -> None:
    text = tomltext.table(
        {"a": 1, "b": {"c": 2}}, about={"a": "First.", "b": "A table.", "b.c": "Inner."}
    )
    assert text == "# First.\na = 1\n\n# A table.\n[b]\n# Inner.\nc = 2\n"
