"""One person out of a frame, everybody and everything else covered; or why it cannot be done.

Clear is what a detector says is this person's body, but beside their head nothing but the head: a
face behind somebody's shoulder is nearest there. Covered are the margin around the body, every
other face and head that reaches in, wherever it is taken to be, and what of the body another body
shares, but for the person's own head, and their own trunk unless the other stands before them.
Whoever's head may be on the person's own face is too near: then there is no picture.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from edge_agent.stills.mosaic import Part, cover
from edge_agent.vision.arrays import Bools, Doubles, Floats, Image
from edge_agent.vision.boxes import common_area
from edge_agent.vision.people import NO_BODY, faces_of_bodies, heads_of

WIDTH, HEIGHT = 240, 320
"""A picture fits into these; nothing is enlarged."""
SMALLEST_SIDE = 16
"""Of a picture: officers' programs take no smaller ones."""
CELL = 1.0
"""Side of a cell, in heights of the largest face that may be in the picture (docs/models.md)."""
LEAST_CELL_PX = 8.0
_MARGIN = 0.06  # of the body's longer side, around it
_SMALLEST = (16.0, 32.0)  # width and height (px in the frame) of a body worth showing
_HEAD = np.array([-0.3, -0.4, 1.6, 1.65])  # of a face's box: left, top, width, height of the head
_UNSURE_HEAD = np.array([-0.8, -0.8, 2.6, 2.4])  # the same, where the head is but guessed
_SHOULDERS = 1.3  # face heights below its top
_TRUNK = 1.8  # width in face heights
_BUST = np.array([-0.8, -0.6, 2.6, 2.6])  # of a face's box: what is shown where no body was found
_ON_FACE = 0.15  # share of the person's face that another's head may cover
_GUESSED_ON_FACE = 0.4  # the same, of a head whose place is guessed from its body


class NoStill(Exception):
    """There is no picture of this person; the message is a code of `protocol.v2.stills.REASONS`."""


@dataclass(frozen=True, slots=True)
class Others:
    """Everybody else who may be in a frame, in its pixels; (n, 4) left, top, width, height.

    `faces` that were found, `bodies` that were, `heads` where somebody's was a moment ago.
    """

    faces: Doubles
    bodies: Doubles
    heads: Doubles


@dataclass(frozen=True, slots=True)
class Portrait:
    """A picture (h, w, 3) BGR with one person clear in it.

    `face_box` (4,) is where that person's face is in it, None where none was seen; `cell_px` the
    side of the mosaic's cells.
    """

    picture: Image
    face_box: Doubles | None
    cell_px: float

    def wipe(self) -> None:
        """Overwrite it."""
        self.picture.fill(0)


def portray(
    image: Image, body: Floats | Doubles | None, face_box: Floats | Doubles | None, others: Others
) -> Portrait:
    """Cut a person out of a frame.

    Args:
        image: the frame (H, W, 3), left as it is.
        body: (4,) of the person, as found in this frame; None: none was.
        face_box: (4,) of the person, as found in this frame; None: it does not show.
        others: everybody else.

    Raises:
        NoStill: it is not certain where the person ends, or others are too near.
    """
    own_face = None if face_box is None else np.asarray(face_box, np.float64)
    clear = _clear_box(body, own_face)
    head_face = own_face if own_face is not None else heads_of(clear[None])[0].astype(np.float64)
    heads = _heads_of_others(others)
    _check_apart(head_face, heads, others)
    margin = _MARGIN * float(clear[2:].max())
    view = _within(np.array([*(clear[:2] - margin), *(clear[2:] + 2 * margin)]), image)
    scale = min(1.0, WIDTH / view[2], HEIGHT / view[3]) if min(view[2:]) > 0 else 0.0
    if scale * min(view[2:]) < SMALLEST_SIDE:
        raise NoStill("no-body")
    size = max(1, round(view[2] * scale)), max(1, round(view[3] * scale))
    part = Part.around(view, image)
    picture = np.asarray(
        cv2.resize(image[part.slices], size, interpolation=cv2.INTER_AREA), np.uint8
    )

    def put(boxes: Doubles) -> Doubles:
        """Boxes (n, 4) of the frame in the picture."""
        factor = np.array([size[0] / (part.right - part.left), size[1] / (part.bottom - part.top)])
        corner = np.array([part.left, part.top, 0, 0])
        return np.asarray((boxes.reshape(-1, 4) - corner) * np.tile(factor, 2), np.float64)

    here = head_face[None]
    inside = common_area(heads, view[None])[:, 0] > 0 if len(heads) else np.zeros(0, np.bool_)
    largest = max([float(here[0, 3]), *_face_heights(others, view)])
    cell_px = max(LEAST_CELL_PX, CELL * largest * scale)
    own_head, trunk = head_of(here), _trunk_of(head_face, clear)
    sparing_head = _mask(picture, put(own_head))
    sparing_both = sparing_head | _mask(picture, put(trunk))
    for row in others.bodies:
        before = row[1] + row[3] > clear[1] + clear[3]
        cover(picture, put(row)[0], cell_px, sparing_head if before else sparing_both)
    for side in put(_beside(own_head[0], head_face, view)):
        cover(picture, side, cell_px)
    sparing_face = _mask(picture, put(here))
    for head in put(heads[inside]):
        cover(picture, head, cell_px, sparing_face)
    for strip in put(_around(clear, view)):
        cover(picture, strip, cell_px)
    return Portrait(picture, None if own_face is None else put(own_face)[0], cell_px)


