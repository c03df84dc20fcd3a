"""This machine's clock, in the unit that crosses wires: integer milliseconds UTC."""

from __future__ import annotations

import time


def system_ms() -> int:
    """Return this machine's time, ms UTC."""
    return time.time_ns() // 1_000_000
