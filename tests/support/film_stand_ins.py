"""Films without a decoder and eyes without models, for tests of what an import does with both."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from edge_site import MODEL, make_sighting

from edge_agent.capture import Frame
from edge_agent.footage.found import FoundFile
from edge_agent.footage.processes import MAX_MEMORY_BYTES, Equipment
from protocol.keytree import FACE
from protocol.v2.sightings import Sighting
from runtime.errors import OperationError

STEP_MS = 4000
"""Of films here there is a picture every four seconds: none is offline in between."""
_NOISE = np.random.default_rng(3).integers(40, 220, (36, 64, 3), np.uint8)


def pictures(file: FoundFile) -> Iterator[Frame]:
    """A film whose pictures all differ; a name says what is wrong with it.

    ``gap`` lacks its second quarter, ``broken`` breaks off in the middle, ``deadly``
    ends the process there, ``greedy`` asks for more memory than a process may take,
    ``unreadable`` has none.
    """
    began_ms = file.began_ms or 0
    name = file.path.name
    if "unreadable" in name:
        raise OperationError("It cannot be decoded.")
    steps = round(file.seconds * 1000 / STEP_MS)
    for step in range(steps):
        if "gap" in name and steps // 4 <= step < steps // 2:
            continue
        if "broken" in name and step == steps // 2:
            raise OperationError("It breaks off in the middle.")
        if "deadly" in name and step == steps // 2:
            os._exit(9)
        if "greedy" in name and step == steps // 2:
            bytearray(MAX_MEMORY_BYTES)
        image = np.roll(_NOISE, step, axis=1).copy()
        yield Frame(image, began_ms + step * STEP_MS, step)


@dataclass
class MinuteEyes:
    """Sees one person a minute: gone, and told of, ten seconds after the minute's begin."""

    open_ms: list[int] = field(default_factory=list)
    frames: list[Frame] = field(default_factory=list)

    def process(self, frame: Frame) -> list[Sighting]:
        assert frame.image.any(), "a wiped picture was looked at"
        self.frames.append(frame)
        if frame.captured_at_ms % 60_000 == 0:
            self.open_ms.append(frame.captured_at_ms)
        return self.expire(frame.captured_at_ms)

    def expire(self, now_ms: int) -> list[Sighting]:
        gone = [at for at in self.open_ms if now_ms >= at + 10_000]
        self.open_ms = [at for at in self.open_ms if now_ms < at + 10_000]
        return [_sighting(at) for at in gone]

    def flush(self) -> list[Sighting]:
        gone, self.open_ms = self.open_ms, []
        return [_sighting(at) for at in gone]


def _sighting(at_ms: int) -> Sighting:
    return make_sighting(at_ms, seed=at_ms // 60_000, seconds=0.0, encounters=0)


@dataclass(frozen=True)
class StandIn:
    """Equips a process with both.

    Args:
        models: that it says it makes templates with.
        dies: no process can be equipped.
    """

    models: dict[str, str] = field(default_factory=lambda: {FACE: MODEL})
    dies: bool = False

    def build(self) -> Equipment:
        if self.dies:
            raise SystemExit(7)

        def eyes(_camera: str) -> MinuteEyes:
            return MinuteEyes()

        def frames(_camera: str) -> Callable[[FoundFile], Iterator[Frame]]:
            return pictures

        return Equipment(self.models, eyes, frames)


def found(
    path: Path, camera: str, began_ms: int, minutes: float, *, source: str = "stamped"
) -> FoundFile:
    """A file with a content of its own, as a scan would have found it."""
    if not path.exists():
        path.write_bytes(path.name.encode())
    size = path.stat().st_size
    return FoundFile(path, camera, began_ms, minutes * 60, "h264", size, source, "", 1.0, 64, 36)
