"""How many examples a property test tries: what it says, and few of them under `make check`."""

from __future__ import annotations

import os

FEW = 5


def examples(number: int) -> int:
    """Return how many examples a test tries that asks for ``number``."""
    return min(number, FEW) if os.environ.get("HYPOTHESIS_PROFILE") == "few" else number
