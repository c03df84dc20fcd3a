"""Puts a camera's ground plane into `box.toml`; every other byte stays as its owner wrote it."""

from __future__ import annotations

import contextlib
import difflib
import os
import re
import tomllib
from collections.abc import MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import Array, InlineTable, Table

from edge_agent.camera_setup.calibrate import GroundPoint
from edge_agent.config import BoxConfig
from protocol.textformats import parse_toml
from runtime.config import MAX_CONFIG_BYTES, ConfigError, parse
from runtime.errors import OperationError
from runtime.fsio import atomic_write, read_file

BACKUP_SUFFIX = ".bak"


class BoxFileProblem(OperationError):
    """`box.toml` cannot be changed; it is left as it is."""


@dataclass(frozen=True, slots=True)
class Change:
    """What `box.toml` says and would say."""

    path: Path
    before: str
    after: str

    @property
    def needed(self) -> bool:
        """Whether anything would change."""
        return self.before != self.after

    def diff(self) -> str:
        """Return the change as a unified diff, with passwords of addresses in it hidden."""
        lines = difflib.unified_diff(
            self.before.splitlines(), self.after.splitlines(), "before", "after", lineterm="", n=2
        )
        return "\n".join(_ADDRESS.sub(r"\1***", line) for line in lines)

    def write(self) -> Path | None:
        """Write it, after a copy `box.toml.bak` of what was there; the copy, None if unneeded.

        Raises:
            FileProblem: it cannot be written; the file is as it was.
        """
        if not self.needed:
            return None
        status = self.path.stat()
        mode = status.st_mode & 0o777
        backup = self.path.with_name(self.path.name + BACKUP_SUFFIX)
        atomic_write(backup, self.before.encode(), mode)
        atomic_write(self.path, self.after.encode(), mode)
        for written in (backup, self.path):
            # Run with sudo, the agent's own user must still be able to read its file.
            with contextlib.suppress(PermissionError):
                os.chown(written, status.st_uid, status.st_gid)
        return backup


_ADDRESS = re.compile(r"(\b[a-z][a-z0-9+.-]*://)[^\"']*@", re.IGNORECASE)


def plan_ground(path: Path, camera: str, points: Sequence[GroundPoint]) -> Change:
    """Work out `box.toml` with these ground points for one camera; nothing is written.

    Raises:
        FileProblem: it cannot be read.
        ConfigError: it is not valid, now or with the points.
        BoxFileProblem: it has no such camera, or cannot be changed without changing more.
    """
    path = path.resolve()
    try:
        before = read_file(path, MAX_CONFIG_BYTES).decode("utf-8")
        old = parse_toml(before)
        document = tomlkit.parse(before)
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, TOMLKitError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}; correct it first") from error
    image_px = [[_number(point.px), _number(point.py)] for point in points]
    ground_m = [[_number(point.x, 4), _number(point.y, 4)] for point in points]
    row = _camera_row(old, camera, path)
    wanted = {"image_points_px": image_px, "ground_points_m": ground_m}
    if old["cameras"][row].get("homography") == wanted:
        return Change(path, before, before)
    entry = document["cameras"][row]
    _put(entry, image_px, ground_m)
    after = tomlkit.dumps(document)
    if "\r\n" in before and "\n" in after.replace("\r\n", ""):
        after = after.replace("\r\n", "\n").replace("\n", "\r\n")
    _check(path, old, after, row, wanted)
    return Change(path, before, after)


def _camera_row(old: dict[str, Any], camera: str, path: Path) -> int:
    cameras = old.get("cameras")
    names = (
        [entry.get("name") if isinstance(entry, dict) else None for entry in cameras]
        if isinstance(cameras, list)
        else []
    )
    if camera not in names:
        known = ", ".join(str(name) for name in names) or "none"
        raise BoxFileProblem(f"{path} has no camera '{camera}'; it has {known}")
    return names.index(camera)


def _put(
    entry: MutableMapping[str, Any], image_px: list[list[Any]], ground_m: list[list[Any]]
) -> None:
    arrays: dict[str, Array] = {}
    for name, rows in (("image_points_px", image_px), ("ground_points_m", ground_m)):
        arrays[name] = tomlkit.array()
        for pair in rows:
            arrays[name].append(pair)
    present = entry.get("homography")
    if isinstance(present, Table | InlineTable):
        present.pop("matrix", None)  # points or a matrix, not both
        for name, array in arrays.items():
            present[name] = array
        return
    table: Table | InlineTable
    if isinstance(entry, InlineTable):
        table = tomlkit.inline_table()
    else:
        table = tomlkit.table()
        table.add(tomlkit.comment("Points of the ground: pixels in the picture, metres on site."))
    for name, array in arrays.items():
        table.add(name, array)
    entry["homography"] = table


def _check(
    path: Path, old: dict[str, Any], after: str, row: int, wanted: dict[str, list[list[Any]]]
) -> None:
    """See that the new text says what the old one says, but for the points, and is valid."""
    new = parse_toml(after)
    parse(new, BoxConfig, source=str(path), folder=path.parent)
    changed = new["cameras"][row].pop("homography", None)
    old["cameras"][row].pop("homography", None)
    if changed != wanted or new != old:
        raise BoxFileProblem(
            f"{path} is written in a way in which the points cannot be put in without changing "
            f"more; put them in by hand, under [[cameras]] of this camera:\n{snippet(wanted)}"
        )


def snippet(wanted: dict[str, list[list[Any]]]) -> str:
    """Return the table to be copied by hand."""
    lines = [f"{name} = {rows}" for name, rows in wanted.items()]
    return "\n".join(["[cameras.homography]", *lines])


def _number(value: float, digits: int = 2) -> float | int:
    rounded = round(value, digits)
    return int(rounded) if rounded == int(rounded) else rounded
