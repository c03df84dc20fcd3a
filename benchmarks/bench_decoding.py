"""Decoding figures: how long our own reader of CBOR takes, against the library's that trusts more.

Run: `python -m benchmarks.bench_decoding [--quick]`. Needs nothing but the packages.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable

import cbor2
import numpy as np

from benchmarks.figures import Figure
from benchmarks.printing import print_figures
from benchmarks.sealed_site import make_site, unit_rows
from protocol.directory import BOX, Directory, Principal
from protocol.encoding import decode
from protocol.grant import GrantRequest
from protocol.sealing import SEGMENT
from protocol.signing import SigningKey

BOXES = 10_820
APPROVALS, DAYS = 3, 64


def run(quick: bool = False) -> list[Figure]:
    """Measure; `quick` repeats less often."""
    seconds = 0.2 if quick else 1.0
    figures = []
    for name, data in _messages().items():
        ours = _each_s(lambda data=data: decode(data, what="message"), seconds)  # type: ignore[misc]
        plain = _each_s(lambda data=data: cbor2.loads(data), seconds)  # type: ignore[misc]
        spelt = f"{name}, {len(data):,} bytes"
        figures.append(Figure(f"decoding {spelt}", ours * 1e6, "us", "cbor2.loads", ours / plain))
    return figures


def _messages() -> dict[str, bytes]:
    """Return what is decoded: what comes every day, and the largest list there is."""
    camera = make_site(1).cameras[0]
    _, announcement = camera.message_of_day()
    _, envelope = camera.seal(SEGMENT, 4, unit_rows(np.random.default_rng(1), 64))
    request = GrantRequest(
        query=os.urandom(1500),
        approvals=tuple(os.urandom(300) for _ in range(APPROVALS)),
        withdrawals=(),
        matcher_key=os.urandom(400),
        announcements=(announcement,) * DAYS,
        requested_at_ms=camera.announcement.announced_at_ms,
    ).sign(SigningKey.generate("aggregator"))
    return {
        "an announcement": camera.announcement.sign(camera.board).payload,
        "an envelope of 64": envelope,
        f"a request for grants of {DAYS} days": request.payload,
        f"a directory of {BOXES:,} boxes": _directory(camera.announcement.announced_at_ms),
    }


def _directory(now_ms: int) -> bytes:
    listed = {}
    for number in range(BOXES):
        name, key = f"box-{number}", SigningKey.generate(f"box-{number}").verify_key
        listed[name] = Principal(name, frozenset({BOX}), key, cameras=(f"cam-{number}",))
    return Directory("bench", 1, now_ms, 2, listed).sign(SigningKey.generate("root")).payload


def _each_s(call: Callable[[], object], seconds: float) -> float:
    """Return the shortest of the calls' times, in seconds: what else runs here only adds."""
    best, until = float("inf"), time.monotonic() + seconds
    while time.monotonic() < until or best == float("inf"):
        began = time.perf_counter()
        call()
        best = min(best, time.perf_counter() - began)
    return best


if __name__ == "__main__":
    print_figures("decoding", run(quick="--quick" in sys.argv))
