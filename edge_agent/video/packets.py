"""Goes through a film's packets without decoding any: its true length, rate and key frames."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2

from edge_agent.opencv import quiet_opencv
from edge_agent.video.decoder import facts_of, target_of
from edge_agent.video.reading import DEFAULT_FPS
from edge_agent.video.timeline import Timeline

_REORDERED = 32
"""Packets come in the order in which they are decoded: so many may lie between them and theirs."""
_LEAST_ANEW_S, _ANEW_PICTURES = 1.0, 16
"""A timestamp further back than this, in seconds and in pictures, begins anew."""
_MAX_DAMAGE = 1000


@dataclass(frozen=True, slots=True)
class Packets:
    """What the packets of a film say.

    Attributes:
        count: of pictures.
        seconds: from the first picture to the end of the last.
        keys: how many pictures stand by themselves.
        jumps: how often timestamps began anew.
        reordered: how many are shown before the one that is decoded just before them. Where there
            are many, a third or more of all pictures are needed by no other (B-frames).
    """

    count: int
    seconds: float
    keys: int
    jumps: int
    reordered: int = 0

    @property
    def fps(self) -> float | None:
        """Pictures a second on the whole."""
        return self.count / self.seconds if self.count > 1 and self.seconds > 0 else None


def packets_of(path: Path) -> Packets | None:
    """Go through a film; None where its packets cannot be had undecoded."""
    quiet_opencv()
    capture = cv2.VideoCapture(target_of(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_FORMAT, -1])
    try:
        if not capture.isOpened() or capture.get(cv2.CAP_PROP_FORMAT) != -1:
            return None
        facts = facts_of(capture)
        seen = _Seen()
        fps = facts.fps or DEFAULT_FPS
        timeline = Timeline(fps, facts.seconds)
        count = 0
        anew_s = max(_LEAST_ANEW_S, _ANEW_PICTURES / fps)
        for stamp_s in _in_order(_stamps(capture, seen), anew_s):
            timeline.place(stamp_s)
            count += 1
        if not count:
            return None
        return Packets(count, timeline.next_s, seen.keys, timeline.jumps, seen.reordered)
    finally:
        capture.release()


@dataclass(slots=True)
class _Seen:
    """Counts of what went by."""

    keys: int = 0
    reordered: int = 0


def _stamps(capture: cv2.VideoCapture, seen: _Seen) -> Iterator[float | None]:
    damaged, first, before_s = 0, True, float("-inf")
    while damaged < _MAX_DAMAGE:
        try:
            grabbed = capture.grab()
        except cv2.error:
            grabbed = False
        if not grabbed:
            damaged += 1
            continue
        damaged = 0
        seen.keys += capture.get(cv2.CAP_PROP_LRF_HAS_KEY_FRAME) > 0
        stamp_s = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        seen.reordered += stamp_s < before_s
        before_s = stamp_s
        yield stamp_s if first or stamp_s != 0 else None  # OpenCV says 0 for "none"
        first = False


def _in_order(stamps: Iterator[float | None], anew_s: float) -> Iterator[float | None]:
    """Timestamps as pictures are shown; where they begin anew, what came before goes first."""
    held: list[float] = []
    last_s = float("-inf")
    for stamp_s in stamps:
        if stamp_s is None:
            yield None
            continue
        if held and stamp_s < last_s - anew_s:
            yield from sorted(held)
            held, last_s = [], float("-inf")
        last_s = max(last_s, stamp_s)
        heapq.heappush(held, stamp_s)
        if len(held) > _REORDERED:
            yield heapq.heappop(held)
    yield from sorted(held)
