"""The simulated city among the other benchmarks (`benchmarks.city` says what is measured).

Run: `python -m benchmarks city [--cameras N] [--days D] [--sizes A,B,C] [--cold] [--quick]`.
"""

from __future__ import annotations

from benchmarks.city import measure, plan_of
from benchmarks.city_figures import figures
from benchmarks.figures import Figure
from benchmarks.printing import quiet_logs


def run(quick: bool = False) -> list[Figure]:
    """Measure; `quick` takes few cameras.

    Raises:
        RuntimeError: a query did not find what it had to.
    """
    quiet_logs()
    outcome = measure(plan_of(quick=quick), lambda _words: None)
    if outcome.failed:
        raise RuntimeError(outcome.failed)
    return figures(outcome)
