"""Lay facts and lists of queries out in tables; whatever stands in them is shown as text."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from officers.desk.api_client import QuerySummary
from officers.desk.facts import Fact
from officers.desk.moments import local_text
from officers.desk.wording import short_id
from runtime.text import harmless


def facts_table(facts: Sequence[Fact]) -> Table:
    """Lay facts out in two columns; their texts are shown as they are, never as markup."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for fact in facts:
        table.add_row(Text(fact.about), Text(harmless(fact.words)))
    return table


def queries_table(summaries: Sequence[QuerySummary]) -> Table:
    """Lay queries out, one a row, by the first digits of their ids."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("query", "asked by", "subjects", "cameras", "from", "hours", "approved"):
        table.add_column(column, overflow="fold", no_wrap=column in {"query", "from"})
    table.add_column("found", justify="right")
    table.add_column("state", overflow="fold")
    for one in summaries:
        asked = one.query
        hours = (asked.window_to_ms - asked.window_from_ms) / 3_600_000
        cells = (
            short_id(one.id),
            one.requester,
            ", ".join(asked.pseudonyms),
            str(len(asked.cameras)),
            local_text(asked.window_from_ms, zone=False)[4:20],
            f"{hours:g}{' live' if asked.live else ''}",
            f"{len(one.approvals)} of {one.approvals_needed}",
            str(one.candidates),
            f"{one.state}; films came later" if one.late_films else one.state,
        )
        table.add_row(*(Text(harmless(cell)) for cell in cells))
    return table
