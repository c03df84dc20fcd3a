"""What a benchmark reports: one figure each, with the ratio to a baseline of the same run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Figure:
    """A measured figure.

    `baseline` names what `ratio` compares it with: `ratio` is this value over the baseline's.
    """

    name: str
    value: float
    unit: str
    baseline: str = ""
    ratio: float | None = None
