r"""Turns counted scores of strangers and of one person into the calibration of a face space.

    python -m models.calibration.counts --counts models/calibration/sface_score_counts.json \
        --model-id sface-128@15ee125a --out models/calibration/sface.json

The counts are histograms of cosines of templates: strangers and same people, bare against bare,
bare against a drawn mask, and against a real one. Nothing is fitted and nothing extrapolated: a
rate is counted where at least ten pairs of strangers reach a threshold, and above that it is the
95 % upper bound of the count (Clopper and Pearson, Biometrika 26, 1934). Likelihood ratios are the
ratio of the two counts, made monotone (isotonic regression), and never above what so many strangers
can show.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from scipy import optimize
from scipy.special import betaincinv

WORST_GROUP = 4.0
"""How many times the overall rate the worst measured group has: women against women, 2 to 4 times;
East Asian people against each other, 1.7 times (3 pairs of 17,464). Measured by others."""
STUDENT = 3.2
"""How many times as many masked strangers reach a score by the student, with drawn masks averaged
into the enrolled templates, as by SFace alone, which was counted: 2.1 times for the student (21 to
10 at 0.48 of 943,630 pairs of really masked crops and bare ones, models/masked_faces/report.md),
1.5 times for the templates (20 to 13 of 476,740)."""
AIM = 1e-5
"""The false match rate, of the worst measured group, at the default threshold."""
COUNTED_PAIRS = 10
"""So many pairs of strangers must reach a threshold for their share to be called counted."""
_CONFIDENCE = 0.95
_FIRST, _LAST = 0.20, 0.60
_CAP_LOG10 = 6.0

Doubles = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Counted:
    """How many pairs of strangers and of one person have a score from each lower edge (n,) on."""

    edges: Doubles
    strangers: Doubles
    same: Doubles

    def plus(self, other: Counted) -> Counted:
        """Both counts together."""
        return Counted(self.edges, self.strangers + other.strangers, self.same + other.same)

    def reaching(self, threshold: float) -> tuple[int, int]:
        """How many pairs of strangers reach a threshold, and of how many."""
        return int(self.strangers[self.edges > threshold - 1e-9].sum()), int(self.strangers.sum())

    def found(self, threshold: float) -> float:
        """The share of one person's pairs that reach a threshold."""
        return float(self.same[self.edges > threshold - 1e-9].sum() / self.same.sum())

    def rate(self, threshold: float) -> float:
        """The share of strangers that reach a threshold, or its bound where too few do."""
        reaching, of = self.reaching(threshold)
        return reaching / of if reaching >= COUNTED_PAIRS else upper_bound(reaching, of)


def upper_bound(reaching: int, of: int, confidence: float = _CONFIDENCE) -> float:
    """The rate above which a count so low would be rarer than 1 - confidence."""
    return float(betaincinv(reaching + 1, of - reaching, confidence))


