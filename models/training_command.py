"""What the commands that train networks share: their log, and what to do without PyTorch."""

from __future__ import annotations

import logging
import sys


def log_to_stderr() -> None:
    """Write the log to stderr, each line with its time."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)


def missing_package(error: ImportError, packages: str) -> str:
    """What to say where a package of training could not be imported.

    Args:
        error: the import that failed.
        packages: all that training needs, as pip takes them.
    """
    return (
        f"training needs a package that is missing ({error.name}). The agent needs no PyTorch, "
        "so it is no dependency; install all in an environment of their own: "
        f"python3 -m venv torchenv && torchenv/bin/pip install {packages}"
    )
