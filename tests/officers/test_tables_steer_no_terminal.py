"""What an aggregator or a box made up is shown in tables as text, and steers no terminal."""

from __future__ import annotations

import io

from rich.console import Console  # noqa: TID251 - prints our own words

from officers.desk.api_client import QuerySummary
from officers.desk.facts import Fact
from officers.query_text import facts_table, queries_table

HOSTILE = "gone\x1b[2J\x9b31m\u202e"
QUERY = {
    "pseudonyms": [HOSTILE],
    "purpose": HOSTILE,
    "legal_basis": "consent",
    "cameras": ["cam-1"],
    "window_from_ms": 0,
    "window_to_ms": 900_000,
    "live": False,
}


def shown(table: object) -> str:
    stream = io.StringIO()
    Console(file=stream, width=400).print(table)
    return stream.getvalue()


def test_facts_are_text() -> None:
    text = shown(facts_table([Fact("purpose", HOSTILE)]))
    assert "gone" in text
    assert text.replace("\n", "").isprintable()


def test_a_list_of_queries_is_text() -> None:
    summary = QuerySummary.model_validate(
        {
            "id": "0" * 32,
            "digest": "0" * 64,
            "requester": HOSTILE,
            "state": HOSTILE,
            "filed_ms": 0,
            "changed_ms": 0,
            "approvals_needed": 2,
            "query": QUERY,
        }
    )
    text = shown(queries_table([summary]))
    assert "gone" in text
    assert text.replace("\n", "").isprintable()
