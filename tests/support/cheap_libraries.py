"""Has libraries do once, or plainly, what they would do anew and in colour for each test."""

from __future__ import annotations

import functools
import gc
import os
from typing import Any

import structlog
import typer.main
import typer.testing


def make_cheap() -> None:
    """Log tracebacks plainly, as the services do, and build each command for Typer's runner once.

    What is asserted of a log or a command stays as it is. Typer makes the whole tree of parameters
    from its functions for every command line that a test runs; a command is not changed by running.
    """
    plainly = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[*structlog.get_config()["processors"][:-1], plainly])
    built: Any = functools.cache(typer.main.get_command)
    typer.testing._get_command = built  # type: ignore[attr-defined]


def trust_no_authority_of_this_machine() -> None:
    """Give clients without an authority of their own none: a machine's hundred take 50 ms each."""
    os.environ["SSL_CERT_FILE"] = os.environ["SSL_CERT_DIR"] = os.devnull


def keep_collected() -> None:
    """Take what was imported and collected out of what the garbage collector looks through."""
    gc.collect()
    gc.freeze()
