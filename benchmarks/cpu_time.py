"""What processes have used, from ``/proc`` (Linux): CPU time, by group or alone, and memory.

CPU time is no fixed measure: on a busy machine caches and cores are shared, and the same work takes
up to twice of it. `reference_us` tells how fast the machine is just now.
"""

from __future__ import annotations

import hmac
import os
import time
from pathlib import Path


def cpu_seconds(group: int) -> float:
    """Return what a process group has used so far, children that have ended included."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue  # it has ended
        fields = text.rpartition(")")[2].split()
        if int(fields[2]) == group:
            ticks += sum(int(one) for one in fields[11:15])
    return ticks / os.sysconf("SC_CLK_TCK")


def cpu_of(pid: int) -> float:
    """Return what one process has used so far, its children aside.

    Raises:
        OSError: it has ended.
    """
    text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    fields = text.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def children_of(pid: int) -> list[int]:
    """Return the processes that one has started and that have not ended."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            found += map(int, task.read_text().split())
        except OSError:
            continue  # the thread has ended
    return found


def peak_bytes(pid: int) -> int:
    """Return the most memory that a process has held at once; 0 if it has ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    held = (line.split()[1] for line in lines if line.startswith("VmHWM:"))
    return int(next(held, "0")) << 10


def own_bytes(pid: int) -> int:
    """Return what memory a process has of its own now, files that it reads aside; 0 if it ended."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    held = (line.split()[1] for line in lines if line.startswith("RssAnon:"))
    return int(next(held, "0")) << 10


def reference_us(rounds: int = 20_000) -> float:
    """Return the CPU µs that an HMAC-SHA256 of 32 bytes takes in Python, the least of five."""
    least = float("inf")
    for _ in range(5):
        begins_s, value = time.process_time(), bytes(32)
        for _ in range(rounds):
            value = hmac.digest(value, b"\x00", "sha256")
        least = min(least, time.process_time() - begins_s)
    return least / rounds * 1e6
