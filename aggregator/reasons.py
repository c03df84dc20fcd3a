"""Why a query goes on, and why some of what it asked for stayed closed: as its status says it."""

from __future__ import annotations

from collections.abc import Iterator

from aggregator.standing import Run
from protocol.query import Query


def why_closed(run: Run) -> str:
    """Say what stayed closed and was not compared, empty if nothing."""
    days = ""
    if run.refused:
        days = f"{len(run.refused)} camera-days stayed closed (see the custodians' refusals)"
    parts = [days, *_without_examples(run), *run.trail.words(), run.rows.words_of_closed()]
    return "; ".join(filter(None, parts))


def why_it_goes_on(query: Query, now_ms: int) -> str:
    """Say why a query goes on whose rows are all open."""
    if query.live:
        return "live"
    if now_ms < query.window_to_ms:
        return "the window has not ended"
    return "segments of the last quarter hour may still come"


def _without_examples(run: Run) -> Iterator[str]:
    """Say of each example that was not compared why not."""
    for name, why in sorted(run.no_examples.items()):
        yield f"nothing was compared with the example at {name.camera}: {why}"
