"""Which parts of a camera's pictures have to be searched again since a detector searched them last.

A camera stands still, and so does most of what it sees: where nobody was found and nothing has
changed since, nobody would be found now. Pictures are compared as few grey cells, each with what it
was when its place was last searched, so that what changes slowly adds up. What counts is how much a
cell differs from those around it, against how much cells differ all over the picture: noise and a
recorder's compression change every cell a little, a cloud all of them much. Where a picture is too
restless to tell, as in the dark, or light comes and goes, all of it is searched.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from edge_agent.vision.arrays import Bools, Floats, Image, Ints
from edge_agent.vision.boxes import Boxes
from edge_agent.vision.shrinking import shrunk

CELLS = (160, 90)
"""Columns and rows of cells: a face of 12 px at 960 x 540, the least that is found, is four."""
LEAST_CHANGE = 3.0
"""Grey levels by which a cell has changed at least."""
OUTSTANDING = 7.0
"""So many times the median change of all cells is more than noise: 4.7 standard deviations."""
RESTLESS, OTHER_LIGHT = 2.5, 10.0
"""Median change of all cells (grey levels), about their surroundings and as it is, above which
all of a picture is searched."""
MARGIN = 0.5
"""So far (squares) a part reaches beyond what is in it, so that it shows with what is around."""
_WORTH_IT = 0.7  # share of the picture above which all of it is searched in one run
_RUN = 4  # squares that a run more costs
_AROUND = 15  # cells, across and down, with which one is compared


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a picture, by the squares of its grid: from `left`, `top` to before the others."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def area(self) -> int:
        """How many squares it has."""
        return (self.right - self.left) * (self.bottom - self.top)

    def meets(self, other: Part) -> bool:
        """Whether they have a square in common."""
        across = self.left < other.right and other.left < self.right
        return across and self.top < other.bottom and other.top < self.bottom

    def with_this(self, other: Part) -> Part:
        """The least part that has both."""
        return Part(
            min(self.left, other.left),
            min(self.top, other.top),
            max(self.right, other.right),
            max(self.bottom, other.bottom),
        )


@dataclass(frozen=True, slots=True)
class Grid:
    """The squares on whose borders a detector's pictures may be cut.

    `columns` and `rows` of them; those to the right and below may reach beyond the frame. `width`
    and `height` of one are in pixels of the frame, which has `size` (width, height, px).
    """

    columns: int
    rows: int
    width: float
    height: float
    size: tuple[int, int]

    @classmethod
    def of(cls, size: tuple[int, int], working: tuple[int, int], side: int) -> Grid:
        """The grid of a frame that is shrunk to a working size, both (width, height), px.

        Args:
            size: of the frame.
            working: what it is shrunk to.
            side: of a square there, px: the detector's largest stride.
        """
        width, height = (side * one / other for one, other in zip(size, working, strict=True))
        return cls(-(-working[0] // side), -(-working[1] // side), width, height, size)

    @property
    def area(self) -> int:
        """How many squares there are."""
        return self.columns * self.rows

    def around(self, box: Sequence[float]) -> Part:
        """The part in which a box (left, top, width, height, px) lies with its margin."""
        left, top, width, height = box
        return Part(
            max(0, int(np.floor(left / self.width - MARGIN))),
            max(0, int(np.floor(top / self.height - MARGIN))),
            min(self.columns, int(np.ceil((left + width) / self.width + MARGIN))),
            min(self.rows, int(np.ceil((top + height) / self.height + MARGIN))),
        )

    def within(self, part: Part, box: Sequence[float]) -> bool:
        """Whether a box (px) ends within a part, or where the picture does."""
        left, top, width, height = box
        return (
            (part.left == 0 or left >= part.left * self.width)
            and (part.top == 0 or top >= part.top * self.height)
            and (part.right == self.columns or left + width <= part.right * self.width)
            and (part.bottom == self.rows or top + height <= part.bottom * self.height)
        )


def cells_of(image: Image) -> Floats:
    """The mean grey (90, 160) of the cells of a frame (H, W, 3) of any size."""
    small = shrunk(image, (2 * CELLS[0], 2 * CELLS[1]))
    grey = cv2.cvtColor(small, cv2.COLOR_BGR2GRAY).astype(np.float32)
    try:
        return np.asarray(cv2.resize(grey, CELLS, interpolation=cv2.INTER_AREA), np.float32)
    finally:
        grey.fill(0)
        if small is not image:
            small.fill(0)


class Changes:
    """What one detector searched last, and what has changed since. For one thread."""

    def __init__(self) -> None:
        self._searched: Floats | None = None

    def parts(self, cells: Floats, grid: Grid, known: Boxes) -> tuple[Part, ...] | None:
        """The parts to be searched again; None where that is as good as all.

        Args:
            cells: of the frame, see :func:`cells_of`.
            grid: of the detector and frame.
            known: boxes (n, 4) of what was found lately, px, which is sought again whatever has
                changed: each is within one part, with what is around it.
        """
        if self._searched is None:
            return None
        change = cells - self._searched
        about = np.abs(change - cv2.blur(change, (_AROUND, _AROUND)))
        usual = float(np.median(about))
        if usual > RESTLESS or abs(float(np.median(change))) > OTHER_LIGHT:
            return None
        squares = _squares(about >= max(LEAST_CHANGE, OUTSTANDING * usual), grid)
        for box in known.tolist():
            part = grid.around(box)
            squares[part.top : part.bottom, part.left : part.right] = True
        return _parts(squares, grid)

    def searched(self, cells: Floats, grid: Grid, parts: Sequence[Part] | None) -> None:
        """Note that these parts were searched, or all of the frame that has these cells."""
        if parts is None or self._searched is None:
            self.forget()
            self._searched = cells.copy()
            return
        across, down = _bounds(grid)
        for part in parts:
            place = (
                slice(down[0][part.top], down[1][part.bottom - 1]),
                slice(across[0][part.left], across[1][part.right - 1]),
            )
            self._searched[place] = cells[place]

    def forget(self) -> None:
        """Begin anew; what was kept is overwritten."""
        if self._searched is not None:
            self._searched.fill(0)
        self._searched = None


@lru_cache(maxsize=16)
def _bounds(grid: Grid, margin: float = 0.0) -> tuple[tuple[Ints, Ints], tuple[Ints, Ints]]:
    """Of columns and of rows: the first cell of each square, and the one after its last."""
    across, down = (
        (squares, side * cells / whole, cells)
        for squares, side, cells, whole in zip(
            (grid.columns, grid.rows), (grid.width, grid.height), CELLS, grid.size, strict=True
        )
    )
    return _cells_of_squares(*across, margin), _cells_of_squares(*down, margin)


def _cells_of_squares(
    squares: int, cells_each: float, cells: int, margin: float
) -> tuple[Ints, Ints]:
    first = np.arange(squares)
    low = np.floor((first - margin) * cells_each).astype(np.int64)
    high = np.ceil((first + 1 + margin) * cells_each).astype(np.int64)
    return np.clip(low, 0, cells - 1), np.clip(high, 1, cells)


def _squares(changed: Bools, grid: Grid) -> Bools:
    """The squares (rows, columns) in which, or beside which, a cell has changed."""
    sums = np.zeros((CELLS[1] + 1, CELLS[0] + 1), np.int64)
    sums[1:, 1:] = changed.cumsum(axis=0).cumsum(axis=1)
    (left, right), (top, bottom) = _bounds(grid, MARGIN)
    high = sums[np.ix_(bottom, right)] - sums[np.ix_(bottom, left)]
    return np.asarray(high - sums[np.ix_(top, right)] + sums[np.ix_(top, left)] > 0)


def _parts(squares: Bools, grid: Grid) -> tuple[Part, ...] | None:
    """Rectangles around the squares (rows, columns) that hold together; None: as good as all."""
    if squares.sum() > _WORTH_IT * grid.area:
        return None
    _, _, stats, _ = cv2.connectedComponentsWithStats(squares.astype(np.uint8), connectivity=8)
    parts = [Part(x, y, x + w, y + h) for x, y, w, h, _ in stats[1:].tolist()]
    while (fewer := _joined(parts)) != parts:
        parts = fewer
    return tuple(parts) if sum(part.area for part in parts) <= _WORTH_IT * grid.area else None


def _joined(parts: Sequence[Part]) -> list[Part]:
    """The parts; those that share a square, or that one run searches as cheaply, as one."""
    joined: list[Part] = []
    for part in parts:
        for row, before in enumerate(joined):
            both = part.with_this(before)
            if part.meets(before) or both.area <= part.area + before.area + _RUN:
                joined[row] = both
                break
        else:
            joined.append(part)
    return joined
