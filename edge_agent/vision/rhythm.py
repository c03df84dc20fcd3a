"""When something is due that is done so many times a second, by the times of frames."""

from __future__ import annotations


class Rhythm:
    """When something is due that happens so many times a second."""

    def __init__(self, fps: float) -> None:
        self._interval_ms = 1000 / fps
        self._due_ms: float | None = None

    def is_due(self, at_ms: int) -> bool:
        """Whether it is due at a time; asking takes it for done."""
        interval_ms, due_ms = self._interval_ms, self._due_ms
        # A frame a little early is better than the next one, much too late.
        if due_ms is not None and due_ms - 2 * interval_ms < at_ms < due_ms - 5:
            return False
        late = due_ms is None or abs(at_ms - due_ms) > interval_ms
        self._due_ms = (at_ms if late or due_ms is None else due_ms) + interval_ms
        return True

    def begin_again(self) -> None:
        """Be due at the next time, whatever it is."""
        self._due_ms = None
