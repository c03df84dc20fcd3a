"""Ground points measured on site: read, fitted, and judged so that slips of the tape show.

Four points fit a plane exactly whatever they are, so their error says nothing. A fifth may show
that something is wrong, a sixth also what: then each point is predicted from the others. The scale
across the picture shows what the eye can judge: a paving stone is not two metres wide.
"""

from __future__ import annotations

import csv
import io
import math
import re
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from edge_agent.homography import GroundPlane, HomographyError, fit_ground_plane
from runtime.errors import OperationError
from runtime.fsio import read_file

MAX_POINTS = 64
MAX_CSV_BYTES = 256 * 1024
_NUMBER = r"\s*([+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d{1,3})?)\s*"
_POINT = re.compile(rf"{_NUMBER},{_NUMBER}={_NUMBER},{_NUMBER}", re.ASCII)
_SMALL_AREA = 0.08  # part of the ground's picture that points should span
_DOUBTFUL_CM = 5.0  # a tape and a pixel or two explain so much, on average
_SLIP_CM = 25.0  # and so much at one point
_COARSE_CM = 10.0  # a pixel that is wider on the ground measures no distance between people


class PointsProblem(OperationError):
    """The points given cannot be read; the message says which and how they are written."""


@dataclass(frozen=True, slots=True)
class GroundPoint:
    """One place on the ground: (`px`, `py`) in the picture, (`x`, `y`) metres on the ground."""

    px: float
    py: float
    x: float
    y: float


@dataclass(frozen=True, slots=True)
class PointError:
    """How far, in cm, the plane misses a point, and that of the others (None: fewer than six)."""

    point: GroundPoint
    error_cm: float
    left_out_cm: float | None


@dataclass(frozen=True, slots=True)
class Scale:
    """Ground covered by one pixel at one place: cm across the picture and cm into depth.

    NaN above the horizon.
    """

    where: str
    px: float
    py: float
    across_cm: float
    depth_cm: float
    extrapolated: bool


@dataclass(frozen=True, slots=True)
class Calibration:
    """A fitted ground plane and what is known of its worth; errors in cm."""

    points: tuple[GroundPoint, ...]
    plane: GroundPlane
    errors: tuple[PointError, ...]
    scales: tuple[Scale, ...]
    warnings: tuple[str, ...]

    @property
    def rms_cm(self) -> float:
        """How far the points are missed on average."""
        return 100 * (self.plane.rms_error_m or 0.0)


def parse_point(text: str) -> GroundPoint:
    """Parse `PX,PY=X,Y`: pixels in the picture, metres on the ground.

    Raises:
        PointsProblem: it is not of that form.
    """
    match = _POINT.fullmatch(text)
    if match is None:
        raise PointsProblem(
            f"'{_short(text)}' is not a point; write PX,PY=X,Y, as in 310,700=0,0: the place in "
            "the picture in pixels, then on the ground in metres, with decimal points"
        )
    return _point([float(number) for number in match.groups()], f"'{_short(text)}'")


def read_points(path: Path) -> tuple[GroundPoint, ...]:
    """Read a CSV file of points, one a line: px, py, x, y; a line of headings is skipped.

    Raises:
        FileProblem: the file cannot be read.
        PointsProblem: a line of it cannot.
    """
    try:
        text = read_file(path, MAX_CSV_BYTES).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise PointsProblem(f"{path} is not UTF-8 text; save it as CSV (UTF-8)") from error
    return parse_csv(text, str(path))


def parse_csv(text: str, name: str) -> tuple[GroundPoint, ...]:
    """Parse the content of a CSV file of points; commas, or semicolons as in some countries.

    Raises:
        PointsProblem: a line is not four numbers.
    """
    separator = ";" if ";" in text else ","
    points: list[GroundPoint] = []
    try:
        rows = list(csv.reader(io.StringIO(text), delimiter=separator))
    except csv.Error as error:
        raise PointsProblem(f"{name} is no CSV file: {error}") from error
    for number, row in enumerate(rows, start=1):
        cells = [cell.strip() for cell in row]
        if not any(cells) or cells[0].startswith("#"):
            continue
        if separator == ";":
            cells = [cell.replace(",", ".") for cell in cells]
        values = [re.fullmatch(_NUMBER, cell, re.ASCII) for cell in cells]
        if len(cells) != 4 or not all(values):
            if not points and not any(values):
                continue  # headings
            raise PointsProblem(
                f"{name}, line {number}: '{_short(','.join(row))}' is not four numbers px, py, x, y"
            )
        points.append(_point([float(cell) for cell in cells], f"{name}, line {number}"))
    return tuple(points)


