"""A subject's template from one or more photographs, or a clear reason why not.

The photograph is searched at several sizes, because a portrait fills the picture and a snapshot
does not. Each photo must show exactly one face that is good enough; several photos must show the
same person and are fused into one template.

Where the bundle has a network for masked faces, masks of several kinds are drawn on each photo, and
what it makes of them is averaged into the template: it lies nearer to what cameras see of somebody
who wears one (docs/models.md has the figures, and those of keeping both apart).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from edge_agent.heif import HeifProblem, decode_heif, is_heif
from edge_agent.sources import decode_image
from edge_agent.vision.alignment import align
from edge_agent.vision.arrays import Detections, Doubles, Floats, Image
from edge_agent.vision.light import light
from edge_agent.vision.models import VisionModels
from edge_agent.vision.quality import face_signs, quality, sharpness, upper_bounds
from protocol.sightings import MaskStatus
from runtime.errors import OperationError
from runtime.fsio import FileProblem, read_file
from runtime.masks_drawn import draw_mask
from runtime.process import MAX_PIXELS

MAX_PHOTO_BYTES = 64 << 20
MAX_PHOTOS = 16
MIN_SCORE = 0.75
MIN_EYES_PX = 24.0
MIN_QUALITY = 0.45
_MAX_YAW = 0.45
_MIN_SHARPNESS = 0.15
_MIN_LIGHT = 0.5  # below it light is what is wrong with a face that seems blurred
_SEARCH_SIZES = (640, 320, 1280)  # px of the longer side, in this order until a face is found
DRAWN_MASKS = 4
"""Masks drawn on each photo: of random kinds, the same for the same photo."""
MASKED_SHARE = 0.2
"""Weight of the drawn masks in a template. More finds hardly more at an equal rate of strangers,
and moves all scores up, those of masked strangers too (docs/models.md)."""
_BYSTANDER = 0.35  # faces smaller than this part of the largest are taken for background


class EnrolmentError(OperationError):
    """No template can be made from these photographs; the message names the photo and the cure."""


class NotAnImage(EnrolmentError):
    """The file cannot be read, is empty, or is no image."""


class NoFaceFound(EnrolmentError):
    """No face in the photo."""


class SeveralFacesFound(EnrolmentError):
    """More than one face in the photo: it is not for the software to choose."""


class FaceTooSmall(EnrolmentError):
    """The face has too few pixels."""


class FaceTooPoor(EnrolmentError):
    """The face is blurred, turned away, in the dark, or cut off."""


class FaceTurned(FaceTooPoor):
    """The face does not look ahead."""


class FaceInTheDark(FaceTooPoor):
    """There is too little light on the face to tell anything of it."""


class FaceBlurred(FaceTooPoor):
    """The face is not sharp."""


class FaceMasked(EnrolmentError):
    """The face wears a mask, and nobody said that it may."""


class PhotosDisagree(EnrolmentError):
    """The photos do not seem to show one person."""


@dataclass(frozen=True, slots=True)
class Enrolled:
    """A subject's template: unit vector (d,) float32, what it is of, mean quality 0..1.

    `agreement` is the lowest cosine of one photo with the rest fused; 1 for a single photo.
    """

    vector: Floats
    modality: str
    model_id: str
    quality: float
    agreement: float

    def wipe(self) -> None:
        """Overwrite the template with zeros."""
        self.vector.fill(0)


@dataclass(frozen=True, slots=True)
class Photo:
    """A photograph: what it is called in messages, and what gives the file's bytes."""

    name: str
    read: Callable[[], bytes]


@dataclass(frozen=True, slots=True)
class Face:
    """A photo's one face: the aligned crop (112, 112, 3), its quality 0..1, px between the eyes."""

    crop: Image
    quality: float
    eyes_px: float


def template_from_photos(
    paths: Sequence[Path], models: VisionModels, *, masked: bool = False
) -> Enrolled:
    """Make one template of one person's photographs, from files; as `template_of`."""
    photos = [Photo(str(path), partial(_file_bytes, path)) for path in paths]
    return template_of(photos, models, masked=masked)


