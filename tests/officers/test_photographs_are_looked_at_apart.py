"""Photographs are looked at by a process of its own, whose end is not the desk's."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest
from enrolling_officer import EnrollingOfficer, enrolling_officer
from heic import heic_of

from demo.drawn_mask import draw_mask
from edge_agent.vision.arrays import Image
from models.photos import photograph
from officers.desk.photographs import (
    MAX_PHOTO_BYTES,
    HelperFailed,
    PhotoHelper,
    PhotosRefused,
)
from protocol.templates import SubjectFile

pytestmark = [pytest.mark.models, pytest.mark.processes]


@pytest.fixture(scope="module")
def officer(
    tmp_path_factory: pytest.TempPathFactory, model_bundle_path: Path, model_bundle_key: bytes
) -> EnrollingOfficer:
    folder = tmp_path_factory.mktemp("ines")
    return enrolling_officer(folder, model_bundle_path, model_bundle_key)


@pytest.fixture(scope="module")
def helper(officer: EnrollingOfficer) -> Iterator[PhotoHelper]:
    made = PhotoHelper(officer.config)
    yield made
    made.close()


def png(image: Image) -> bytes:
    return cv2.imencode(".png", image)[1].tobytes()


def photo(folder: Path, name: str) -> bytes:
    return (folder / name).read_bytes()


@pytest.fixture
def obama(photos_path: Path) -> Image:
    return np.asarray(cv2.imread(str(photos_path / "obama.jpg")), np.uint8)


def test_a_good_photo_is_said_to_be_and_comes_back_small(
    helper: PhotoHelper, photos_path: Path
) -> None:
    looked = helper.look(photo(photos_path, "obama.jpg"))
    assert looked.problem is None
    assert 0.5 < looked.quality <= 1
    small = cv2.imdecode(np.frombuffer(looked.preview, np.uint8), cv2.IMREAD_COLOR)
    assert small is not None
    assert max(small.shape) == 480


def test_each_lack_is_said_at_once(
    helper: PhotoHelper, obama: Image, photos_path: Path, tmp_path: Path
) -> None:
    def said(data: bytes, *, masked: bool = False) -> str:
        return str(helper.look(data, masked=masked).problem)

    biden = np.asarray(cv2.imread(str(photos_path / "biden.jpg")), np.uint8)
    side = cv2.resize(biden, (obama.shape[1], obama.shape[0]))
    small = np.asarray(cv2.resize(obama, None, fx=0.15, fy=0.15, interpolation=3), np.uint8)
    assert "too small" in said(png(small))
    assert "blurred" in said(png(np.asarray(cv2.GaussianBlur(obama, (0, 0), 9), np.uint8)))
    assert "too dark" in said(png((obama * 0.05).astype(np.uint8)))
    assert "two faces" in said(png(np.hstack([obama, side])))
    assert "No face" in said(png(np.full((400, 400, 3), 90, np.uint8)))
    masked = png(draw_mask(obama, photograph("obama.jpg").landmarks))
    assert "wears a mask" in said(masked)
    assert said(masked, masked=True) == "None"
    assert said(heic_of(obama[: obama.shape[0] // 2 * 2, : obama.shape[1] // 2 * 2], tmp_path)) == (
        "None"
    )


def test_no_hostile_file_hurts_who_asks(
    helper: PhotoHelper, obama: Image, photos_path: Path, tmp_path: Path
) -> None:
    heic = heic_of(np.full((240, 320, 3), 90, np.uint8), tmp_path)
    bomb = png(np.zeros((8_200, 8_200, 3), np.uint8))
    hostile = {
        "a document": b"%PDF-1.7\n1 0 obj<</Type/Catalog>>endobj",
        "cut off": heic[: len(heic) // 2],
        "a bomb": bomb,
        "noise": os.urandom(50_000),
        "a page": b"<svg onload=alert(1)>",
    }
    for what, data in hostile.items():
        looked = helper.look(data)
        assert looked.problem is not None, what
        assert looked.preview == b"", what
    assert "empty" in str(helper.look(b"").problem)
    assert "larger than 32 MiB" in str(helper.look(bytes(MAX_PHOTO_BYTES + 1)).problem)
    large = np.asarray(cv2.resize(obama, (8_000, 6_250)), np.uint8)  # 50 million pixels
    assert helper.look(cv2.imencode(".jpg", large)[1].tobytes()).preview
    assert helper.look(photo(photos_path, "obama.jpg")).problem is None


def test_who_is_enrolled_is_sealed_to_the_officer(
    helper: PhotoHelper, officer: EnrollingOfficer, photos_path: Path
) -> None:
    photos = [(name, photo(photos_path, name)) for name in ("obama.jpg", "obama2.jpg")]
    made = helper.enrol(photos, pseudonym="p-1", consent="C-1", document=b"h" * 32)
    subject = SubjectFile.parse(made.subject)
    assert (subject.pseudonym, subject.consent_document) == ("p-1", b"h" * 32)
    assert len(subject.open(officer.sealing)) == 1
    assert made.agreement > 0.6


def test_photos_of_two_people_are_refused_by_name(helper: PhotoHelper, photos_path: Path) -> None:
    names = ("obama.jpg", "biden.jpg", "obama2.jpg")
    photos = [(name, photo(photos_path, name)) for name in names]
    with pytest.raises(PhotosRefused, match=r"one person.*biden\.jpg"):
        helper.enrol(photos, pseudonym="p-1", consent="C-1")


def test_the_process_goes_on_for_the_next_photo_and_starts_anew_after_its_end(
    officer: EnrollingOfficer, photos_path: Path
) -> None:
    helper = PhotoHelper(officer.config, idle_s=3600)
    good = photo(photos_path, "obama.jpg")
    helper.look(good)
    assert helper.running
    helper.close()
    assert not helper.running
    assert helper.look(good).problem is None
    helper.close()


def test_one_that_takes_too_long_is_ended_and_said_to_be(
    officer: EnrollingOfficer, photos_path: Path
) -> None:
    helper = PhotoHelper(officer.config, patience_s=0.05)
    looked = helper.look(photo(photos_path, "obama.jpg"))
    assert "could not be looked at" in str(looked.problem)
    assert not helper.running


def test_without_a_bundle_it_says_what_is_missing(officer: EnrollingOfficer) -> None:
    bare = officer.config.with_name("bare.toml")
    lines = officer.config.read_text().splitlines()
    bare.write_text("\n".join(line for line in lines if not line.startswith("bundle")))
    with pytest.raises(HelperFailed, match="names no model bundle"):
        PhotoHelper(bare).look(b"x")


def test_nothing_is_written_while_a_photo_is_looked_at(
    officer: EnrollingOfficer, photos_path: Path, tmp_path: Path
) -> None:
    """The limit on files holds: a helper that tried would be ended by the kernel."""
    code = (
        "import sys; from edge_agent import enrol_helper as h; import resource;"
        "h._pipes = lambda: (sys.stdin.buffer, open('/dev/null', 'wb'));"
        f"h.main([{str(officer.config)!r}]);"
        f"open({str(tmp_path / 'written')!r}, 'w').write('x' * 10000)"
    )
    done = subprocess.run(
        ["python3", "-c", code], stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    assert done.returncode != 0
    assert not (tmp_path / "written").exists() or not (tmp_path / "written").stat().st_size


def test_a_helper_that_is_given_up_ends_at_once_and_for_good(
    officer: EnrollingOfficer, photos_path: Path
) -> None:
    helper = PhotoHelper(officer.config)
    picture = photo(photos_path, "obama.jpg")
    assert helper.look(picture).problem is None
    helper.give_up()
    assert helper.look(picture).problem is not None
    helper.close()
    assert not helper.running
