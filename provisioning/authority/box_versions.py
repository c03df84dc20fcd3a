"""What the second form of the directory says of boxes: recordings, and the end of version 1.

A box that has gone on to version 2 of the protocol is not to be believed in version 1 again:
whoever holds its key could else have its metadata open by the slot. The aggregator tells which
have gone on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from protocol.directory import BOX, MAX_CAMERAS_PER_BOX, Directory
from protocol.errors import MalformedMessage
from protocol.names import require_name
from protocol.v2 import VERSION
from provisioning.authority import changes
from provisioning.authority.boxes import require_box
from provisioning.formats.layout import SitePaths
from provisioning.formats.opened import Site, SiteError, changing, milliseconds, open_site
from provisioning.formats.secretfiles import open_authority


@dataclass(frozen=True, slots=True)
class Sealable:
    """Which boxes can be held to version 2.

    Args:
        until_ms: box to the moment of its last announcement in version 1.
        refused: box to why it cannot be.
    """

    until_ms: Mapping[str, int]
    refused: Mapping[str, str]


def sealable(
    site: Site, names: Iterable[str], rows: Iterable[Mapping[str, Any]], *, now: datetime
) -> Sealable:
    """Judge boxes by what the aggregator tells of them.

    Args:
        names: boxes in force, or none for all of them.
        rows: as ``GET /v1/boxes`` gives them.
        now: from when on version 1 is over for who is not known ever to have spoken it.

    Raises:
        SiteError: one is not a box in force of the authority's directory.
    """
    told = {str(row.get("box")): row for row in rows}
    listed = {box.name: box for box in site.directory.with_duty(BOX)}
    until_ms: dict[str, int] = {}
    refused: dict[str, str] = {}
    for name in list(names) or sorted(listed):
        require_box(site, name)
        if name not in listed:
            raise SiteError(f"'{name}' has been revoked")
        if listed[name].version_1_until_ms is not None:
            continue
        protocol = told.get(name, {}).get("protocol")
        last_ms = told.get(name, {}).get("version_1_ms")
        if protocol is None:
            refused[name] = "the aggregator has had nothing of it"
        elif not isinstance(protocol, int) or protocol < VERSION:
            refused[name] = (
                "it seals in version 1 still: update its software; it goes on to version 2 with its"
                " next generation of keys, at the latest at midnight UTC"
            )
        else:
            until_ms[name] = last_ms if isinstance(last_ms, int) else milliseconds(now)
    return Sealable(until_ms, refused)


def seal_versions(
    path: Path, until_ms: Mapping[str, int], passphrase: bytes, *, now: datetime | None = None
) -> changes.Change:
    """Write into a new version of the directory until when boxes spoke version 1.

    Raises:
        SiteError: one is not a box.
        KeyFileError: wrong passphrase.
    """

    def sealed(directory: Directory) -> Directory:
        principals = dict(directory.principals)
        for name, at_ms in until_ms.items():
            if principals[name].version_1_until_ms is None:
                principals[name] = replace(principals[name], version_1_until_ms=at_ms)
        return replace(directory, principals=principals)

    return _change(path, list(until_ms), sealed, passphrase, now)


def check_recordings(site: Site, name: str, cameras: Sequence[str]) -> bool:
    """Check that ``name`` may import films of ``cameras``; tell whether it does already, just so.

    Raises:
        SiteError: it is not a box in force, or they are not cameras' names.
    """
    box = require_box(site, name)
    if box.revoked_at_ms is not None:
        raise SiteError(f"'{name}' has been revoked")
    if len(set(cameras)) != len(cameras):
        raise SiteError("a camera is named twice")
    if len(cameras) > MAX_CAMERAS_PER_BOX:
        raise SiteError(f"a box imports films of at most {MAX_CAMERAS_PER_BOX} cameras")
    for camera in cameras:
        try:
            require_name(camera, what="camera")
        except MalformedMessage as error:
            raise SiteError(f"'{camera}' cannot be a camera: {error}") from error
    return box.recordings == tuple(cameras)


def set_recordings(
    path: Path,
    name: str,
    cameras: Sequence[str],
    passphrase: bytes,
    *,
    now: datetime | None = None,
) -> changes.Change:
    """Write into a new version of the directory of which cameras a box may import films.

    Raises:
        SiteError: as `check_recordings`.
        KeyFileError: wrong passphrase.
    """

    def changed(directory: Directory) -> Directory:
        principals = dict(directory.principals)
        principals[name] = replace(principals[name], recordings=tuple(cameras))
        return replace(directory, principals=principals)

    check_recordings(open_site(path), name, cameras)
    return _change(path, [name], changed, passphrase, now)


def _change(
    path: Path,
    names: Iterable[str],
    change: Callable[[Directory], Directory],
    passphrase: bytes,
    now: datetime | None,
) -> changes.Change:
    moment = changes.whole_second(now)
    with changing(SitePaths(path.absolute())):
        site = open_site(path)
        for name in names:
            require_box(site, name)
        directory = change(site.directory)
        if directory.principals == site.directory.principals:
            return changes.spread_changes(site, changed=False)
        authority = open_authority(site.paths, passphrase)
        return changes.publish(site, directory.principals, authority, moment)
