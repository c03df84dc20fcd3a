"""The appearance network as a bundle holds it: its file, and what the manifest says about it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from runtime.bundle import MAX_MODEL_BYTES, ModelEntry, TensorSpec
from runtime.clothes_words import LOWER, RATE, THRESHOLD, UPPER
from runtime.fsio import read_file

_FILE = Path(__file__).with_name("appearance.onnx")
_REPORT = Path(__file__).with_name("report.json")
_WORDS = Path(__file__).with_name("words.json")
_DIMENSION = 256
_THRESHOLD = 0.5
"""Of real people at a second camera nine in ten reach it, and of strangers of one place two in ten:
appearance ranks, it does not identify."""


def appearance_model() -> tuple[bytes, ModelEntry]:
    """Read the network that was trained here, and make its manifest entry.

    Raises:
        FileProblem: it, or its report, is not there.
    """
    data = read_file(_FILE, MAX_MODEL_BYTES)
    report: dict[str, Any] = json.loads(read_file(_REPORT, MAX_MODEL_BYTES))
    digest = hashlib.sha256(data).hexdigest()
    measured = report["calibration"]
    table = dict(zip(measured["thresholds"], measured["strangers"], strict=True))
    return data, ModelEntry(
        role="appearance_embedder",
        name="appearance",
        model_id=f"appearance-{_DIMENSION}@{digest[:8]}",
        file=_FILE.name,
        sha256=digest,
        size=len(data),
        engine="onnx",
        inputs=(
            TensorSpec(
                name="crops", shape=(-1, 128, 64, 3), dtype="uint8", layout="NHWC", colour="BGR"
            ),
        ),
        outputs=(TensorSpec(name="vectors", shape=(-1, _DIMENSION)),),
        threshold=_THRESHOLD,
        false_match_rate=table[_THRESHOLD],
        parameters={
            "calibration.measured_on": (
                f"{measured['pairs_of_strangers']} pairs of strangers of public clips"
            ),
            "calibration.fmr.thresholds": tuple(table),
            "calibration.fmr.rates": tuple(table.values()),
            "calibration.impostor.mean": float(measured["strangers_mean"]),
            "calibration.impostor.sd": float(measured["strangers_sd"]),
            "calibration.genuine.unmasked.mean": float(measured["own_mean"]),
            "calibration.genuine.unmasked.sd": float(measured["own_sd"]),
            **_words(digest),
        },
        licence="Apache-2.0 (own work)",
        upstream="models/appearance of this repository",
    )


def _words(digest: str) -> dict[str, float | str]:
    """What `models.appearance.words` counted of this network; nothing if it was of another."""
    counted: dict[str, Any] = json.loads(read_file(_WORDS, MAX_MODEL_BYTES))
    if counted["model"] != digest:
        return {}
    at = counted["threshold"]
    reached = [counted[kind]["reach"][f"{at:g}"][1] for kind in ("drawn", "clips")]
    return {
        UPPER: str(counted["upper"]),
        LOWER: str(counted["lower"]),
        THRESHOLD: float(at),
        RATE: float(max(reached)),
    }
