"""Real footage of people that is kept for tests, with what was counted on it by eye."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from edge_agent.capture import Frame

FOLDER = Path(__file__).parents[1] / "data" / "footage"
PEOPLE = {
    "face-walking": 2,
    "walking-and-pause": 3,
    "head-pose-two-people": 2,
    "classroom": 4,
    "store-aisle": 3,
    "one-by-one": 2,
}
"""How many people each clip shows."""
BEGIN_MS = 1_700_000_000_000


def footage(name: str, begin_ms: int = BEGIN_MS) -> Iterator[Frame]:
    """The frames of a clip, stamped by its own timing from `begin_ms` on."""
    with np.load(FOLDER / f"{name}.npz") as stored:
        jpeg, offset, at_ms = stored["jpeg"], stored["offset"], stored["at_ms"]
    for index, after_ms in enumerate(at_ms.tolist()):
        image = cv2.imdecode(jpeg[offset[index] : offset[index + 1]], cv2.IMREAD_COLOR)
        yield Frame(np.asarray(image, np.uint8), begin_ms + after_ms, index)
