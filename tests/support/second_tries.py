"""Tries a test of real processes once more where it fails, and prints why the first try failed."""

from __future__ import annotations

import pytest
from process_watch import MARKER


class SecondTries:
    """A plugin of pytest, by way of pytest-rerunfailures."""

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Mark what shares two cores with other such tests, and may be starved."""
        for item in items:
            if item.get_closest_marker(MARKER):
                item.add_marker(pytest.mark.flaky(reruns=1, reruns_delay=2))

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        """Print how the first tries ended: what fails twice is told only as it failed last."""
        for report in terminalreporter.stats.get("rerun", []):
            terminalreporter.section(f"the first try of {report.nodeid}")
            terminalreporter.line(report.longreprtext)
