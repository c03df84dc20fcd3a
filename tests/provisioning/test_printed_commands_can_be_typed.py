"""Commands that are printed for somebody to type quote the paths in them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from runtime.text import quoted

ROOT = Path(__file__).parents[2]
PATHS = r"(?:(?:site|after)\.paths\.root|folder|path|target(?:\.name)?|place\.box_toml|built\.path)"
UNQUOTED = re.compile(rf"sealtrace [a-z-]+ [^`\"{{}}]*\{{{PATHS}\}}")


@pytest.mark.parametrize("package", ["provisioning", "officers", "models", "sealtrace"])
def test_no_printed_command_has_a_path_as_it_is(package: str) -> None:
    found = [
        f"{file}: {match[0]}"
        for file in sorted((ROOT / package).rglob("*.py"))
        for match in UNQUOTED.finditer(file.read_text())
    ]
    assert found == []


def test_a_path_is_quoted_where_a_shell_would_split_it() -> None:
    assert quoted(Path("/media/my stick/north")) == "'/media/my stick/north'"
    assert quoted("north") == "north"
    assert quoted(Path("it's")) == "'it'\"'\"'s'"
