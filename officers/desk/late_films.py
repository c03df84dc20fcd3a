"""Say which films a query asked for came after it had ended: nothing in them was compared.

By the aggregator's word, which reads it from headers. Silence of a trace says nothing of them.
"""

from __future__ import annotations

from collections.abc import Sequence

from officers.desk.api_client import LateFilmsNote
from officers.desk.phrases import Phrase, listed, nphrase, phrase, span, together


def late_film_text(one: LateFilmsNote) -> Phrase:
    """Return of what camera and when, how much, and who imported it."""
    return nphrase(
        "{camera}, {when}: {n} quarter hour, imported by {boxes}",
        "{camera}, {when}: {n} quarter hours, imported by {boxes}",
        one.quarter_hours,
        camera=one.camera,
        when=span(one.from_ms, one.to_ms),
        boxes=listed(one.boxes, ""),
    )


def late_film_lines(late: Sequence[LateFilmsNote], *, indent: str = "  ") -> tuple[Phrase, ...]:
    """Return what an officer is to know, line by line; none where nothing came late.

    Args:
        late: what came.
        indent: before each film's line.
    """
    if not late:
        return ()
    return (
        phrase(
            "films of hours that this query asked for came after it had ended, and nothing in them "
            "was compared:"
        ),
        *(together([indent, late_film_text(one)], "") for one in late),
        phrase(
            "to have them compared, file a query for these cameras and hours: it needs approvals "
            "of its own, and what was found and decided here stays with this one"
        ),
    )
