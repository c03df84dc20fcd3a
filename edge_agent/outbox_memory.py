"""Sealed messages that wait in memory, in their order, while the disk is full."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from edge_agent.outbox_store import LIVE, SEGMENT, Row


class WaitingRows:
    """The messages that the disk had no room for, oldest first.

    Args:
        most_bytes: what they may take together; announcements stay, whatever they take.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._rows: deque[Row] = deque()

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def first(self) -> Row | None:
        """The one that must be stored next."""
        return self._rows[0] if self._rows else None

    def drop_first(self) -> None:
        """Let go of the first: it is stored, or lost."""
        self._rows.popleft()

    def add(self, row: Row, *, replaced: Sequence[int]) -> list[Row]:
        """Keep a message instead of its camera's messages ``replaced``; return what had to go.

        Live envelopes go first: their sightings are still to come in a segment.
        """
        kept = [w for w in self._rows if w.camera != row.camera or w.sequence not in replaced]
        self._rows = deque([*kept, row])
        used = sum(waiting.size for waiting in self._rows)
        gone: list[Row] = []
        for kind in (LIVE, SEGMENT):
            for victim in [waiting for waiting in self._rows if waiting.kind == kind]:
                if used <= self._most_bytes:
                    return gone
                self._rows.remove(victim)
                used -= victim.size
                gone.append(victim)
        return gone
