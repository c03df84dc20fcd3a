"""CBOR that costs its reader far more than its sender, and a place to read it where that shows."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

MEMORY_BYTES = 64 << 20  # beyond what the interpreter has when it begins to read
CPU_S = 5
_HARNESS = """
import resource, sys
from pathlib import Path
{setup}
data = Path("/dev/stdin").read_bytes()
pages = int(Path("/proc/self/statm").read_text().split()[0])
resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + {memory},) * 2)
spent = int(resource.getrusage(resource.RUSAGE_SELF).ru_utime)
resource.setrlimit(resource.RLIMIT_CPU, (spent + {cpu},) * 2)
try:
    {call}
except Exception as error:
    print(type(error).__name__)
else:
    print("read")
"""


def head(major: int, argument: int) -> bytes:
    """Return the shortest head of an item."""
    if argument < 24:
        return bytes([major << 5 | argument])
    width = next(w for w in (1, 2, 4, 8) if argument < 1 << (8 * w))
    return bytes([major << 5 | 23 + width.bit_length()]) + argument.to_bytes(width, "big")


def shared_references(levels: int = 7, width: int = 14) -> bytes:
    """Return arrays each of which holds the one before ``width`` times, by tags 28 and 29.

    Seven levels in a list are eight deep: one more, and a reader that counts depth would refuse it.
    """
    # A reference names an array that is complete, so the innermost comes first in a list of all.
    inner = head(6, 28) + head(4, width) + b"\x00" * width
    shared = [inner]
    for level in range(1, levels):
        references = (head(6, 29) + head(0, level - 1)) * width
        shared.append(head(6, 28) + head(4, width) + references)
    return head(4, len(shared)) + b"".join(shared)


def string_references(size: int = 200, count: int = 60) -> bytes:
    """Return one string and many references to it, by tags 256 and 25."""
    text = head(2, size) + b"x" * size
    return head(6, 256) + head(4, count + 1) + text + (head(6, 25) + b"\x00") * count


BOMBS: dict[str, bytes] = {
    "shared references": shared_references(),
    "string references": string_references(),
    "an array that says to have 2^60 items": head(4, 1 << 60),
    "a map that says to have 2^60 entries": head(5, 1 << 60),
    "a byte string that says to have 2^62 bytes": head(2, 1 << 62),
    "arrays within one another": b"\x81" * 290 + b"\x00",
    "a tagged big number": head(6, 2) + head(2, 280) + b"\xff" * 280,
    "a decimal fraction of a huge exponent": head(6, 4) + b"\x82" + head(0, 10**9) + b"\x01",
    "a bigfloat of a huge exponent": head(6, 5) + b"\x82" + head(0, 1 << 40) + b"\x01",
    "a rational number": head(6, 30) + b"\x82\x01\x02",
    "a set": head(6, 258) + b"\x83\x01\x02\x03",
    "a regular expression": head(6, 35) + head(3, 20) + b"(a+)+" * 4,
    "a message within": head(6, 24) + head(2, 1) + b"\x00",
    "a date": head(6, 1) + head(0, 1 << 40),
    "indefinite arrays": b"\x9f" * 150 + b"\xff" * 150,
    "an indefinite string": b"\x5f" + b"\x41x" * 100 + b"\xff",
}
BIG_BOMBS: dict[str, bytes] = {
    "8 MiB of empty arrays": head(4, (8 << 20) - 5) + b"\x80" * ((8 << 20) - 5),
    "8 MiB of empty maps": head(4, (8 << 20) - 5) + b"\xa0" * ((8 << 20) - 5),
}


def read_in_a_small_process(setup: str, call: str, data: bytes) -> str:
    """Run ``call`` on ``data`` in a new process with little memory and time; say how it ended.

    Args:
        setup: lines that import what is called.
        call: one expression in ``data``.

    Returns:
        the name of the error type, or ``read``.
    """
    program = _HARNESS.format(setup=setup, call=call, memory=MEMORY_BYTES, cpu=CPU_S)
    done = subprocess.run(
        [sys.executable, "-c", program], input=data, capture_output=True, timeout=120, check=False
    )
    if done.returncode:
        return f"killed ({done.returncode}): {done.stderr.decode()[-300:]}"
    return done.stdout.decode().strip()


def within(seconds: float, memory: int, call: Callable[[], object]) -> None:
    """Fail if ``call`` takes more processor time, or more memory at once."""
    import time
    import tracemalloc

    tracemalloc.start()
    began = time.process_time()
    try:
        call()
    finally:
        spent = time.process_time() - began
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert spent <= seconds, f"{spent:.2f} s of processor time"
    assert peak <= memory, f"{peak} bytes of memory"
