"""What is known of how a stay fits a subject's others, as values that a stay carries."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Contradiction:
    """Two stays that cannot both be one person's, and why, in words.

    Args:
        numbers, others: the candidates of each.
    """

    subject: str
    numbers: tuple[int, ...]
    others: tuple[int, ...]
    why: str


@dataclass(frozen=True, slots=True)
class Fit:
    """How a stay fits the subject's other stays in time and way.

    Args:
        log10_odds: by which it is ranked: those of its ratio, with the others'; 0 without a ratio.
        log10_support: what the others add (+) or take away (-).
        others: how many it fits.
        against: how many it contradicts.
        rival: the likeliest of these; None without one.
    """

    log10_odds: float
    log10_support: float
    others: int
    against: int
    rival: Contradiction | None
