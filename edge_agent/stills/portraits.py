"""The best portrait of each person in view of one camera, kept for as long as they are in view.

One picture a person, everybody else covered in it already; a better one takes its place. When the
person has gone it is finished and handed out with the sighting's id, or the reason is, why there is
none. What is not handed out is overwritten.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import structlog

from edge_agent.stills.finishing import LARGEST_LOOK_PX, FaceFinder, finish
from edge_agent.stills.portrait import NoStill, Others, Portrait, portray
from edge_agent.vision.alignment import align
from edge_agent.vision.arrays import Detections, Doubles, Image
from edge_agent.vision.boxes import common_area
from edge_agent.vision.crowd import CrowdStep
from edge_agent.vision.errors import ModelError
from edge_agent.vision.people import NO_BODY, NO_FACE, Bodies, heads_of
from edge_agent.vision.quality import face_signs, quality, sharpness, upper_bounds

log = structlog.get_logger()

MOST_KEPT = 32
"""Pictures of one camera in memory at once, 240 x 320 of three bytes: 7.4 MB."""
RECENT_MS = 1_000
"""Where somebody was seen so long ago, and is not seen now, their head may be still."""
_BODY_WORTH = 0.2  # at most, of a picture in which no face shows: any with a face is better
_BETTER = 1.05


@dataclass(frozen=True, slots=True)
class Still:
    """What became of the still of one sighting.

    `jpeg` is the picture, wiped by whoever takes it; empty where there is none, and `reason` (a
    code of `protocol.v2.stills.REASONS`) says why.
    """

    jpeg: bytearray
    reason: str = ""

    def wipe(self) -> None:
        """Overwrite the picture."""
        self.jpeg[:] = bytes(len(self.jpeg))


@dataclass(slots=True)
class _Kept:
    """Of one person: the picture and what it is worth, and why the last look gave none."""

    portrait: Portrait | None = None
    worth: float = 0.0
    reason: str = "no-body"

    def take(self, portrait: Portrait, worth: float) -> None:
        """Put a better picture in the place of what there is."""
        self.wipe()
        self.portrait, self.worth = portrait, worth

    def wipe(self) -> None:
        """Overwrite the picture."""
        if self.portrait is not None:
            self.portrait.wipe()
        self.portrait, self.worth = None, 0.0


class Portraits:
    """The pictures of one camera's people, by the number that each has while in view.

    Args:
        new_finder: gives what finds faces in finished pictures, of so many pixels a side at most.
        wanted: whether stills are permitted now; nothing is kept while they are not.
        camera: its name, for the logs.
        bodies_sought: whether there is a person detector: then a face whose body it does not find
            is shown as a bust, and only in a frame in which it has looked.
    """

    def __init__(
        self,
        new_finder: Callable[[int, int], FaceFinder],
        *,
        wanted: Callable[[], bool],
        camera: str = "",
        bodies_sought: bool = True,
    ) -> None:
        self._new_finder = new_finder
        self._finder: FaceFinder | None = None
        self._wanted = wanted
        self._camera = camera
        self._bodies_sought = bodies_sought
        self._kept: dict[int, _Kept] = {}
        self._seen: dict[int, tuple[int, Doubles]] = {}  # when and where each head was last
        self._done: dict[bytes, Still] = {}

    def look(
        self, image: Image, at_ms: int, step: CrowdStep, faces: Detections, bodies: Bodies | None
    ) -> None:
        """Keep the people of a frame of whom this is the best picture so far.

        Args:
            image: the frame, left as it is.
            at_ms: when it was captured.
            step: who is seen in it; its faces and bodies are rows of the next two.
            faces: all that were found in it; those which are nobody's stand behind the others.
            bodies: the same; None if none were sought.
        """
        if (bodies is None and self._bodies_sought) or not self._wanted():
            return
        bodies = Bodies.none() if bodies is None else bodies
        recent = self._note_heads(at_ms, step, faces, bodies)
        size = (image.shape[0], image.shape[1])
        bounds = upper_bounds(face_signs(faces, size), faces.scores)
        for number, face, body in zip(
            step.persons.tolist(), step.faces.tolist(), step.bodies.tolist(), strict=True
        ):
            kept = self._kept.setdefault(number, _Kept())
            worth = _body_worth(bodies, body, size)
            if face != NO_FACE:
                worth = max(worth, _BODY_WORTH + float(bounds[face]))
            if worth <= kept.worth * _BETTER or not self._has_room(kept):
                continue
            if face != NO_FACE and bounds[face] > 0:
                worth = _BODY_WORTH + _sharp(image, faces, face, float(bounds[face]))
                if worth <= kept.worth * _BETTER:
                    continue
            others = Others(
                np.delete(faces.boxes, [] if face == NO_FACE else [face], axis=0).astype(float),
                np.delete(bodies.boxes, [] if body == NO_BODY else [body], axis=0).astype(float),
                recent,
            )
            try:
                portrait = portray(
                    image,
                    None if body == NO_BODY else bodies.boxes[body],
                    None if face == NO_FACE else faces.boxes[face],
                    others,
                )
            except NoStill as why:
                kept.reason = str(why)
            else:
                kept.take(portrait, worth)

    def _note_heads(
        self, at_ms: int, step: CrowdStep, faces: Detections, bodies: Bodies
    ) -> Doubles:
        """Note where everybody's head is; return where those not seen now were lately (n, 4)."""
        here: dict[int, Doubles] = {}
        for number, face, body in zip(
            step.persons.tolist(), step.faces.tolist(), step.bodies.tolist(), strict=True
        ):
            if face != NO_FACE:
                here[number] = faces.boxes[face].astype(np.float64)
            elif body != NO_BODY:
                here[number] = heads_of(bodies.boxes[body][None])[0].astype(np.float64)
        known = np.array(list(here.values())).reshape(-1, 4)
        gone = [
            head
            for number, (then_ms, head) in self._seen.items()
            if number not in here and 0 <= at_ms - then_ms <= RECENT_MS
        ]
        self._seen = {
            number: (then_ms, head)
            for number, (then_ms, head) in self._seen.items()
            if 0 <= at_ms - then_ms <= RECENT_MS
        } | {number: (at_ms, head) for number, head in here.items()}
        lost = np.array(gone).reshape(-1, 4)
        if not len(lost) or not len(known):
            return lost
        # Who is found again at the same place under a new number is no second person.
        common = common_area(lost, known)
        union = lost[:, 2:].prod(axis=1)[:, None] + known[:, 2:].prod(axis=1)[None] - common
        return np.asarray(lost[(common / np.maximum(union, 1e-6)).max(axis=1) < 0.5], np.float64)

    def _has_room(self, kept: _Kept) -> bool:
        if kept.portrait is not None:
            return True
        if sum(one.portrait is not None for one in self._kept.values()) < MOST_KEPT:
            return True
        kept.reason = "failed"
        return False

    def merge(self, gone: int, into: int) -> None:
        """Let two numbers be one person's: the better picture stays."""
        self._seen.pop(gone, None)
        other = self._kept.pop(gone, None)
        if other is None:
            return
        mine = self._kept.get(into)
        if mine is None or other.worth > mine.worth:
            self._kept[into] = other
            other = mine
        if other is not None:
            other.wipe()

    def finish(self, number: int, sighting_id: bytes) -> None:
        """Make the still of who has gone."""
        kept = self._kept.pop(number, None)
        if kept is None:
            return  # never wanted, while this person was in view
        try:
            if not self._wanted():
                return
            if kept.portrait is None:
                self._done[sighting_id] = Still(bytearray(), kept.reason)
                return
            if self._finder is None:
                self._finder = self._new_finder(LARGEST_LOOK_PX, LARGEST_LOOK_PX)
            self._done[sighting_id] = Still(finish(kept.portrait, self._finder))
        except NoStill as why:
            self._done[sighting_id] = Still(bytearray(), str(why))
        except ModelError as error:
            log.error("stills.failed", camera=self._camera, reason=str(error))  # noqa: TRY400 - the reason says it all
            self._done[sighting_id] = Still(bytearray(), "failed")
        finally:
            kept.wipe()

    def forget(self, number: int) -> None:
        """Wipe what was kept of somebody who is no sighting."""
        kept = self._kept.pop(number, None)
        if kept is not None:
            kept.wipe()

    def take(self) -> dict[bytes, Still]:
        """Hand out what has been made since the last time, by the sighting's id."""
        done, self._done = self._done, {}
        return done


def _body_worth(bodies: Bodies, row: int, size: tuple[int, int]) -> float:
    if row == NO_BODY:
        return 0.0
    tall = min(1.0, float(bodies.boxes[row][3]) / size[0])
    return _BODY_WORTH * tall * float(bodies.scores[row])


def _sharp(image: Image, faces: Detections, row: int, bound: float) -> float:
    """The quality of a face in 0..1."""
    crops = align(image, faces.landmarks[row : row + 1])
    worth = float(quality(np.array([bound]), sharpness(crops))[0])
    crops.fill(0)
    return worth
