"""Prints which files of tests cost most: seconds of processors, whatever else the machine does.

Where tests are to be quick it names those that are not and do not say so.
"""

from __future__ import annotations

import resource
from collections import defaultdict
from collections.abc import Iterator

import pytest
import warm_start

_PROPERTY = "cpu_s"
_SHOWN = 15
_SLOW, _SLOW_S = "slow", 1.0
"""Who takes a quarter of a second is marked; it is told of at far more, as machines differ."""


class CostReport:
    """A plugin of pytest; the children of a test count when they have ended.

    Args:
        quick: whether what is run is to be quick.
    """

    def __init__(self, *, quick: bool) -> None:
        self._quick = quick
        self._unmarked: dict[str, float] = {}
        self._began_s = 0.0
        self._files: defaultdict[str, float] = defaultdict(float)

    def pytest_runtest_logstart(self) -> None:
        """Begin to count."""
        self._began_s = _spent_s()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Iterator[None]:
        """Note what a test has spent where it ends."""
        if call.when == "teardown":
            item.user_properties.append((_PROPERTY, round(_spent_s() - self._began_s, 3)))
        return (yield)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add it to that of its file."""
        if report.when == "teardown":
            spent = dict(report.user_properties).get(_PROPERTY, 0.0)
            self._files[report.location[0]] += float(str(spent))
            if self._quick and float(str(spent)) > _SLOW_S and _SLOW not in report.keywords:
                self._unmarked[report.nodeid] = float(str(spent))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print the dearest files."""
        dearest = sorted(self._files.items(), key=lambda one: -one[1])[:_SHOWN]
        terminalreporter.section(f"{_SHOWN} files that cost most CPU time, {_all_s(self._files)}")
        for file, spent_s in dearest:
            terminalreporter.line(f"{spent_s:8.1f} s  {file}")
        if self._unmarked:
            terminalreporter.section("mark with @pytest.mark.slow, or make cheaper")
        for test, spent_s in self._unmarked.items():
            terminalreporter.line(f"{spent_s:8.1f} s  {test}")


def _all_s(files: dict[str, float]) -> str:
    return f"of {sum(files.values()):.0f} s"


def _spent_s() -> float:
    own, children = (
        resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    )
    used = own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
    return used + warm_start.spent_s()
