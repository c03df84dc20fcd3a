"""How many examples a test tries: what it says, and few of them under `make check`."""

from __future__ import annotations

import os
from typing import Any

from hypothesis import settings
from hypothesis.internal.conjecture import providers

FEW = 5


def examples(number: int) -> int:
    """Return how many examples a test tries that asks for ``number``."""
    return min(number, FEW) if _few() else number


def step() -> int:
    """Return by how many a loop over many cases goes on: by one, under `make check` by four."""
    return 4 if _few() else 1


def load_profile() -> None:
    """Have Hypothesis try as many examples as the environment says; no test asserts a time."""
    settings.register_profile("no-deadline", deadline=None)
    settings.register_profile("few", deadline=None, max_examples=FEW, derandomize=True)
    settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "no-deadline"))
    if _few():  # one value in twenty is a constant of our code: five examples hardly meet one
        library: Any = providers
        library._get_local_constants = lambda: library._local_constants


def _few() -> bool:
    return os.environ.get("HYPOTHESIS_PROFILE") == "few"
