"""A template of what somebody wears, from a picture or from words, or a clear reason why not.

The picture is one that the investigator may have; the box says who in it is meant. Words name the
colours of upper and lower body. What comes out ranks people dressed alike within minutes and
neighbouring places. It identifies nobody.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

import numpy as np

from edge_agent.enrol import Enrolled, EnrolmentError, read_photo
from edge_agent.vision.appearance import (
    SMALLEST_BODY_PX,
    BodyCrops,
    body_bounds,
    body_crop,
    light,
)
from edge_agent.vision.arrays import Doubles, Floats, Image
from protocol.clothes import ClothesNotUnderstood, known_words, parse_clothes
from protocol.keytree import FOLLOWED
from runtime.clothes_words import WordDirections

MIN_WORTH = 0.2
"""Of the crop (`edge_agent.vision.appearance`), from which a template is made."""


class PersonTooSmall(EnrolmentError):
    """The person has too few pixels."""


class PersonTooPoor(EnrolmentError):
    """Too little of a standing person shows, or too badly."""


class WordsUnclear(EnrolmentError):
    """A word means nothing here, or no garment has a colour."""


class Describes(Protocol):
    """A network that describes what people wear."""

    model_id: str
    dimension: int

    def embed(self, crops: BodyCrops) -> Floats:
        """Embed crops (n, 128, 64, 3) uint8 BGR to unit rows (n, dimension) float32."""


def box_of(text: str) -> Doubles:
    """Read ``x,y,w,h``, px: (4,).

    Raises:
        EnrolmentError: it is no box.
    """
    try:
        box = np.array([float(part) for part in text.split(",")])
    except ValueError:
        box = np.zeros(0)
    if box.shape != (4,) or not np.isfinite(box).all() or (box[2:] < 1).any():
        raise EnrolmentError(
            f"--box {text!r} is not x,y,w,h in pixels: left, top, width and height of the person"
        )
    return box


def template_from_body(path: Path, box: Doubles | None, network: Describes) -> Enrolled:
    """Make a template of the clothes on a picture, from a file; as `template_of_clothes`."""
    return template_of_clothes(read_photo(path), str(path), box, network)


def template_of_clothes(
    image: Image, name: str, box: Doubles | None, network: Describes
) -> Enrolled:
    """Make a template of the clothes of the one person in a box. The caller wipes it.

    Args:
        image: the picture, which is wiped here.
        name: what it is called in messages.
        box: left, top, width, height (4,), px, of the whole person; None: the picture is cut so.
        network: of the site.

    Raises:
        PersonTooSmall, PersonTooPoor: too little of a person shows, or too badly.
    """
    crop = None
    try:
        height, width = image.shape[:2]
        whole = np.array([0.0, 0.0, width, height])
        meant = whole if box is None else box
        worth = float(body_bounds(meant, (height, width))[0])
        crop = body_crop(image, meant)
        if meant[3] < SMALLEST_BODY_PX:
            raise PersonTooSmall(
                f"picture {name}: the person is {meant[3]:.0f} px tall, and {SMALLEST_BODY_PX:.0f} "
                "are needed; use a larger picture"
            )
        worth *= light(crop)
        if worth < MIN_WORTH:
            raise PersonTooPoor(
                f"picture {name}: too little of a standing person shows in the box, or it is too "
                f"dark to tell colours (worth {worth:.2f}, {MIN_WORTH} is needed); give the whole "
                "person, upright, with --box x,y,w,h, or another picture"
            )
        pair = np.stack([crop, crop[:, ::-1]])  # and its mirror image: clothes are much the same
        rows = network.embed(pair)
        pair.fill(0)
        total = rows.sum(axis=0)
        rows.fill(0)
        return Enrolled(
            vector=np.asarray(total / np.linalg.norm(total), np.float32),
            modality=FOLLOWED,
            model_id=network.model_id,
            quality=worth,
            agreement=1.0,
        )
    finally:
        image.fill(0)
        if crop is not None:
            crop.fill(0)


def template_from_words(words: str, directions: WordDirections) -> Enrolled:
    """Make a template of people in clothes said in words: of nobody.

    Args:
        words: such as "red jacket, dark trousers", in English or Korean.
        directions: of the site's bundle.

    Raises:
        WordsUnclear: a word means nothing here, or no garment has a colour.
        WordsUnusable: the colours cancel one another out.
    """
    try:
        clothes = parse_clothes(words)
    except ClothesNotUnderstood as error:
        raise WordsUnclear(f"--words: {error}. Known are {known_words()}") from error
    if clothes.ignored:
        unknown = ", ".join(f"'{word}'" for word in clothes.ignored)
        raise WordsUnclear(
            f"--words: {unknown} would be left out, since nothing is known of it; say it in other "
            f"words, or without. Known are {known_words()}"
        )
    return Enrolled(
        vector=directions.template(clothes),
        modality=FOLLOWED,
        model_id=directions.model_id,
        quality=1.0,
        agreement=1.0,
    )
