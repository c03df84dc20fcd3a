"""Has logs go where they went before a test, once it is over.

A command that a test runs in this process sends all logs to its own standard error, which is closed
with the test: what a later test's threads log there is nowhere seen but as "I/O operation on closed
file". What a fixture of several tests has changed stays until the fixture changes it back.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import structlog


class RestoredLogs:
    """A plugin of pytest."""

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self) -> Iterator[None]:
        """Forget a stream that was there for a test, its setting up or its clearing away."""
        root = logging.getLogger()
        handlers, level = [*root.handlers], root.level
        try:
            return (yield)
        finally:
            if root.handlers != handlers:
                root.handlers[:] = handlers
                root.setLevel(level)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_call(self) -> Iterator[None]:
        """Undo what a test itself has changed."""
        handlers, configured = [*logging.getLogger().handlers], structlog.get_config()
        try:
            return (yield)
        finally:
            if logging.getLogger().handlers != handlers:
                structlog.configure(**configured)
