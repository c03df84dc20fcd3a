"""Read what an office writes of its cameras' places, CSV or GeoJSON, and make the register of it.

A CSV file with the columns of the register's first form alone stays the very file; whatever says
more becomes the register's second form (`protocol.places`).
"""

from __future__ import annotations

import csv
import io
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from protocol.displaynames import MAX_DISPLAY_NAME
from protocol.errors import MalformedMessage
from protocol.names import require_name
from protocol.places import (
    GLOBE,
    LONGEST_WALK_S,
    MAX_ADDRESS_LENGTH,
    MAX_PLACES,
    MAX_REGISTER_BYTES,
    MAX_WALKS,
    PLAN,
    CameraPlace,
    Places,
    check_position,
    parse_places,
    require_language,
)
from protocol.textformats import parse_json
from runtime.lookalikes import alike, checked_name

_NAME = "name_"
_WORDS = ("address", "room", "view")
_COLUMNS = ("camera", "place", *_WORDS, "indoor", *GLOBE, *PLAN)
_INDOORS = {
    **dict.fromkeys(("yes", "true", "1", "indoor", "indoors"), True),
    **dict.fromkeys(("no", "false", "0", "outdoor", "outdoors"), False),
}
_MOST_LINES = max(MAX_PLACES, MAX_WALKS)
_FIRST_FORM = (("camera", "place"), ("camera", "place", *GLOBE), ("camera", "place", *PLAN))
Row = tuple[str, Mapping[str, Any]]
"""Where a camera stands in the file, and what is said of it."""


@dataclass(frozen=True, slots=True)
class WrittenRegister:
    """A register that can be signed.

    Args:
        data: its bytes.
        notes: what to know about it, each a sentence.
    """

    data: bytes
    places: Places
    notes: tuple[str, ...] = ()


def make_register(data: bytes, walks: bytes | None = None) -> WrittenRegister:
    """Make a register of what an office has written, or of one that was made before.

    Args:
        data: a CSV file, GeoJSON, or a register of the second form.
        walks: a CSV file with the columns from,to,seconds; None keeps those in ``data``.

    Raises:
        MalformedMessage: it says in which line, or of which camera, what is wrong.
    """
    if len(data) > MAX_REGISTER_BYTES:
        raise MalformedMessage(f"the file has more than {MAX_REGISTER_BYTES} bytes")
    notes: list[str] = []
    if data[:1] and data[0] >> 5 == 5:  # CBOR: a register of the second form
        places = parse_places(data)
    elif data.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"{"):
        axes, rows = _geojson_rows(data, notes)
        places = _collected(axes, rows)
    else:
        columns, lines = _csv_lines(data, "the register")
        places = _collected(_axes(columns), _csv_rows(columns, lines))
        if walks is None and tuple(columns) in _FIRST_FORM and _first_form(data, places):
            return WrittenRegister(data, parse_places(data), tuple(_lookalikes(places)))
    if walks is not None:
        places = replace(places, walks=_walks(walks, places))
    made = places.to_bytes()
    return WrittenRegister(made, parse_places(made), (*notes, *_lookalikes(places)))


def _first_form(data: bytes, places: Places) -> bool:
    """Tell whether the first form says the same; not where a name is not in one spelling."""
    try:
        return parse_places(data).cameras == places.cameras
    except MalformedMessage:
        return False


def _csv_lines(data: bytes, what: str) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """Return the columns of a CSV file, and its lines that are not empty, numbered."""
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise MalformedMessage(
            f"{what} is not UTF-8 at byte {error.start}; save it as CSV UTF-8 (in Excel: "
            "'CSV UTF-8 (comma delimited)')"
        ) from error
    head = text.split("\n", 1)[0]
    delimiter = next((one for one in (";", "\t") if one in head and "," not in head), ",")
    try:
        reader = csv.reader(io.StringIO(text, newline=""), strict=True, delimiter=delimiter)
        columns = [column.strip() for column in next(reader, [])]
        filled = ((reader.line_num, row) for row in reader if any(cell.strip() for cell in row))
        lines = list(islice(filled, _MOST_LINES + 1))
    except csv.Error as error:
        raise MalformedMessage(f"{what} is not CSV in UTF-8: {error}") from error
    if len(lines) > _MOST_LINES:
        raise MalformedMessage(f"{what} has more than {_MOST_LINES} lines")
    if doubled := sorted(one for one, times in Counter(columns).items() if times > 1):
        raise MalformedMessage(f"{what} has the column '{doubled[0]}' twice")
    for number, row in lines:
        if len(row) != len(columns):
            raise MalformedMessage(
                f"line {number} of {what} has {len(row)} columns, not {len(columns)}"
            )
    return columns, lines


