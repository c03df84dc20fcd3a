"""What was measured, as JSON for programs and as lines for people."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from edge_agent.measuring.scores import ALL, COUNTED_PAIRS, Pairs, Rates

AIMS = (1e-3, 1e-4, 1e-5, 1e-6)
_NO_GROUP = ("mask: ", "eyes: ")


def report_json(
    kinds: Mapping[str, Pairs], *, model_id: str, threshold: float, people: int, pictures: int
) -> dict[str, Any]:
    """Everything that was measured: rates at `threshold`, and thresholds for rates of strangers."""
    return {
        "form": "ISO/IEC 19795-1, technology evaluation; cosine of two templates, a picture each",
        "model_id": model_id,
        "threshold": threshold,
        "people": people,
        "pictures": pictures,
        "kinds": {
            name: {
                "at_threshold": asdict(pairs.rates(threshold)),
                "thresholds": {f"{aim:.0e}": _at(pairs, aim) for aim in AIMS},
            }
            for name, pairs in kinds.items()
        },
        "worst_group": worst_group(kinds, threshold),
    }


def worst_group(kinds: Mapping[str, Pairs], threshold: float) -> dict[str, Any] | None:
    """The group whose strangers reach the threshold most often; None where there are no groups.

    Only groups count in which so many do that the rate is counted.
    """
    rates = {
        name: pairs.rates(threshold)
        for name, pairs in kinds.items()
        if name != ALL and not name.startswith(_NO_GROUP)
    }
    counted = {name: rate for name, rate in rates.items() if rate.strangers >= COUNTED_PAIRS}
    if not counted:
        return None
    worst = max(counted, key=lambda name: counted[name].fmr or 0.0)
    overall = kinds[ALL].rates(threshold).fmr
    fmr = counted[worst].fmr
    return {"group": worst, "fmr": fmr, "times_overall": fmr / overall if fmr and overall else None}


def report_rows(kinds: Mapping[str, Pairs], threshold: float) -> list[tuple[str, str, str, str]]:
    """A line a kind: name, false match rate, false non-match rate, threshold for 1e-5."""
    return [(name, *_row(pairs, threshold)) for name, pairs in kinds.items()]


def _row(pairs: Pairs, threshold: float) -> tuple[str, str, str]:
    rates = pairs.rates(threshold)
    aim = pairs.threshold(1e-5)
    return _fmr(rates), _fnmr(rates), "not counted" if aim is None else f"{aim:.3f}"


def _fmr(rates: Rates) -> str:
    if rates.fmr is None:
        return "no strangers"
    low, high = rates.fmr_interval
    pairs = f"{rates.strangers:,} of {rates.stranger_pairs:,}"
    if rates.strangers < COUNTED_PAIRS:
        return f"at most {high:.1e} ({pairs})"
    return f"{rates.fmr:.1e}, {low:.1e} to {high:.1e} ({pairs})"


def _fnmr(rates: Rates) -> str:
    if rates.fnmr is None:
        return "no second picture"
    low, high = rates.fnmr_interval
    return f"{rates.fnmr:.3f}, {low:.3f} to {high:.3f} ({rates.same_pairs:,} of {rates.people})"


def _at(pairs: Pairs, aim: float) -> dict[str, float | None]:
    threshold = pairs.threshold(aim)
    if threshold is None:
        return {"threshold": None, "found": None}
    fnmr = pairs.rates(threshold).fnmr
    return {"threshold": threshold, "found": None if fnmr is None else 1 - fnmr}
