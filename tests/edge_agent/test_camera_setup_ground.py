"""Measured ground points: read, fitted and judged, then put into box.toml and nothing else."""

from __future__ import annotations

import stat
import tomllib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.camera_setup import boxfile
from edge_agent.camera_setup.boxfile import BoxFileProblem, plan_ground
from edge_agent.camera_setup.calibrate import (
    Calibration,
    GroundPoint,
    PointsProblem,
    calibrate,
    parse_csv,
    parse_point,
    read_points,
)
from edge_agent.config import load_box
from edge_agent.homography import HomographyError
from runtime.config import ConfigError

SIZE = (720, 1280)
# A camera 3 m up, looking 30 degrees down, 60 degrees wide.
FOCAL = 640 / np.tan(np.radians(30))


def seen(x: float, y: float, tilt_deg: float = 30) -> tuple[float, float]:
    """Where a ground point, x to the right and y ahead (m), is in the picture (px)."""
    tilt = np.radians(tilt_deg)
    forward = y * np.cos(tilt) + 3 * np.sin(tilt)
    down = 3 * np.cos(tilt) - y * np.sin(tilt)
    return float(640 + FOCAL * x / forward), float(360 + FOCAL * down / forward)


def point(x: float, y: float) -> GroundPoint:
    return GroundPoint(*seen(x, y), x, y)


FIVE = tuple(point(x, y) for x, y in ((-1.5, 3.0), (1.5, 3.0), (3.0, 9.0), (-3.0, 9.0), (0.7, 5.5)))


def warned(found: Calibration) -> str:
    return "\n".join(found.warnings)


def test_good_points_fit_and_need_no_warning() -> None:
    found = calibrate(FIVE, SIZE)
    assert not found.warnings
    assert found.rms_cm < 0.01
    assert all(each.error_cm < 0.01 and each.left_out_cm is None for each in found.errors)
    six = calibrate((*FIVE, point(-0.4, 4.0)), SIZE)
    assert all(each.left_out_cm is not None and each.left_out_cm < 0.1 for each in six.errors)
    near = next(scale for scale in found.scales if scale.where == "near, middle")
    x, y = found.plane.to_ground([(640, 720)])[0]
    px, py = seen(x, y)
    assert (px, py) == pytest.approx((640, 720))
    assert 0.1 < near.across_cm < 1.0
    assert near.depth_cm > near.across_cm


def test_four_points_always_fit_and_that_is_said() -> None:
    found = calibrate(FIVE[:4], SIZE)
    assert all(each.left_out_cm is None for each in found.errors)
    assert "give six" in warned(found)


@pytest.mark.parametrize("row", range(7))
def test_a_slip_of_the_tape_is_found(row: int) -> None:
    seven = [*FIVE, point(-0.4, 4.0), point(2.0, 6.0)]
    seven[row] = GroundPoint(seven[row].px, seven[row].py, seven[row].x + 0.6, seven[row].y)
    assert f"point {row + 1} is" in warned(calibrate(tuple(seven), SIZE))


def test_five_points_tell_of_a_slip_but_not_where() -> None:
    wrong = GroundPoint(FIVE[4].px, FIVE[4].py, FIVE[4].x + 0.6, FIVE[4].y)
    assert "give a sixth" in warned(calibrate((*FIVE[:4], wrong), SIZE))


def test_ground_that_is_not_flat_is_nobodys_fault() -> None:
    bumpy = [point(x, y) for x in (-1.0, 0.3, 1.5) for y in (3.0, 4.5, 6.0, 9.0)]
    rough = np.random.default_rng(4).normal(0, 0.25, (len(bumpy), 2))
    points = tuple(
        GroundPoint(p.px, p.py, p.x + float(a), p.y + float(b))
        for p, (a, b) in zip(bumpy, rough, strict=True)
    )
    assert "no single one is to blame" in warned(calibrate(points, SIZE))


def test_centimetres_instead_of_metres_are_noticed() -> None:
    cm = tuple(GroundPoint(p.px, p.py, 100 * p.x, 100 * p.y) for p in FIVE)
    assert "instead of metres" in warned(calibrate(cm, SIZE))


def test_points_in_one_corner_are_too_few_for_the_rest() -> None:
    corner = tuple(point(x, y) for x, y in ((0, 3), (0.5, 3), (0.5, 3.5), (0, 3.5), (0.2, 3.2)))
    assert "edges" in warned(calibrate(corner, SIZE))


