"""Goes through a folder of recordings: what is there, whose, from when to when, and what is not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edge_agent.footage.found import FoundFile, Scan, ScanOptions


def scan_folder(
    folder: Path, *, options: ScanOptions, tell: Callable[[FoundFile], None] | None = None
) -> Scan:
    """Look at all files of a folder and the folders in it; links are not followed.

    Args:
        folder: where they are, or one file.
        options: how their times and cameras are told.
        tell: called with each file when it was looked at, in no order of time.

    Raises:
        OperationError: the folder cannot be read, or an option does not fit.
    """
    raise NotImplementedError
