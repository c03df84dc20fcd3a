"""How boxes lie to one another; each is left, top, width, height."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np

from edge_agent.vision.arrays import Doubles, Floats

Boxes: TypeAlias = Floats | Doubles
"""(n, 4)."""


def common_area(first: Boxes, second: Boxes) -> Boxes:
    """The area (n, k) that each two boxes, (n, 4) and (k, 4), both cover."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(
        first[:, None, :2] + first[:, None, 2:], second[None, :, :2] + second[None, :, 2:]
    )
    area: Boxes = np.clip(high - low, 0, None).prod(axis=2)
    return area


def generalised_iou(first: Boxes, second: Boxes) -> Doubles:
    """Generalised IoU (n, k) in -1..1 of boxes (n, 4) and (k, 4): left, top, width, height."""
    low1, size1 = first[:, None, :2], first[:, None, 2:]
    low2, size2 = second[None, :, :2], second[None, :, 2:]
    high1, high2 = low1 + size1, low2 + size2
    common = common_area(first, second)
    hull = (np.maximum(high1, high2) - np.minimum(low1, low2)).prod(axis=2)
    union = size1.prod(axis=2) + size2.prod(axis=2) - common
    union, hull = np.maximum(union, 1e-9), np.maximum(hull, 1e-9)
    result: Doubles = common / union - (hull - union) / hull
    return result


def shared(first: Boxes, second: Boxes) -> Doubles:
    """The share (n, k) of the smaller of each two boxes, (n, 4) and (k, 4), that both cover."""
    least = np.minimum(first[:, None, 2:].prod(axis=2), second[None, :, 2:].prod(axis=2))
    return np.asarray(common_area(first, second) / np.maximum(least, 1e-9), np.float64)
