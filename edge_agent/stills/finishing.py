"""The last look at a portrait: whatever else might be a face in it is covered, then it is encoded.

The face detector looks at the very picture that is to be sealed, at several sizes, for all that
scores as high as a track goes on with. What it finds beside the person's own face is covered, and
it looks again; if that does not come to an end there is no still. The JPEG is made of what is left:
no thumbnail, no metadata.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import cv2
import numpy as np

from edge_agent.stills.mosaic import cover
from edge_agent.stills.portrait import LEAST_CELL_PX, NoStill, Portrait
from edge_agent.vision.arrays import Bools, Detections, Doubles, Floats, Image
from edge_agent.vision.boxes import common_area

ENLARGED: tuple[float, ...] = (1.0, 2.0, 3.0)
"""How many times the picture is enlarged for a look."""
LARGEST_LOOK_PX = 640
"""On its longer side; a picture half as large again took the detector twice the memory."""
QUALITY = 80
_ROUNDS = 3
_OWN = 0.3  # overlap (IoU) with the person's face from which what is found is that face
_GROWN = 0.35  # of a found face's sides, around it


class FaceFinder(Protocol):
    """Finds faces in a picture."""

    def detect(self, image: Image) -> Detections:
        """Find them, best first.

        Raises:
            ModelError: it failed.
        """


def finish(portrait: Portrait, finder: FaceFinder) -> bytearray:
    """Cover what else may be a face in a portrait, and encode it; the caller wipes both.

    Args:
        portrait: is written to.
        finder: finds faces in pictures of up to `LARGEST_LOOK_PX` a side without shrinking them.

    Raises:
        NoStill: faces are found again and again, or it cannot be encoded.
        ModelError: the finder failed.
    """
    for _ in range(_ROUNDS):
        strange = strange_faces(portrait, finder)
        if not len(strange):
            return encoded(portrait.picture)
        _cover(portrait, strange)
    raise NoStill("others-near")


def strange_faces(
    portrait: Portrait, finder: FaceFinder, sizes: Sequence[float] = ENLARGED
) -> Doubles:
    """Where faces (n, 4) are found in a portrait, beside the person's own.

    Raises:
        ModelError: the finder failed.
    """
    found = np.concatenate([_look(portrait.picture, finder, size) for size in sizes])
    if portrait.face_box is None or not len(found):
        return found
    return found[~_own(found, portrait.face_box)]


def encoded(picture: Image) -> bytearray:
    """A picture as JPEG.

    Raises:
        NoStill: it cannot be encoded.
    """
    done, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    if not done:
        raise NoStill("failed")
    made = bytearray(data)
    data.fill(0)
    return made


def _look(picture: Image, finder: FaceFinder, size: float) -> Doubles:
    """Where faces (n, 4) are found in a picture that is so many times enlarged, in its pixels."""
    size = min(size, LARGEST_LOOK_PX / max(picture.shape[:2]))
    large = picture
    if size != 1.0:
        large = np.asarray(
            cv2.resize(picture, None, fx=size, fy=size, interpolation=cv2.INTER_LINEAR), np.uint8
        )
    try:
        return finder.detect(large).boxes.astype(np.float64) / size
    finally:
        if large is not picture:
            large.fill(0)


def _own(found: Doubles | Floats, face_box: Doubles) -> Bools:
    """Whether each of what was found (n, 4) is the face (4,)."""
    common = common_area(found, face_box[None])[:, 0]
    union = found[:, 2:].prod(axis=1) + face_box[2:].prod() - common
    return np.asarray(common / np.maximum(union, 1e-6) >= _OWN, np.bool_)


def _cover(portrait: Portrait, faces: Doubles) -> None:
    grown = faces + faces[:, [2, 3, 2, 3]] * np.array([-1, -1, 2, 2]) * _GROWN
    for face, around in zip(faces, grown, strict=True):
        cover(portrait.picture, around, max(LEAST_CELL_PX, portrait.cell_px, float(face[3])))
