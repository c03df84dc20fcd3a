"""A test whose command sends all logs to its own standard error keeps them from no other."""

from __future__ import annotations

import logging
import sys

import structlog

from runtime.logs import configure


def own_handlers() -> list[logging.Handler]:
    """Return where logs go but for pytest's own record of each test."""
    return [one for one in logging.getLogger().handlers if "pytest" not in type(one).__module__]


def ways() -> tuple[list[logging.Handler], object]:
    """Return where logs go, and what makes the loggers."""
    return own_handlers(), structlog.get_config()["logger_factory"]


BEFORE: list[tuple[list[logging.Handler], object]] = []


def test_of_a_command() -> None:
    BEFORE.append(ways())
    configure(role="custodian", stream=sys.stderr)
    assert len(own_handlers()) == 1
    assert ways() != BEFORE[0]


def test_of_something_else() -> None:
    assert [ways()] == BEFORE
