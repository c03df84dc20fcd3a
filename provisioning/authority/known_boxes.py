"""Which boxes a folder at headquarters knows: the authority's, the registrar's, or both."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from provisioning.authority import boxes
from provisioning.authority.push import aggregator_boxes, officer_tls
from provisioning.formats.boxstate import BoxState
from provisioning.formats.opened import open_site
from provisioning.registrar import office


def through_registrar(folder: Path, name: str) -> bool:
    """Tell whether a box is the registrar's to revoke, and not the authority's."""
    if office.find_config(folder) is None:
        return False
    if not (folder / "site.toml").exists():
        return True  # its own folder, on its own machine: the authority is not here
    with office.opened(folder) as registrar:
        return registrar.store.box(name) is not None


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
