"""Searches one camera's frames for faces and whole persons, each as often as it is due.

Between searches of the whole picture, every two seconds, only what has changed is searched again,
and where somebody was found a moment ago (`edge_agent.vision.changes`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

import numpy as np

from edge_agent.capture import Frame
from edge_agent.vision.arrays import Bools, Detections, Floats, Image
from edge_agent.vision.changes import Changes, Grid, Part, cells_of
from edge_agent.vision.config import VisionConfig
from edge_agent.vision.detector import FaceDetector
from edge_agent.vision.models import VisionModels
from edge_agent.vision.people import (
    Bodies,
    PersonDetector,
    distinct,
    faces_of_bodies,
    heads_of,
    outside,
)
from edge_agent.vision.rhythm import Rhythm
from edge_agent.vision.stats import Stage, StageClock

_LATELY_MS = 1000
"""Where somebody was found is searched for so long, as long as trackers wait for them."""

_F = TypeVar("_F", Detections, Bodies)
_F_co = TypeVar("_F_co", Detections, Bodies, covariant=True)


class Detector(Protocol[_F_co]):
    """What can search parts of a frame."""

    def detect(self, image: Image, parts: Sequence[Part] | None = None) -> _F_co:
        """Find what it finds, the surest first, in all of a frame or in parts of it."""

    def grid(self, image: Image) -> Grid | None:
        """The squares on whose borders parts end; None: it searches whole frames alone."""


class SparingSearch(Generic[_F]):
    """One detector's searches of one camera's frames. For one thread."""

    def __init__(self, detector: Detector[_F], *, whole_every_s: float, begin_score: float) -> None:
        """Begin with a search of the whole.

        Args:
            detector: of the camera.
            whole_every_s: after so long the whole is searched whatever has changed; 0: always.
            begin_score: from which somebody may be new; see `_cut`.
        """
        self._detector: Detector[_F] = detector
        self._begin_score = begin_score
        self._whole_every_ms = whole_every_s * 1000
        self._changes = Changes()
        self._size: tuple[int, ...] = ()
        self._whole_ms = 0
        self._found: list[tuple[int, Floats]] = []  # when, and the boxes

    def detect(self, image: Image, cells: Floats, at_ms: int) -> _F:
        """Find what the detector finds in a frame, the surest first.

        Args:
            image: the frame (H, W, 3).
            cells: of the frame (`edge_agent.vision.changes.cells_of`).
            at_ms: when it was captured.

        Raises:
            ModelError: the detector failed.
        """
        grid = self._detector.grid(image) if self._whole_every_ms > 0 else None
        if grid is None:
            return self._detector.detect(image)
        return self._again(image, cells, grid, at_ms)

    def forget(self) -> None:
        """Begin anew: the next frame is of any time or place."""
        self._changes.forget()
        self._found.clear()

    def _again(self, image: Image, cells: Floats, grid: Grid, at_ms: int) -> _F:
        parts = None
        if image.shape == self._size and 0 <= at_ms - self._whole_ms < self._whole_every_ms:
            parts = self._changes.parts(cells, grid, self._lately(at_ms))
        if parts is None:
            return self._whole(image, cells, grid, at_ms)
        found = self._detector.detect(image, parts)
        cut = _cut(found, grid, parts)
        if (found.scores[cut] >= self._begin_score).any():
            return self._whole(image, cells, grid, at_ms)
        self._changes.searched(cells, grid, parts)
        return self._noted(found.take(~cut), at_ms)

    def _whole(self, image: Image, cells: Floats, grid: Grid, at_ms: int) -> _F:
        found = self._detector.detect(image)
        self._changes.searched(cells, grid, None)
        self._size, self._whole_ms = image.shape, at_ms
        return self._noted(found, at_ms)

    def _noted(self, found: _F, at_ms: int) -> _F:
        self._found = [*self._since(at_ms - _LATELY_MS), (at_ms, found.boxes)]
        return found

    def _lately(self, at_ms: int) -> Floats:
        """Boxes (n, 4) of what was found a moment ago: one search may miss who is there."""
        lately: list[Floats] = [boxes for _, boxes in self._since(at_ms - _LATELY_MS)]
        return np.concatenate([np.zeros((0, 4), np.float32), *lately])

    def _since(self, from_ms: int) -> list[tuple[int, Floats]]:
        return [(when, boxes) for when, boxes in self._found if when >= from_ms]


def _cut(found: Detections | Bodies, grid: Grid, parts: Sequence[Part]) -> Bools:
    """Which (n,) end where no part does: of what stands still, the piece that shows in a part.

    Whoever was known before is within a part. Somebody new who is cut is sought in the whole; what
    is too weak to be somebody new is nothing that was known.
    """
    within = [any(grid.within(part, box) for part in parts) for box in found.boxes.tolist()]
    return ~np.array(within, np.bool_)


class Eyes:
    """Both searches of one camera: faces in each frame, whole persons when they are due."""

    def __init__(
        self,
        config: VisionConfig,
        models: VisionModels,
        clock: StageClock,
        person_detectors: Sequence[PersonDetector] | None = None,
        face_detector: FaceDetector | None = None,
    ) -> None:
        """Load the detectors.

        Args:
            config: of the camera.
            models: have the detectors.
            clock: is told what each search takes.
            person_detectors: instead of the bundle's; they search whole frames.
            face_detector: instead of the bundle's.

        Raises:
            ModelError: a detector cannot be loaded.
        """
        self._clock = clock
        self._ignored = config.ignored
        self._persons_due = Rhythm(min(config.person_fps, config.detect_fps))
        self._face_detector = face_detector or models.detector(
            config.detect_width, config.detect_height, config.continue_score
        )
        self._faces = SparingSearch(
            self._face_detector,
            whole_every_s=config.search_whole_s,
            begin_score=config.begin_score,
        )
        self._persons: SparingSearch[Bodies] | None = None
        self._given = tuple(person_detectors or ())
        if person_detectors is None:
            own = models.person_detector(config.person_width, config.person_height)
            if own is not None:
                self._persons = SparingSearch(
                    own,
                    whole_every_s=config.search_whole_s,
                    begin_score=config.person_begin_score,
                )

    @property
    def seek_bodies(self) -> bool:
        """Whether whole persons are looked for at all."""
        return self._persons is not None or bool(self._given)

    def look(self, frame: Frame) -> tuple[Detections, Bodies | None]:
        """The faces of a frame, and its persons if it was their turn: heads are looked at closer.

        Raises:
            ModelError: a detector failed.
        """
        with self._clock.stage(Stage.DETECT):
            cells = cells_of(frame.image)
            faces = self._faces.detect(frame.image, cells, frame.captured_at_ms)
        try:
            bodies = self._bodies(frame, cells)
        finally:
            cells.fill(0)
        return self._with_closer(frame, faces, bodies), bodies

    def refine(self, image: Image, faces: Detections) -> Detections:
        """Faces seen again, closer: see `FaceDetector.refine`.

        Raises:
            ModelError: the detector failed.
        """
        return self._face_detector.refine(image, faces)

    def forget(self) -> None:
        """Search the whole of the next frame: it shows another place."""
        self._faces.forget()
        if self._persons is not None:
            self._persons.forget()

    def begin_again(self) -> None:
        """Forget, and look for persons in the next frame, whatever its time."""
        self.forget()
        self._persons_due.begin_again()

    def _bodies(self, frame: Frame, cells: Floats) -> Bodies | None:
        """The persons of a frame by all detectors of them; None if it is not their turn."""
        if not self.seek_bodies or not self._persons_due.is_due(frame.captured_at_ms):
            return None
        with self._clock.stage(Stage.PERSONS):
            bodies = Bodies.none()
            if self._persons is not None:
                bodies = self._persons.detect(frame.image, cells, frame.captured_at_ms)
            for detector in self._given:
                bodies = bodies.and_these(detector.detect(frame.image))
            return distinct(bodies.take(outside(self._ignored, heads_of(bodies.boxes))))

    def _with_closer(self, frame: Frame, faces: Detections, bodies: Bodies | None) -> Detections:
        """The faces, and those found by looking closer at the heads of bodies that have none."""
        if bodies is None or not len(bodies):
            return faces
        owned = faces_of_bodies(faces.boxes, bodies.boxes)
        heads = heads_of(bodies.boxes[np.setdiff1d(np.arange(len(bodies)), owned)])
        with self._clock.stage(Stage.CLOSER):
            return faces.and_these(self._face_detector.detect_in(frame.image, heads, faces))
