"""Goes through a film's packets without decoding any: its true length, rate and key frames."""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2

from edge_agent.opencv import quiet_opencv
from edge_agent.video.decoder import facts_of
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
    """

    count: int
    seconds: float
    keys: int
    jumps: int

    @property
    def fps(self) -> float | None:
        """Pictures a second on the whole."""
        return self.count / self.seconds if self.count > 1 and self.seconds > 0 else None


def packets_of(path: Path) -> Packets | None:
    """Go through a film; None where its packets cannot be had undecoded."""
    quiet_opencv()
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_FORMAT, -1])
    try:
        if not capture.isOpened() or capture.get(cv2.CAP_PROP_FORMAT) != -1:
            return None
        facts = facts_of(capture)
        keys = [0]
        fps = facts.fps or DEFAULT_FPS
        timeline = Timeline(fps, facts.seconds)
        count = 0
        anew_s = max(_LEAST_ANEW_S, _ANEW_PICTURES / fps)
        for stamp_s in _in_order(_stamps(capture, keys), anew_s):
            timeline.place(stamp_s)
            count += 1
        return Packets(count, timeline.next_s, keys[0], timeline.jumps) if count else None
    finally:
        capture.release()


def _stamps(capture: cv2.VideoCapture, keys: list[int]) -> Iterator[float | None]:
    damaged, first = 0, True
    while damaged < _MAX_DAMAGE:
        try:
            grabbed = capture.grab()
        except cv2.error:
            grabbed = False
        if not grabbed:
            damaged += 1
            continue
        damaged = 0
        keys[0] += capture.get(cv2.CAP_PROP_LRF_HAS_KEY_FRAME) > 0
        stamp_s = capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
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
