"""Count what is refused, by box and reason, and tell of it without filling the logs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import structlog

from aggregator.store import Ledger
from aggregator.store.rows import RejectRow

_log = structlog.get_logger()
QUIET_MS = 60_000
UNKNOWN = "unknown"

Audit = Callable[[str, Mapping[str, object]], None]
"""Appends an entry of a kind with its body to the audit log (`protocol.auditlog`)."""


@dataclass(slots=True)
class _Count:
    count: int
    detail: str
    last_ms: int


class Rejects:
    """Gathers a batch's rejects; `save` writes them with it, `tell` reports them after it."""

    def __init__(self, audit: Audit) -> None:
        self._audit = audit
        self._pending: dict[tuple[str, str, str], _Count] = {}
        self._told_ms: dict[tuple[str, str, str], int] = {}
        self._untold: dict[tuple[str, str, str], _Count] = {}

    def add(self, box: str, camera: str, reason: str, detail: str, *, now_ms: int) -> None:
        """Count one reject; names that the directory does not know should come as ``UNKNOWN``."""
        item = self._pending.setdefault((box, camera, reason), _Count(0, detail, now_ms))
        item.count += 1
        item.last_ms = now_ms

    def save(self, ledger: Ledger) -> None:
        """Add the batch's counts to the store, inside its transaction."""
        ledger.add_rejects(
            RejectRow(*key, item.count, item.last_ms, item.detail)
            for key, item in self._pending.items()
        )

    def undo(self) -> None:
        """Forget a batch that was not committed."""
        self._pending.clear()

    def tell(self) -> None:
        """Log and audit the batch's rejects: each box, camera and reason at most once a minute."""
        for key, item in self._pending.items():
            untold = self._untold.setdefault(key, _Count(0, item.detail, item.last_ms))
            untold.count += item.count
            untold.detail, untold.last_ms = item.detail, item.last_ms
        self._pending.clear()
        for key, item in list(self._untold.items()):
            told_ms = self._told_ms.get(key)
            if told_ms is not None and item.last_ms - told_ms < QUIET_MS:
                continue
            box, camera, reason = key
            _log.warning(
                "message_rejected",
                box=box,
                camera=camera,
                reason=reason,
                count=item.count,
                detail=item.detail,
            )
            self._told_ms[key] = item.last_ms
            del self._untold[key]
            self._audit("rejected", {"box": box, "camera": camera, "reason": reason})
