"""Files that were handed over and that a browser has not fetched yet: in memory, for minutes."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from officers.desk.phrases import phrase
from runtime.errors import OperationError

KEPT_S = 15 * 60.0
MOST_BYTES = 512 << 20


class NotAtHand(OperationError):
    """Files are no longer kept, or there is no room for more."""


@dataclass(frozen=True, slots=True)
class Files:
    """Files of one handing over.

    Args:
        query_id: whose results they are.
        form: as it was logged.
        contents: name to content.
        kept_until_s: by the monotonic clock.
    """

    query_id: str
    form: str
    contents: Mapping[str, bytes] = field(repr=False)
    kept_until_s: float

    @property
    def size(self) -> int:
        """Bytes, all together."""
        return sum(map(len, self.contents.values()))


class FilesAtHand:
    """What one officer may fetch yet; nothing of it is on a disk. Safe among threads."""

    def __init__(
        self,
        *,
        kept_s: float = KEPT_S,
        most_bytes: int = MOST_BYTES,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._kept_s, self._most_bytes, self._clock = kept_s, most_bytes, clock
        self._files: dict[str, Files] = {}
        self._lock = threading.Lock()

    def put(self, query_id: str, form: str, contents: Mapping[str, bytes]) -> str:
        """Keep files; return the token under which they are fetched.

        Raises:
            NotAtHand: there is no room; older ones are to be fetched, or forgotten, first.
        """
        made = Files(query_id, form, dict(contents), self._clock() + self._kept_s)
        with self._lock:
            self._drop_old()
            if made.size + sum(one.size for one in self._files.values()) > self._most_bytes:
                raise NotAtHand(
                    phrase(
                        "there is no room for more files in memory: fetch those that are ready, "
                        "or wait a quarter of an hour until they are dropped"
                    )
                )
            token = secrets.token_hex(16)
            self._files[token] = made
        return token

    def get(self, token: str, query_id: str) -> Files:
        """Return files.

        Raises:
            NotAtHand: they were dropped, or are of another query.
        """
        with self._lock:
            self._drop_old()
            found = self._files.get(token)
        if found is None or found.query_id != query_id:
            raise NotAtHand(
                phrase(
                    "these files are no longer kept: they stay in memory for a quarter of an "
                    "hour, and until the desk is locked. What was logged stays logged; make them "
                    "anew"
                )
            )
        return found

    def forget(self) -> None:
        """Forget all."""
        with self._lock:
            self._files.clear()

    def _drop_old(self) -> None:
        now = self._clock()
        for token in [key for key, one in self._files.items() if one.kept_until_s <= now]:
            del self._files[token]
