"""The site's register of places: named by its directory, kept by its authority, handed out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from protocol.directory import Directory
from protocol.errors import MalformedMessage
from protocol.places import MAX_HANDED_BYTES, Places, parse_places
from provisioning.authority.consequences import Consequence, Weight
from provisioning.authority.directory_files import kept_path, kept_register
from provisioning.authority.known_boxes import admissions_here, with_admitted
from provisioning.authority.places_files import WrittenRegister, make_register
from provisioning.authority.proposals import Proposal
from provisioning.authority.registers import change_directory, open_second_form
from provisioning.formats.layout import SitePaths
from provisioning.formats.opened import Site, SiteError
from runtime.fsio import write_if_new
from runtime.text import counted, quoted


def set_places(
    folder: Path,
    register: bytes | None,
    *,
    walks: bytes | None = None,
    now: datetime | None = None,
) -> Proposal:
    """Propose another register of places, or none.

    Args:
        folder: the site's.
        register: CSV, GeoJSON or a register; None: the directory is to name none.
        walks: a CSV file of walking times between its cameras.
        now: the time.

    Raises:
        SiteError: it is no register.
    """
    site = open_second_form(folder)
    made: WrittenRegister | None = None
    try:
        made = None if register is None else make_register(register, walks)
    except MalformedMessage as error:
        raise SiteError(f"{error}; correct the file") from error
    digest = None if made is None else made.places.digest
    same = site.directory.places == digest

    def keep(paths: SitePaths) -> None:
        if made is None:
            paths.places.unlink(missing_ok=True)
        else:
            write_if_new(paths.places, made.data)
        paths.former_places.unlink(missing_ok=True)

    def named(directory: Directory) -> Directory:
        return replace(directory, places=digest)

    if made is None or digest is None:
        what, done = "no register of places", "the directory names no register of places"
    else:
        what = f"the register of {_counted(made.places)}, SHA-256 {digest.hex()}"
        done = f"the directory names {what}"
    return Proposal(
        site,
        would=f"would have the directory name {what}",
        done=done,
        make=lambda passphrase: change_directory(folder, named, passphrase, now, keep=keep),
        needs_passphrase=not same,
        effects=() if made is None else tuple(_of_places(site, made)),
    )


def places_problem(site: Site) -> str | None:
    """Return what is wrong with the site's copy of its register of places, if anything is."""
    if site.directory.places is None or kept_register(site.paths, site.directory) is not None:
        return None
    path = kept_path(site.paths)
    again = f"run `sealtrace site places {quoted(site.paths.root)} FILE`"
    if not path.exists():
        return f"{path}, the register of places that the directory names, is not there; {again}"
    return f"{path} is not the register of places that the directory names; {again}"


def _counted(places: Places) -> str:
    """Say how much a register holds."""
    words = counted(len(places.cameras), "camera")
    return f"{words} and {counted(len(places.walks), 'walk')}" if places.walks else words


def _of_places(site: Site, made: WrittenRegister) -> Iterator[Consequence]:
    """Say which cameras a register leaves out, which the site does not have, and what looks odd."""
    places = made.places
    known = with_admitted(site, admissions_here(site.paths.root, site)).directory
    cameras = {
        camera for one in known.principals.values() for camera in one.cameras + one.recordings
    }
    for these, words in (
        (cameras - places.cameras.keys(), "without a place in it"),
        (
            places.cameras.keys() - cameras,
            "in it, though no box here is known to watch or import films of",
        ),
    ):
        if these:
            named = ", ".join(sorted(these)[:8]) + (" and more" if len(these) > 8 else "")
            yield Consequence(Weight.SAID, f"{counted(len(these), 'camera')} {words}: {named}")
    former = kept_register(site.paths, site.directory)
    if former is not None and not places.walks and (walks := parse_places(former).walks):
        text = (
            f"the register in force has {counted(len(walks), 'walk')}, and this one has none; see"
            " --walks"
        )
        yield Consequence(Weight.SAID, text)
    if len(made.data) > MAX_HANDED_BYTES:
        text = (
            f"the register has {len(made.data):,} bytes, and the aggregator takes"
            f" {MAX_HANDED_BYTES:,} to hand out: give officers {site.paths.places} yourself, as"
            " places.csv beside their officer.toml"
        )
        yield Consequence(Weight.SAID, text)
    for text in made.notes:
        yield Consequence(Weight.SAID, text)
