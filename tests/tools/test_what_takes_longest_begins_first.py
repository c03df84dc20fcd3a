"""Files of tests that take long begin before those that are short, which fill what is left."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

from side_by_side import in_order

TESTS = Path(__file__).resolve().parents[1]
AS_FOUND = (
    "aggregator/test_a_lying_box_displaces_nobody.py",
    "system/test_full_disk.py",
    "system/test_trace_end_to_end.py",
    "tools/test_licences.py",
)


def test_shared_sites_are_first_then_what_starts_much_then_the_rest() -> None:
    items: list[Any] = [SimpleNamespace(path=TESTS / name) for name in AS_FOUND]
    assert [str(item.path.relative_to(TESTS)) for item in in_order(items)] == [
        "system/test_trace_end_to_end.py",
        "system/test_full_disk.py",
        "tools/test_licences.py",
        "aggregator/test_a_lying_box_displaces_nobody.py",
    ]
