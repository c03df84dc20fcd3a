"""How many examples a test tries: what it says, and few of them under `make check`."""

from __future__ import annotations

import os

FEW = 5


def examples(number: int) -> int:
    """Return how many examples a test tries that asks for ``number``."""
    return min(number, FEW) if _few() else number


def step() -> int:
    """Return by how many a loop over many cases goes on: by one, under `make check` by four."""
    return 4 if _few() else 1


def _few() -> bool:
    return os.environ.get("HYPOTHESIS_PROFILE") == "few"
