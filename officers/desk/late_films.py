"""Say which films a query asked for came after it had ended: nothing in them was compared.

By the aggregator's word, which reads it from headers. Silence of a trace says nothing of them.
"""

from __future__ import annotations

from collections.abc import Sequence

from officers.desk.api_client import LateFilmsNote
from officers.desk.moments import span_text


def late_film_text(one: LateFilmsNote) -> str:
    """Return of what camera and when, how much, and who imported it."""
    quarters = "1 quarter hour" if one.quarter_hours == 1 else f"{one.quarter_hours} quarter hours"
    return (
        f"{one.camera}, {span_text(one.from_ms, one.to_ms)}: {quarters}, imported by "
        f"{', '.join(one.boxes)}"
    )


def late_film_lines(late: Sequence[LateFilmsNote]) -> tuple[str, ...]:
    """Return what an officer is to know, line by line; none where nothing came late."""
    if not late:
        return ()
    return (
        "films of hours that this query asked for came after it had ended, and nothing in them was "
        "compared:",
        *(f"  {late_film_text(one)}" for one in late),
        "to have them compared, file a query for these cameras and hours: it needs approvals of "
        "its own, and what was found and decided here stays with this one",
    )
