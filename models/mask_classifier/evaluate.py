"""Figures for the report: balanced accuracy, calibration, thresholds, time per crop."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from runtime.onnx import cpu_session

Probabilities = npt.NDArray[np.float64]
Labels = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Score:
    """Counts at probability 0.5 and what follows from them; masked is the positive class."""

    masked_right: int
    masked_wrong: int
    unmasked_right: int
    unmasked_wrong: int
    calibration_error: float

    @property
    def balanced_accuracy(self) -> float:
        """Mean of the share of masked and the share of unmasked crops that came out right."""
        masked = self.masked_right / max(1, self.masked_right + self.masked_wrong)
        unmasked = self.unmasked_right / max(1, self.unmasked_right + self.unmasked_wrong)
        return (masked + unmasked) / 2


def sigmoid(logits: npt.NDArray[np.float64]) -> Probabilities:
    """Return 1 / (1 + exp(-logits)) without overflow."""
    return np.exp(-np.logaddexp(0.0, -logits))


def score(probabilities: Probabilities, labels: Labels) -> Score:
    """Judge masked probabilities (float64 [n]) against labels (uint8 [n])."""
    called = probabilities >= 0.5
    masked = labels == 1
    return Score(
        masked_right=int(np.sum(called & masked)),
        masked_wrong=int(np.sum(~called & masked)),
        unmasked_right=int(np.sum(~called & ~masked)),
        unmasked_wrong=int(np.sum(called & ~masked)),
        calibration_error=calibration_error(probabilities, labels),
    )


def calibration_error(probabilities: Probabilities, labels: Labels, bins: int = 15) -> float:
    """Expected calibration error of the called class over equally wide confidence bins.

    Source: Guo et al., "On Calibration of Modern Neural Networks", 2017, section 2.
    """
    called = probabilities >= 0.5
    confidence = np.where(called, probabilities, 1 - probabilities)
    right = called == (labels == 1)
    place = np.minimum(((confidence - 0.5) * 2 * bins).astype(int), bins - 1)
    error = 0.0
    for b in range(bins):
        here = place == b
        if here.any():
            error += here.mean() * abs(confidence[here].mean() - right[here].mean())
    return float(error)


def fit_calibration(logits: npt.NDArray[np.float64], labels: Labels) -> tuple[float, float]:
    """Return (temperature, shift) with the least log loss of sigmoid(logit / temperature + shift).

    The shift is a weak-prior parameter (normal, deviation 1): a handful of errors on one side
    must not move it far. Source: Platt, "Probabilistic Outputs for Support Vector Machines", 1999.
    """
    sign = np.where(labels == 1, -1.0, 1.0)
    best = (np.inf, 1.0, 0.0)
    for temperature in np.exp(np.linspace(np.log(0.1), np.log(5.0), 120)):
        for shift in np.linspace(-2.0, 2.0, 81):
            loss = np.logaddexp(0.0, sign * (logits / temperature + shift)).sum() + shift**2 / 2
            if loss < best[0]:
                best = (float(loss), float(temperature), float(shift))
    return best[1], best[2]


def choose_thresholds(
    probabilities: Probabilities, labels: Labels, wanted_accuracy: float, most_unknown: float
) -> tuple[float, float]:
    """Return (threshold_masked, threshold_unmasked) = (t, 1 - t).

    t is the least of 0.60, 0.61 ... 0.98 at which the decided crops reach ``wanted_accuracy``;
    when that would leave more than ``most_unknown`` undecided, the largest that does not.
    """
    best = 0.60
    for step in range(60, 99):
        threshold = step / 100
        unknown, accuracy = decided(probabilities, labels, threshold, 1 - threshold)
        if unknown > most_unknown:
            break
        best = threshold
        if accuracy >= wanted_accuracy:
            break
    return best, round(1 - best, 2)


def decided(
    probabilities: Probabilities, labels: Labels, masked_from: float, unmasked_to: float
) -> tuple[float, float]:
    """Return the share of crops left unknown and the accuracy on the others."""
    known = (probabilities >= masked_from) | (probabilities <= unmasked_to)
    right = (probabilities >= 0.5) == (labels == 1)
    return float(1 - known.mean()), float(right[known].mean()) if known.any() else 1.0


def open_model(path: Path) -> Any:
    """Open an ONNX file for one thread on the CPU (an ``onnxruntime.InferenceSession``)."""
    return cpu_session(str(path), quiet=False)


def probabilities_of(session: Any, images: npt.NDArray[np.uint8]) -> Probabilities:
    """Run uint8 crops [n, 112, 112, 3] BGR through the model; float64 [n]."""
    parts = [
        session.run(["masked_probability"], {"crops": images[start : start + 32]})[0]
        for start in range(0, len(images), 32)
    ]
    return np.concatenate(parts).astype(np.float64)


def milliseconds_per_crop(session: Any, images: npt.NDArray[np.uint8], batch: int) -> float:
    """Return the median time of one call with ``batch`` crops, divided by ``batch``."""
    crops = np.ascontiguousarray(images[:batch])
    for _ in range(20):
        session.run(None, {"crops": crops})
    times = []
    for _ in range(200):
        start = time.perf_counter()
        session.run(None, {"crops": crops})
        times.append(time.perf_counter() - start)
    return float(np.median(times)) * 1000 / batch
