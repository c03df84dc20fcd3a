"""Which boxes a folder at headquarters knows: the authority's, the registrar's, or both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from protocol.admissions import Admissions, open_admissions
from protocol.directory import REGISTRAR
from protocol.errors import ProtocolError
from provisioning.authority import boxes
from provisioning.authority.push import aggregator_admissions, aggregator_boxes, officer_tls
from provisioning.formats.boxstate import BoxState
from provisioning.formats.opened import Site, SiteError, open_site
from provisioning.registrar import office
from runtime.errors import OperationError


def through_registrar(folder: Path, name: str) -> bool:
    """Tell whether a box is the registrar's to revoke, and not the authority's."""
    if office.find_config(folder) is None:
        return False
    if not (folder / "site.toml").exists():
        return True  # its own folder, on its own machine: the authority is not here
    with office.opened(folder) as registrar:
        return registrar.store.box(name) is not None


def admissions_here(folder: Path, site: Site) -> Admissions | None:
    """Return the newest list of the registrar whose folder is here; None without one.

    Raises:
        SiteError: it is not a list of this site's registrar.
    """
    if office.find_config(folder) is None:
        return None
    with office.opened(folder) as registrar:
        signed = registrar.signed_admissions
    try:
        return None if signed is None else open_admissions(signed, site.directory, kept=True)
    except ProtocolError as error:
        raise SiteError(f"the registrar's list in {folder}: {error}") from error


def admissions_with(folder: Path, site: Site, name: str, officer: Path | None) -> Admissions | None:
    """Return the registrar's list; the aggregator is asked for it where box ``name`` is none here.

    Raises:
        OperationError: the aggregator has to be asked, and does not tell.
    """
    here = admissions_here(folder, site)
    known = with_admitted(site, here).directory.principals
    if name in known or not site.directory.with_duty(REGISTRAR):
        return here
    try:
        there = aggregator_admissions(site.directory, officer_tls(site, officer))
    except OperationError as error:
        raise OperationError(
            f"no box '{name}' is known here, and whether the registrar admitted one was not to be"
            f" learnt from the aggregator: {error}"
        ) from error
    return newest_of(here, there)


def newest_of(*lists: Admissions | None) -> Admissions | None:
    """Return the newest of some lists of one registrar; None where there is none."""
    found = [one for one in lists if one is not None]
    return max(found, key=lambda one: one.version, default=None)


def with_admitted(site: Site, admissions: Admissions | None) -> Site:
    """Return the site with the boxes in its directory that the registrar admits."""
    if admissions is None:
        return site
    return replace(site, directory=admissions.apply(site.directory))


def known_boxes(
    folder: Path, officer: Path | None, url: str | None
) -> tuple[list[BoxState], Callable[[], list[dict[str, Any]]]]:
    """Return the boxes that are known here, and how to ask the aggregator about them."""
    site = open_site(folder) if (folder / "site.toml").exists() else None
    listed = {} if site is None else {state.name: state for state in boxes.overview(site)}
    if office.find_config(folder) is not None:
        with office.opened(folder) as registrar:
            for state in office.overview(registrar):
                before = listed.get(state.name)
                listed[state.name] = state if before is None else boxes.joined(before, state)
            directory, tls = registrar.directory, registrar.config.tls
        if site is None:
            return list(listed.values()), lambda: aggregator_boxes(directory, tls, url)
    elif site is None:
        site = open_site(folder)  # says what is missing
    known = site
    return [listed[name] for name in sorted(listed)], lambda: aggregator_boxes(
        known.directory, officer_tls(known, officer), url
    )