def calibrate(
    points: tuple[GroundPoint, ...], frame_size: tuple[int, int] | None = None
) -> Calibration:
    """Fit the ground plane and judge it over a picture of `frame_size` = (height, width).

    Without a size, the picture is taken to end where the points do.

    Raises:
        HomographyError: the points describe no plane.
        PointsProblem: too many points, or one is outside of the picture.
    """
    if len(points) > MAX_POINTS:
        raise PointsProblem(f"{len(points)} points are too many; choose up to {MAX_POINTS}")
    for number, point in enumerate(points, start=1):
        if frame_size is not None and not (
            0 <= point.px <= frame_size[1] and 0 <= point.py <= frame_size[0]
        ):
            raise PointsProblem(
                f"point {number} ({point.px:g}, {point.py:g}) is outside of the picture, which is "
                f"{frame_size[1]}x{frame_size[0]}; pixels count from its upper left corner"
            )
    plane = _fit(points)
    errors = tuple(
        PointError(point, 100 * _missed_m(plane, point), _left_out_cm(points, row))
        for row, point in enumerate(points)
    )
    scales = _scales(plane, points, frame_size)
    warnings = (
        *_warn_of_errors(points, errors, 100 * (plane.rms_error_m or 0.0)),
        *_warn_of_spread(points, frame_size),
        *_warn_of_scales(scales),
    )
    return Calibration(points, plane, errors, scales, warnings)


def _point(numbers: list[float], name: str) -> GroundPoint:
    if not all(math.isfinite(number) and abs(number) <= 1e6 for number in numbers):
        raise PointsProblem(f"{name}: a number is too large; pixels and metres are meant")
    return GroundPoint(*numbers)


def _fit(points: tuple[GroundPoint, ...]) -> GroundPlane:
    return fit_ground_plane([(p.px, p.py) for p in points], [(p.x, p.y) for p in points])


def _missed_m(plane: GroundPlane, point: GroundPoint) -> float:
    x, y = plane.to_ground([(point.px, point.py)])[0]
    return math.hypot(x - point.x, y - point.y)


def _left_out_cm(points: tuple[GroundPoint, ...], row: int) -> float | None:
    """How far the plane of all other points misses this one; None when they fit none."""
    if len(points) < 6:
        return None
    try:
        missed = 100 * _missed_m(_fit(points[:row] + points[row + 1 :]), points[row])
    except HomographyError:
        return None
    return missed if math.isfinite(missed) else None


def _scales(
    plane: GroundPlane, points: tuple[GroundPoint, ...], frame_size: tuple[int, int] | None
) -> tuple[Scale, ...]:
    right = float(frame_size[1]) if frame_size else max(p.px for p in points)
    bottom = float(frame_size[0]) if frame_size else max(p.py for p in points)
    left = 0.0 if frame_size else min(p.px for p in points)
    top = min(p.py for p in points)  # above the highest point there may be no ground
    middle = (left + right) / 2
    places = [
        ("near, left", left, bottom),
        ("near, middle", middle, bottom),
        ("near, right", right, bottom),
        ("half way", middle, (top + bottom) / 2),
        ("far, left", left, top),
        ("far, middle", middle, top),
        ("far, right", right, top),
    ]
    hull = cv2.convexHull(np.array([(p.px, p.py) for p in points], np.float32))
    span = math.sqrt(max(cv2.contourArea(hull), 1.0))
    scales = []
    for name, px, py in places:
        outside = -cv2.pointPolygonTest(hull, (px, py), True)
        here, across, deeper = plane.to_ground([(px, py), (px + 1, py), (px, py - 1)])
        scales.append(
            Scale(
                where=name,
                px=px,
                py=py,
                across_cm=100 * float(np.linalg.norm(across - here)),
                depth_cm=100 * float(np.linalg.norm(deeper - here)),
                extrapolated=bool(outside > 0.75 * span),
            )
        )
    return tuple(scales)


