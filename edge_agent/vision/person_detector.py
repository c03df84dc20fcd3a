"""Finds whole persons in a frame with whatever ONNX detector the bundle describes.

How a network's outputs are read is said by the manifest, so that another can take its place:

- ``layout = "distances"``: one row a cell of the grids of `strides`, row by row; of each cell the
  distances to a box's left, top, right and bottom side, in strides from the cell's centre
  (FCOS: Tian et al., ICCV 2019), or of each distance a distribution over `bins` whole numbers
  (Li et al., "Generalized Focal Loss", NeurIPS 2020), as NanoDet gives.
- ``layout = "boxes"``: one row a candidate; left, top, right, bottom in pixels of the input, or in
  shares of it (`relative`).

Scores are one column a class, or one alone. What overlaps is thinned out here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import cv2
import numpy as np

from edge_agent.opencv import quiet_opencv
from edge_agent.vision.arrays import Doubles, Floats, Image, Ints
from edge_agent.vision.changes import Grid, Part
from edge_agent.vision.errors import ModelError
from edge_agent.vision.people import Bodies
from edge_agent.vision.shrinking import shrunk, size_within
from runtime.bundle import ModelEntry
from runtime.onnx import InferenceSession, cpu_session

MAX_PERSONS = 128
"""Most persons reported of one frame: the surest."""
_MAX_CANDIDATES = 2000
_SMALLEST_PX = 4.0
_GRIDS = 32  # sizes of inputs whose cells are kept: parts of frames have many

Layout: TypeAlias = Literal["distances", "boxes"]


@dataclass(frozen=True, slots=True)
class PersonForm:
    """How frames are fed to a person detector, and how its outputs are read.

    `size` (width, height) is what a network of one fixed size takes, None where it takes any;
    sides are then multiples of `multiple`. `mean` and `std` are of the channels, `rgb` their order.
    """

    layout: Layout
    size: tuple[int, int] | None
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    rgb: bool = False
    multiple: int = 32
    strides: tuple[int, ...] = ()
    bins: int = 0
    relative: bool = False
    person_class: int = 0
    score_threshold: float = 0.3
    nms_threshold: float = 0.5


def form_of(entry: ModelEntry) -> PersonForm:
    """How a bundle's person detector is fed and read.

    Raises:
        ModelError: its manifest entry does not say it, or says what this version cannot do.
    """
    layout = entry.parameters.get("layout")
    tensor = entry.inputs[0] if entry.inputs else None
    if entry.engine != "onnx" or tensor is None or tensor.layout != "NCHW":
        raise ModelError(
            f"person detector {entry.model_id}: this version runs 'onnx' detectors with an NCHW "
            "input; its manifest entry says otherwise"
        )
    if layout not in ("distances", "boxes"):
        raise ModelError(
            f"person detector {entry.model_id} has outputs of the layout {layout!r}; this version "
            "reads 'distances' and 'boxes'"
        )
    rows, columns = tensor.shape[2:4] if len(tensor.shape) == 4 else (0, 0)
    strides = entry.parameters.get("strides", ())
    if layout == "distances" and not (isinstance(strides, tuple) and strides):
        raise ModelError(f"person detector {entry.model_id} names no strides of its distances")
    return PersonForm(
        layout="distances" if layout == "distances" else "boxes",
        size=(columns, rows) if rows > 0 and columns > 0 else None,
        mean=entry.preprocessing.mean,
        std=entry.preprocessing.std,
        rgb=tensor.colour == "RGB",
        multiple=int(_number(entry, "multiple", 32)),
        strides=tuple(int(stride) for stride in strides) if isinstance(strides, tuple) else (),
        bins=int(_number(entry, "bins", 0)),
        relative=bool(entry.parameters.get("relative", False)),
        person_class=int(_number(entry, "person_class", 0)),
        score_threshold=_number(entry, "score_threshold", 0.3),
        nms_threshold=_number(entry, "nms_threshold", 0.5),
    )


class OnnxPersonDetector:
    """Runs one such network on frames shrunk to fit a working size; for one thread."""

    def __init__(
        self,
        model: bytes | InferenceSession,
        form: PersonForm,
        *,
        width: int,
        height: int,
        num_threads: int = 1,
    ) -> None:
        """Load the model.

        Args:
            model: the ONNX file's content, or the network loaded (`person_session`).
            form: see `form_of`.
            width: frames are shrunk to fit into width x height, unless the network has a size of
                its own.
            height: see width.
            num_threads: threads that one run may use.

        Raises:
            ModelError: it cannot be loaded.
        """
        quiet_opencv()
        self._form = form
        self._limits = form.size or (width, height)
        self._tables = _tables(form)
        self._session = person_session(model, num_threads) if isinstance(model, bytes) else model
        self._input = self._session.get_inputs()[0].name
        self._centres: dict[tuple[int, int], tuple[Doubles, Doubles]] = {}

    def detect(self, image: Image, parts: Sequence[Part] | None = None) -> Bodies:
        """Find the persons of a frame (H, W, 3) uint8 BGR of any size, the surest first.

        Args:
            image: the frame.
            parts: of :meth:`grid`, to be searched alone; None: all of the frame.

        Raises:
            ModelError: the model fails, or does not give what its manifest says.
        """
        if parts is not None and not parts:
            return Bodies.none()
        rows, columns = image.shape[:2]
        size = size_within(image, self._limits)
        small = shrunk(image, size)
        try:
            if parts is None:
                found = [self._persons(small)]
            else:
                found = [self._in_part(small, part) for part in parts]
        finally:
            if small is not image:
                small.fill(0)
        corners = np.concatenate([np.zeros((0, 4)), *(corners for corners, _ in found)])
        scores = np.concatenate([np.zeros(0), *(scores for _, scores in found)])
        back = np.array([columns / size[0], rows / size[1]] * 2)
        corners = np.clip(corners * back, 0, np.array([columns, rows] * 2))
        return _thinned(corners, scores, self._form.nms_threshold)

    def grid(self, image: Image) -> Grid | None:
        """The squares on whose borders parts of a frame (H, W, 3) end; None: it takes no parts."""
        if self._form.size is not None:
            return None
        size = image.shape[1], image.shape[0]
        return Grid.of(size, size_within(image, self._limits), self._form.multiple)

    def _in_part(self, small: Image, part: Part) -> tuple[Doubles, Doubles]:
        """As `_persons`, of a part of a frame at its working size."""
        side = self._form.multiple
        place = (
            slice(side * part.top, side * part.bottom),
            slice(side * part.left, side * part.right),
        )
        corners, scores = self._persons(small[place])
        return corners + np.array([side * part.left, side * part.top] * 2), scores

    def _persons(self, small: Image) -> tuple[Doubles, Doubles]:
        """Corners (n, 4) and scores (n,) of who is in a picture, in its pixels; not thinned out."""
        values = self._prepared(small)
        try:
            outputs = self._session.run(None, {self._input: values})
        except Exception as error:
            raise ModelError(f"the person detector failed ({error})") from error
        finally:
            values.fill(0)
        return self._read(outputs, (values.shape[3], values.shape[2]))

    def _prepared(self, small: Image) -> Floats:
        """The network's input (1, 3, h, w): the picture, the rest black."""
        form = self._form
        size = small.shape[1], small.shape[0]
        columns, rows = form.size or tuple(
            -(-side // form.multiple) * form.multiple for side in size
        )
        values = np.empty((1, 3, rows, columns), np.float32)
        planes = cv2.split(small)
        for channel, table in enumerate(self._tables):
            plane = planes[2 - channel if form.rgb else channel]
            values[0, channel] = table[0, 0]
            values[0, channel, : size[1], : size[0]] = cv2.LUT(plane, table)
        for plane in planes:
            plane.fill(0)
        return values

    def _read(self, outputs: list[Floats], size: tuple[int, int]) -> tuple[Doubles, Doubles]:
        """Corners (n, 4) left, top, right, bottom in pixels of the input, and scores (n,)."""
        form = self._form
        try:
            scores = np.asarray(outputs[0], np.float64)[0]
            places = np.asarray(outputs[1], np.float32)[0]
            scores = scores if scores.ndim == 1 else scores[:, form.person_class]
            rows = np.flatnonzero(scores >= form.score_threshold)
            if len(rows) > _MAX_CANDIDATES:
                rows = rows[np.argsort(-scores[rows])[:_MAX_CANDIDATES]]
            if form.layout == "boxes":
                scale = np.array(size * 2 if form.relative else (1, 1, 1, 1), np.float64)
                corners = places[rows].reshape(-1, 4).astype(np.float64) * scale
            else:
                corners = self._from_distances(places, rows, size)
        except (IndexError, ValueError) as error:
            raise ModelError(
                f"the person detector's outputs are not what its manifest says ({error})"
            ) from error
        return corners, scores[rows]

    def _from_distances(self, places: Floats, rows: Ints, size: tuple[int, int]) -> Doubles:
        centres, strides = self._cells(size)
        if len(centres) != len(places):
            raise ValueError(f"{len(places)} cells where the strides make {len(centres)}")
        chosen = places[rows].astype(np.float64)
        if self._form.bins:
            parts = chosen.reshape(len(rows), 4, self._form.bins)
            parts = np.exp(parts - parts.max(axis=2, keepdims=True))
            chosen = (parts @ np.arange(self._form.bins)) / parts.sum(axis=2)
        away = chosen.reshape(len(rows), 4) * strides[rows, None]
        corners: Doubles = np.tile(centres[rows], 2) + away * np.array([-1, -1, 1, 1])
        return corners

    def _cells(self, size: tuple[int, int]) -> tuple[Doubles, Doubles]:
        """Centres (n, 2) of all cells of an input of `size`, and each one's stride (n,)."""
        if size not in self._centres:
            centres, strides = [], []
            for stride in self._form.strides:
                columns, rows = -(-size[0] // stride), -(-size[1] // stride)
                y, x = np.mgrid[:rows, :columns]
                centres.append((np.column_stack([x.ravel(), y.ravel()]) + 0.5) * stride)
                strides.append(np.full(rows * columns, float(stride)))
            if len(self._centres) >= _GRIDS:
                self._centres.clear()
            self._centres[size] = np.concatenate(centres), np.concatenate(strides)
        return self._centres[size]


def _tables(form: PersonForm) -> list[Floats]:
    """What the network takes (1, 256) for each value of a pixel, by its own channels."""
    mean = np.broadcast_to(np.array(form.mean, np.float64), 3)
    deviation = np.broadcast_to(np.array(form.std, np.float64), 3)
    levels = np.arange(256, dtype=np.uint8)[None]
    tables = []
    for channel in range(3):
        table = np.asarray(cv2.subtract(levels, mean[channel], dtype=cv2.CV_32F), np.float32)
        table /= deviation[channel]
        tables.append(table)
    return tables


def person_session(model: bytes, num_threads: int = 1) -> InferenceSession:
    """Load a network of persons, which may be run from several threads.

    Raises:
        ModelError: it cannot be loaded.
    """
    try:
        return cpu_session(model, num_threads)
    except Exception as error:
        raise ModelError(
            f"the person detector cannot be loaded ({error}); build the models again"
        ) from error


def _thinned(corners: Doubles, scores: Doubles, overlap: float) -> Bodies:
    """The boxes that remain when of those that overlap only the surest is kept."""
    sides = corners[:, 2:] - corners[:, :2]
    good = np.isfinite(corners).all(axis=1) & np.isfinite(scores) & (sides >= _SMALLEST_PX).all(1)
    boxes = np.concatenate([corners[:, :2], sides], axis=1)[good]
    if not len(boxes):
        return Bodies.none()
    kept = np.asarray(
        cv2.dnn.NMSBoxes(boxes.tolist(), scores[good].tolist(), 0.0, overlap), np.int64
    ).reshape(-1)[:MAX_PERSONS]
    return Bodies(
        boxes[kept].astype(np.float32), np.clip(scores[good][kept], 0, 1).astype(np.float32)
    )


def _number(entry: ModelEntry, name: str, default: float) -> float:
    value = entry.parameters.get(name, default)
    return float(value) if isinstance(value, int | float) else default
