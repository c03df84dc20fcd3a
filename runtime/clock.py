"""This machine's clocks: the one people set, and those that nobody can, which count real time."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
DRIFT_PARTS = 1000
"""A clock that is steered by NTP runs at most 500 ppm fast: one part in a thousand is granted."""


def system_ms() -> int:
    """Return this machine's time, ms UTC."""
    return time.time_ns() // 1_000_000


def since_boot_ms() -> int:
    """Return the real time since the machine was started, its sleep included, in ms."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) // 1_000_000


def real_s() -> float:
    """Return a count of s that nobody sets and that goes on while the machine sleeps.

    On Linux and macOS; elsewhere the clock that there is.
    """
    if sys.platform == "linux":
        return time.clock_gettime(time.CLOCK_BOOTTIME)
    if sys.platform == "darwin":  # counts sleep there
        return time.clock_gettime(time.CLOCK_MONOTONIC)
    return time.monotonic()


def running_ms() -> int:
    """Return a count of ms that goes on while the machine is awake, from no certain beginning."""
    return time.monotonic_ns() // 1_000_000


def boot_id() -> str:
    """Return the name of this start of the machine; empty where the system gives none."""
    try:
        return _BOOT_ID.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


@dataclass(frozen=True, slots=True)
class MachineClocks:
    """The clocks of a machine, each a function to call; tests bring their own.

    ``wall_ms`` is what people and NTP set; nothing but time moves ``since_boot_ms`` (which counts
    sleep) and ``running_ms`` (which does not) on; ``boot_id`` tells one start from another.
    """

    wall_ms: Callable[[], int] = system_ms
    since_boot_ms: Callable[[], int] = since_boot_ms
    running_ms: Callable[[], int] = running_ms
    boot_id: Callable[[], str] = boot_id


def with_drift(elapsed_ms: int) -> int:
    """Return by how much a right clock may have moved on at most in ``elapsed_ms`` of real time."""
    return elapsed_ms + elapsed_ms // DRIFT_PARTS if elapsed_ms > 0 else 0