def _axes(columns: Iterable[str]) -> tuple[str, ...]:
    """Return the axes of positions among the columns; refuse columns that nobody knows."""
    columns = list(columns)
    for wanted in ("camera", "place"):
        if wanted not in columns:
            raise MalformedMessage(f"the register's first line has no column '{wanted}'")
    for column in columns:
        if column not in _COLUMNS and not column.startswith(_NAME):
            raise MalformedMessage(
                f"the register has the column '{column[:64]}'; known are {', '.join(_COLUMNS)} "
                "and name_ko, name_en and such"
            )
    found = [axes for axes in (GLOBE, PLAN) if set(axes) & set(columns)]
    if not found:
        return ()
    if len(found) > 1 or not set(found[0]) <= set(columns):
        raise MalformedMessage("the register's positions are lat,lon or x_m,y_m: both, of one kind")
    return found[0]


def _csv_rows(columns: list[str], lines: list[tuple[int, list[str]]]) -> Iterator[Row]:
    for number, row in lines:
        yield f"line {number} of the register", dict(zip(columns, row, strict=True))


def _geojson_rows(data: bytes, notes: list[str]) -> tuple[tuple[str, ...], list[Row]]:
    try:
        document = parse_json(data.decode("utf-8-sig"))
    except ValueError as error:
        raise MalformedMessage(f"the register is not GeoJSON in UTF-8: {error}") from error
    features = document.get("features") if isinstance(document, dict) else None
    if not isinstance(features, list) or document.get("type") != "FeatureCollection":
        raise MalformedMessage("the register is not a GeoJSON FeatureCollection of Points")
    rows: list[Row] = []
    unread: set[str] = set()
    for number, feature in enumerate(features, start=1):
        where = f"feature {number} of the register"
        if not isinstance(feature, dict) or not isinstance(feature.get("properties"), dict):
            raise MalformedMessage(f"{where} has no properties")
        values = dict(feature["properties"])
        names = values.pop("names", None) or {}
        if not isinstance(names, dict):
            raise MalformedMessage(f"{where}: names is not a map of languages")
        values |= {f"{_NAME}{tag}": name for tag, name in names.items()}
        unread |= {key for key in values if key not in _COLUMNS and not key.startswith(_NAME)}
        values |= dict(zip(GLOBE, _point(feature.get("geometry"), where), strict=True))
        rows.append((where, values))
    if unread:
        listed = ", ".join(sorted(unread)[:8])
        notes.append(f"properties that the register has no room for are left out: {listed}")
    return GLOBE, rows


def _point(geometry: object, where: str) -> tuple[object, object]:
    """Return latitude and longitude of a Point; two Nones where a feature has no geometry."""
    if geometry is None:
        return None, None
    if not isinstance(geometry, dict) or geometry.get("type") != "Point":
        raise MalformedMessage(f"{where} is not a Point")
    at = geometry.get("coordinates")
    if not isinstance(at, list) or len(at) not in {2, 3}:
        raise MalformedMessage(f"{where}: its coordinates are not [longitude, latitude]")
    return at[1], at[0]


def _collected(axes: tuple[str, ...], rows: Iterable[Row]) -> Places:
    cameras: dict[str, CameraPlace] = {}
    names: dict[str, dict[str, str]] = {}
    for where, values in rows:
        one = _camera(values, axes, where)
        if one.camera in cameras:
            raise MalformedMessage(f"{where}: '{one.camera}' again")
        if len(cameras) >= MAX_PLACES:
            raise MalformedMessage(f"the register lists more than {MAX_PLACES} cameras")
        cameras[one.camera] = one
        known = names.setdefault(one.place, {})
        for tag, name in one.names.items():
            if known.setdefault(tag, name) != name:
                raise MalformedMessage(
                    f"{where}: the place '{one.place}' is '{name}' in {tag}, and was "
                    f"'{known[tag]}' before; one place has one name in a language"
                )
    whole = {name: replace(one, names=names[one.place]) for name, one in cameras.items()}
    return Places(b"", axes, whole)


