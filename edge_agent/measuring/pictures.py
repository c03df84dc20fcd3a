"""The faces of a folder of pictures, a folder a person: found, aligned and embedded as boxes do."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_agent.enrol import find_faces
from edge_agent.measuring.scores import Faces
from edge_agent.sources import decode_image
from edge_agent.vision.alignment import align
from edge_agent.vision.models import VisionModels
from edge_agent.vision.quality import face_signs
from runtime.errors import OperationError
from runtime.fsio import FileProblem, read_file

MAX_PICTURE_BYTES = 64 << 20
PERSON = "person"
"""The column of the table that names the folder."""
_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}


class NothingToMeasure(OperationError):
    """The folder, or the table, is not as it must be; the message says how."""


@dataclass(frozen=True, slots=True)
class Collection:
    """The faces found, how many people they are of, and the pictures in which none was found."""

    faces: Faces
    people: int
    without_face: tuple[Path, ...]


def read_folder(
    folder: Path,
    models: VisionModels,
    *,
    groups: Path | None = None,
    tell: Callable[[int, int], None] = lambda _done, _of: None,
) -> Collection:
    """Embed the largest face of each picture in `folder`/PERSON/.

    Args:
        folder: of folders, one a person.
        models: of the bundle that is measured.
        groups: a CSV with a column `person` and others, whose values groups are made of.
        tell: told how many pictures are done, of how many.

    Raises:
        NothingToMeasure: fewer than two people with a face, or the table does not fit.
        ModelError: a model failed.
    """
    if not folder.is_dir():
        raise NothingToMeasure(f"{folder} is no folder; give one that holds a folder a person")
    named = sorted(path for path in folder.iterdir() if path.is_dir())
    pictures = [
        (number, path)
        for number, person in enumerate(named)
        for path in sorted(person.iterdir())
        if path.suffix.lower() in _SUFFIXES and path.is_file()
    ]
    templates, person, masked, eyes, without = [], [], [], [], []
    for done, (number, path) in enumerate(pictures, start=1):
        seen = _face(path, models)
        if seen is None:
            without.append(path)
        else:
            templates.append(seen[0])
            masked.append(seen[1])
            eyes.append(seen[2])
            person.append(number)
        tell(done, len(pictures))
    if len(set(person)) < 2:
        raise NothingToMeasure(
            f"{folder} shows fewer than two people whose face is found; it must hold a folder a "
            "person, with pictures in each"
        )
    columns = {} if groups is None else _columns(groups, [path.name for path in named])
    faces = Faces(
        templates=np.stack(templates),
        person=np.array(person, np.int64),
        masked=np.array(masked, np.bool_),
        eyes_px=np.array(eyes, np.float64),
        groups={name: [values[number] for number in person] for name, values in columns.items()},
    )
    return Collection(faces, len(set(person)), tuple(without))


def _face(path: Path, models: VisionModels) -> tuple[np.ndarray, bool, float] | None:
    """Template (d,), whether it is of a masked face, and the distance of the eyes in px."""
    try:
        image = decode_image(read_file(path, MAX_PICTURE_BYTES))
    except FileProblem as error:
        raise NothingToMeasure(f"{path} cannot be read: {error}") from error
    found = None if image is None else find_faces(image, models)
    if image is None or found is None or not len(found):
        return None
    signs = face_signs(found, (image.shape[0], image.shape[1]))
    largest = int(np.argmax(signs.eyes_px))
    crops = align(image, found.landmarks[largest : largest + 1])
    masked = models.mask.shows_mask(crops)
    template = models.embedder.embed(crops, masked)[0]
    for used in (image, crops):
        used.fill(0)
    return template, bool(masked[0]), float(signs.eyes_px[largest])


def _columns(path: Path, people: list[str]) -> dict[str, list[str]]:
    """Each column's value of each person, "" for who is not in the table."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise NothingToMeasure(f"{path} cannot be read as a CSV table: {error}") from error
    if not rows or PERSON not in rows[0]:
        raise NothingToMeasure(
            f"{path} has no column '{PERSON}'; its first line must name the columns, and that one "
            "holds the names of the folders"
        )
    known = {row[PERSON]: row for row in rows}
    return {
        name: [(known.get(person, {}).get(name) or "").strip() for person in people]
        for name in rows[0]
        if name and name != PERSON
    }
