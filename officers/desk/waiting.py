"""Wait for a query to come to something."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from officers.desk.api_client import COMPLETE, ENDED, STANDING, QuerySummary
from officers.desk.session import Session

_POLL_S = 0.5
Progress = Callable[[QuerySummary], None]
"""Called with where the query stands whenever that has changed; what it raises ends the waiting."""


@dataclass(frozen=True, slots=True)
class Waited:
    """Where a query stands after waiting; ``in_time`` unless the time ran out before."""

    summary: QuerySummary
    in_time: bool


def wait(
    session: Session,
    query_id: str,
    until: Callable[[QuerySummary], bool],
    *,
    timeout_s: float | None = None,
    progress: Progress = lambda _summary: None,
) -> Waited:
    """Ask again and again until ``until`` holds, or the time has run out.

    Args:
        session: anybody's.
        query_id: in full.
        until: such as `settled` or `worth_showing`.
        timeout_s: None waits without end.
        progress: hears of each change.
    """
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    seen: tuple[str, str, int] | None = None
    while True:
        summary = session.client.query(query_id)
        if until(summary):
            return Waited(summary, in_time=True)
        if deadline is not None and time.monotonic() >= deadline:
            return Waited(summary, in_time=False)
        now = (summary.state, summary.reason, summary.candidates)
        if now != seen:
            progress(summary)
            seen = now
        left_s = _POLL_S if deadline is None else deadline - time.monotonic()
        time.sleep(max(0.0, min(_POLL_S, left_s)))


def settled(candidates: int | None = None) -> Callable[[QuerySummary], bool]:
    """Return what holds once a query has ended or stands by, or has found so many candidates."""

    def until(summary: QuerySummary) -> bool:
        if summary.state in ENDED:
            return True
        if candidates is not None:
            return summary.candidates >= candidates
        return summary.state == STANDING

    return until


def well_settled(summary: QuerySummary, candidates: int | None = None) -> bool:
    """Tell whether a settled query came to what was waited for, and did not end without it."""
    if candidates is not None:
        return summary.candidates >= candidates
    return summary.state in {COMPLETE, STANDING}


def worth_showing(summary: QuerySummary) -> bool:
    """Tell whether a query has results, or will have none any more."""
    return summary.state in ENDED or (summary.state == STANDING and summary.candidates > 0)
