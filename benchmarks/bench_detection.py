"""What becomes of small, masked, dark and turned-away faces: found, refused, or taken for faces.

Faces are the crops of an archive (`models/mask_classifier/crops.py`; the held-out ones unless
another is named), shrunk into a grainy street-grey picture: a proxy, as the crops end at the face.
False alarms of the second pass are counted in footage in which a head is looked for all over the
picture: `python -m benchmarks.bench_detection --footage FOLDER`.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from rich.console import Console  # noqa: TID251 - prints our own words

from benchmarks.bench_edge import STATE, load
from benchmarks.figures import Figure
from benchmarks.printing import table
from edge_agent.vision.arrays import Crops, Detections, Doubles, Floats, Image
from edge_agent.vision.models import VisionModels
from edge_agent.vision.quality import sharpness
from models.mask_classifier.crops import CropSet, load_crops
from runtime.errors import OperationError

CROPS = Path("tests/data/mask_holdout.npz")
HEIGHTS = (24, 32, 48)
FRAME = (540, 960)
_FACE_OF_CROP = 0.88
"""Height of a face as YuNet boxes it, in sides of its aligned crop."""
_NOISE = 2
"""Standard deviation of a sensor's noise, in the 256 steps of a picture."""
_SURE = 0.65  # VisionConfig.confirm_score
_MOST = 400
_GRID = 16  # faces of one picture
_OFF = 0.2
"""Expected heads are so far off at random, in heights, and as much too large or small."""


@dataclass(frozen=True, slots=True)
class Small:
    """A picture (H, W, 3) with faces that are all of one height, and their boxes (n, 4)."""

    image: Image
    boxes: Doubles


