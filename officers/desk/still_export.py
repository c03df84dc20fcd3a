"""Make a still into a file that is handed over: where the policy permits it, and never unmarked.

The query and the officer who hands it over stand across the pixels, so that a copy says where it
came from. Only the still of a confirmed hit leaves: that of another candidate may show a stranger.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from officers.desk.handing_over import Prepared, to_hand_over
from officers.desk.jpeg_headers import picture_size
from officers.desk.moments import iso_utc
from officers.desk.phrases import phrase
from officers.desk.results import Results
from officers.desk.session import Session
from officers.desk.stills import Still
from officers.desk.traces import Numbered
from protocol.policy import Policy
from protocol.results import CONFIRMED
from runtime.clock import system_ms
from runtime.errors import OperationError

FORM = "still"
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_LINE_PX, _MARGIN_PX, _SCALE = 18, 6, 0.4
_QUALITY = 90
_SHADE = 0.25
Pixels = npt.NDArray[np.uint8]


def check_exportable(item: Numbered, policy: Policy) -> None:
    """Check that the still of a candidate may be handed over as a file.

    Raises:
        OperationError: the policy does not permit it, or the candidate is no confirmed hit.
    """
    if not policy.permits.evidence_export:
        raise OperationError(
            phrase(
                "the site's policy lets no still out as a file (evidence_export); look at it in "
                "the desk"
            )
        )
    if item.verdict != CONFIRMED:
        raise OperationError(
            phrase(
                "candidate {number} is no confirmed hit, and its still may show a stranger: only "
                "those of hits are handed over",
                number=item.number,
            )
        )


def still_to_hand_over(
    session: Session, results: Results, item: Numbered, still: Still
) -> Prepared:
    """Mark a still and return it as a file, with what is signed before it is given out.

    Args:
        session: of an officer to whom the results are sealed.
        results: as opened.
        item: whose still it is.
        still: from `show_still`, with its picture.

    Raises:
        OperationError: it may not be handed over, or there is none.
    """
    officer, case = session.officer, results.case
    check_exportable(item, officer.policy)
    if not still.jpeg:
        raise OperationError(still.absent or phrase("there is no still to hand over"))
    across = f"{case.id[:12]} {officer.name}"
    words = [
        f"query {case.id}",
        f"handed over by {officer.name}, {iso_utc(system_ms())}",
        f"candidate {item.number}; everybody else pixelated",
    ]
    name = f"still-{case.id[:12]}-{item.number}.jpg"
    return to_hand_over(session, case, FORM, {name: marked_picture(still.jpeg, across, words)})


def marked_picture(jpeg: bytes | bytearray, across: str, words: list[str]) -> bytes:
    """Return a JPEG with a text across it, over and over, and lines of words beneath.

    Raises:
        NoPicture, OperationError: it is none.
    """
    picture_size(jpeg)
    pixels = cv2.imdecode(np.frombuffer(bytes(jpeg), np.uint8), cv2.IMREAD_COLOR)
    if pixels is None:
        raise OperationError(phrase("the still cannot be read as a picture"))
    marked = _with_band(_across(pixels.astype(np.uint8, copy=False), across), words)
    done, data = cv2.imencode(".jpg", marked, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    pixels[:] = 0
    marked[:] = 0
    if not done:
        raise OperationError(phrase("the marked still cannot be written as a picture"))
    return data.tobytes()


def _across(pixels: Pixels, text: str) -> Pixels:
    """Blend a text over the picture, line below line, so that no part is without it."""
    over = np.zeros_like(pixels)
    (width, _), _ = cv2.getTextSize(text, _FONT, _SCALE, 1)
    for line, y in enumerate(range(_LINE_PX, pixels.shape[0] + _LINE_PX, 3 * _LINE_PX)):
        for x in range(-(line % 2) * width // 2, pixels.shape[1], width + 2 * _LINE_PX):
            cv2.putText(over, text, (x, y), _FONT, _SCALE, (255, 255, 255), 1, cv2.LINE_AA)
    mean = pixels.mean(axis=2, keepdims=True)
    ink = np.where(mean > 127, 0.0, 255.0)
    weight = over.astype(np.float32) / 255 * (1 - _SHADE)
    return (pixels * (1 - weight) + ink * weight).astype(np.uint8)


def _with_band(pixels: Pixels, words: list[str]) -> Pixels:
    """Put white lines with all the words beneath the picture, as wide as they need."""
    widest = max(cv2.getTextSize(text, _FONT, _SCALE, 1)[0][0] for text in words)
    height, width = pixels.shape[:2]
    whole = np.full(
        (
            height + len(words) * _LINE_PX + 2 * _MARGIN_PX,
            max(width, widest + 2 * _MARGIN_PX),
            3,
        ),
        255,
        np.uint8,
    )
    whole[:height, :width] = pixels
    for number, text in enumerate(words, start=1):
        place = (_MARGIN_PX, height + number * _LINE_PX)
        cv2.putText(whole, text, place, _FONT, _SCALE, (0, 0, 0), 1, cv2.LINE_AA)
    return whole
