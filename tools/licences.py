"""Hold the licences of what is installed against those that docs/dependencies.md permits.

``python -m tools.licences`` looks at every package of the lock files that is installed here, and
at the shared libraries that their wheels bundle: what a library was built with stands in it,
whatever the package's own words say.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DOCUMENT = ROOT / "docs" / "dependencies.md"
LOCKS = (ROOT / "requirements.lock", ROOT / "requirements-tpm.lock")
HEADING = "## Licences that may be installed"
COPYLEFT_LIBRARIES = re.compile(
    r"^lib(x264|x265|xvidcore|fdk-aac|aribb24|davs2|xavs2?|rubberband|vidstab|frei0r|postproc)\b"
)
"""Libraries under the GPL (or free for some uses alone) that video wheels are known to bundle."""
COPYLEFT_BUILDS = (b"--enable-gpl", b"--enable-nonfree")
"""What FFmpeg's libraries say of their own configuration when they may not be passed on freely."""
_LOCKED = re.compile(r"^([A-Za-z0-9][A-Za-z0-9._-]*)==", re.MULTILINE)
_CODE = re.compile(r"`([^`]+)`")
_LICENCE = "License :: "
_APPROVED = "OSI Approved :: "


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a package."""

    package: str
    reason: str


def permitted(document: str) -> frozenset[str]:
    """Return the licences that a document permits: what its section lists between back quotes.

    Raises:
        ValueError: it has no such section, or permits nothing.
    """
    _, found, rest = document.partition(f"{HEADING}\n")
    names = frozenset(_CODE.findall(rest.partition("\n## ")[0]))
    if not found or not names:
        raise ValueError(f"the document has no section '{HEADING}' that permits a licence")
    return names


def locked(lock_files: Iterable[Path]) -> list[str]:
    """Return the names of all packages of lock files, sorted."""
    return sorted({name for path in lock_files for name in _LOCKED.findall(path.read_text())})


def licences_of(package: Distribution) -> list[str]:
    """Return what a package says of its licence, as SPDX expressions; all of them bind."""
    expression = _field(package, "License-Expression")
    if expression:
        return expression
    classified = [
        value.removeprefix(_LICENCE).removeprefix(_APPROVED)
        for value in _field(package, "Classifier")
        if value.startswith(_LICENCE + _APPROVED) or value == _LICENCE + "Public Domain"
    ]
    if classified:
        return classified
    return [text.strip().splitlines()[0] for text in _field(package, "License") if text.strip()]


def _field(package: Distribution, name: str) -> list[str]:
    return [str(value) for value in package.metadata.get_all(name) or []]


def is_permitted(expression: str, names: frozenset[str]) -> bool:
    """Whether an SPDX expression can be met with permitted licences alone.

    ``AND`` needs both sides, ``OR`` one; parentheses are not needed by any package so far and
    make an expression one that is not permitted.
    """
    if expression in names:
        return True
    return any(
        all(part.strip() in names for part in choice.split(" AND "))
        for choice in expression.split(" OR ")
    )


def bundled_problems(package: Distribution) -> Iterator[str]:
    """Yield what is wrong with the shared libraries that came with a package."""
    for file in package.files or []:
        if ".so" not in file.name:
            continue
        if COPYLEFT_LIBRARIES.match(file.name):
            yield f"bundles {file.name}, which is under the GPL or not free"
            continue
        path = Path(str(file.locate()))
        if not path.name.startswith(("libav", "libsw")) or not path.is_file():
            continue
        data = path.read_bytes()
        for option in COPYLEFT_BUILDS:
            if option in data:
                yield f"bundles {file.name}, built with {option.decode()}"


def problems(names: Iterable[str], allowed: frozenset[str]) -> Iterator[Problem]:
    """Yield what is wrong with the installed ones among the packages ``names``."""
    for name in names:
        try:
            package = distribution(name)
        except PackageNotFoundError:
            continue  # for another system or Python
        stated = licences_of(package)
        if not stated:
            yield Problem(name, "says nothing of its licence")
        for one in stated:
            if not is_permitted(one, allowed):
                yield Problem(name, f"is under '{one}'")
        for reason in bundled_problems(package):
            yield Problem(name, reason)


def main() -> int:
    """Print what is wrong; return 1 when anything is."""
    names = locked(LOCKS)
    found = list(problems(names, permitted(DOCUMENT.read_text())))
    for problem in found:
        sys.stderr.write(f"{problem.package}: {problem.reason}\n")
    if found:
        sys.stderr.write(
            f"error: {len(found)} of these are not permitted by {DOCUMENT.relative_to(ROOT)}, "
            f"'{HEADING.removeprefix('## ')}'; take another package, or decide there\n"
        )
        return 1
    sys.stdout.write(f"licences of {len(names)} locked packages are permitted\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
