"""People who keep company before a camera for minutes: a film drawn from a script, truth known.

What detectors see of them is that of `benchmarks.people_scene`: they miss, tremble, and box what is
not hidden. Clothes are painted into the picture, so that colours are told apart by pixels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from benchmarks.people_scene import SIZE, Moment, Passer, Street
from edge_agent.capture import Frame
from edge_agent.vision.arrays import Doubles, Image
from edge_agent.vision.looks import LOOKS

REACH_M = 2.0
_SWAY_M, _SWAY_S = 0.06, 7.0
_WALK_M_S = 1.2
_SKIN = (120, 150, 200)
Spot = tuple[float, float]
"""Metres to the right of the camera, and ahead of it."""


@dataclass(frozen=True, slots=True)
class Stay:
    """Somebody in one spot from when until when, in seconds; between two stays they walk."""

    from_s: float
    until_s: float
    spot: Spot


@dataclass(frozen=True, slots=True)
class Companion:
    """One person of the script, seen from the beginning of the first stay to the end of the last.

    Args:
        stays: where, in order of time.
        upper, lower: colours of the clothes, blue, green, red.
        turned: for how many seconds of each minute they turn their back on the camera.
        height_m: how tall.
    """

    stays: tuple[Stay, ...]
    upper: tuple[int, int, int]
    lower: tuple[int, int, int]
    turned: float = 20.0
    height_m: float = 1.7

    @property
    def clothes(self) -> Doubles:
        """Not used: colours are in the picture."""
        return np.full(LOOKS, 1.0 / LOOKS)

    def at(self, now_s: float) -> Doubles | None:
        """Where on the ground (x, y) they are; None while out of view."""
        if not self.stays or not self.stays[0].from_s <= now_s < self.stays[-1].until_s:
            return None
        phase = 2 * np.pi * now_s / _SWAY_S + self.height_m * 100
        sway = _SWAY_M * np.array([np.sin(phase), np.cos(0.7 * phase)])
        before = self.stays[0]
        for stay in self.stays:
            if now_s < stay.from_s:
                share = (now_s - before.until_s) / (stay.from_s - before.until_s)
                one, other = np.array(before.spot), np.array(stay.spot)
                return np.asarray(one + share * (other - one) + sway, np.float64)
            if now_s < stay.until_s:
                return np.asarray(np.array(stay.spot) + sway, np.float64)
            before = stay
        return None

    def shows_face(self, now_s: float) -> bool:
        """Whether they look towards the camera."""
        return (now_s + 10 * self.height_m) % 60 >= self.turned


def crossing(at_s: float, *, ahead_m: float, leftward: bool = False) -> tuple[Stay, ...]:
    """Return the way of somebody who walks across the picture, nearer than the others.

    Args:
        at_s: when they are in the middle.
        ahead_m: how far from the camera.
        leftward: from the right to the left.
    """
    side = 1.0 if leftward else -1.0
    half_s = 6.0 / _WALK_M_S
    return (
        Stay(at_s - half_s - 0.2, at_s - half_s, (side * 6, ahead_m)),
        Stay(at_s + half_s, at_s + half_s + 0.2, (-side * 6, ahead_m)),
    )


@dataclass(slots=True)
class Film(Street):
    """A script's people before the camera, in frames of 720p, five a second.

    Args:
        script: who is there.
    """

    people: int = 0
    seconds: float = 0.0
    seed: int = 0
    script: tuple[Companion, ...] = field(default=())

    def frames(self, begin_ms: int) -> Iterator[tuple[Frame, Moment]]:
        """Yield each picture with what detectors find in it and what is true.

        Args:
            begin_ms: when the first was taken, ms UTC.
        """
        rng = np.random.default_rng(self.seed + 1)
        wall = rng.normal(118, 6, (*SIZE, 3)).clip(0, 255).astype(np.uint8)
        for index, moment in enumerate(self.moments()):
            yield Frame(self._picture(wall, moment, rng), begin_ms + moment.at_ms, index), moment

    def _walkers(self, rng: np.random.Generator) -> Sequence[Passer]:
        del rng
        return self.script

    def _picture(self, wall: Image, moment: Moment, rng: np.random.Generator) -> Image:
        """Paint everybody over the wall, who is farthest first."""
        picture = wall.copy()
        truth = moment.truth
        for row in np.argsort(-truth.places[:, 1]).tolist():
            one = self.script[int(truth.numbers[row])]
            left, top, width, height = truth.boxes[row].tolist()
            light = 1 + rng.normal(0, 0.03)
            for colour, share in ((one.upper, (0.0, 0.5)), (one.lower, (0.5, 1.0))):
                low = round(left), round(top + share[0] * height)
                high = round(left + width), round(top + share[1] * height)
                paint = [float(np.clip(light * level, 0, 255)) for level in colour]
                cv2.rectangle(picture, low, high, paint, thickness=-1)
            head = round(left + width * rng.uniform(0.3, 0.7)), round(top + 0.08 * height)
            cv2.circle(picture, head, max(2, round(height / 18)), _SKIN, thickness=-1)
            shoulders = round(left + width / 2), round(top + 0.2 * height)
            for _ in range(2):  # people move; what never does is a poster
                off = rng.uniform(-0.5, 0.5) * width, rng.uniform(0.1, 0.4) * height
                hand = round(shoulders[0] + off[0]), round(shoulders[1] + off[1])
                cv2.line(picture, shoulders, hand, _SKIN, max(2, round(width / 8)))
        return picture


def true_seconds(film: Film, one: int, other: int) -> float:
    """Return for how long two people of a script are in view within reach of each other."""
    first, second = film.script[one], film.script[other]
    near = 0
    for index in range(round(film.seconds * 5)):
        places = first.at(index / 5), second.at(index / 5)
        if places[0] is not None and places[1] is not None:
            near += float(np.linalg.norm(places[0] - places[1])) <= REACH_M
    return near / 5
