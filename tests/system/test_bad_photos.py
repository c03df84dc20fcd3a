"""Photos and subject files that cannot be used end with one clear line, and write nothing."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from film_set import FilmSet
from puppet_box import person
from query_desk import template_of

from protocol.sightings import quantise_template
from protocol.templates import SubjectFile


def enrol(films: FilmSet, photo: Path, out: Path) -> str:
    """Try to enrol from a photo that must be refused; return what was said."""
    said = films.site.local.run(
        "ana", "subject", "enrol", "--pseudonym", "nobody", "--consent", "C-1",
        "--photo", str(photo), "--out", str(out), expect=1,
    )  # fmt: skip
    assert said.count("error:") == 1
    assert "Traceback" not in said
    assert not out.exists()
    return " ".join(said.split())


def two_people(photos: Path) -> np.ndarray:
    """The portraits of two people side by side."""
    height = 480
    found = []
    for name in ("obama.jpg", "biden.jpg"):
        image = cv2.imread(str(photos / name))
        assert image is not None
        width = round(image.shape[1] * height / image.shape[0])
        found.append(cv2.resize(image, (width, height)))
    return np.hstack(found)


def test_a_photo_without_a_face(film_set: FilmSet, tmp_path: Path) -> None:
    photo = tmp_path / "wall.png"
    cv2.imwrite(str(photo), np.full((480, 640, 3), 150, np.uint8))
    said = enrol(film_set, photo, tmp_path / "x.subject")
    assert "shows no face that can be found" in said


def test_a_photo_of_two_people(film_set: FilmSet, tmp_path: Path) -> None:
    photo = tmp_path / "two.png"
    cv2.imwrite(str(photo), two_people(film_set.photos))
    said = enrol(film_set, photo, tmp_path / "x.subject")
    assert "shows 2 faces; cut the subject out of it" in said


@pytest.mark.parametrize(
    ("data", "words"),
    [(b"", "is empty (0 bytes)"), (b"GIF89a and nothing more", "is not an image that can be read")],
)
def test_files_that_are_no_photo(
    film_set: FilmSet, tmp_path: Path, data: bytes, words: str
) -> None:
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(data)
    assert words in enrol(film_set, photo, tmp_path / "x.subject")


def test_half_a_photo(film_set: FilmSet, tmp_path: Path) -> None:
    photo = tmp_path / "half.jpg"
    photo.write_bytes((film_set.photos / "obama.jpg").read_bytes()[:2000])
    enrol(film_set, photo, tmp_path / "x.subject")


def file_query(films: FilmSet, subject: Path, *options: str) -> str:
    """Try to file a query with a subject file that must be refused; return what was said."""
    said = films.site.local.run(
        "ana", "query", "file", "--subject", str(subject), "--all-cameras",
        "--from", "-2h", "--to", "-1h", "--purpose", "measles", "--yes", *options, expect=1,
    )  # fmt: skip
    assert "Traceback" not in said
    return " ".join(said.split())


def test_a_subject_file_that_is_none(film_set: FilmSet, tmp_path: Path) -> None:
    for data in (b"", b"\x00" * 100, film_set.enrol().read_bytes()[:-7]):
        broken = tmp_path / "broken.subject"
        broken.write_bytes(data)
        assert "is not a subject file" in file_query(film_set, broken)


def test_a_subject_file_of_another_investigator(film_set: FilmSet, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs.subject"
    film_set.site.local.run(
        "dan", "subject", "enrol", "--pseudonym", "patient-9", "--consent", "C-9",
        "--bundle", str(film_set.site.folder("ana") / "models"),
        "--photo", str(film_set.photos / "obama.jpg"), "--out", str(theirs),
    )  # fmt: skip
    assert "does not open with your sealing key" in file_query(film_set, theirs)


def test_a_subject_of_another_model(film_set: FilmSet, tmp_path: Path) -> None:
    """Its templates cannot be compared with what the boxes send; nothing is compared by mistake."""
    row, scale = quantise_template(person(5))
    key = film_set.site.sealing("ana").public
    other = tmp_path / "other.subject"
    made = SubjectFile.enrol("patient-5", "C-5", [template_of(row, scale)], key, enrolled_at_ms=1)
    other.write_bytes(made.to_bytes())
    said = file_query(film_set, other)
    assert "sample-32@00000000" in said


def test_templates_that_are_not_of_the_model_they_name(film_set: FilmSet, tmp_path: Path) -> None:
    row, scale = quantise_template(person(5))
    key = film_set.site.sealing("ana").public
    model = "sface-128@15ee125a"
    made = SubjectFile.enrol(
        "patient-6", "C-6", [template_of(row, scale, model)], key, enrolled_at_ms=1
    )
    wrong = tmp_path / "wrong.subject"
    wrong.write_bytes(made.to_bytes())
    assert "is not of model" in file_query(film_set, wrong)
