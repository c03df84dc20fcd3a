"""Gives a recording's pictures, each with the moment at which it was taken."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from edge_agent.capture import Frame
from edge_agent.footage.found import FoundFile
from edge_agent.footage.quality import Quality
from edge_agent.opencv import quiet_opencv
from edge_agent.sources import Reader, SourceError
from edge_agent.video.files import FileReader
from edge_agent.video.reading import Shortcuts

_EARLY_S = 0.005
"""A picture a little early is better than the next one, much too late."""
_WORTH_IT = 0.2
"""Share of reordered pictures from which leaving out those that no other needs saves more than the
process `ffmpeg` costs."""
_KEPT = 1 / 3
"""At least so much of such a film's pictures is left."""


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
    given = 0
    try:
        while (picture := reader.read(gap_s=max(0.0, gap_s - _EARLY_S))) is not None:
            at_ms = file.began_ms + round(picture.at_s * 1000)
            frame = Frame(picture.image, at_ms, given)
            try:
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
