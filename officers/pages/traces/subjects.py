"""The people of a query side by side: from one's page to another's, by place and never by name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from officers.desk.queue import Queue
from officers.pages.at import At


def subject_links(
    here: At, queues: Sequence[Queue], query_id: str, page: str, of: int
) -> list[dict[str, Any]]:
    """Return the query's subjects, each with its page; none where there is one alone.

    Args:
        page: the last part of the page's path.
        of: which of them is shown, from 1.
    """
    if len(queues) < 2:
        return []
    return [
        {
            "name": queue.subject,
            "waiting": here.ntext("{n} to decide", "{n} to decide", len(queue.waiting)),
            "path": f"/queries/{query_id}/{page}?of={place}",
            "here": place == of,
        }
        for place, queue in enumerate(queues, start=1)
    ]