def _clear_box(body: Floats | Doubles | None, face_box: Doubles | None) -> Doubles:
    if body is not None:
        clear = np.asarray(body, np.float64)
        if face_box is not None:  # bodies are boxed coarsely: the face is in any case
            low = np.minimum(clear[:2], face_box[:2])
            high = np.maximum(clear[:2] + clear[2:], face_box[:2] + face_box[2:])
            clear = np.concatenate([low, high - low])
        small = clear[2] < _SMALLEST[0] or clear[3] < _SMALLEST[1]
    elif face_box is not None:
        clear, small = _grown(face_box[None], _BUST)[0], False
    else:
        raise NoStill("no-body")
    if small or not np.isfinite(clear).all():
        raise NoStill("no-body")
    return clear


def head_of(faces: Doubles) -> Doubles:
    """The heads (n, 4), hair and ears and all, of faces (n, 4): what of others is covered."""
    return _grown(faces, _HEAD)


def _grown(faces: Doubles, shares: Doubles) -> Doubles:
    """Boxes (n, 4) whose sides are these shares of those of faces (n, 4)."""
    size = np.tile(faces[:, 2:], 2)
    boxes = np.concatenate([faces[:, :2], np.zeros((len(faces), 2))], axis=1)
    return np.asarray(boxes + shares * size, np.float64)


def _heads_of_others(others: Others) -> Doubles:
    """Where all other heads are taken to be (n, 4)."""
    shown = head_of(others.faces.reshape(-1, 4))
    return np.concatenate([shown, _guessed(others)])


def _guessed(others: Others) -> Doubles:
    """The heads (n, 4) whose faces nobody saw."""
    bodies = others.bodies.reshape(-1, 4)
    owners = faces_of_bodies(others.faces.reshape(-1, 4), bodies)
    faceless = np.setdiff1d(np.arange(len(bodies)), owners[owners != NO_BODY])
    guessed = heads_of(bodies[faceless]).astype(np.float64)
    return _grown(np.concatenate([guessed, others.heads.reshape(-1, 4)]), _UNSURE_HEAD)


def _check_apart(face_box: Doubles, heads: Doubles, others: Others) -> None:
    """Check that nobody else's head may be on this face (4,).

    Raises:
        NoStill: one may.
    """
    if not len(heads):
        return
    on_face = common_area(heads, face_box[None])[:, 0] / max(float(face_box[2:].prod()), 1e-6)
    seen = len(others.faces)
    if (on_face[:seen] > _ON_FACE).any() or (on_face[seen:] > _GUESSED_ON_FACE).any():
        raise NoStill("others-near")


def _face_heights(others: Others, view: Doubles) -> list[float]:
    """The heights of the faces that others in the view have, or would have."""
    bodies = others.bodies.reshape(-1, 4)
    faces = np.concatenate(
        [others.faces.reshape(-1, 4), heads_of(bodies), others.heads.reshape(-1, 4)]
    )
    reach = np.concatenate([others.faces.reshape(-1, 4), bodies, others.heads.reshape(-1, 4)])
    near = common_area(head_of(reach), view[None])[:, 0] > 0
    return [float(height) for height in faces[near, 3]]


def _trunk_of(face_box: Doubles, clear: Doubles) -> Doubles:
    """A body's own trunk (1, 4), below its head and down to its feet."""
    top = face_box[1] + _SHOULDERS * face_box[3]
    width = min(_TRUNK * face_box[3], clear[2])
    left = min(
        max(face_box[0] + face_box[2] / 2 - width / 2, clear[0]), clear[0] + clear[2] - width
    )
    return np.array([[left, top, width, max(0.0, clear[1] + clear[3] - top)]])


def _beside(head: Doubles, face_box: Doubles, view: Doubles) -> Doubles:
    """What lies left and right of a head, and above it (3, 4), down to the shoulders."""
    right, bottom = view[0] + view[2], face_box[1] + _SHOULDERS * face_box[3]
    high = max(0.0, bottom - view[1])
    return np.array(
        [
            [view[0], view[1], max(0.0, head[0] - view[0]), high],
            [head[0] + head[2], view[1], max(0.0, right - head[0] - head[2]), high],
            [view[0], view[1], view[2], max(0.0, head[1] - view[1])],
        ]
    )


def _around(clear: Doubles, view: Doubles) -> Doubles:
    """The four strips (4, 4) of a view that lie around what is clear in it."""
    left, top, right, bottom = (*clear[:2], *(clear[:2] + clear[2:]))
    x, y, width, height = view
    return np.array(
        [
            [x, y, width, max(0.0, top - y)],
            [x, bottom, width, max(0.0, y + height - bottom)],
            [x, y, max(0.0, left - x), height],
            [right, y, max(0.0, x + width - right), height],
        ]
    )


def _within(box: Doubles, image: Image) -> Doubles:
    """What of a box (4,) lies within a frame, in whole pixels."""
    part = Part.around(box, image)
    return np.array(
        [part.left, part.top, part.right - part.left, part.bottom - part.top], np.float64
    )


def _mask(picture: Image, boxes: Doubles) -> Bools:
    """Where boxes (n, 4) lie in a picture, (H, W); whole pixels within them alone."""
    mask = np.zeros(picture.shape[:2], np.bool_)
    for left, top, width, height in boxes.tolist():
        rows = slice(max(0, int(np.ceil(top))), max(0, int(top + height)))
        mask[rows, max(0, int(np.ceil(left))) : max(0, int(left + width))] = True
    return mask