def test_far_ground_is_coarse() -> None:
    places = ((-1, 9), (2, 9), (30, 90), (-30, 90), (0.5, 20))
    far = tuple(GroundPoint(*seen(x, y, tilt_deg=5), x, y) for x, y in places)
    found = calibrate(far, SIZE)
    assert "deep" in warned(found)


def test_without_a_size_it_says_so() -> None:
    assert "--size" in warned(calibrate(FIVE))


@pytest.mark.parametrize(
    ("points", "problem", "words"),
    [
        (FIVE[:3], HomographyError, "four or more"),
        ((FIVE[0], FIVE[0], *FIVE[1:]), HomographyError, "same"),
        (tuple(point(x, 3.0) for x in (-1, 0, 1, 1.4)), HomographyError, "line"),
        ((*FIVE[:4], GroundPoint(5000, 1, 1, 1)), PointsProblem, "point 5 .*outside"),
        (FIVE * 20, PointsProblem, "too many"),
    ],
)
def test_points_that_cannot_be_used(
    points: tuple[GroundPoint, ...], problem: type[Exception], words: str
) -> None:
    with pytest.raises(problem, match=words):
        calibrate(points, SIZE)


@given(
    st.lists(
        st.tuples(st.floats(-4, 4), st.floats(2.5, 20)).map(lambda at: point(*at)),
        min_size=4,
        max_size=8,
    )
)
def test_any_true_points_give_the_true_plane_or_are_refused(points: list[GroundPoint]) -> None:
    inside = tuple(p for p in points if 0 <= p.px <= SIZE[1] and 0 <= p.py <= SIZE[0])
    try:
        found = calibrate(inside, SIZE)
    except HomographyError:
        return
    assert max(each.error_cm for each in found.errors) < 5


# -- how points are written -------------------------------------------------------------------


def test_points_are_read_as_written(tmp_path: Path) -> None:
    assert parse_point("310,700=0,-1.5") == GroundPoint(310, 700, 0, -1.5)
    assert parse_point(" 310.5 , 7e2 = +.5 , 2. ") == GroundPoint(310.5, 700, 0.5, 2)
    expected = (GroundPoint(1, 2, 3, 4), GroundPoint(5, 6, 7.5, 8))
    assert parse_csv("px,py,x,y\r\n1,2,3,4\r\n\r\n# note\r\n5,6,7.5,8\r\n", "f") == expected
    assert parse_csv("px;py;x;y\n1;2;3;4\n5;6;7,5;8\n", "f") == expected
    path = tmp_path / "points.csv"
    path.write_bytes("\ufeff1,2,3,4\n5,6,7.5,8".encode())
    assert read_points(path) == expected
    path.write_bytes(b"\xff\xfe1")
    with pytest.raises(PointsProblem, match="UTF-8"):
        read_points(path)


@pytest.mark.parametrize(
    "text", ["", "1,2,3,4", "1,2=3", "1;2=3;4", "a,b=c,d", "nan,1=1,1", "1,2=inf,4", "1,2=1e9,4"]
)
def test_what_is_no_point_is_refused(text: str) -> None:
    with pytest.raises(PointsProblem, match=r"PX,PY=X,Y|too large"):
        parse_point(text)


@pytest.mark.parametrize("text", ["1,2,3\n", "1,2,3,4\nx,y,z,w\n", "1,2,3,4\n1,2,3,4,5\n"])
def test_a_wrong_line_is_named(text: str) -> None:
    with pytest.raises(PointsProblem, match=r"f, line \d"):
        parse_csv(text, "f")


@given(st.text(max_size=120))
def test_no_text_breaks_the_readers(text: str) -> None:
    for read in (parse_point, lambda text: parse_csv(text, "f")):
        try:
            read(text)
        except PointsProblem as error:
            assert "\x1b" not in str(error)


# -- box.toml ---------------------------------------------------------------------------------

BOX = """# kept by Jo, 2026
site = "demo"   # ours
box = "box-1"
authority = "%s"

[mqtt]
port = 8883
host = 'localhost'

[[cameras]] # the door
name = "door"
source = "rtsp://viewer:hunter2@10.0.0.11/1"

[[cameras]]
name = "hall"
source = "rtsp://10.0.0.12/1"   # second stream
detect_fps = 4

[vision]
# zoomed
detect_width = 1280
""" % ("58" + "66" * 31)


