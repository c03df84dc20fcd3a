"""A kept picture hides faces, stays on this machine and is readable by its owner alone."""

from __future__ import annotations

import stat
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.camera_setup import still
from edge_agent.camera_setup.faces import FaceFinder, load_finder
from edge_agent.camera_setup.still import StillRefused
from edge_agent.vision.arrays import Image
from edge_agent.vision.config import VisionConfig
from edge_agent.vision.models import VisionModels


@pytest.fixture(scope="module")
def finder(model_bundle_path: Path, model_bundle_key: bytes) -> FaceFinder:
    found = load_finder(model_bundle_path, [model_bundle_key], VisionConfig())
    assert found is not None
    return found


def scene(head: Image, left: int = 300) -> tuple[Image, slice, slice]:
    picture = np.random.default_rng(3).integers(80, 110, (540, 960, 3), np.uint8)
    picture = np.asarray(cv2.GaussianBlur(picture, (0, 0), 5), np.uint8)
    rows = slice(150, 150 + head.shape[0])
    columns = slice(max(0, left), left + head.shape[1])
    picture[rows, columns] = head[:, max(0, -left) :]
    return picture, rows, columns


@pytest.mark.models
@pytest.mark.parametrize("name", ["obama.jpg", "biden.jpg", "astronaut.png"])
@pytest.mark.parametrize("height", [24, 60, 150])
def test_hidden_faces_are_found_and_recognized_no_more(
    face: Callable[[str, int], Image],
    finder: FaceFinder,
    models: VisionModels,
    name: str,
    height: int,
) -> None:
    picture, rows, columns = scene(face(name, height))
    before = picture.copy()
    assert len(finder.find(picture)) == 1
    hidden = still.hidden(picture, finder, show_faces=False)
    assert (picture == before).all()
    assert (hidden[rows, columns] != before[rows, columns]).mean() > 0.3
    assert not len(models.detector(1920, 1080, 0.3).detect(hidden))


@pytest.mark.models
def test_a_face_that_the_edge_cuts_is_hidden_too(
    face: Callable[[str, int], Image], finder: FaceFinder
) -> None:
    head = face("obama.jpg", 120)
    picture, rows, columns = scene(head, left=-head.shape[1] // 2)
    hidden = still.hidden(picture, finder, show_faces=False)
    middle = slice(rows.start + 40, rows.stop - 60)
    changed = (hidden[middle, columns] != picture[middle, columns]).any(axis=2)
    assert changed[:, :20].mean() > 0.9


@pytest.mark.models
def test_the_faces_are_framed_and_shown_when_asked(
    face: Callable[[str, int], Image], finder: FaceFinder
) -> None:
    picture, rows, columns = scene(face("obama.jpg", 120))
    shown = still.with_detections(picture, finder, show_faces=True)
    same = (shown[rows, columns] == picture[rows, columns]).all(axis=2).mean()
    assert 0.8 < same < 1.0
    hidden = still.with_detections(picture, finder, show_faces=False)
    assert (hidden[rows, columns] == picture[rows, columns]).all(axis=2).mean() < 0.6


def test_without_a_detector_nothing_can_be_hidden() -> None:
    picture = np.full((60, 80, 3), 9, np.uint8)
    with pytest.raises(StillRefused, match="--show-faces"):
        still.hidden(picture, None, show_faces=False)
    copy = still.with_detections(picture, None, show_faces=True)
    assert (copy == picture).all()
    assert copy is not picture


@given(
    st.tuples(*[st.floats(-500, 500, width=32)] * 4),
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
)
def test_no_box_breaks_hiding(box: tuple[float, ...], size: tuple[int, int]) -> None:
    still.hide_box(np.zeros((*size, 3), np.uint8), *box)
    still.hide_box(np.zeros((*size, 3), np.uint8), float("nan"), 0.0, 5.0, float("inf"))


def test_hiding_leaves_a_few_tones_and_nothing_else() -> None:
    picture = np.random.default_rng(5).integers(0, 256, (200, 200, 3), np.uint8)
    still.hide_box(picture, 50, 50, 100, 100)
    tones = np.unique(picture[20:180, 20:180].reshape(-1, 3), axis=0)
    assert len(tones) <= 16
    assert len(np.unique(picture[:10].reshape(-1, 3), axis=0)) > 1000


def test_who_walks_through_is_not_in_the_picture_of_the_ground() -> None:
    pictures = [np.full((150, 160, 3), 100, np.uint8) for _ in range(7)]
    for number, picture in enumerate(pictures):
        picture[:, 20 * number : 20 * number + 30] = 250
    assert (still.without_passers_by(pictures) == 100).all()
    assert (still.without_passers_by(pictures[:2]) == pictures[1]).all()
    odd = [*pictures, np.zeros((5, 5, 3), np.uint8)]
    assert still.without_passers_by(odd).shape == (5, 5, 3)


def test_the_grid_and_points_are_drawn() -> None:
    picture = np.full((480, 640, 3), 50, np.uint8)
    still.draw_grid(picture, [(320.0, 240.0)])
    assert picture[10, 50].mean() > 60
    assert picture[10, 49].mean() == 50
    assert (picture[240, 330] == still._YELLOW).all()


@pytest.mark.parametrize("name", ["still.png", "still.jpg"])
def test_it_is_readable_by_its_owner_alone(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    picture = np.full((60, 80, 3), 200, np.uint8)
    still.save(path, picture)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    kept = cv2.imread(str(path))
    assert kept is not None
    assert kept.shape == (60, 80, 3)
    with pytest.raises(StillRefused, match="--force"):
        still.save(path, picture)
    still.save(path, picture, force=True)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("https://example.org/a.png", "this machine only"),
        ("s3:bucket/a.png", "this machine only"),
        ("a.gif", r"\.png or \.jpg"),
        ("a", r"\.png or \.jpg"),
        ("/nowhere/at/all/a.png", "not a folder"),
    ],
)
def test_it_goes_nowhere_else(name: str, words: str) -> None:
    with pytest.raises(StillRefused, match=words):
        still.check_target(Path(name))


def test_a_link_or_a_network_drive_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "link.png").symlink_to(tmp_path / "elsewhere.png")
    with pytest.raises(StillRefused, match="points elsewhere"):
        still.check_target(tmp_path / "link.png", force=True)
    table = tmp_path / "mounts"
    table.write_text(
        f"overlay / overlay rw 0 0\nnas:/x {tmp_path}/a\\040b nfs4 rw 0 0\nproc /proc proc rw 0 0\n"
    )
    assert still._drive_of(tmp_path / "a b" / "c", table) == "nfs4"
    assert still._drive_of(tmp_path, table) == "overlay"
    assert still._drive_of(tmp_path, tmp_path / "none") == ""
    monkeypatch.setattr(still, "_drive_of", lambda _: "cifs")
    with pytest.raises(StillRefused, match=r"another machine \(cifs\)"):
        still.check_target(tmp_path / "a.png")