def _camera(values: Mapping[str, Any], axes: tuple[str, ...], where: str) -> CameraPlace:
    def said(key: str, most: int = MAX_DISPLAY_NAME) -> str | None:
        value = values.get(key)
        if value is None or value == "":
            return None
        what = f"{where}: {key}"
        if not isinstance(value, str):
            raise MalformedMessage(f"{what} is not a text")
        if not value.strip():
            return None
        return checked_name(value, what=what, max_length=most)

    camera = values.get("camera")
    name = camera.strip() if isinstance(camera, str) else camera
    place = said("place")
    if place is None:
        raise MalformedMessage(f"{where}: the place is not a text of 1 to 128 characters")
    names = {}
    for key in sorted(key for key in values if key.startswith(_NAME)):
        tag = require_language(key.removeprefix(_NAME).replace("_", "-"), what=f"{where}: '{key}'")
        if (text := said(key)) is not None:
            names[tag] = text
    return CameraPlace(
        require_name(name, what=f"{where}: the camera"),
        place,
        _position(values, axes, where),
        names,
        said("address", MAX_ADDRESS_LENGTH),
        _indoor(values.get("indoor"), where),
        said("room"),
        said("view"),
    )


def _position(
    values: Mapping[str, Any], axes: tuple[str, ...], where: str
) -> tuple[float, float] | None:
    stated = [values.get(axis) for axis in axes]
    if all(value is None or (isinstance(value, str) and not value.strip()) for value in stated):
        return None
    numbers = [number for value in stated if (number := _number(value)) is not None]
    if len(numbers) != len(axes):
        raise MalformedMessage(f"{where}: {' and '.join(axes)} are not two numbers")
    check_position(axes, (numbers[0], numbers[1]), where=where)
    return numbers[0], numbers[1]


def _number(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        return float(value)
    except (ValueError, OverflowError):
        return None


def _indoor(value: object, where: str) -> bool | None:
    if value is None or isinstance(value, bool):
        return value
    word = value.strip().lower() if isinstance(value, str) else None
    if word == "":
        return None
    if word not in _INDOORS:
        raise MalformedMessage(f"{where}: indoor is yes or no, or empty where it is not known")
    return _INDOORS[word]


def _walks(data: bytes, places: Places) -> dict[tuple[str, str], float]:
    what = "the walks"
    if len(data) > MAX_REGISTER_BYTES:
        raise MalformedMessage(f"{what} have more than {MAX_REGISTER_BYTES} bytes")
    columns, lines = _csv_lines(data, what)
    if columns != ["from", "to", "seconds"]:
        raise MalformedMessage(f"the first line of {what} must be from,to,seconds")
    if len(lines) > MAX_WALKS:
        raise MalformedMessage(f"{what} are more than {MAX_WALKS}")
    walks: dict[tuple[str, str], float] = {}
    for number, (one, other, time) in lines:
        where = f"line {number} of {what}"
        pair = (min(one.strip(), other.strip()), max(one.strip(), other.strip()))
        for camera in pair:
            if camera not in places.cameras:
                raise MalformedMessage(f"{where}: the register has no camera '{camera[:64]}'")
        if pair[0] == pair[1]:
            raise MalformedMessage(f"{where} goes from '{pair[0]}' to itself")
        seconds = _number(time) or 0.0
        if not 0 < seconds <= LONGEST_WALK_S:
            raise MalformedMessage(f"{where}: a walk takes more than 0 and up to 86400 seconds")
        if walks.setdefault(pair, seconds) != seconds:
            raise MalformedMessage(
                f"{where}: from '{pair[0]}' to '{pair[1]}' takes {walks[pair]:g} s in a line "
                "before; a walk takes as long both ways"
            )
    return walks


def _lookalikes(places: Places) -> Iterator[str]:
    """Say which names of different places readers would take for one another."""
    owner: dict[str, str] = {}
    for one in places.cameras.values():
        for name in (one.place, *one.names.values()):
            other = owner.setdefault(name, one.place)
            if other != one.place:
                yield f"'{name}' is a name of two places, '{other}' and '{one.place}'"
    for name, other in alike(owner):
        if unicodedata.normalize("NFC", owner[name]) != owner[other]:
            yield f"'{name}' and '{other}' look alike and are names of two places"
