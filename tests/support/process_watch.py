"""Stops a test that starts a process and does not say so with a marker.

`make check` leaves out what is marked, to be quick. Without this, a test that forgot the marker
would only make it slower, until nobody runs it any more.
"""

from __future__ import annotations

import multiprocessing.util
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import ParamSpec

import pytest

_P = ParamSpec("_P")
MARKER = "processes"
IMPLIED_BY = ("system", "mosquitto", "swtpm", "ffmpeg")
FIXTURES = frozenset({"broker", "embedded", "mosquitto_with"})
"""These start a broker for whoever asks for them."""
_SPAWNED = "multiprocessing.spawn"
_STARTS = frozenset({
    _SPAWNED, "subprocess.Popen", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn",
    "os.system",
})  # fmt: skip


def mark_implied(items: Sequence[pytest.Item]) -> None:
    """Mark what starts processes by what else is said of it."""
    for item in items:
        asked = FIXTURES.intersection(getattr(item, "fixturenames", ()))
        if asked or any(item.get_closest_marker(name) for name in IMPLIED_BY):
            item.add_marker(MARKER)


def _audited(start: Callable[_P, int]) -> Callable[_P, int]:
    """Let hooks hear of what multiprocessing starts past `subprocess`."""

    def started(*args: _P.args, **kwargs: _P.kwargs) -> int:
        sys.audit(_SPAWNED)
        return start(*args, **kwargs)

    return started


class ProcessWatch:
    """A plugin of pytest that finds a test which starts a process unmarked.

    Args:
        forbids: such a test fails, at the place where it does; else it is warned of.
    """

    def __init__(self, *, forbids: bool) -> None:
        self._forbids = forbids
        self._unmarked = ""
        self._seen: list[str] = []
        sys.addaudithook(self._heard)
        multiprocessing.util.spawnv_passfds = _audited(multiprocessing.util.spawnv_passfds)

    def _heard(self, event: str, _arguments: tuple[object, ...]) -> None:
        if event in _STARTS and self._unmarked:
            self._seen.append(event)
            if self._forbids:
                pytest.fail(self._told())

    def _told(self) -> str:
        return (
            f"{self._unmarked} starts a process ({self._seen[0]}): mark it with "
            f"@pytest.mark.{MARKER}, so that `make check` leaves it out"
        )

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Watch a test, and the fixtures that it is the first to ask for."""
        self._seen = []
        self._unmarked = "" if item.get_closest_marker(MARKER) else item.nodeid
        try:
            return (yield)
        finally:
            self._unmarked = ""

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self) -> Iterator[None]:
        """Tell of it also where it was another thread that started the process."""
        result = yield
        if self._seen and self._forbids:
            pytest.fail(self._told())
        if self._seen:
            warnings.warn(self._told(), stacklevel=1)
        return result
