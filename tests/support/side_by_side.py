"""Which tests share a worker of pytest-xdist: those of a file, and all files that use one site.

A site for the whole session takes a minute to set up, and some files' tests build on one another;
so neither is torn apart. (pytest-xdist's own groups do not reach its scheduler with this pytest.)
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

_ROOT = Path(__file__).resolve().parents[2]
SITES = ("film_set", "quiet_site")
"""Fixtures for the whole session, `mosquitto_film_set` with the first of them."""
WAITING = (
    "test_http_slow_and_many.py",
    "test_capture_live.py",
    "test_http_client_bounds.py",
    "test_cover_of_traffic.py",
    "test_integrity.py",
    "test_capture_recorded.py",
    "test_outbox_survives.py",
    "test_camera_setup_probe.py",
)
"""Files that mostly wait: begun one after the other, early, so that others compute meanwhile."""
_LONG = frozenset({"system", "tools"})
"""Folders of files that take long: what a worker begins with last should be short."""
_BETWEEN = 15
"""So many other groups are begun between two that wait."""


@cache
def group_of(path: str) -> str:
    """Return the site that the tests of a file use, or the file itself.

    Args:
        path: of the file, from the project's folder.
    """
    text = (_ROOT / path).read_text("utf-8")
    used = (site for site in SITES if re.search(rf'\b(mosquitto_)?{site}("|: )', text))
    return next(used, path)


def group_of_item(item: pytest.Item) -> str:
    """Return the group of a collected test."""
    return group_of(str(item.path.relative_to(_ROOT)))


def in_order(items: list[pytest.Item]) -> list[pytest.Item]:
    """Return tests group by group, what takes longest first; within a file as they stand there."""
    groups: dict[str, list[pytest.Item]] = {}
    for item in sorted(items, key=lambda item: item.path):
        groups.setdefault(group_of_item(item), []).append(item)
    first = sorted(
        groups, key=lambda name: (name not in SITES, _LONG.isdisjoint(_parts(name)), name)
    )
    waiting = [name for name in first if Path(name).name in WAITING]
    others = [name for name in first if name not in waiting]
    for at, name in enumerate(waiting):
        others.insert(min(len(SITES) + at * (_BETWEEN + 1), len(others)), name)
    return [item for name in others for item in groups[name]]


def _parts(name: str) -> frozenset[str]:
    return frozenset(Path(name).parts)


def only_shares_out(config: pytest.Config) -> bool:
    """Tell whether this process runs no test itself."""
    return config.getoption("dist", "no") != "no" and not hasattr(config, "workerinput")


def scheduler(config: pytest.Config, log: Any) -> Any:
    """Return what shares the groups out among the workers."""
    return _Groups(config, log)


class _Groups(LoadScopeScheduling):  # type: ignore[misc]
    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid.partition("::")[0])

    def remove_node(self, node: Any) -> Any:
        """Give to others what a worker had left, and nothing that it had done.

        A worker that is given a group of which nothing is left never ends, and nor does the run.
        """
        work = self.assigned_work[node]
        self.assigned_work[node] = {
            name: tests for name, tests in work.items() if not all(tests.values())
        }
        return super().remove_node(node)

    def mark_test_pending(self, item: str) -> None:
        """Nothing: a test in which a worker died is among what is given to others."""