def template_of(photos: Sequence[Photo], models: VisionModels, *, masked: bool = False) -> Enrolled:
    """Make one template of one person's photographs. The caller wipes it.

    Args:
        photos: two or more make a template that finds more.
        models: of the site.
        masked: take photographs that show a mask, too.

    Raises:
        FaceMasked: a photo shows a mask, and `masked` is not set.
        NotAnImage, NoFaceFound, SeveralFacesFound, FaceTooSmall, FaceTooPoor: about one photo.
        PhotosDisagree: a photo's cosine to the others is below the models' `agreement_threshold`.
        EnrolmentError: no photo was given, or too many.
    """
    if not photos:
        raise EnrolmentError("give at least one photo of the subject")
    if len(photos) > MAX_PHOTOS:
        raise EnrolmentError(f"{len(photos)} photos are too many: choose up to {MAX_PHOTOS}")
    vectors = np.empty((len(photos), models.embedder.dimension), np.float32)
    qualities = np.empty(len(photos), np.float64)
    try:
        for row, photo in enumerate(photos):
            image = decode_photo(photo.read(), photo.name)
            try:
                face = only_face(image, photo.name, models)
            finally:
                image.fill(0)
            qualities[row] = face.quality
            try:
                check_bare(face, photo.name, models, masked=masked)
                vectors[row] = _template(face.crop, models)
            finally:
                face.crop.fill(0)
        names = [photo.name for photo in photos]
        agreement = _agreement(vectors, qualities, names, models.agreement_threshold)
        mean = (vectors * qualities[:, None]).sum(axis=0)
        return Enrolled(
            vector=(mean / np.linalg.norm(mean)).astype(np.float32),
            modality=models.modality,
            model_id=models.model_id,
            quality=float(qualities.mean()),
            agreement=agreement,
        )
    finally:
        vectors.fill(0)


def read_photo(path: Path) -> Image:
    """Read a picture; the caller wipes it.

    Raises:
        NotAnImage: the file is none.
    """
    return decode_photo(_file_bytes(path), str(path))


def _file_bytes(path: Path) -> bytes:
    try:
        return read_file(path, MAX_PHOTO_BYTES)
    except FileProblem as error:
        raise NotAnImage(f"photo {path}: {error}") from error


def decode_photo(data: bytes, name: str) -> Image:
    """Decode the bytes of a picture; the caller wipes it.

    Raises:
        NotAnImage: they are none.
    """
    if not data:
        raise NotAnImage(f"photo {name} is empty (0 bytes); copy it again")
    if is_heif(data):
        try:
            return decode_heif(data)
        except HeifProblem as error:
            raise NotAnImage(f"photo {name} {error}") from error
    image = decode_image(data)
    if image is None:
        raise NotAnImage(
            f"photo {name} is not an image that can be read, or is damaged, or has more than "
            f"{MAX_PIXELS // 1_000_000} million pixels; use a JPEG, PNG, WebP or HEIC file"
        )
    return image


def only_face(image: Image, name: str, models: VisionModels) -> Face:
    """Return the photo's one face, if it is good enough; the caller wipes its crop.

    Raises:
        NoFaceFound, SeveralFacesFound, FaceTooSmall, FaceTooPoor: it is not.
    """
    faces = find_faces(image, models)
    if not len(faces):
        raise NoFaceFound(
            f"photo {name} shows no face that can be found; use a frontal photo in good light"
        )
    signs = face_signs(faces, (image.shape[0], image.shape[1]))
    large = np.flatnonzero(
        (signs.eyes_px >= MIN_EYES_PX) | (signs.eyes_px >= signs.eyes_px.max() * _BYSTANDER)
    )
    if len(large) > 1:
        raise SeveralFacesFound(
            f"photo {name} shows {len(large)} faces; cut the subject out of it, or use another"
        )
    row = int(large[0])
    if signs.eyes_px[row] < MIN_EYES_PX:
        raise FaceTooSmall(
            f"photo {name}: the face is too small ({signs.eyes_px[row]:.0f} px between the eyes, "
            f"{MIN_EYES_PX:.0f} are needed); use a closer or larger photo"
        )
    crops = align(image, faces.landmarks[row : row + 1])
    sharp = sharpness(crops)
    worth = float(quality(upper_bounds(signs, faces.scores)[row : row + 1], sharp)[0])
    if signs.yaw[row] > _MAX_YAW:
        raise FaceTurned(f"photo {name}: the face is turned away; use one that looks ahead")
    if sharp[0] < _MIN_SHARPNESS:
        if light(crops)[0] < _MIN_LIGHT:
            raise FaceInTheDark(
                f"photo {name}: the face is too dark, or too flat or noisy to tell anything of it; "
                "use one in good light"
            )
        raise FaceBlurred(f"photo {name}: the face is blurred; use a sharper photo")
    if worth < MIN_QUALITY:
        raise FaceTooPoor(
            f"photo {name}: the face is not good enough (quality {worth:.2f}, {MIN_QUALITY} is "
            "needed); use a sharp frontal photo with the whole face in it"
        )
    return Face(crops[0], worth, float(signs.eyes_px[row]))


