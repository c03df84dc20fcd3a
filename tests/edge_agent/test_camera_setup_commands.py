"""`sealtrace camera`: what an installer types, sees and is told."""

from __future__ import annotations

import json
import re
import shlex
import stat
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import cv2
import numpy as np
import pytest
from onvif_camera import OnvifServer
from rtsp_camera import RtspCamera
from typer.testing import CliRunner, Result

from edge_agent.camera_cli import app
from edge_agent.config import load_box
from edge_agent.vision.arrays import Image

POINTS = ("20,110=0,0", "140,110=3,0", "110,50=3,6", "50,50=0,6", "85,70=1.9,3.6", "60,90=0.9,1.2")


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments: object, **more: str) -> Result:
        return CliRunner().invoke(app, [str(each) for each in arguments], **more)  # type: ignore[arg-type]

    return call


@pytest.fixture
def film(tmp_path: Path) -> Path:
    path = tmp_path / "door.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (160, 120))
    for number in range(30):
        image = np.full((120, 160, 3), 70, np.uint8)
        cv2.circle(image, (20 + 3 * number, 60), 20, (250, 200, 240), -1)
        writer.write(image)
    writer.release()
    return path


@pytest.fixture
def box(tmp_path: Path, film: Path) -> Path:
    path = tmp_path / "box.toml"
    path.write_text(
        f'site = "demo"\nbox = "box-1"\nauthority = "58{"66" * 31}"\nbundle = "models"\n'
        '[[cameras]]\nname = "door"  # the front\nsource = "file:door.avi"\n'
        '[[cameras]]\nname = "hall"\nsource = "rtsp://me:hunter2@camera.invalid/1"\n'
        "detect_fps = 4\n[cameras.homography]\nmatrix = [[1, 0, 0], [0, 1, 0], [0, 0, 1]]\n"
    )
    return path


def said(result: Result) -> str:
    return " ".join(result.output.split())


def test_a_probe_without_a_bundle_says_so(run: Callable[..., Result], film: Path) -> None:
    result = run("probe", film, "--seconds", 1)
    assert result.exit_code == 0, result.output
    assert re.search(r"codec\s+Motion JPEG", result.output)
    assert re.search(r"size\s+160x120", result.output)
    assert "10 stated" in result.output
    assert "faces were not looked for" in result.output
    assert "small picture" in result.output


def test_a_probe_as_json(run: Callable[..., Result], box: Path) -> None:
    result = run("probe", "--config", box, "--camera", "door", "--json")
    assert result.exit_code == 0, result.output
    data = json.loads(result.stdout)
    assert data["width"] == 160
    assert data["faces"] is None
    assert {"level", "text"} == set(data["advice"][0])


@pytest.mark.models
@pytest.mark.parametrize("show", [False, True])
def test_a_still_hides_faces_unless_asked(
    *,
    run: Callable[..., Result],
    tmp_path: Path,
    face: Callable[[str, int], Image],
    model_bundle_path: Path,
    model_bundle_key: bytes,
    show: bool,
) -> None:
    head = face("obama.jpg", 150)
    picture = np.full((540, 960, 3), 100, np.uint8)
    picture[100 : 100 + head.shape[0], 300 : 300 + head.shape[1]] = head
    folder = tmp_path / "pictures"
    folder.mkdir()
    cv2.imwrite(str(folder / "a.png"), picture)
    still = tmp_path / "still.png"
    result = run(
        *("probe", f"folder:{folder}", "--bundle", model_bundle_path),
        *("--trusted", model_bundle_key.hex(), "--still", still),
        *(["--show-faces"] if show else []),
    )
    assert result.exit_code == 0, result.output
    assert "1 in 1 pictures" in result.output
    assert "large enough" in result.output
    assert "personal data" in said(result)
    assert stat.S_IMODE(still.stat().st_mode) == 0o600
    kept = cv2.imread(str(still))
    assert kept is not None
    inner = slice(200, 300), slice(400, 480)
    same = (kept[inner] == picture[inner]).all(axis=2).mean()
    assert same > 0.9 if show else same < 0.1
    again = run("probe", f"folder:{folder}", "--still", still, "--show-faces")
    assert again.exit_code == 1
    assert "--force" in again.output