def small_faces(crops: Crops, height: int, *, seed: int = 5) -> Iterator[Small]:
    """Shrink crops (n, 112, 112, 3) to faces so many pixels high, 16 a picture, edges softened."""
    rng = np.random.default_rng(seed)
    grain = rng.integers(40, 200, (*FRAME, 3), np.uint8)
    street = cv2.addWeighted(cv2.GaussianBlur(grain, (0, 0), 12), 0.94, grain, 0.06, 0)
    side = round(height / _FACE_OF_CROP)
    line = (np.arange(side) + 0.5) / side * 2 - 1
    inside = np.clip(6 * (1 - np.hypot(line, line[:, None])), 0, 1)[..., None]
    across = 4
    for start in range(0, len(crops), _GRID):
        image, boxes = np.asarray(street.copy(), np.uint8), []
        for number, crop in enumerate(crops[start : start + _GRID]):
            x = FRAME[1] * (2 * (number % across) + 1) // (2 * across) - side // 2
            y = FRAME[0] * (2 * (number // across) + 1) // (2 * across) - side // 2
            x, y = x + int(rng.integers(-20, 21)), y + int(rng.integers(-10, 11))
            little = cv2.resize(crop, (side, side), interpolation=cv2.INTER_AREA)
            place = image[y : y + side, x : x + side]
            place[:] = inside * little + (1 - inside) * place
            width = 0.84 * height
            boxes.append([x + (side - width) / 2, y + (side - height) / 2, width, height])
        yield Small(image, np.array(boxes))


def darkened(crops: Crops, light: float, noise: float, *, seed: int = 7) -> Crops:
    """Crops (n, 112, 112, 3) as in a part of the light, with a sensor's noise, in whole numbers."""
    rng = np.random.default_rng(seed)
    dark = crops * np.float32(light)
    dark += rng.normal(0, noise, crops.shape).astype(np.float32)
    return np.asarray(np.clip(np.rint(dark), 0, 255), np.uint8)


def about(boxes: Doubles, rng: np.random.Generator) -> Doubles:
    """Where heads (n, 4) are thought to be, by bodies found only roughly."""
    size = boxes[:, 3:]
    scale = 1 + rng.uniform(-_OFF, _OFF, (len(boxes), 1))
    middles = boxes[:, :2] + boxes[:, 2:] / 2 + size * rng.uniform(-_OFF, _OFF, (len(boxes), 2))
    return np.column_stack([middles - boxes[:, 2:] * scale / 2, boxes[:, 2:] * scale])


def best_scores(found: Detections, boxes: Doubles) -> Floats:
    """The best score (n,) of what was found in the place and size of each face, or 0."""
    scores = np.zeros(len(boxes), np.float32)
    middles = found.boxes[:, :2] + found.boxes[:, 2:] / 2
    for row, box in enumerate(boxes):
        off = np.hypot(*(middles - box[:2] - box[2:] / 2).T)
        size = found.boxes[:, 3] / box[3]
        here = (off < box[3] / 2) & (size > 0.5) & (size < 2)
        scores[row] = found.scores[here].max(initial=0.0)
    return scores


def run(
    state: Path = STATE,
    *,
    crops: Path = CROPS,
    footage: Path | None = None,
    quick: bool = False,
) -> list[Figure]:
    """Measure and return the figures.

    Raises:
        OperationError: `make setup` has not been run, or the footage is not there.
    """
    models = load(state)
    archive = load_crops(crops)
    rng = np.random.default_rng(1)
    most = _MOST // 8 if quick else _MOST
    figures: list[Figure] = []
    for label, name in ((0, "bare"), (1, "masked")):
        rows = rng.permutation(np.flatnonzero(archive.labels == label))[:most]
        for height in HEIGHTS[:1] if quick else HEIGHTS:
            figures += _found(
                models, archive.images[rows], f"{name} faces {height} px high", height
            )
    for share in (1.0, 0.25, 0.07):
        figures += _in_the_dark(models, archive, share)
    if footage is not None:
        figures += _false_alarms(models, footage, quick=quick)
    return figures


def _found(models: VisionModels, crops: Crops, name: str, height: int) -> list[Figure]:
    detector = models.detector(FRAME[1], FRAME[0])
    rng = np.random.default_rng(2)
    whole, closer, certain = [], [], []
    for scene in small_faces(crops, height):
        whole.append(best_scores(detector.detect(scene.image), scene.boxes))
        again = detector.detect_in(scene.image, about(scene.boxes, rng))
        closer.append(best_scores(again, scene.boxes))
        certain.append(best_scores(detector.refine(scene.image, again), scene.boxes))
    at_first = float((np.concatenate(whole) >= _SURE).mean())
    figures = []
    for what, parts in (("in the whole frame", whole), ("enlarged", closer)):
        scores = np.concatenate(parts)
        figures.append(Figure(f"{name}, found {what}", float((scores >= 0.3).mean()), "of 1"))
        sure = float((scores >= _SURE).mean())
        ratio = sure / at_first if at_first else None
        sure_name = f"{name}, sure {what}"
        figures.append(Figure(sure_name, sure, "of 1", "sure in the whole frame", ratio))
    kept = float((np.concatenate(certain) > 0).mean())
    ratio = kept / at_first if at_first else None
    figures.append(Figure(f"{name}, enlarged and certain", kept, "of 1", "sure at first", ratio))
    return figures


def _in_the_dark(models: VisionModels, archive: CropSet, light: float) -> list[Figure]:
    """What the mask status of crops in a part of their light would be, by those good enough."""
    crops = darkened(archive.images, light, _NOISE if light < 1 else 0)
    usable = sharpness(crops) > 0
    probable = models.mask.probabilities(crops)
    masked, bare = usable & (archive.labels == 1), usable & (archive.labels == 0)
    name = f"at {light:.0%} of the light, noise {_NOISE if light < 1 else 0}:"
    wrong = (probable >= models.mask.threshold_masked) & bare
    missed = (probable <= models.mask.threshold_unmasked) & masked
    return [
        Figure(f"{name} crops that tell anything", float(usable.mean()), "of 1"),
        Figure(f"{name} bare faces called masked", int(wrong.sum()), f"of {int(bare.sum())}"),
        Figure(f"{name} masked faces called bare", int(missed.sum()), f"of {int(masked.sum())}"),
    ]


def _false_alarms(models: VisionModels, footage: Path, *, quick: bool) -> list[Figure]:
    """Heads of 24 and 48 px looked for all over footage: what is found that is no face."""
    films = sorted(one for one in footage.iterdir() if one.suffix in {".gif", ".mp4"})
    if not films:
        raise OperationError(f"{footage} holds no .gif or .mp4; name a folder with footage")
    figures = []
    for film in films:
        tiles, found, sure, certain = 0, 0, 0, 0
        for image in _frames(film, 4 if quick else 24):
            detector = models.detector(image.shape[1], image.shape[0])
            for height in (24, 48):
                boxes = _everywhere(image, height)
                seen = detector.detect_in(image, boxes)
                tiles += len(boxes)
                found += len(seen)
                sure += int((seen.scores >= _SURE).sum())
                certain += int((detector.refine(image, seen).scores > 0).sum())
        per = 1000 / max(tiles, 1)
        figures += [
            Figure(f"{film.name}: faces in 1000 tiles", found * per, ""),
            Figure(f"{film.name}: of these sure", sure * per, ""),
            Figure(f"{film.name}: of these certain", certain * per, ""),
        ]
    return figures


def _frames(film: Path, most: int) -> Iterator[Image]:
    """Frames (H, W, 3) from all over a film, about so many."""
    capture, count = cv2.VideoCapture(str(film)), 0
    while capture.grab():
        count += 1
    step = max(1, count // most)
    capture = cv2.VideoCapture(str(film))
    for number in range(count):
        if capture.grab() and number % step == 0:
            yield np.asarray(capture.retrieve()[1], np.uint8)


def _everywhere(image: Image, height: int) -> Doubles:
    """Boxes (n, 4) of heads of one height, next to each other over the whole picture."""
    width = 0.84 * height
    lefts, tops = np.meshgrid(
        np.arange(0, image.shape[1] - width, 1.5 * width),
        np.arange(0, image.shape[0] - height, 1.5 * height),
    )
    boxes = np.full((lefts.size, 4), (0, 0, width, height), np.float64)
    boxes[:, 0], boxes[:, 1] = lefts.ravel(), tops.ravel()
    return boxes


def main(argv: Sequence[str] | None = None) -> int:
    """Print the figures as a table; exit code 1 when something is not there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--state", type=Path, default=STATE, help="folder that make setup filled")
    parser.add_argument("--crops", type=Path, default=CROPS, help="archive of labelled crops")
    parser.add_argument("--footage", type=Path, help="folder with films: count false alarms there")
    options = parser.parse_args(argv)
    try:
        figures = run(options.state, crops=options.crops, footage=options.footage)
    except OperationError as error:
        Console(stderr=True).print(f"error: {error}", style="red", markup=False)
        return 1
    console = Console(width=None if sys.stdout.isatty() else 120)
    console.print(table("Faces where cameras are bad", [("", figures)]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
