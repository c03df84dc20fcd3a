"""Real faces, covered as a still covers them, and what detector and embedder make of that.

Faces are those of the project's photographs and footage. Who is who across clips is told by the
embedder itself from clear pictures, so that an actor of two clips is no stranger to themselves.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from benchmarks.bench_people import COUNTED, _images
from edge_agent.stills.mosaic import cover
from edge_agent.stills.portrait import head_of
from edge_agent.vision.alignment import align
from edge_agent.vision.arrays import Bools, Doubles, Floats, Image, Ints
from edge_agent.vision.boxes import common_area
from edge_agent.vision.detector import FaceDetector
from edge_agent.vision.models import VisionModels

SIZES_PX = (20, 40, 80, 120, 200)
"""Heights of a face as the picture shows it."""
_SURE = 0.8
_SAME = 0.45  # cosine from which two clear faces are one person's
_SMALLEST_PX = 38.0
_MOST = 8  # faces of one person in one clip
_AROUND = 1.5  # of the face's height, of the picture that is looked at
_BOOTSTRAPS = 400
_FEW = 6


@dataclass(frozen=True, slots=True)
class Face:
    """A clear face: the frame that it is in, its box (4,), landmarks (5, 2) and who it is."""

    image: Image
    box: Doubles
    landmarks: Doubles
    vector: Floats
    person: int
    source: str

    def at(self, height_px: int) -> tuple[Image, Doubles, Doubles]:
        """A patch with the face so many pixels high; its box and landmarks in it."""
        around = _AROUND * self.box[3]
        corner = np.maximum(np.floor(self.box[:2] - around), 0)
        end = np.ceil(self.box[:2] + self.box[2:] + around)
        part = self.image[int(corner[1]) : int(end[1]), int(corner[0]) : int(end[0])]
        scale = height_px / self.box[3]
        size = max(1, round(part.shape[1] * scale)), max(1, round(part.shape[0] * scale))
        patch = np.asarray(cv2.resize(part, size, interpolation=cv2.INTER_AREA), np.uint8)
        factor = np.array([size[0] / part.shape[1], size[1] / part.shape[0]])
        box = (self.box - [*corner, 0, 0]) * np.tile(factor, 2)
        return patch, box, (self.landmarks - corner) * factor


@dataclass(frozen=True, slots=True)
class Separation:
    """How much better a person's pictures score against their own clear one than others' do.

    `area` is the chance of that (0.5: none better), taken for each clear picture by itself, since
    a flat patch is nearer to some faces than to others whoever is under it; `low` and `high` are
    its bounds at 95 %, by a bootstrap; `mated` and `strangers` count pairs.
    """

    area: float
    low: float
    high: float
    mated: int
    strangers: int


def faces_of(models: VisionModels, photos: Path) -> list[Face]:
    """All clear, large faces of photographs and footage."""
    detector = models.detector(1920, 1080, _SURE)
    found: list[Face] = []
    for source, images in _pictures(photos):
        kept: dict[int, int] = {}
        for image in images:
            faces = detector.refine(image, detector.detect(image))
            for row in np.flatnonzero((faces.scores > _SURE) & (faces.boxes[:, 3] > _SMALLEST_PX)):
                crop = align(image, faces.landmarks[row : row + 1])
                vector = models.embedder.embed(crop, np.zeros(1, np.bool_))[0]
                person = _person(found, vector)
                if kept.get(person, 0) < _MOST:
                    kept[person] = kept.get(person, 0) + 1
                    box = faces.boxes[row].astype(np.float64)
                    points = faces.landmarks[row].astype(np.float64)
                    found.append(Face(image, box, points, vector, person, source))
    return found


def _pictures(photos: Path) -> Iterator[tuple[str, Sequence[Image]]]:
    for path in sorted(photos.glob("*.[jp][pn]g")):
        image = np.asarray(cv2.imread(str(path)), np.uint8)
        scale = min(1.0, 700 / min(image.shape[:2]))
        size = round(image.shape[1] * scale), round(image.shape[0] * scale)
        yield path.name, [np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA))]
    for clip in COUNTED:
        yield clip, [image for _, image in _images(clip)][::2]


def _person(known: Sequence[Face], vector: Floats) -> int:
    scores = [(float(one.vector @ vector), one.person) for one in known]
    best = max(scores, default=(0.0, 0))
    return best[1] if best[0] >= _SAME else max((one.person for one in known), default=-1) + 1


def covered(face: Face, height_px: int, cell: float) -> tuple[Image, Doubles, Doubles]:
    """As `Face.at`, the head covered as another's is in a still: cells in face heights."""
    patch, box, points = face.at(height_px)
    cover(patch, head_of(box[None])[0], cell * height_px)
    return patch, box, points


def is_found(patch: Image, box: Doubles, detector: FaceDetector, sizes: Sequence[float]) -> bool:
    """Whether a face is found where one is (4,), in a picture at any of some enlargements."""
    for size in sizes:
        large = np.asarray(cv2.resize(patch, None, fx=size, fy=size), np.uint8)
        boxes = detector.detect(large).boxes.astype(np.float64) / size
        if len(boxes) and (common_area(boxes, box[None])[:, 0] > 0.2 * box[2:].prod()).any():
            return True
    return False


def vectors_of(
    faces: Sequence[Face], models: VisionModels, shown: Callable[[Face], tuple[Image, Doubles]]
) -> Floats:
    """Vectors (n, d) of faces as they are shown: the picture, and the landmarks (5, 2) in it."""
    crops = []
    for face in faces:
        patch, points = shown(face)
        crops.append(align(patch, points[None].astype(np.float32))[0])
    return np.asarray(models.embedder.embed(np.array(crops), np.zeros(len(crops), np.bool_)))


def separation(scores: Floats | Doubles, people: tuple[Ints, Ints], counts: Bools) -> Separation:
    """How far apart scores (n, k) of pictures are, of the same people and of others.

    Args:
        scores: of pictures (n) with clear ones (k).
        people: who is on the pictures (n,), and on the clear ones (k,).
        counts: (n, k) which pairs count.
    """
    same = people[0][:, None] == people[1][None]
    mated, strange = same & counts, ~same & counts
    groups = [np.flatnonzero(people[0] == person) for person in np.unique(people[0])]
    if len(groups) < _FEW:  # few people, many scenes: these are drawn
        groups = [np.array([row]) for row in range(len(scores))]
    rng = np.random.default_rng(3)
    areas = [_area(scores, mated, strange)]
    for _ in range(_BOOTSTRAPS):
        rows = np.concatenate([groups[n] for n in rng.integers(0, len(groups), len(groups))])
        areas.append(_area(scores[rows], mated[rows], strange[rows]))
    low, high = np.nanquantile(areas[1:], (0.025, 0.975))
    return Separation(areas[0], float(low), float(high), int(mated.sum()), int(strange.sum()))


def people_of(faces: Sequence[Face]) -> Ints:
    """Who is on each face, (n,)."""
    return np.array([one.person for one in faces], np.int64)


def _area(scores: Floats | Doubles, mated: Bools, strange: Bools) -> float:
    """The chance that a mated pair scores above a stranger's of the same column; ties are half."""
    total, weight = 0.0, 0
    for column in range(scores.shape[1]):
        one, other = scores[mated[:, column], column], scores[strange[:, column], column]
        if not len(one) or not len(other):
            continue
        ordered = np.sort(other)
        below = np.searchsorted(ordered, one, "left") + np.searchsorted(ordered, one, "right")
        total += float(below.sum()) / 2 / len(other)
        weight += len(one)
    return total / weight if weight else float("nan")