def test_no_still_where_faces_cannot_be_hidden(
    run: Callable[..., Result], film: Path, tmp_path: Path
) -> None:
    for name, words in (("a.png", "--show-faces"), ("http://x/a.png", "this machine only")):
        result = run("probe", film, "--still", tmp_path / name if name == "a.png" else name)
        assert result.exit_code == 1
        assert words in said(result)
    assert not list(tmp_path.glob("*.png"))
    assert run("probe", film, "--still", tmp_path / "a.png", "--show-faces").exit_code == 0


def test_a_bundle_that_nobody_vouches_for_is_not_used(
    run: Callable[..., Result], film: Path, tmp_path: Path
) -> None:
    assert "--trusted" in run("probe", film, "--bundle", tmp_path).output
    result = run("probe", film, "--bundle", tmp_path, "--trusted", "00" * 32)
    assert "not a model bundle" in result.output
    assert "64 hex" in run("probe", film, "--bundle", tmp_path, "--trusted", "x").output


@pytest.mark.slow
def test_the_password_is_asked_for_and_printed_nowhere(run: Callable[..., Result]) -> None:
    camera = RtspCamera("MD5", password="hunt@er 2")
    url = f"rtsp://127.0.0.1:{camera.port}/ch1"
    try:
        result = run("probe", url, "--user", "viewer", "--seconds", 0.5, input="hunt@er 2\n")
        wrong = run("probe", url, "--user", "viewer", input="guess7\n")
        missing = run("probe", url)
    finally:
        camera.close()
    assert result.exit_code == 0, result.output
    assert re.search(r"login\s+Digest", result.output)
    assert "***@127.0.0.1" in result.output
    assert (wrong.exit_code, missing.exit_code) == (1, 1)
    assert "does not take this user or password" in said(wrong)
    assert "--user" in said(missing)
    for each in (result, wrong):
        assert "hunt" not in each.output
        assert "guess7" not in each.output


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["probe", "rtsp://me:hunter2@camera.invalid/1"], 1, "no machine is known"),
        (["probe", "rtsp://me:hunter2@127.0.0.1:9/1"], 1, "refuses connections on port 9"),
        (["probe", "nothing.mp4"], 1, "no such file"),
        (["probe", "ftp://me:hunter2@x/1"], 1, "not supported"),
        (["probe", "nothing.mp4", "--user", "me"], 2, "rtsp://"),
        (["probe", "x", "--camera", "door"], 2, "not both"),
        (["probe"], 2, "--config"),
        (["probe", "--config", "none.toml"], 1, "cannot read"),
        (["calibrate", "--config", "none.toml"], 2, "--point"),
        (["calibrate", "--config", "none.toml", "--point", "1,2"], 1, "PX,PY=X,Y"),
        (["discover", "--address", "x:99999"], 2, "HOST:PORT"),
        (["discover", "--interface", "nonsense"], 1, "ip -4 addr"),
        (["streams", "ftp://x"], 1, "discover"),
    ],
)
def test_each_mistake_is_explained_without_a_traceback(
    *,
    run: Callable[..., Result],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: int,
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.exit_code == code, result.output
    assert words in re.sub(r"[│\s]+", " ", result.output)
    assert "hunter2" not in result.output
    assert "Traceback" not in result.output


def flags(*points: str) -> list[str]:
    return [part for point in points for part in ("--point", point)]


def test_the_ground_is_measured_shown_and_kept(run: Callable[..., Result], box: Path) -> None:
    before = box.read_text()
    dry = run("calibrate", "--config", box, "--camera", "door", *flags(*POINTS), "--dry-run")
    assert dry.exit_code == 0, dry.output
    assert "+[cameras.homography]" in dry.output
    assert "near, middle" in dry.output
    assert box.read_text() == before
    assert len(list(box.parent.glob("box.toml*"))) == 1
    done = run("calibrate", "--config", box, "--camera", "door", *flags(*POINTS))
    assert done.exit_code == 0, done.output
    door = load_box(box).cameras[0]
    assert door.homography is not None
    assert door.homography.image_points_px[0] == (20, 110)
    assert (box.parent / "box.toml.bak").read_text() == before
    assert "# the front" in box.read_text()
    again = run("calibrate", "--config", box, "--camera", "door", *flags(*POINTS))
    assert "nothing is changed" in again.output
    shown = run("show", "--config", box)
    assert "6 points, missed by" in shown.output
    assert "given as a matrix" in shown.output
    assert "hunter2" not in shown.output
    rows = json.loads(run("show", "--config", box, "--camera", "hall", "--json").stdout)
    assert [row["detect_fps"] for row in rows] == [4]


def test_points_from_a_file_and_a_camera_that_is_off(run: Callable[..., Result], box: Path) -> None:
    file = box.parent / "points.csv"
    file.write_text("px,py,x,y\n" + "\n".join(p.replace("=", ",") for p in POINTS))
    result = run("calibrate", "--config", box, "--camera", "hall", "--points", file)
    assert result.exit_code == 0, result.output
    assert "the picture's size is not known" in said(result)
    assert "hunter2" not in result.output
    assert "matrix" not in box.read_text()
    sized = run(
        *("calibrate", "--config", box, "--camera", "hall", "--points", file),
        *("--size", "100x100"),
    )
    assert sized.exit_code == 1
    assert "outside of the picture" in said(sized)
    assert run("calibrate", "--config", box, *flags("1,1=1,1"), "--size", "x").exit_code != 0


def test_bad_points_change_nothing(run: Callable[..., Result], box: Path) -> None:
    before = box.read_text()
    result = run("calibrate", "--config", box, "--camera", "door", *flags(*POINTS[:3]))
    assert result.exit_code == 1
    assert "four or more" in said(result)
    unknown = run("calibrate", "--config", box, "--camera", "gate", *flags(*POINTS))
    assert "there are: door, hall" in said(unknown)
    assert "give --camera" in said(run("calibrate", "--config", box, *flags(*POINTS)))
    assert box.read_text() == before


def test_the_grid_picture_comes_without_points_and_without_passers_by(
    run: Callable[..., Result], box: Path, tmp_path: Path
) -> None:
    grid = tmp_path / "grid.png"
    before = box.read_text()
    base = ("calibrate", "--config", box, "--camera", "door", "--still", grid)
    assert "--show-faces" in said(run(*base))
    assert not grid.exists()
    result = run(*base, "--show-faces")
    assert result.exit_code == 0, result.output
    assert "--point PX,PY=X,Y" in said(result)
    assert stat.S_IMODE(grid.stat().st_mode) == 0o600
    drawn = cv2.imread(str(grid))
    assert drawn is not None
    assert drawn[60:70, 100:109].max() < 190  # the circle that went by is gone
    assert box.read_text() == before
    both = run(*base, "--show-faces", "--force", *flags(*POINTS))
    assert both.exit_code == 0, both.output
    assert load_box(box).cameras[0].homography is not None


@pytest.mark.slow
def test_nobody_answers_a_discovery(run: Callable[..., Result]) -> None:
    result = run("discover", "--address", "127.0.0.1:9", "--timeout", 0.2)
    assert result.exit_code == 0, result.output
    assert "no camera answered" in said(result)
    quiet = run("discover", "--address", "127.0.0.1:9", "--timeout", 0.2, "--json")
    assert json.loads(quiet.stdout) == []


def test_streams_are_listed_and_the_next_step_is_safe_to_copy(run: Callable[..., Result]) -> None:
    camera = OnvifServer()
    camera.uri = "rtsp://viewer:hunter2@10.0.0.11/{}';reboot;'"
    try:
        result = run("streams", camera.address, "--user", "viewer", input=f"{camera.password}\n")
        table = run(
            *("streams", camera.address, "--user", "viewer", "--json"), input=f"{camera.password}\n"
        )
    finally:
        camera.close()
    assert result.exit_code == 0, result.output
    assert "1920x1080" in result.output
    next_step = next(line for line in result.output.splitlines() if line.startswith("next: "))
    assert shlex.split(next_step)[1:] == [
        *("sealtrace", "camera", "probe", "rtsp://10.0.0.11/p&1';reboot;'", "--user", "viewer")
    ]
    assert "hunt" not in result.output + table.output
    assert [row["profile"] for row in json.loads(table.stdout)] == ["main", "sub?"]


def test_streams_of_what_is_no_camera(run: Callable[..., Result]) -> None:
    class Web(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = HTTPServer(("127.0.0.1", 0), Web)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        address = f"127.0.0.1:{server.server_address[1]}"
        result = run("streams", address, "--user", "me", input="hunter2\n")
    finally:
        server.shutdown()
        server.server_close()
    assert result.exit_code == 1
    assert "does not answer as an ONVIF camera" in said(result)
    assert "hunter2" not in result.output