def _warn_of_errors(
    points: tuple[GroundPoint, ...], errors: tuple[PointError, ...], rms_cm: float
) -> list[str]:
    if len(points) == 4:
        return ["four points always fit exactly: give six or more, and a slip of the tape shows"]
    if len(points) == 5:
        if rms_cm <= _DOUBTFUL_CM:
            return []
        return [
            f"the points miss one another by {rms_cm:.0f} cm: one is measured wrongly; measure "
            "again, or give a sixth, and it shows which"
        ]
    # The wrong point is the one without which the others agree.
    rest = [_rms_cm_without(points, row) for row in range(len(points))]
    worst = int(np.argmin(rest))
    off_cm = errors[worst].left_out_cm or 0.0
    if rest[worst] < rms_cm / 3 and off_cm > _SLIP_CM:
        return [
            f"point {worst + 1} is {off_cm:.0f} cm off where the others, which agree, put it: "
            "measure it again, in the picture and on the ground"
        ]
    if rms_cm <= 2 * _DOUBTFUL_CM:
        return []
    return [
        f"the points miss one another by {rms_cm:.0f} cm, and no single one is to blame: is the "
        "ground flat, is the lens a fisheye, are picture and tape of the same camera?"
    ]


def _rms_cm_without(points: tuple[GroundPoint, ...], row: int) -> float:
    try:
        return 100 * (_fit(points[:row] + points[row + 1 :]).rms_error_m or 0.0)
    except HomographyError:
        return math.inf


def _warn_of_spread(
    points: tuple[GroundPoint, ...], frame_size: tuple[int, int] | None
) -> list[str]:
    if frame_size is None:
        return ["the picture's size is not known: give --size, as in 1920x1080, to check further"]
    hull = cv2.convexHull(np.array([(p.px, p.py) for p in points], np.float32))
    top = min(p.py for p in points)
    ground = max(1.0, frame_size[1] * (frame_size[0] - min(top, frame_size[0] * 0.9)))
    share = cv2.contourArea(hull) / ground
    if share >= _SMALL_AREA:
        return []
    return [
        f"the points span only {share:.0%} of the ground in view: further out distances are "
        "guessed; put points near its edges"
    ]


def _warn_of_scales(scales: tuple[Scale, ...]) -> list[str]:
    warnings = []
    sky = [scale.where for scale in scales if not math.isfinite(scale.across_cm)]
    if sky:
        warnings.append(
            f"the horizon passes through the picture's ground ({', '.join(sky)}): are the points "
            "in the right order, and is the ground flat?"
        )
    seen = [s for s in scales if math.isfinite(s.across_cm) and math.isfinite(s.depth_cm)]
    near = [s for s in seen if s.where.startswith("near, middle")]
    if any(s.across_cm > _COARSE_CM for s in near):
        warnings.append(
            f"a pixel in front is {near[0].across_cm:.0f} cm wide: were centimetres or feet given "
            "instead of metres?"
        )
    if any(s.across_cm < 0.01 for s in near):
        warnings.append("a pixel in front is under 0.1 mm wide: were metres meant?")
    far = [s for s in seen if s.where.startswith("far") and s.depth_cm > 50]
    if far:
        worst = max(far, key=lambda scale: scale.depth_cm)
        warnings.append(
            f"{worst.where}: one pixel is {worst.depth_cm / 100:.1f} m deep, so distances there "
            "are coarse; hang the camera higher, or do not count on encounters there"
        )
    return warnings


def _short(text: str) -> str:
    plain = "".join(letter if letter.isprintable() else "?" for letter in text)
    return plain if len(plain) <= 60 else plain[:57] + "..."
