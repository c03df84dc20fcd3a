"""Turns the bodies of people into vectors of what they wear, from the crops that are worth it.

The network is our own (`models/appearance`); what it gives ranks sightings within minutes and
neighbouring places, and identifies nobody. A crop in which little of a person shows, or too dark to
tell colours, gives nothing: no template is better than one of the background.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from edge_agent.vision.arrays import Doubles, Floats, Image
from edge_agent.vision.embedder import onnx_session, run_onnx, unit_rows
from edge_agent.vision.errors import ModelError

BODY_HEIGHT, BODY_WIDTH = 128, 64
"""Size of a body's crop, px."""
SMALLEST_BODY_PX, ENOUGH_BODY_PX = 48.0, 128.0
"""Height of a body in the frame from which it is worth anything, and from which all it can be."""
_INPUT, _OUTPUT = "crops", "vectors"
_BATCH = 16  # crops a run: bounds its memory
_SQUAT, _UPRIGHT = 0.9, 1.7  # height over width at which a box holds no body, and a whole one
_FRONT = 0.02  # who stands so much lower in the frame, in heights of the other, is in front
_DARK, _LIT = 22.0, 48.0  # mean brightness at which colours cannot be told, and can
_BURNT, _WHITE = 235.0, 250.0
_FLAT, _VARIED = 5.0, 14.0  # standard deviation of brightness

BodyCrops = NDArray[np.uint8]
"""(n, 128, 64, 3) BGR, by `body_crop`."""


class AppearanceEmbedder:
    """The network that describes what people wear; may be called from several threads."""

    def __init__(
        self, model: bytes, *, model_id: str, dimension: int, num_threads: int = 1
    ) -> None:
        """Load the ONNX file's content.

        Raises:
            ModelError: it cannot be loaded, or its tensors are not those of this network.
        """
        self.model_id = model_id
        self.dimension = dimension
        self._what = f"appearance embedder {model_id}"
        self._session = onnx_session(model, self._what, num_threads)
        inputs = {t.name: (t.type, t.shape[1:]) for t in self._session.get_inputs()}
        outputs = {t.name: t.shape[1:] for t in self._session.get_outputs()}
        if inputs != {_INPUT: ("tensor(uint8)", [BODY_HEIGHT, BODY_WIDTH, 3])}:
            raise ModelError(f"the {self._what} takes {inputs}, not crops of 128x64x3 bytes")
        if outputs != {_OUTPUT: [dimension]}:
            raise ModelError(
                f"the {self._what} gives {outputs}, not vectors of {dimension} as its manifest says"
            )

    def embed(self, crops: BodyCrops) -> Floats:
        """Embed crops (n, 128, 64, 3) uint8 BGR to unit rows (n, dimension) float32.

        Raises:
            ModelError: the model fails, or gives something else than finite, non-zero vectors.
        """
        vectors = np.empty((len(crops), self.dimension), np.float32)
        for start in range(0, len(crops), _BATCH):
            part = np.ascontiguousarray(crops[start : start + _BATCH])
            vectors[start : start + len(part)] = run_onnx(
                self._session, {_INPUT: part}, f"the {self._what}"
            )
        return unit_rows(vectors, self.model_id)


def body_crop(image: Image, box: Floats | Doubles) -> Image:
    """Cut a body out of a frame (H, W, 3): (128, 64, 3) uint8 BGR, stretched as the box is.

    Args:
        image: the frame.
        box: left, top, width, height (4,), px; what lies outside the frame is left out. A box that
            has no part inside gives a black crop.
    """
    height, width = image.shape[:2]
    sides = np.asarray(box, np.float64)
    if not np.isfinite(sides).all():
        return np.zeros((BODY_HEIGHT, BODY_WIDTH, 3), np.uint8)
    left, top = np.clip(np.floor(sides[:2]), 0, (width, height)).astype(int)
    right, bottom = np.clip(np.ceil(sides[:2] + sides[2:]), 0, (width, height)).astype(int)
    part = image[top:bottom, left:right]
    if part.shape[0] < 1 or part.shape[1] < 1:
        return np.zeros((BODY_HEIGHT, BODY_WIDTH, 3), np.uint8)
    shrinks = part.shape[0] > BODY_HEIGHT
    way = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(part, (BODY_WIDTH, BODY_HEIGHT), interpolation=way), np.uint8)


def body_bounds(boxes: Floats | Doubles, frame_size: tuple[int, int]) -> Doubles:
    """The worth (n,) in 0..1 that each body's crop can have, judged by the boxes of all.

    Counted are its height, how much of it lies inside the frame, whether the box is upright (a
    person whose legs are hidden gives a squat one), and how much nobody in front of it hides.

    Args:
        boxes: left, top, width, height (n, 4), px, of all bodies of the frame.
        frame_size: height and width of the frame, px.
    """
    sides = np.asarray(boxes, np.float64).reshape(-1, 4)
    if not len(sides):
        return np.zeros(0)
    limit = np.array(frame_size[::-1], np.float64)
    low, high = sides[:, :2], sides[:, :2] + sides[:, 2:]
    area = np.maximum(sides[:, 2:].prod(axis=1), 1e-6)
    inside = (np.clip(high, 0, limit) - np.clip(low, 0, limit)).prod(axis=1) / area
    shape = sides[:, 3] / np.maximum(sides[:, 2], 1e-6)
    worth: Doubles = (
        _ramp(sides[:, 3], SMALLEST_BODY_PX, ENOUGH_BODY_PX) ** 0.5
        * np.clip(inside, 0, 1) ** 2
        * _ramp(shape, _SQUAT, _UPRIGHT)
        * (1 - _hidden(low, high, area)) ** 2
    )
    return worth


def light(crop: Image) -> float:
    """How far a crop's light lets colours be told, 0..1: neither dark, nor burnt, nor flat."""
    grey = cv2.cvtColor(crop, cv2.COLOR_BGR2GRAY)
    mean, deviation = (float(v[0, 0]) for v in cv2.meanStdDev(grey))
    lit = _ramp(np.float64(mean), _DARK, _LIT) * (1 - _ramp(np.float64(mean), _BURNT, _WHITE))
    return float(lit * _ramp(np.float64(deviation), _FLAT, _VARIED))


def _hidden(low: Doubles, high: Doubles, area: Doubles) -> Doubles:
    """Share (n,) of each box that the one in front of it that hides most of it covers."""
    across = np.minimum(high[:, None], high[None]) - np.maximum(low[:, None], low[None])
    common = np.clip(across, 0, None).prod(axis=2)
    tall = (high - low)[:, 1]
    in_front = high[None, :, 1] > high[:, None, 1] + _FRONT * tall[:, None]
    share: Doubles = np.where(in_front, common, 0).max(axis=1) / area
    return np.clip(share, 0, 1)


def _ramp(values: Doubles | np.float64, nothing: float, all_of_it: float) -> Doubles:
    """0 up to `nothing`, 1 from `all_of_it`, straight between."""
    return np.clip((values - nothing) / (all_of_it - nothing), 0.0, 1.0)
