"""The sections of the desk: each a package with its pages, templates and files."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import APIRouter

from officers.pages.shown_tasks import ShownTask

NAMES = (
    "frame",
    "cases",
    "approving",
    "withdrawing",
    "passkeys",
    "patients",
    "drafting",
    "map",
    "results",
    "traces",
    "audit",
    "fleet",
)
"""In the order in which their paths are tried."""
_PACKAGE = "officers.pages"


@dataclass(frozen=True, slots=True)
class Section:
    """One section.

    Args:
        name: of its package, templates and files.
        folder: of its package.
        router: its pages.
        home_tasks: what it has on the first page.
        large_bodies: beginnings of paths to the most bytes that a request's body may have there.
    """

    name: str
    folder: Path
    router: APIRouter
    large_bodies: Mapping[str, int]
    home_tasks: Callable[[Any], list[ShownTask]] | None = None


def sections() -> dict[str, Section]:
    """Return the sections that are installed, by name."""
    found = {}
    for name in NAMES:
        if importlib.util.find_spec(f"{_PACKAGE}.{name}") is None:
            continue
        package = importlib.import_module(f"{_PACKAGE}.{name}")
        folder = Path(str(package.__file__)).parent
        found[name] = Section(
            name,
            folder,
            getattr(package, "router", APIRouter()),
            getattr(package, "LARGE_BODIES", {}),
            getattr(package, "home_tasks", None),
        )
    return found


def section_of(module: str) -> str:
    """Return the section that a module is of; ``frame`` for what is of none."""
    rest = module.removeprefix(f"{_PACKAGE}.").partition(".")[0]
    return rest if rest in NAMES else NAMES[0]
