"""The register of places: which camera is where. The directory names its SHA-256.

docs/protocol.md, "Directories". Its second form is deterministic CBOR (`protocol.encoding`): places
with their names in several scripts, addresses, rooms, and how long people walk from camera to
camera. Its first is a CSV file, whose first line names the columns: ``camera`` and ``place``, and
positions, either ``lat,lon`` (degrees, WGS 84) or ``x_m,y_m`` (metres on a plan of the site's own).
A position may be missing, never half of one.
"""

from __future__ import annotations

import csv
import hashlib
import hmac
import io
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from protocol.directory import Directory
from protocol.displaynames import require_display_name
from protocol.encoding import Fields, decode, encode
from protocol.errors import MalformedMessage, SignatureInvalid
from protocol.names import require_name

MAX_REGISTER_BYTES = 16 << 20
MAX_HANDED_BYTES = 8 << 20
"""No aggregator takes more at once (`runtime.serving.MAX_BODY_BYTES`)."""
MAX_PLACES = 65_536
MAX_PLACE_LENGTH = 128
MAX_ADDRESS_LENGTH = 256
MAX_NAMES = 16
MAX_WALKS = 65_536
LONGEST_WALK_S = 86_400.0
GLOBE, PLAN = ("lat", "lon"), ("x_m", "y_m")
_FURTHEST = {"lat": 90.0, "lon": 180.0, "x_m": 1e6, "y_m": 1e6}
_FORM = 2
_LANGUAGE = re.compile(r"[a-z]{2,3}(?:-[A-Za-z0-9]{2,8}){0,3}")
_MAP = 5  # CBOR's major type of a map, in the three high bits: no CSV begins with it


@dataclass(frozen=True, slots=True)
class CameraPlace:
    """Where one camera is.

    Args:
        place: in words; cameras of one place share them.
        position: latitude and longitude, or metres on the plan, as `Places.axes` says; or None.
        names: the place's names besides, by language tag (``ko``, ``zh-Hant``).
        indoor: None where that is not said.
        room: in words; cameras of one room of a place share them.
        view: what it looks at.
    """

    camera: str
    place: str
    position: tuple[float, float] | None
    names: Mapping[str, str] = field(default_factory=dict)
    address: str | None = None
    indoor: bool | None = None
    room: str | None = None
    view: str | None = None


@dataclass(frozen=True, slots=True)
class Places:
    """A register.

    Args:
        digest: SHA-256 of its very bytes.
        axes: `GLOBE`, `PLAN`, or empty where it has no positions.
        walks: how long people walk from one camera to another and back, s; the names in order.
    """

    digest: bytes
    axes: tuple[str, ...]
    cameras: Mapping[str, CameraPlace]
    walks: Mapping[tuple[str, str], float] = field(default_factory=dict)

    def walk_s(self, one: str, other: str) -> float | None:
        """Return how long people walk between two cameras, s; None where it is not given."""
        return self.walks.get((min(one, other), max(one, other)))

    def to_bytes(self) -> bytes:
        """Return the register in its second form; its digest is that of these bytes."""
        return encode(
            {
                "v": _FORM,
                "axes": list(self.axes),
                "cameras": [_camera_value(self.cameras[name]) for name in sorted(self.cameras)],
                "walks": [[a, b, seconds] for (a, b), seconds in sorted(self.walks.items())],
            }
        )


def parse_places(data: bytes) -> Places:
    """Read a register of either form; callers that act on it use :func:`open_places`.

    Raises:
        MalformedMessage: it says in which line, or of which camera, what is wrong.
    """
    if len(data) > MAX_REGISTER_BYTES:
        raise MalformedMessage(f"the register of places has more than {MAX_REGISTER_BYTES} bytes")
    if data[:1] and data[0] >> 5 == _MAP:
        return _parse_second(data)
    return _parse_first(data)


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


def check_position(axes: tuple[str, ...], position: tuple[float, float], *, where: str) -> None:
    """Check that a position is on the globe, or on a plan.

    Raises:
        MalformedMessage: it is beyond.
    """
    for axis, value in zip(axes, position, strict=True):
        if not math.isfinite(value) or abs(value) > _FURTHEST[axis]:
            raise MalformedMessage(f"{where}: {axis} {value} is beyond {_FURTHEST[axis]:g}")


