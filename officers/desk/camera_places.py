"""Where cameras are, from files that an investigator keeps: the register of places, or a list."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from officers.desk.notices import Notice, Tell, unheard
from officers.desk.officer import Officer
from officers.desk.phrases import phrase
from protocol.errors import ProtocolError
from protocol.places import MAX_REGISTER_BYTES, Places, open_places
from protocol.textformats import parse_toml
from runtime.errors import OperationError
from runtime.fsio import FileProblem, private_folder, read_file, write_if_new

_MAX_BYTES = 16 << 20
Positions = Mapping[str, tuple[float, float]]
"""Camera to latitude and longitude, degrees (WGS 84)."""


class PlacesInvalid(OperationError):
    """The file is not a list of camera positions."""


def read_positions(path: Path) -> dict[str, tuple[float, float]]:
    """Read where cameras are: a ``.toml`` file with ``[cam-1]``, ``lat``, ``lon``, or a CSV file.

    The CSV's first line names its columns, among them ``camera``, ``lat`` and ``lon``; degrees of
    WGS 84.

    Raises:
        FileProblem: it cannot be read.
        PlacesInvalid: it is neither, or a position is not on the globe.
    """
    data = read_file(path, _MAX_BYTES)
    try:
        text = data.decode("utf-8-sig")
        rows = _toml_rows(text) if path.suffix.lower() == ".toml" else _csv_rows(text)
        return _collected(rows)
    except (ValueError, OverflowError, KeyError, TypeError, AttributeError, csv.Error) as error:
        raise PlacesInvalid(
            phrase(
                "{path} is not a list of camera positions ({error}); write a CSV file with the "
                "columns camera,lat,lon, or a .toml file with a section [cam-1] with lat and lon "
                "each",
                path=path,
                error=error,
            )
        ) from error


def places_for(
    officer: Officer, file: Path | None = None, *, tell: Tell = unheard
) -> Places | None:
    """Return the site's register of places: as the aggregator gave it, or from a copy of it.

    Nothing is believed of where cameras are but what the site's authority signed. None, and why is
    told, where no file is given and there is no copy here of the one that the directory names; None
    where the directory names no register.

    Args:
        officer: whose directory names the register.
        file: a copy, instead of those that are kept.
        tell: takes the warning.

    Raises:
        FileProblem: the file that was given cannot be read.
        SignatureInvalid: it is not the register that the directory names.
        MalformedMessage: it is no register.
    """
    if file is not None:
        return _read_register(file, officer)
    if officer.directory.places is None:
        return None
    kept = kept_register(officer)
    if kept is None:
        words = phrase(
            "where cameras are is not taken into account: the register of places that the "
            "directory names is not here{other_copy}, and the aggregator does not have it. "
            "The authority's office hands it out with `sealtrace site update SITE --push`",
            other_copy=_other_copy(officer),
        )
        tell(Notice(words, warning=True))
    return kept


def _other_copy(officer: Officer) -> str:
    """Say what is wrong with the copy that the officer keeps, if there is one."""
    path = officer.config.places
    if not path.exists():
        return ""
    try:
        _read_register(path, officer)
    except (FileProblem, ProtocolError) as error:
        return phrase(" ({path}: {error})", path=path, error=error)
    return ""


def kept_register(officer: Officer) -> Places | None:
    """Return the register that the directory names, if a copy of it is here."""
    named, held = officer.directory.places, officer.register
    if named is None or (held is not None and held.digest == named):
        return None if named is None else held
    officer.register = None
    for path in (officer.config.places, _cached(officer)):
        try:
            officer.register = _read_register(path, officer)
            break
        except (FileProblem, ProtocolError):
            continue
    return officer.register


def keep_register(officer: Officer, data: bytes) -> None:
    """Keep a register that somebody gave us.

    Raises:
        SignatureInvalid: it is not the one that the directory names.
        MalformedMessage: it is no register.
        FileProblem: it cannot be kept.
    """
    open_places(data, officer.directory)
    private_folder(officer.config.state_dir)
    write_if_new(_cached(officer), data, 0o600)


def _cached(officer: Officer) -> Path:
    return officer.config.state_dir / "places.register"


def _read_register(file: Path, officer: Officer) -> Places:
    return open_places(read_file(file, MAX_REGISTER_BYTES), officer.directory)


def _collected(rows: Iterator[tuple[str, Any, Any]]) -> dict[str, tuple[float, float]]:
    positions: dict[str, tuple[float, float]] = {}
    for camera, lat, lon in rows:
        place = (float(lat), float(lon))
        if not (abs(place[0]) <= 90 and abs(place[1]) <= 180):
            raise ValueError(f"{camera}: latitude {lat}, longitude {lon} is not on the globe")
        if camera in positions:
            raise ValueError(f"{camera} stands there twice")
        positions[camera] = place
    return positions


def _toml_rows(text: str) -> Iterator[tuple[str, Any, Any]]:
    for camera, place in parse_toml(text).items():
        yield camera, place["lat"], place["lon"]


def _csv_rows(text: str) -> Iterator[tuple[str, Any, Any]]:
    reader = csv.DictReader(io.StringIO(text), strict=True)
    missing = {"camera", "lat", "lon"} - set(reader.fieldnames or ())
    if missing:
        raise ValueError(f"no column {', '.join(sorted(missing))}")
    for row in reader:
        yield row["camera"].strip(), row["lat"], row["lon"]
