"""Write repeated log lines as a count, so that nobody fills a disk by provoking them.

In each window of a minute the first few lines that are the same in all but their time are written
at once, and of one event, whatever else it says, the first sixty; the rest is counted, and the
count written when the window is over, at the next line of any kind or at the end of the process.
Critical lines that differ are all written.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TextIO

WINDOW_S = 60.0
SAME_LINES = 5
LINES_AN_EVENT = 60
MAX_KEYS = 2000
FOLDED = "lines_folded"
_VOLATILE = frozenset({"timestamp", "incident", "exc_info", "_record", "_from_structlog"})


@dataclass(slots=True)
class _Window:
    began_s: float
    event: str
    level: str
    lines: int = 0
    folded: int = 0


_Windows = dict[tuple[Any, ...], _Window]
"""By event, level and what else is the same; the oldest first."""


class FoldingHandler(logging.StreamHandler[TextIO]):
    """Writes records to ``stream``, repeated ones as a count.

    Args:
        stream: where to.
        role: named in the lines that give counts.
        now_s: a clock that only goes on.
    """

    def __init__(
        self, stream: TextIO, *, role: str, now_s: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(stream)
        self._role = role
        self._now_s = now_s
        self._alike: _Windows = {}
        self._same: _Windows = {}

    def emit(self, record: logging.LogRecord) -> None:
        """Write or count ``record``."""
        now_s = self._now_s()
        self._end_windows(now_s - WINDOW_S)
        event, level = _event(record), record.levelname.lower()
        alike = None
        if record.levelno < logging.CRITICAL:
            alike = _window(self._alike, (event, level), now_s, self._tell)
            if alike.lines >= LINES_AN_EVENT:
                alike.folded += 1
                return
        same = _window(self._same, (event, level, _fingerprint(record)), now_s, self._tell)
        if same.lines >= SAME_LINES:
            same.folded += 1
            return
        same.lines += 1
        if alike is not None:
            alike.lines += 1
        super().emit(record)

    def close(self) -> None:
        """Write the counts that are left."""
        self.acquire()
        try:
            self._end_windows(float("inf"))
        finally:
            self.release()
        super().close()

    def _end_windows(self, began_before_s: float) -> None:
        for windows in (self._alike, self._same):
            while windows:
                key, window = next(iter(windows.items()))
                if window.began_s > began_before_s:
                    break
                del windows[key]
                self._tell(window)

    def _tell(self, window: _Window) -> None:
        if not window.folded:
            return
        record = logging.LogRecord("runtime.logs", logging.WARNING, "", 0, "", None, None)
        # As structlog hands its events to the formatter.
        record.msg = {
            "event": FOLDED,
            "of": window.event,
            "of_level": window.level,
            "lines": window.folded,
            "level": "warning",
            "role": self._role,
            "timestamp": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
        }
        record.__dict__.update(_logger=None, _name="warning")
        super().emit(record)


def _window(
    windows: _Windows, key: tuple[Any, ...], now_s: float, tell: Callable[[_Window], None]
) -> _Window:
    window = windows.get(key)
    if window is None:
        while len(windows) >= MAX_KEYS:
            tell(windows.pop(next(iter(windows))))
        window = windows[key] = _Window(now_s, key[0], key[1])
    return window


def _event(record: logging.LogRecord) -> str:
    said = record.msg
    name = said.get("event", "") if isinstance(said, Mapping) else said
    return str(name)[:200]


def _fingerprint(record: logging.LogRecord) -> int:
    """Return a number for all that a line says but its time; never 0."""
    said = record.msg
    if isinstance(said, Mapping):
        fields = sorted((str(k), str(v)[:500]) for k, v in said.items() if k not in _VOLATILE)
        return hash(tuple(fields)) or 1
    return hash(record.getMessage()[:2000]) or 1