def require_language(tag: str, *, what: str) -> str:
    """Return ``tag`` if it is a language tag as BCP 47 writes the common ones.

    Raises:
        MalformedMessage: otherwise.
    """
    if _LANGUAGE.fullmatch(tag) is None:
        raise MalformedMessage(f"{what} is not a language tag such as ko, en or zh-Hant")
    return tag


def _camera_value(one: CameraPlace) -> dict[str, object]:
    """Return a camera's entry; what is not said is left out."""
    said = {
        "position": None if one.position is None else [float(part) for part in one.position],
        "names": dict(one.names) or None,
        "address": one.address,
        "indoor": one.indoor,
        "room": one.room,
        "view": one.view,
    }
    return {"camera": one.camera, "place": one.place} | {
        name: value for name, value in said.items() if value is not None
    }


def _parse_second(data: bytes) -> Places:
    what = "the register of places"
    fields = Fields(decode(data, what=what, max_bytes=MAX_REGISTER_BYTES), what=what)
    fields.version(_FORM)
    axes = tuple(fields.array("axes", max_items=2))
    if axes not in ((), GLOBE, PLAN):
        raise MalformedMessage(f"{what}: its axes are not lat,lon or x_m,y_m, or none")
    cameras: dict[str, CameraPlace] = {}
    last = ""
    for value in fields.array("cameras", max_items=MAX_PLACES):
        one = _read_camera(value, axes)
        if one.camera <= last:
            raise MalformedMessage(f"{what}: '{one.camera}' again, or not in order")
        last = one.camera
        cameras[last] = one
    walks = _read_walks(fields.array("walks", max_items=MAX_WALKS), cameras)
    fields.done()
    return Places(hashlib.sha256(data).digest(), axes, cameras, walks)


def _read_camera(value: object, axes: tuple[str, ...]) -> CameraPlace:
    fields = Fields(value, what="a camera of the register")
    camera = fields.name("camera")
    where = f"camera '{camera}' of the register"

    def words(name: str, most: int = MAX_PLACE_LENGTH) -> str | None:
        if name not in fields:
            return None
        return require_display_name(fields.value(name), what=f"{where}: {name}", max_length=most)

    place = words("place")
    if place is None:
        raise MalformedMessage(f"{where} has no place")
    position: tuple[float, float] | None = None
    if "position" in fields:
        parts = fields.array("position", min_items=2, max_items=2)
        if not axes or not all(isinstance(part, float) for part in parts):
            raise MalformedMessage(f"{where}: its position is not two numbers of the axes")
        position = (parts[0], parts[1])
        check_position(axes, position, where=where)
    names: dict[str, str] = {}
    if "names" in fields:
        given = fields.mapping("names", max_items=MAX_NAMES)
        names = {
            require_language(tag, what=f"{where}: the language"): require_display_name(
                name, what=f"{where}: its name in {tag}"
            )
            for tag, name in given.items()
        }
        if not names:
            raise MalformedMessage(f"{where}: its names are none")
    one = CameraPlace(
        camera,
        place,
        position,
        names,
        words("address", MAX_ADDRESS_LENGTH),
        fields.boolean("indoor") if "indoor" in fields else None,
        words("room"),
        words("view"),
    )
    fields.done()
    return one


def _read_walks(
    values: list[object], cameras: Mapping[str, CameraPlace]
) -> dict[tuple[str, str], float]:
    walks: dict[tuple[str, str], float] = {}
    last = ("", "")
    for value in values:
        if not isinstance(value, list) or [type(part) for part in value] != [str, str, float]:
            raise MalformedMessage("a walk of the register is not [camera, camera, seconds]")
        one, other, seconds = value
        if one not in cameras or other not in cameras or one >= other or (one, other) <= last:
            raise MalformedMessage(
                "a walk of the register is between cameras that it does not list, or not in order"
            )
        if not 0 < seconds <= LONGEST_WALK_S:
            raise MalformedMessage(
                f"the walk from '{one}' to '{other}' does not take up to {LONGEST_WALK_S:g} s"
            )
        last = (one, other)
        walks[last] = seconds
    return walks


def _parse_first(data: bytes) -> Places:
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
    check_position(axes, (first, second), where=where)
    return CameraPlace(camera, place, (first, second))
