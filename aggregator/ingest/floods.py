"""Notice a box that sends far more than cameras give cause for, by the bytes of each minute."""

from __future__ import annotations

from dataclasses import dataclass

MINUTE_MS = 60_000
REASON = "box-floods"
_MOST_BOXES = 65_536


@dataclass(slots=True)
class _Minute:
    since_ms: int
    size_bytes: int = 0
    messages: int = 0
    told: bool = False


class Floods:
    """Counts what comes under each box's name, refused or not; holds one count a box.

    Args:
        most_bytes: in a minute; more is a flood.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._minutes: dict[str, _Minute] = {}

    def note(self, box: str, size_bytes: int, *, now_ms: int) -> str:
        """Count one message; return what to tell, once a minute of a flood, else nothing."""
        minute = self._minutes.get(box)
        if minute is None or not 0 <= now_ms - minute.since_ms < MINUTE_MS:
            if minute is None and len(self._minutes) >= _MOST_BOXES:
                self._minutes.clear()
            minute = self._minutes[box] = _Minute(now_ms)
        minute.size_bytes += size_bytes
        minute.messages += 1
        if minute.told or minute.size_bytes <= self._most:
            return ""
        minute.told = True
        return (
            f"more than {self._most >> 20} MiB within a minute ({minute.messages} messages); unless"
            f" it catches up or imports films, revoke it: sealtrace box revoke DIR {box} --push"
        )
