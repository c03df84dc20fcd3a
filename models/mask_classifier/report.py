"""The training report: every figure as JSON, and the same for readers as Markdown."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

TEMPLATE = """# The mask classifier: how it was trained and how good it is

`{model_id}`, {bytes} bytes. Written by the training script; do not edit.

{table}

Each fold's balanced accuracy: {fold_list}.

- Decision: masked from {threshold_masked}, unmasked to {threshold_unmasked}, unknown between.
  The thresholds are the closest to 0.5 at which the decided crops of the cross-validation are
  99.7% right, as long as no more than 4% stay unknown.
- Calibration: sigmoid(logit / {temperature} + {shift}), which minimises the log loss of the
  cross-validation; in the table each fold is calibrated by the other folds. The thresholds
  come from those same predictions, so the held-out column is the one that tests them.
- Masks drawn on the {drawn[crops]} unmasked held-out crops: {drawn[masked_at_half]:.4f} come
  out masked at 0.5, {drawn[masked_at_threshold]:.4f} at the threshold.
- Time on one thread with onnxruntime: {ms[1]} ms a crop one at a time, {ms[8]} ms in batches
  of eight.

## Interface

Input `crops` uint8 [n, 112, 112, 3], BGR, aligned to the ArcFace 5-point template. Output
`masked_probability` float32 [n], calibrated. Metadata: `model_id`, `threshold_masked`,
`threshold_unmasked`, `temperature`, `shift`.

## Network and training

The mean logit of {members} residual networks of 309,265 weights each (stride-2 stem of 16,
blocks of 32, 64 and 128 channels), stored in 16 bits. AdamW, one cycle, {epochs} epochs,
averaged weights, label smoothing, mixup. Variations: mirror, turn, shift, scale, shear, black
borders, colour, grey, blur, low resolution, noise, JPEG, patches, drawn masks, and the upper
half of another crop (the label of an aligned crop is decided by its lower half). Each fold of
the cross-validation trained {fold_members} networks, as many as its figures average.

Seed {seed}. Command:

    python -m models.mask_classifier.train --data crops.npz --seed {seed} \\
        --out models/mask_classifier --holdout tests/data/mask_holdout.npz \\
        --epochs {epochs} --members {members} --folds {folds} --fold-members {fold_members}

The split, the variations and the first weights follow from the seed; PyTorch's sums may differ
in the last digits on another processor, and with them the weights and the model id.

## Data

{crops} aligned crops in {groups} groups of near-duplicates (correlation of edge thumbnails
above 0.75, either way round). Neither the folds nor the held-out part divide a group, and the
weights have not seen the held-out part. Archive SHA-256:
`{data_sha256}`.

The photographs come from https://github.com/chandrikadeb7/Face-Mask-Detection, published
under the MIT licence, copyright (c) 2020 Chandrika Deb; `mask_holdout.npz`, the held-out part,
is redistributed under that licence. Crops were made with YuNet and the ArcFace 5-point template.

## Limits

The photographs are from the web, many of East Asian and Indian faces and of a few public
figures. Groups are by likeness of the picture, not by person, so a person may be on both sides
of a split. The collection has blurred copies mostly of masked faces and hardly any hands,
scarves, microphones, or masks below the nose: what comes out for those was not measured.
"""

ROWS = (
    ("balanced accuracy at 0.5", "balanced_accuracy"),
    ("balanced accuracy before calibration", "balanced_accuracy_before"),
    ("masked, right", "masked_right"),
    ("masked, wrong", "masked_wrong"),
    ("unmasked, right", "unmasked_right"),
    ("unmasked, wrong", "unmasked_wrong"),
    ("expected calibration error before calibration", "calibration_error_before"),
    ("expected calibration error", "calibration_error"),
    ("share left unknown", "unknown"),
    ("accuracy on the decided", "decided_accuracy"),
)


def write_report(path: Path, figures: dict[str, Any]) -> None:
    """Write ``figures`` to ``path`` as Markdown and beside it, with suffix .json, as JSON."""
    path.with_suffix(".json").write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")
    cross, held = figures["cross_validation"], figures["holdout"]
    lines = [
        f"| figure | cross-validation, {figures['folds']} folds | held-out crops |",
        "| --- | --- | --- |",
        f"| crops | {_count(cross)} | {_count(held)} |",
    ]
    for title, key in ROWS:
        lines.append(f"| {title} | {cross.get(key, '')} | {held.get(key, '')} |")
    text = TEMPLATE.format(
        **figures,
        table="\n".join(lines),
        drawn=figures["drawn_masks"],
        ms={int(batch): value for batch, value in figures["ms_per_crop"].items()},
        fold_list=", ".join(f"{value:.4f}" for value in figures["fold_balanced_accuracy"]),
    )
    path.write_text(text, encoding="utf-8")


def _count(figures: dict[str, Any]) -> int:
    names = ("masked_right", "masked_wrong", "unmasked_right", "unmasked_wrong")
    return sum(int(figures[name]) for name in names)