def read_counts(path: Path) -> dict[str, Counted]:
    """The counts of a file by kind of pair."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    edges = np.array(content["lower_edges"], np.float64)
    return {
        kind: Counted(
            edges, np.array(value["strangers"], np.float64), np.array(value["same"], np.float64)
        )
        for kind, value in content.items()
        if isinstance(value, dict)
    }


def log10_ratios(counted: Counted, times: float) -> Doubles:
    """Logarithm of the likelihood ratio in each bin, (n,), rising; strangers count `times` over.

    Three strangers more than were seen are put into the highest bin, and one pair of one person
    into the lowest: the rule of three, so that no ratio is above what the count supports.
    """
    strangers, same = counted.strangers.copy(), counted.same.copy()
    strangers[-1] += 3
    same[0] += 1
    both = strangers + same
    share = np.divide(same, both, out=np.zeros_like(both), where=both > 0)
    weights = np.where(both > 0, both, 1e-9)
    rising = np.clip(optimize.isotonic_regression(share, weights=weights).x, 1e-12, 1 - 1e-12)
    odds = np.log10(rising / (1 - rising)) - np.log10(same.sum() / strangers.sum())
    found: Doubles = np.clip(odds - np.log10(times), -_CAP_LOG10, _CAP_LOG10)
    return found


def calibration_of(kinds: Mapping[str, Counted], model_id: str, source: str) -> dict[str, Any]:
    """The calibration as it is kept, with the parameters of the manifest."""
    bare = kinds["bare_bare"]
    masked = kinds["bare_drawn_mask"].plus(kinds["bare_real_mask"])
    thresholds = np.round(np.arange(_FIRST, _LAST + 0.005, 0.01), 2)
    rates = [
        min(1.0, WORST_GROUP * max(bare.rate(at), STUDENT * masked.rate(at)))
        for at in thresholds.tolist()
    ]
    rates = np.minimum.accumulate(rates).tolist()
    default = next(at for at in thresholds.tolist() if _worst(bare, masked, at) <= 1.05 * AIM)
    counted_to = max(at for at in thresholds.tolist() if bare.reaching(at)[0] >= COUNTED_PAIRS)
    parameters: dict[str, Any] = {
        "calibration.measured_on": source,
        "calibration.fmr.thresholds": thresholds.tolist(),
        "calibration.fmr.rates": [_two(rate) for rate in rates],
        "calibration.fmr.counted_to": counted_to,
        "calibration.fmr.worst_group": WORST_GROUP,
        "calibration.llr.scores": [round(float(edge) + 0.005, 3) for edge in bare.edges],
        "calibration.llr.unmasked": np.round(log10_ratios(bare, WORST_GROUP), 2).tolist(),
        "calibration.llr.masked": np.round(log10_ratios(masked, WORST_GROUP * STUDENT), 2).tolist(),
    }
    for group, counts, of in (
        ("impostor", bare, bare.strangers),
        ("genuine.unmasked", bare, bare.same),
        ("genuine.masked", masked, masked.same),
    ):
        mean = float(np.average(counts.edges + 0.005, weights=of))
        spread = float(np.average((counts.edges + 0.005 - mean) ** 2, weights=of))
        parameters[f"calibration.{group}.mean"] = round(mean, 4)
        parameters[f"calibration.{group}.sd"] = round(spread**0.5, 4)
    return {
        "model_id": model_id,
        "score": "cosine of two unit-length templates",
        "default_threshold": default,
        "default_threshold_fmr": _two(_worst(bare, masked, default)),
        "at_default": {
            kind: {
                "strangers": counts.reaching(default)[0],
                "of": counts.reaching(default)[1],
                "found": round(counts.found(default), 3),
            }
            for kind, counts in kinds.items()
        },
        "parameters": parameters,
    }


def _worst(bare: Counted, masked: Counted, threshold: float) -> float:
    """The rate of the worst group by the counts as they are, without bounds."""
    shares = (
        reaching / of for reaching, of in (bare.reaching(threshold), masked.reaching(threshold))
    )
    first, second = shares
    return WORST_GROUP * max(first, STUDENT * second)


def _two(rate: float) -> float:
    return float(f"{rate:.2g}")


def main(
    counts: Annotated[Path, typer.Option(help="The counts, .json.")],
    model_id: Annotated[str, typer.Option(help="The id of the space that was counted.")],
    out: Annotated[Path, typer.Option(help="Where to write the calibration, .json.")],
) -> None:
    """Write the calibration of a face space from counted scores."""
    kinds = read_counts(counts)
    pairs = sum(int(counted.strangers.sum()) for counted in kinds.values())
    source = (
        f"{pairs:,} pairs of strangers counted by others (models/calibration/{counts.name});"
        f" rates are {WORST_GROUP:g} times the overall ones, as the worst measured group has"
    )
    made = calibration_of(kinds, model_id, source)
    out.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")
    typer.echo(json.dumps(made["at_default"], indent=1))


if __name__ == "__main__":
    typer.run(main)