def check_bare(shown: Face, name: str, models: VisionModels, *, masked: bool) -> None:
    """Check that a face wears no mask, unless that is said to be as it should.

    Raises:
        FaceMasked: it wears one.
    """
    if not masked and _wears_mask(shown.crop, models):
        raise FaceMasked(
            f"photo {name}: the face wears a mask; use a photo without one, or say with --masked "
            "that there is none"
        )


def _wears_mask(crop: Image, models: VisionModels) -> bool:
    return models.mask.vote(crop[None], np.ones(1)).status is MaskStatus.MASKED


def _template(crop: Image, models: VisionModels) -> Floats:
    """The unit vector (d,) of a crop (112, 112, 3), with drawn masks where a network knows them."""
    worn = _wears_mask(crop, models)
    # The crop and its mirror image: a face is nearly symmetric, light and pose are not.
    pair = np.stack([crop, crop[:, ::-1]])
    plain = _mean(pair, models, worn=worn)
    pair.fill(0)
    both = np.array([False, True])
    if worn or models.embedder.networks(both[:1]) == models.embedder.networks(both[1:]):
        return plain
    rng = np.random.default_rng(0)
    drawn = np.stack([draw_mask(crop, rng) for _ in range(DRAWN_MASKS)])
    covered = _mean(drawn, models, worn=True)
    drawn.fill(0)
    joined = (1 - MASKED_SHARE) * plain + MASKED_SHARE * covered
    plain.fill(0)
    covered.fill(0)
    return np.asarray(joined / np.linalg.norm(joined), np.float32)


def _mean(crops: Image, models: VisionModels, *, worn: bool) -> Floats:
    """The unit mean (d,) of the vectors of crops (n, 112, 112, 3), which all wear a mask or not."""
    rows = models.embedder.embed(crops, np.full(len(crops), worn))
    total = rows.sum(axis=0)
    rows.fill(0)
    return np.asarray(total / np.linalg.norm(total), np.float32)


def find_faces(image: Image, models: VisionModels) -> Detections:
    """All faces of a photo at the first search size that shows one."""
    longer = max(image.shape[:2])
    for size in _SEARCH_SIZES:
        if size > 2 * longer:
            continue
        # A margin around the photo: the detector misses faces that touch the border.
        margin = longer // 8
        padded = cv2.copyMakeBorder(
            image, margin, margin, margin, margin, cv2.BORDER_CONSTANT, value=(127, 127, 127)
        )
        detector = models.detector(size, size, MIN_SCORE)
        found = detector.detect(np.asarray(padded, np.uint8))
        padded.fill(0)
        if len(found):
            boxes = found.boxes.copy()
            boxes[:, :2] -= margin
            return Detections(boxes, found.landmarks - np.float32(margin), found.scores)
    return Detections.none()


def _agreement(
    vectors: Floats, qualities: Doubles, names: Sequence[str], threshold: float
) -> float:
    if len(vectors) == 1:
        return 1.0
    weighted = vectors.astype(np.float64) * qualities[:, None]
    rest = weighted.sum(axis=0) - weighted
    cosines = (vectors * rest).sum(axis=1) / np.maximum(np.linalg.norm(rest, axis=1), 1e-9)
    lowest = int(np.argmin(cosines))
    if cosines[lowest] < threshold:
        which = (
            f"{names[0]} and {names[1]}"
            if len(names) == 2
            else f"{names[lowest]} and the other {len(names) - 1} photos"
        )
        raise PhotosDisagree(
            f"{which} do not seem to show the same person (score {cosines[lowest]:.2f}, "
            f"{threshold:.2f} is needed); leave out the one that is not the subject"
        )
    return float(cosines[lowest])
