"""What the second form of the directory says of boxes: recordings, and the end of version 1.

A box that has gone on to version 2 of the protocol is not to be believed in version 1 again:
whoever holds its key could else have its metadata open by the slot. The aggregator tells which
have gone on. Boxes that came in by the registrar are held to it by name, in the same directory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from protocol.admissions import Admissions
from protocol.boxterms import MAX_RECORDINGS, BoxTerms
from protocol.directory import BOX
from protocol.errors import MalformedMessage
from protocol.names import require_name
from protocol.v2 import VERSION
from provisioning.authority import changes
from provisioning.authority.boxes import require_box
from provisioning.authority.known_boxes import with_admitted
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
        site: with the admitted boxes in its directory (`known_boxes.with_admitted`).
        names: boxes in force, or none for all of them.
        rows: as ``GET /v1/boxes`` gives them.
        now: from when on version 1 is over for who is not known ever to have spoken it.

    Raises:
        SiteError: one is not a box in force.
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
    path: Path,
    until_ms: Mapping[str, int],
    passphrase: bytes,
    *,
    admissions: Admissions | None = None,
    now: datetime | None = None,
) -> changes.Change:
    """Write into a new version of the directory until when boxes spoke version 1.

    Args:
        admissions: the registrar's list, for boxes that came in by it.

    Raises:
        SiteError: one is not a box.
        KeyFileError: wrong passphrase.
    """

    def sealed(name: str, terms: BoxTerms) -> BoxTerms:
        if terms.version_1_until_ms is not None:
            return terms
        return replace(terms, version_1_until_ms=until_ms[name])

    return _change(path, list(until_ms), sealed, passphrase, admissions=admissions, now=now)


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
    if len(cameras) > MAX_RECORDINGS:
        raise SiteError(f"a box imports films of at most {MAX_RECORDINGS} cameras")
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
    admissions: Admissions | None = None,
    now: datetime | None = None,
) -> changes.Change:
    """Write into a new version of the directory of which cameras a box may import films.

    Args:
        admissions: the registrar's list, for a box that came in by it.

    Raises:
        SiteError: as `check_recordings`.
        KeyFileError: wrong passphrase.
    """

    def changed(_name: str, terms: BoxTerms) -> BoxTerms:
        return replace(terms, recordings=tuple(cameras))

    check_recordings(with_admitted(open_site(path), admissions), name, cameras)
    return _change(path, [name], changed, passphrase, admissions=admissions, now=now)


def _change(
    path: Path,
    names: Iterable[str],
    change: Callable[[str, BoxTerms], BoxTerms],
    passphrase: bytes,
    *,
    admissions: Admissions | None,
    now: datetime | None,
) -> changes.Change:
    moment = changes.whole_second(now)
    with changing(SitePaths(path.absolute())):
        site = open_site(path)
        known = with_admitted(site, admissions)
        before = {name: require_box(known, name).terms for name in names}
        terms = {name: change(name, said) for name, said in before.items()}
        if terms == before:
            return changes.spread_changes(site, changed=False)
        authority = open_authority(site.paths, passphrase)
        site = replace(site, directory=site.directory.with_terms(terms))
        return changes.publish(site, site.directory.principals, authority, moment)