@pytest.fixture
def box(tmp_path: Path) -> Path:
    path = tmp_path / "box.toml"
    path.write_text(BOX)
    path.chmod(0o640)
    return path


def test_the_points_are_put_in_and_all_else_stays(box: Path) -> None:
    change = plan_ground(box, "door", FIVE)
    assert box.read_text() == BOX
    assert change.needed
    backup = change.write()
    after = box.read_text()
    rest = [line for line in after.splitlines() if line]
    for line in filter(None, BOX.splitlines()):  # each is there still, in its order
        rest = rest[rest.index(line) + 1 :]
    door, hall = load_box(box).cameras
    assert door.homography is not None
    assert np.allclose(door.homography.ground_points_m, [(p.x, p.y) for p in FIVE])
    assert np.allclose(door.homography.image_points_px, [(p.px, p.py) for p in FIVE], atol=0.006)
    assert hall.homography is None
    assert backup is not None
    assert backup.read_text() == BOX
    assert stat.S_IMODE(box.stat().st_mode) == stat.S_IMODE(backup.stat().st_mode) == 0o640


def test_the_same_again_changes_nothing(box: Path) -> None:
    plan_ground(box, "hall", FIVE).write()
    first = box.read_bytes()
    again = plan_ground(box, "hall", FIVE)
    assert not again.needed
    assert again.write() is None
    assert again.diff() == ""
    assert box.read_bytes() == first


def test_new_points_take_the_place_of_old_ones_or_of_a_matrix(box: Path) -> None:
    matrix = "[cameras.homography]\nmatrix = [[1, 0, 0], [0, 1, 0], [0, 0, 1]] # old\n"
    box.write_text(
        BOX.replace('[[cameras]]\nname = "hall"', matrix + '\n[[cameras]]\nname = "hall"')
    )
    plan_ground(box, "door", FIVE).write()
    plan_ground(box, "door", FIVE[:4]).write()
    text = box.read_text()
    assert text.count("[cameras.homography]") == 1
    assert "matrix" not in text
    assert len(tomllib.loads(text)["cameras"][0]["homography"]["ground_points_m"]) == 4


def test_cameras_written_in_one_line_and_windows_line_ends(box: Path) -> None:
    head = BOX[: BOX.index("[mqtt]")]
    box.write_bytes(
        (head + 'cameras = [{name = "a", source = "x.mp4"}, {name = "b", source = "y.mp4"}]\n')
        .replace("\n", "\r\n")
        .encode()
    )
    plan_ground(box, "b", FIVE).write()
    data = box.read_bytes()
    assert b"\n" not in data.replace(b"\r\n", b"")
    assert load_box(box).cameras[1].homography is not None


def test_a_file_behind_a_link_is_changed_and_the_link_stays(box: Path, tmp_path: Path) -> None:
    link = tmp_path / "link.toml"
    link.symlink_to(box)
    plan_ground(link, "door", FIVE).write()
    assert link.is_symlink()
    assert "homography" in box.read_text()


def test_the_difference_shows_no_password(box: Path) -> None:
    diff = plan_ground(box, "door", FIVE).diff()
    assert "+[cameras.homography]" in diff
    assert "hunter2" not in diff
    assert "rtsp://***10.0.0.11/1" in diff or "10.0.0.11" not in diff


@pytest.mark.parametrize(
    ("text", "problem", "words"),
    [
        (BOX.replace("door", "gate"), BoxFileProblem, "no camera 'door'; it has gate, hall"),
        (BOX + "[", ConfigError, "not valid TOML"),
        ("", BoxFileProblem, "it has none"),
        ("cameras = 3", BoxFileProblem, "it has none"),
        (BOX.replace("detect_width", "detect_widht"), ConfigError, "did you mean"),
    ],
)
def test_a_file_that_cannot_be_changed_is_left_alone(
    box: Path, text: str, problem: type[Exception], words: str
) -> None:
    box.write_text(text)
    with pytest.raises(problem, match=words):
        plan_ground(box, "door", FIVE)
    assert box.read_text() == text


def test_what_would_change_more_is_refused_with_the_lines_to_copy(box: Path) -> None:
    old = tomllib.loads(BOX)
    wanted = {"image_points_px": [[1, 2]] * 4, "ground_points_m": [[3, 4]] * 4}
    with pytest.raises(BoxFileProblem, match=r"\[cameras\.homography\]\nimage_points_px"):
        boxfile._check(box, old, BOX, 0, wanted)
