"""Queries as they were shown, with their templates, until they are signed or shown anew."""

from __future__ import annotations

import hmac
import threading
from dataclasses import dataclass

from officers.desk import Draft
from officers.desk.drafts import SavedDraft


@dataclass(frozen=True)
class Shown:
    """A draft, and the query that was made of it to be read."""

    saved: SavedDraft
    drafted: Draft

    @property
    def digest(self) -> str:
        """What the form carries: of the very query that was shown."""
        return self.drafted.query.query_id.hex()


class ShownDrafts:
    """The drafts of an officer that stand ready to be signed, until the desk locks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._shown: dict[str, Shown] = {}

    def put(self, shown: Shown) -> None:
        """Hold a draft in place of what was shown of it before, whose templates are wiped."""
        with self._lock:
            old = self._shown.pop(shown.saved.id, None)
            self._shown[shown.saved.id] = shown
        if old is not None:
            old.drafted.close()

    def find(self, draft_id: str, digest: str) -> Shown | None:
        """Return the very query that was shown; None if it is not the one that stands ready."""
        with self._lock:
            held = self._shown.get(draft_id)
        if held is None or not hmac.compare_digest(held.digest.encode(), digest.encode()):
            return None
        return held

    def end(self, draft_id: str) -> None:
        """Let go of a draft, and wipe its templates."""
        with self._lock:
            held = self._shown.pop(draft_id, None)
        if held is not None:
            held.drafted.close()

    def forget(self) -> None:
        """Let go of all."""
        with self._lock:
            held = list(self._shown.values())
            self._shown.clear()
        for one in held:
            one.drafted.close()
