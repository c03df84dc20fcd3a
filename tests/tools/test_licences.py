"""A package under a licence that nobody decided on is noticed, and so is what its wheel bundles."""

from __future__ import annotations

from importlib.metadata import PathDistribution
from pathlib import Path

import pytest

from tools.licences import (
    DOCUMENT,
    LOCKS,
    bundled_problems,
    is_permitted,
    licences_of,
    locked,
    permitted,
    problems,
)

ALLOWED = permitted(DOCUMENT.read_text())


def installed(folder: Path, *lines: str, files: dict[str, bytes] | None = None) -> PathDistribution:
    """A package as pip leaves it, with these lines of metadata and files."""
    info = folder / "made_up-1.0.dist-info"
    info.mkdir()
    info.joinpath("METADATA").write_text("\n".join(["Name: made-up", "Version: 1.0", *lines]))
    for name, data in (files or {}).items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    info.joinpath("RECORD").write_text("".join(f"{name},,\n" for name in files or {}))
    return PathDistribution(info)


@pytest.mark.slow
def test_everything_that_is_installed_is_permitted() -> None:
    names = locked(LOCKS)
    assert {"cryptography", "numpy", "opencv-python-headless"} < set(names)
    assert list(problems(names, ALLOWED)) == []


@pytest.mark.parametrize(
    "line",
    [
        "License-Expression: GPL-3.0-or-later",
        "License-Expression: MIT AND AGPL-3.0-only",
        "Classifier: License :: OSI Approved :: GNU General Public License v3 or later (GPLv3+)",
        "License: Proprietary",
    ],
)
def test_another_licence_is_not_permitted(tmp_path: Path, line: str) -> None:
    (stated,) = licences_of(installed(tmp_path, line))
    assert not is_permitted(stated, ALLOWED)


@pytest.mark.parametrize(
    "line",
    [
        "License-Expression: GPL-3.0-or-later OR MIT",
        "License-Expression: MIT AND BSD-3-Clause",
        "Classifier: License :: OSI Approved :: MIT License",
        "License: MIT",
    ],
)
def test_a_permitted_one_is(tmp_path: Path, line: str) -> None:
    (stated,) = licences_of(installed(tmp_path, line))
    assert is_permitted(stated, ALLOWED)


def test_what_says_nothing_has_no_licence(tmp_path: Path) -> None:
    assert licences_of(installed(tmp_path)) == []


def test_a_bundled_library_tells_what_the_metadata_does_not(tmp_path: Path) -> None:
    files = {
        "made_up.libs/libx264-0123abcd.so.164": b"ELF",
        "made_up.libs/libavcodec-0123abcd.so.61": b"ELF --enable-shared --enable-gpl --arch=x86",
        "made_up.libs/libavutil-0123abcd.so.59": b"ELF --enable-shared --arch=x86",
        "made_up/core.so": b"ELF",
    }
    package = installed(tmp_path, "License-Expression: MIT", files=files)
    first, second = bundled_problems(package)
    assert "libx264-0123abcd.so.164" in first
    assert "libavcodec-0123abcd.so.61, built with --enable-gpl" in second


def test_a_document_without_the_list_permits_nothing() -> None:
    with pytest.raises(ValueError, match="no section"):
        permitted("# Dependencies\n\n`MIT`\n")
