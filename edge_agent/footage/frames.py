"""Gives a recording's pictures, each with the moment at which it was taken."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from edge_agent.capture import Frame
from edge_agent.footage.found import FoundFile
from edge_agent.footage.quality import Quality
from edge_agent.opencv import quiet_opencv
from edge_agent.sources import Reader, SourceError
from edge_agent.video.files import FileReader
from edge_agent.video.reading import Image, Shortcuts
from edge_agent.vision.arrays import Doubles
from edge_agent.vision.shrinking import shrunk

_EARLY_S = 0.005
"""A picture a little early is better than the next one, much too late."""
STILL_S = 0.8
"""While nothing moves, one picture in so many seconds is given: nobody is lost by then."""
_WORTH_IT = 0.2
"""Share of reordered pictures from which leaving out those that no other needs saves more than the
process `ffmpeg` costs."""
_KEPT = 1 / 3
"""At least so much of such a film's pictures is left."""
_CELLS = (160, 90)
_MOVED = 6.0  # grey levels of a cell
_MOVED_CELLS = 3


@dataclass(frozen=True, slots=True)
class Reading:
    """How a pass over a file went.

    Attributes:
        given: pictures that were given.
        bad: stretches that could not be decoded.
        truncated: whether it ended before the length that it states.
        grew: whether somebody wrote it meanwhile.
        jumps: how often its timestamps began anew.
        decoder: what decoded it: "opencv", "ffmpeg", or "ffmpeg, vaapi".
    """

    given: int
    bad: int
    truncated: bool
    grew: bool
    jumps: int
    decoder: str


def frames(
    file: FoundFile,
    *,
    quality: Quality = "full",
    gap_s: float = 0.0,
    tell: Callable[[Reading], None] | None = None,
) -> Iterator[Frame]:
    """Read a file from its beginning; each frame is wiped when the next one is asked for.

    Args:
        file: as `edge_agent.footage.scan` found it; `began_ms` must be known.
        quality: what is traded for speed (`edge_agent.footage.quality`).
        gap_s: pictures nearer than this to the one before are passed over.
        tell: called once, when the pass ends, also when it is broken off.

    Raises:
        SourceError: it cannot be decoded, or nobody knows when it began.
    """
    if file.began_ms is None:
        raise SourceError(f"Video file {file.path}: nothing says when it began.")
    quiet_opencv()
    reader = FileReader(file.path, _shortcuts(file, quality, gap_s))
    stir = Stir() if quality == "fast" else None
    given = 0
    try:
        while (picture := reader.read(gap_s=max(0.0, gap_s - _EARLY_S))) is not None:
            at_ms = file.began_ms + round(picture.at_s * 1000)
            frame = Frame(picture.image, at_ms, given)
            try:
                if stir is None or stir.is_due(picture.image, picture.at_s):
                    given += 1
                    yield frame
            finally:
                frame.wipe()
    finally:
        reader.close()
        if tell is not None:
            tell(_reading(reader, given))


def _shortcuts(file: FoundFile, quality: Quality, gap_s: float) -> Shortcuts:
    """What need not be decoded: a process of its own has to save more than it costs."""
    often_enough = gap_s > 0 and (file.fps or 0.0) * _KEPT >= 1 / gap_s
    saves = file.reordered >= _WORTH_IT and often_enough
    return Shortcuts(
        sparing=quality == "fast" and saves,
        gap_s=max(0.0, gap_s - _EARLY_S),
        hardware=True,
        one_thread=True,
    )


def _reading(reader: Reader, given: int) -> Reading:
    facts = reader.facts()
    parts = ["ffmpeg" if facts.by_ffmpeg else "opencv", facts.hardware]
    decoder = ", ".join(part for part in parts if part)
    return Reading(given, reader.bad, reader.truncated, reader.grew, reader.jumps, decoder)


class Stir:
    """Tells whether anything has moved since the picture that was taken last."""

    def __init__(self) -> None:
        self._cells: Doubles | None = None
        self._at_s = 0.0

    def is_due(self, image: Image, at_s: float) -> bool:
        """Whether a picture (H, W, 3) is to be taken: something moved, or it has been long."""
        small = shrunk(image, _CELLS)
        cells = cv2.cvtColor(small, cv2.COLOR_BGR2GRAY).astype(np.float64)
        before = self._cells
        if before is not None and at_s - self._at_s < STILL_S - _EARLY_S:
            moved = np.count_nonzero(np.abs(cells - before) > _MOVED)
            if moved < _MOVED_CELLS:
                return False
        if before is not None:
            before.fill(0)
        self._cells, self._at_s = cells, at_s
        return True
