"""A film of people from head to feet, in clothes of the colours that a test says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

import demo
from demo.scenario import FROM_BEHIND, ClipTruth, SightingTruth
from protocol.clothes import Colour

_SIZE: Final = (540, 960)
_FPS: Final = 10
_PAINTS: Final[Mapping[Colour, tuple[int, int, int]]] = {  # BGR
    "red": (40, 35, 180),
    "blue": (150, 70, 30),
    "green": (60, 130, 50),
    "white": (225, 225, 225),
    "grey": (120, 120, 120),
    "brown": (40, 70, 110),
}
"""Black is what the man on the picture wears."""
_CLOTH: Final = 75.0
"""Mean of a pixel's colours up to which it is cloth: skin and the floor's glare are brighter."""
_COLLAR, _BELT, _ANKLES = 0.17, 0.5, 0.93  # of his height, from above
_BODY_PX, _FACES_HIGH, _STEP_PX = 340, 7.5, 8.0  # height; of a face; walked in a second
_GRAIN: Final = 2.2


@dataclass(frozen=True, slots=True)
class Passer:
    """Somebody in view from `from_s` to `to_s`; `upper` and `lower` say what they wear."""

    upper: Colour
    lower: Colour
    from_s: float
    to_s: float

    @property
    def who(self) -> str:
        """By their clothes."""
        return f"{self.upper} over {self.lower}"


def film_of_dressed(path: Path, camera: str, passers: Sequence[Passer]) -> ClipTruth:
    """Write a film (MPEG-4) in which they walk slowly to the right, each in a lane of their own.

    It is one man who turns his back, once for each of them: what differs is the colours alone.
    """
    random = np.random.default_rng(2022)
    people = [_cut_out(passer) for passer in passers]
    height, width = _SIZE
    street = np.linspace((150, 146, 140), (104, 100, 98), height, dtype=np.float32)[:, None]
    coarse = random.normal(0, 9, (height // 15, width // 15)).astype(np.float32)
    street = street + cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)[..., None]
    grain = random.normal(0, _GRAIN, (height + 32, width + 32, 1)).astype(np.float32)
    seconds = max(passer.to_s for passer in passers) + 0.5
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), _FPS, (width, height))
    assert writer.isOpened()
    for index in range(round(seconds * _FPS)):
        at_s, picture = index / _FPS, street.copy()
        for lane, (passer, (pixels, opacity)) in enumerate(zip(passers, people, strict=True)):
            if not passer.from_s <= at_s < passer.to_s:
                continue
            bob = 2.5 * np.sin(2 * np.pi * 1.8 * at_s + lane)
            top = round(112 + 12 * (lane % 2) + bob)
            walked = _STEP_PX * (at_s - passer.from_s)
            left = round(width / len(passers) * (lane + 0.05) + walked)
            part = picture[top : top + pixels.shape[0], left : left + pixels.shape[1]]
            part += opacity * (pixels - part)
        down, right = random.integers(0, 32, 2)
        picture += grain[down : down + height, right : right + width]
        writer.write(np.clip(picture, 0, 255).astype(np.uint8))
    writer.release()
    face_px = _BODY_PX / _FACES_HIGH
    seen = tuple(
        SightingTruth(passer.who, None, passer.from_s, passer.to_s, (face_px, face_px))
        for passer in passers
    )
    return ClipTruth(camera, path, seconds, _FPS, seen, ())


def _cut_out(passer: Passer) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The man in these colours: pixels (h, w, 3) BGR, opacity (h, w, 1) in 0..1."""
    whole = cv2.imread(str(Path(demo.__file__).with_name(FROM_BEHIND)), cv2.IMREAD_UNCHANGED)
    assert whole is not None
    pixels, opacity = whole[..., :3].astype(np.float32), whole[..., 3].astype(np.float32) / 255
    light = pixels.mean(axis=2)
    rows = np.flatnonzero((opacity > 0.5).any(axis=1))
    down = (np.arange(len(pixels))[:, None] - rows[0]) / np.ptp(rows)
    garments = (passer.upper, _COLLAR, _BELT), (passer.lower, _BELT, _ANKLES)
    for colour, low, high in garments:
        if colour == "black":
            continue
        cloth = (light < _CLOTH) & (opacity > 0.25) & (down > low) & (down <= high)
        share = cv2.GaussianBlur(cloth.astype(np.float32), (0, 0), 0.7)[..., None]
        folds = np.clip(0.8 + light / 90, 0.7, 1.5)[..., None]
        pixels += share * (np.array(_PAINTS[colour], np.float32) * folds - pixels)
    scale = _BODY_PX / np.ptp(rows)
    shown = np.dstack([pixels, opacity])
    shown = cv2.resize(shown, None, fx=scale, fy=scale, interpolation=cv2.INTER_LINEAR)
    return shown[..., :3].astype(np.float32), shown[..., 3:].astype(np.float32)
