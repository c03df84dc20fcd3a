"""A street that is only computed: people before a camera, and what detectors see of them.

Who is where, who hides whom and how far apart they are is known here exactly. Detectors miss, box
what is not hidden of a body, tremble, and see a coat for a person at times; their rates are about
those of NanoDet-g and YuNet on real footage, and told in `Detectors`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from edge_agent.vision.arrays import Detections, Doubles
from edge_agent.vision.looks import LOOKS
from edge_agent.vision.people import Bodies

SIZE = (720, 1280)
STEP_MS = 200
_CELL = 8  # px a side of the grid on which it is worked out who hides whom
_FACE_M, _SHOULDERS_M = 0.23, 0.5
_COMMON = 0.55
"""Share of colours that all have: likenesses are then about those of real footage."""
_STREET_M = (-6.0, 6.0, 4.0, 16.0)  # left, right, near, far


@dataclass(frozen=True, slots=True)
class Camera:
    """Stands at `height_m`, looks down by `tilt_deg`, and sees `fov_deg` across."""

    height_m: float = 3.2
    tilt_deg: float = 18.0
    fov_deg: float = 60.0

    @property
    def focal_px(self) -> float:
        """Focal length in pixels."""
        return SIZE[1] / 2 / math.tan(math.radians(self.fov_deg) / 2)

    def project(self, points: Doubles) -> Doubles:
        """Pixels (n, 2) of points (n, 3): metres to the right, ahead, and above the ground."""
        tilt = math.radians(self.tilt_deg)
        down = self.height_m - points[:, 2]
        depth = points[:, 1] * math.cos(tilt) + down * math.sin(tilt)
        below = down * math.cos(tilt) - points[:, 1] * math.sin(tilt)
        pixels = np.column_stack([points[:, 0], below]) / depth[:, None] * self.focal_px
        return np.asarray(pixels + np.array([SIZE[1] / 2, SIZE[0] / 2]), np.float64)


@dataclass(frozen=True, slots=True)
class Detectors:
    """How well detectors see: shares, and deviations in heights of a body or a face."""

    found: float = 0.92
    """Share of bodies that show in full and are found."""
    body_noise: float = 0.025
    face_found: float = 0.85
    face_noise: float = 0.05
    coat: float = 0.35
    """Share of looks in which a coat on its hook is a person, never surely."""
    look_noise: float = 0.4


class Passer(Protocol):
    """Somebody in the street."""

    @property
    def height_m(self) -> float:
        """How tall."""

    @property
    def clothes(self) -> Doubles:
        """Colours: a histogram (LOOKS,) whose sum is 1."""

    def at(self, now_s: float) -> Doubles | None:
        """Where on the ground (x, y) it is; None before it came and after it has left."""

    def shows_face(self, now_s: float) -> bool:
        """Whether it looks towards the camera."""


@dataclass(slots=True)
class _Walker:
    height_m: float
    start: Doubles
    speed: Doubles
    begins_s: float
    waits: tuple[float, float]  # seconds after it began, and for how long
    clothes: Doubles

    def at(self, now_s: float) -> Doubles | None:
        """Where on the ground (x, y) it is; None before it came and after it has left."""
        walked = now_s - self.begins_s
        if walked < 0:
            return None
        after, pause = self.waits
        walked -= min(max(walked - after, 0.0), pause)
        place = self.start + walked * self.speed
        left, right, near, far = _STREET_M
        inside = left - 2 <= place[0] <= right + 2 and near - 1 <= place[1] <= far + 1
        return place if inside else None

    def shows_face(self, now_s: float) -> bool:
        """Whether it comes towards the camera."""
        del now_s
        return bool(self.speed[1] < -0.5)


@dataclass(frozen=True, slots=True)
class Truth:
    """Who is in a frame: `numbers` (n,), `places` (n, 2) m, boxes (n, 4) and `shown` (n,) in 0..1.

    `boxes` are of what shows of each body; nobody is listed of whom almost nothing does.
    """

    numbers: NDArray[np.int64]
    places: Doubles
    boxes: Doubles
    shown: Doubles


@dataclass(frozen=True, slots=True)
class Moment:
    """One frame: its time, the truth, and what was found; bodies are sought in every other."""

    at_ms: int
    truth: Truth
    faces: Detections
    bodies: Bodies | None
    looks: Doubles | None


@dataclass(slots=True)
class Street:
    """So many people walk by within so many seconds; some in pairs, some stop for a while."""

    people: int
    seconds: float
    seed: int
    camera: Camera = field(default_factory=Camera)
    detectors: Detectors = field(default_factory=Detectors)

    def moments(self) -> Iterator[Moment]:
        """The frames in their order, five a second."""
        rng = np.random.default_rng(self.seed)
        walkers = self._walkers(rng)
        for index in range(round(self.seconds * 1000 / STEP_MS)):
            at_ms = index * STEP_MS
            truth, heads = self._truth(walkers, at_ms / 1000)
            bodies, looks = self._bodies(truth, walkers, rng) if index % 2 == 0 else (None, None)
            yield Moment(
                at_ms, truth, self._faces(truth, heads, walkers, rng, at_ms / 1000), bodies, looks
            )

    def _walkers(self, rng: np.random.Generator) -> Sequence[Passer]:
        left, right, near, far = _STREET_M
        walkers: list[_Walker] = []
        streetwear = rng.dirichlet(np.full(LOOKS, 0.5))
        while len(walkers) < self.people:
            begins = float(rng.uniform(0, max(self.seconds - 12, 1)))
            toward = rng.random() < 0.5
            if toward:
                start = np.array([rng.uniform(left + 2, right - 2), far])
                speed = np.array([rng.normal(0, 0.2), -rng.normal(1.2, 0.15)])
            else:
                side = rng.choice([-1.0, 1.0])
                start = np.array([side * (right + 1.5), rng.uniform(near + 1, far - 4)])
                speed = np.array([-side * rng.normal(1.3, 0.15), rng.normal(0, 0.1)])
            waits = (float(rng.uniform(2, 6)), float(rng.choice([0.0, 0.0, rng.uniform(3, 8)])))
            for mate in range(2 if rng.random() < 0.35 else 1):
                beside = mate * 0.8 * np.array([1.0, 0.0] if toward else [0.0, 1.0])
                clothes = _COMMON * streetwear + (1 - _COMMON) * rng.dirichlet(np.full(LOOKS, 0.15))
                height = float(np.clip(rng.normal(1.7, 0.09), 1.5, 1.95))
                walkers.append(_Walker(height, start + beside, speed, begins, waits, clothes))
        return walkers[: self.people]

    def _truth(self, walkers: Sequence[Passer], now_s: float) -> tuple[Truth, Doubles]:
        there = [(n, place) for n, w in enumerate(walkers) if (place := w.at(now_s)) is not None]
        numbers = np.array([n for n, _ in there], np.int64)
        places = np.array([place for _, place in there], np.float64).reshape(-1, 2)
        tall = np.array([walkers[n].height_m for n in numbers.tolist()], np.float64)
        feet = self.camera.project(np.column_stack([places, np.zeros(len(places))]))
        tops = self.camera.project(np.column_stack([places, tall]))
        high = feet[:, 1] - tops[:, 1]
        wide = high * _SHOULDERS_M / np.maximum(tall, 1e-6) * 1.25  # arms swing
        boxes = np.column_stack([tops[:, 0] - wide / 2, tops[:, 1], wide, high])
        boxes, shown = _what_shows(boxes, places[:, 1])
        face = high * _FACE_M / np.maximum(tall, 1e-6)
        heads = np.column_stack(
            [tops[:, 0] - 0.4 * face, tops[:, 1] + 0.3 * face, 0.8 * face, face]
        )
        seen = shown > 0.1
        return Truth(numbers[seen], places[seen], boxes[seen], shown[seen]), heads[seen]

    def _bodies(
        self, truth: Truth, walkers: Sequence[Passer], rng: np.random.Generator
    ) -> tuple[Bodies, Doubles]:
        kind, count = self.detectors, len(truth.numbers)
        chance = kind.found * np.clip((truth.shown - 0.15) / 0.5, 0, 1)
        found = rng.random(count) < chance
        sizes = truth.boxes[:, 3:4]
        boxes = truth.boxes + rng.normal(0, kind.body_noise, (count, 4)) * sizes
        scores = np.clip(rng.normal(0.68, 0.12, count) * (0.55 + 0.45 * truth.shown), 0.05, 0.95)
        looks = [_seen(walkers[n].clothes, kind.look_noise, rng) for n in truth.numbers.tolist()]
        rows = [[*box, score] for box, score in zip(boxes[found], scores[found], strict=True)]
        looks = [look for look, there in zip(looks, found.tolist(), strict=True) if there]
        if rng.random() < kind.coat:
            rows.append([1120, 180, 60, 150, rng.uniform(0.3, 0.48)])
            looks.append(_seen(np.eye(LOOKS)[3], kind.look_noise, rng))
        made = np.array(rows, np.float32).reshape(-1, 5)
        return Bodies(made[:, :4], made[:, 4]), np.array(looks).reshape(-1, LOOKS)

    def _faces(
        self,
        truth: Truth,
        heads: Doubles,
        walkers: Sequence[Passer],
        rng: np.random.Generator,
        now_s: float,
    ) -> Detections:
        comes = np.array([walkers[n].shows_face(now_s) for n in truth.numbers.tolist()], np.bool_)
        found = comes & (truth.shown > 0.3) & (rng.random(len(heads)) < self.detectors.face_found)
        found &= heads[:, 3] >= 14
        boxes = heads + rng.normal(0, self.detectors.face_noise, heads.shape) * heads[:, 3:4]
        scores = np.clip(rng.normal(0.8, 0.08, len(heads)), 0.3, 0.95).astype(np.float32)
        points = np.zeros((int(found.sum()), 5, 2), np.float32)
        return Detections(boxes[found].astype(np.float32), points, scores[found])


def _seen(clothes: Doubles, noise: float, rng: np.random.Generator) -> Doubles:
    mixed = clothes * rng.lognormal(0, noise, len(clothes)) + 0.1 / len(clothes)
    return np.asarray(mixed / mixed.sum(), np.float64)


def _what_shows(boxes: Doubles, depths: Doubles) -> tuple[Doubles, Doubles]:
    """What shows of each body (n, 4) behind nearer ones in the frame, and what share (n,)."""
    rows, columns = SIZE[0] // _CELL, SIZE[1] // _CELL
    taken = np.zeros((rows, columns), np.bool_)
    shown, share = boxes.copy(), np.zeros(len(boxes))
    for number in np.argsort(depths).tolist():
        left, top, right, bottom = np.round(
            np.concatenate([boxes[number, :2], boxes[number, :2] + boxes[number, 2:]]) / _CELL
        ).astype(int)
        area = max(1, (right - left) * (bottom - top))
        view = slice(max(0, top), max(0, bottom)), slice(max(0, left), max(0, right))
        free = ~taken[view]
        share[number] = free.sum() / area
        if free.any():
            y, x = np.nonzero(free)
            low = np.array([x.min() + view[1].start, y.min() + view[0].start]) * _CELL
            high = np.array([x.max() + view[1].start + 1, y.max() + view[0].start + 1]) * _CELL
            inside = (
                np.maximum(low, boxes[number, :2]),
                np.minimum(high, boxes[number, :2] + boxes[number, 2:]),
            )
            shown[number] = np.concatenate([inside[0], np.maximum(inside[1] - inside[0], 1)])
        taken[view] = True
    return shown, share
