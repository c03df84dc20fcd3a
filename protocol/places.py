"""The register of places: which camera is where. A CSV file, whose SHA-256 the directory names.

docs/protocol.md, "Directories". The first line names the columns: ``camera`` and ``place``, and
positions, either ``lat,lon`` (degrees, WGS 84) or ``x_m,y_m`` (metres on a plan of the site's own).
A position may be missing, never half of one.
"""

from __future__ import annotations

import csv
import hashlib
import hmac
import io
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from protocol.directory import Directory
from protocol.errors import MalformedMessage, SignatureInvalid
from protocol.names import require_name

MAX_REGISTER_BYTES = 16 << 20
MAX_PLACES = 65_536
MAX_PLACE_LENGTH = 128
GLOBE, PLAN = ("lat", "lon"), ("x_m", "y_m")
_FURTHEST = {"lat": 90.0, "lon": 180.0, "x_m": 1e6, "y_m": 1e6}


@dataclass(frozen=True, slots=True)
class CameraPlace:
    """Where one camera is.

    Args:
        place: in words; cameras of one place share them.
        position: latitude and longitude, or metres on the plan, as `Places.axes` says; or None.
    """

    camera: str
    place: str
    position: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class Places:
    """A register.

    Args:
        digest: SHA-256 of its very bytes.
        axes: `GLOBE`, `PLAN`, or empty where it has no positions.
    """

    digest: bytes
    axes: tuple[str, ...]
    cameras: Mapping[str, CameraPlace]


def parse_places(data: bytes) -> Places:
    """Read a register; callers that act on it use :func:`open_places`.

    Raises:
        MalformedMessage: it says in which line what is wrong.
    """
    if len(data) > MAX_REGISTER_BYTES:
        raise MalformedMessage(f"the register of places has more than {MAX_REGISTER_BYTES} bytes")
    try:
        lines = csv.reader(io.StringIO(data.decode("utf-8-sig")), strict=True)
        columns = next(lines, [])
        axes = tuple(columns[2:])
        if columns[:2] != ["camera", "place"] or axes not in {(), GLOBE, PLAN}:
            raise MalformedMessage(
                "the register's first line must be camera,place and then lat,lon or x_m,y_m, or "
                "nothing more"
            )
        cameras: dict[str, CameraPlace] = {}
        for number, row in _numbered(lines):
            one = _camera_place(row, axes, f"line {number} of the register")
            if one.camera in cameras:
                raise MalformedMessage(f"line {number} of the register: '{one.camera}' again")
            if len(cameras) >= MAX_PLACES:
                raise MalformedMessage(f"the register lists more than {MAX_PLACES} cameras")
            cameras[one.camera] = one
    except (UnicodeDecodeError, csv.Error) as error:
        raise MalformedMessage(f"the register of places is not CSV in UTF-8: {error}") from error
    return Places(hashlib.sha256(data).digest(), axes, cameras)


def open_places(data: bytes, directory: Directory) -> Places:
    """Read the register that the directory names.

    Raises:
        SignatureInvalid: the directory names another, or none.
        MalformedMessage: it is no register.
    """
    named = directory.places
    if named is None or not hmac.compare_digest(hashlib.sha256(data).digest(), named):
        which = "none" if named is None else "another"
        raise SignatureInvalid(
            f"directory version {directory.version} names {which} as the register of places"
        )
    return parse_places(data)


def _numbered(lines: Iterator[list[str]]) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows that are not empty, each with its number in the file."""
    for number, row in enumerate(lines, start=2):
        if row:
            yield number, row


def _camera_place(row: list[str], axes: tuple[str, ...], where: str) -> CameraPlace:
    if len(row) != 2 + len(axes):
        raise MalformedMessage(f"{where} has {len(row)} columns, not {2 + len(axes)}")
    camera = require_name(row[0].strip(), what=f"{where}: the camera")
    place = row[1].strip()
    if not 0 < len(place) <= MAX_PLACE_LENGTH or not place.isprintable():
        raise MalformedMessage(f"{where}: the place is not a text of 1 to {MAX_PLACE_LENGTH}")
    stated = [text.strip() for text in row[2:]]
    if not any(stated):
        return CameraPlace(camera, place, None)
    try:
        first, second = (float(text) for text in stated)
    except ValueError as error:
        raise MalformedMessage(f"{where}: {' and '.join(axes)} are not two numbers") from error
    for axis, value in zip(axes, (first, second), strict=True):
        if not math.isfinite(value) or abs(value) > _FURTHEST[axis]:
            raise MalformedMessage(f"{where}: {axis} {value} is beyond {_FURTHEST[axis]:g}")
    return CameraPlace(camera, place, (first, second))
