"""What one camera's pipeline counts and how long its stages take, for health messages."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum

_WINDOW = 64
_STALE_S = 5.0


class Stage(StrEnum):
    """The stages of a pipeline, in their order."""

    DETECT = "detect"
    PERSONS = "persons"
    CLOSER = "closer"
    TRACK = "track"
    REFINE = "refine"
    ALIGN = "align"
    ENCOUNTERS = "encounters"
    EMBED = "embed"
    MASK = "mask"
    CLOTHES = "clothes"
    STILLS = "stills"


@dataclass(frozen=True, slots=True)
class StageTime:
    """How often a stage ran and its total time."""

    runs: int
    total_ms: float


@dataclass(frozen=True, slots=True)
class PipelineStats:
    """Counts since the start of a pipeline.

    `frames` given, `processed` of them looked at, `fps` of those lately; `faces` detected;
    `tracks` of people begun, `tracks_open` now, `tracks_discarded` as false alarms; `sightings`
    made, `without_template` of them without one of a face; `stages` times by name.
    """

    frames: int
    processed: int
    fps: float
    faces: int
    tracks: int
    tracks_open: int
    tracks_discarded: int
    sightings: int
    without_template: int
    stages: dict[str, StageTime]


class StageClock:
    """Adds up the time of each stage, and the rate of frames over the last ones."""

    def __init__(self) -> None:
        self._runs = dict.fromkeys(Stage, 0)
        self._total_ns = dict.fromkeys(Stage, 0)
        self._frames: deque[float] = deque(maxlen=_WINDOW)

    @contextmanager
    def stage(self, stage: Stage) -> Iterator[None]:
        """Time what runs inside as one run of a stage."""
        begin = time.perf_counter_ns()
        try:
            yield
        finally:
            self._runs[stage] += 1
            self._total_ns[stage] += time.perf_counter_ns() - begin

    def frame(self) -> None:
        """Note that a frame has been processed."""
        self._frames.append(time.monotonic())

    @property
    def fps(self) -> float:
        """Frames a second over the last ones; 0 when none came for some seconds."""
        if len(self._frames) < 2 or time.monotonic() - self._frames[-1] > _STALE_S:
            return 0.0
        return (len(self._frames) - 1) / max(self._frames[-1] - self._frames[0], 1e-9)

    def times(self) -> dict[str, StageTime]:
        """The times so far by the stage's name."""
        return {
            stage.value: StageTime(self._runs[stage], self._total_ns[stage] / 1e6)
            for stage in Stage
        }
