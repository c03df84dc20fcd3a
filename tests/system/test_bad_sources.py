"""A box whose other cameras show broken or empty sources goes on with those that work."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import cv2
import pytest
from film_set import FilmSet

from demo.processes import Service, sealtrace
from demo.scenario import ClipTruth

BOX = "box-9"


def half_a_film(clip: Path, folder: Path) -> tuple[Path, Path]:
    """Cut a film in half: one form that can be read up to there, and one that cannot."""
    reader = cv2.VideoCapture(str(clip))
    whole = folder / "whole.avi"
    writer = cv2.VideoWriter(str(whole), cv2.VideoWriter.fourcc(*"MJPG"), 10, (1280, 720))
    while True:
        good, image = reader.read()
        if not good:
            break
        writer.write(image)
    writer.release()
    data = whole.read_bytes()
    readable = folder / "half.avi"
    readable.write_bytes(data[: len(data) * 2 // 3])
    unreadable = folder / "half.mp4"
    unreadable.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    return readable, unreadable


@pytest.fixture(scope="module")
def sources(short_clip: ClipTruth, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Camera name to source."""
    folder = tmp_path_factory.mktemp("sources")
    readable, unreadable = half_a_film(short_clip.path, folder)
    empty, text = folder / "empty.mp4", folder / "text.mp4"
    empty.write_bytes(b"")
    text.write_text("not a film\n")
    mixed, nothing = folder / "mixed", folder / "nothing"
    for each in (mixed, nothing):
        (each / "subfolder").mkdir(parents=True)
        (each / "a.txt").write_text("not an image")
        (each / "b.png").write_bytes(b"")
    reader = cv2.VideoCapture(str(short_clip.path))
    for number in range(40):
        good, image = reader.read()
        assert good
        cv2.imwrite(str(mixed / f"c{number:03}.jpg"), image)
    return {
        "good": f"file:{short_clip.path.resolve()}",
        "cut": f"file:{readable}",
        "broken": f"file:{unreadable}",
        "empty": f"file:{empty}",
        "text": f"file:{text}",
        "missing": f"file:{folder / 'missing.mp4'}",
        "mixed": f"folder:{mixed}?fps=10",
        "nothing": f"folder:{nothing}",
    }


@pytest.fixture(scope="module")
def ended(film_set: FilmSet, sources: dict[str, str]) -> Iterator[Service]:
    """A box with all these cameras, added to the running site, run until all of them had ended."""
    site = film_set.site
    root, eve = str(site.local.paths.root), str(site.local.officer("eve"))
    cameras = [f"--camera={name}={source}" for name, source in sources.items()]
    site.command("box", "add", root, BOX, *cameras, "--push", "--officer", eve)
    site.may_import(BOX, *sources, push=True)
    config = site.local.paths.box(BOX)
    # As fast as this machine can: eight films in real time would lose frames on a busy one.
    start = datetime.fromtimestamp(film_set.slot_ms / 1000 + 60, UTC).isoformat()
    paced = f'[[cameras]]\npace = "fast"\nrecorded_at = {start}\n'
    config.write_text(config.read_text().replace("[[cameras]]\n", paced))
    log = site.local.folder / "logs" / f"{BOX}.log"
    run = sealtrace("edge", "run", "--config", str(config), "--exit-when-done")
    box = Service(BOX, run, config.parent, log, site.local.environment)
    box.start()
    try:
        box.wait(120)
        yield box
    finally:
        box.stop()


def failures(box: Service) -> dict[str, str]:
    """Camera to the reason that was logged."""
    return {str(e["camera"]): str(e["reason"]) for e in box.events("camera_failed")}


@pytest.mark.parametrize(
    ("camera", "words"),
    [
        ("broken", "cannot be decoded: it is damaged, has no picture, or is not a video"),
        ("text", "cannot be decoded: it is damaged, has no picture, or is not a video"),
        ("empty", "is empty (0 bytes)"),
        ("missing", "there is no such file or folder"),
        ("nothing", "holds no image that can be decoded (2 files were tried)"),
    ],
)
def test_a_source_that_cannot_be_used_is_named_with_the_reason(
    ended: Service, camera: str, words: str
) -> None:
    assert words in failures(ended)[camera]


def test_the_other_cameras_go_on_and_are_delivered(film_set: FilmSet, ended: Service) -> None:
    assert set(failures(ended)) == {"broken", "text", "empty", "missing", "nothing"}
    finished = {e["camera"]: e["sightings"] for e in ended.events("source_ended")}
    assert set(finished) == {"good", "cut", "mixed"}
    for camera in ("good", "mixed"):
        assert finished[camera] == 2
        assert len(film_set.site.stored(camera)) >= 2
    assert film_set.site.kept(BOX) == []


def test_a_film_that_breaks_off_and_files_that_are_no_image_are_told(ended: Service) -> None:
    damaged = {e["camera"]: e for e in ended.events("capture.damaged")}
    assert damaged["cut"]["truncated"] is True
    assert damaged["mixed"]["skipped_files"] == 2
    assert "good" not in damaged


def test_the_box_ends_by_itself_and_says_which_cameras_failed(ended: Service) -> None:
    assert ended.wait(0) == 1
    (stopped,) = ended.events("stopped")
    assert "cameras failed: " in str(stopped["reason"])
    assert "Traceback" not in ended.output()
