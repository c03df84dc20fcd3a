"""The routes about boxes: how each one is, and how it was over the last days."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

from fastapi import FastAPI, Path, Query

from aggregator.ingest.boxes import statuses
from aggregator.store import Store
from aggregator.store.retention import HEALTH_DAYS
from aggregator.views import box_view, health_view
from protocol.directory import BOX, Directory
from protocol.names import NAME_PATTERN, SLOT_MS, SLOTS_PER_EPOCH
from runtime.clock import system_ms
from runtime.http import Problem

BoxName = Annotated[str, Path(pattern=NAME_PATTERN, description="the box, as the directory has it")]
Days = Annotated[int, Query(ge=1, le=HEALTH_DAYS, description="how many days back")]


def add_box_routes(
    app: FastAPI,
    store: Store,
    directory: Callable[[], Directory],
    known_caller: Any,
    *,
    clock_skew_ms: int,
) -> None:
    """Add them; who is no known caller is turned away."""

    @app.get("/v1/boxes", dependencies=[known_caller])
    def boxes() -> list[Mapping[str, Any]]:
        """Tell how each box is: last seen, health, clock, gaps, rejects, quarantine."""
        listed = statuses(store, directory(), clock_skew_ms=clock_skew_ms, now_ms=system_ms())
        return [box_view(box) for box in listed]

    @app.get("/v1/boxes/{box}/health", dependencies=[known_caller])
    def health(box: BoxName, days: Days = 7) -> Mapping[str, Any]:
        """Tell how a box was, quarter hour by quarter hour: the worst of each figure."""
        listed = directory().principals.get(box)
        if listed is None or BOX not in listed.duties:
            raise Problem(
                404,
                "no-such-box",
                f"There is no box '{box}'",
                "`GET /v1/boxes` lists those that the directory has.",
            )
        now_ms = system_ms()
        to_slot = now_ms // SLOT_MS + 1
        from_slot = to_slot - days * SLOTS_PER_EPOCH
        rows = store.ledger.health_history(box, from_slot=from_slot, to_slot=to_slot)
        return {
            "box": box,
            "from_ms": from_slot * SLOT_MS,
            "to_ms": to_slot * SLOT_MS,
            "told_ms": now_ms,
            "slots": [health_view(row) for row in rows],
        }
