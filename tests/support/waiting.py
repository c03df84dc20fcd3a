"""Wait for a condition with a deadline; a test that waits says what for."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

import pytest

Answer = TypeVar("Answer")
DEADLINE_S = 60.0


def wait_for(
    probe: Callable[[], Answer | None],
    what: str,
    *,
    timeout_s: float = DEADLINE_S,
    every_s: float = 0.1,
    passing: type[BaseException] | tuple[type[BaseException], ...] = (),
    explain: Callable[[], object] | None = None,
) -> Answer:
    """Return the first true answer of ``probe``; fail the test when none comes in time.

    Args:
        probe: asked again and again.
        what: what is waited for, as the failure tells it.
        timeout_s: generous: it only decides when to give up.
        every_s: pause between two questions.
        passing: errors of the probe that mean "not yet".
        explain: gives what the failure shows besides.
    """
    deadline = time.monotonic() + timeout_s
    last: object = None
    while True:
        with suppress(*((passing,) if isinstance(passing, type) else passing)):
            answer = probe()
            if answer:
                return answer
            last = answer
        if time.monotonic() > deadline:
            shown = "" if explain is None else f"\n{explain()}"
            pytest.fail(f"waited {timeout_s:g} s for {what}; last answer: {last!r}{shown}")
        time.sleep(every_s)
