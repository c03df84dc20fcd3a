"""Covers a part of a picture with a coarse mosaic: a few flat cells, of the average alone.

What a cell keeps is one colour, cut to sixteen levels: the mean of all its pixels. Nothing is
dithered, and cells are never smaller than asked, but where the part itself is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from edge_agent.vision.arrays import Bools, Doubles, Image

_LEVEL = 16
"""Grey levels that become one."""


@dataclass(frozen=True, slots=True)
class Part:
    """A rectangle of a picture in whole pixels; `right` and `bottom` are no longer in it."""

    left: int
    top: int
    right: int
    bottom: int

    @classmethod
    def around(cls, box: Doubles, picture: Image) -> Part:
        """Whatever a box (4,) left, top, width, height touches of a picture."""
        rows, columns = picture.shape[:2]
        left, top, width, height = box.tolist()
        return cls(
            min(columns, max(0, math.floor(left))),
            min(rows, max(0, math.floor(top))),
            min(columns, max(0, math.ceil(left + width))),
            min(rows, max(0, math.ceil(top + height))),
        )

    @property
    def empty(self) -> bool:
        """Whether there is nothing in it."""
        return self.left >= self.right or self.top >= self.bottom

    @property
    def slices(self) -> tuple[slice, slice]:
        """The rows and columns of it."""
        return slice(self.top, self.bottom), slice(self.left, self.right)


def cover(picture: Image, box: Doubles, cell_px: float, spared: Bools | None = None) -> None:
    """Cover a box of a picture (H, W, 3) in place.

    Args:
        picture: is written to.
        box: (4,) left, top, width, height; what it touches is covered.
        cell_px: least side of a cell.
        spared: (H, W) where the picture stays as it is; the cells' means are taken with it.
    """
    part = Part.around(box, picture)
    if part.empty:
        return
    inside = picture[part.slices]
    rows, columns = inside.shape[:2]
    cell = max(1, math.ceil(cell_px))
    cells = max(1, columns // cell), max(1, rows // cell)
    means = cv2.resize(inside, cells, interpolation=cv2.INTER_AREA)
    flat = (means // _LEVEL * _LEVEL + _LEVEL // 2).astype(np.uint8)
    large = np.asarray(cv2.resize(flat, (columns, rows), interpolation=cv2.INTER_NEAREST), np.uint8)
    if spared is None:
        inside[:] = large
    else:
        covered = ~spared[part.slices]
        inside[covered] = large[covered]
