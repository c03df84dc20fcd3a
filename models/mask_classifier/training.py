"""The whole training: split, networks in parallel, cross-validation, thresholds, ONNX, report.

Imports PyTorch, which the agent itself does not need.
"""

from __future__ import annotations

import hashlib
import logging
import multiprocessing
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch

from runtime.masks_drawn import draw_mask

from . import evaluate
from .crops import CropSet, grouped_folds, load_crops, near_duplicate_groups, save_crops
from .export import Decision, write_onnx
from .network import MaskNet, Recipe, logits_of, train_network
from .report import write_report

log = logging.getLogger("mask_classifier")

HOLDOUT_PARTS = 10
"""One part in this many is held out."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to train on, how long, and where the results go: the options of ``train.py``."""

    data: Path
    out: Path
    holdout: Path
    seed: int
    epochs: int
    members: int
    folds: int
    fold_members: int
    jobs: int
    work: Path | None


@dataclass(frozen=True, slots=True)
class Split:
    """Indices into the archive: ``held`` out, and the ``pool`` with each pool crop's fold."""

    held: npt.NDArray[np.int64]
    pool: npt.NDArray[np.int64]
    folds: npt.NDArray[np.int64]
    groups: int


@dataclass(frozen=True, slots=True)
class Job:
    """One network to train: which crops, which seed, where the weights go."""

    data: Path
    train: tuple[int, ...]
    seed: int
    epochs: int
    weights: Path
    name: str


def train_all(plan: Plan, crops: CropSet) -> None:
    """Carry out ``plan`` on ``crops``: write the held-out archive, the ONNX file and the report."""
    split = split_crops(crops, plan.folds, plan.seed)
    plan.holdout.parent.mkdir(parents=True, exist_ok=True)
    save_crops(plan.holdout, crops.subset(split.held))
    log.info("%d crops, %d groups, %d held out", len(crops), split.groups, len(split.held))
    with tempfile.TemporaryDirectory() as scratch:
        work = plan.work or Path(scratch)
        work.mkdir(parents=True, exist_ok=True)
        _run(plan, crops, split, work)


def split_crops(crops: CropSet, folds: int, seed: int) -> Split:
    """Divide ``crops`` by groups of near-duplicates; the same seed gives the same split."""
    groups = near_duplicate_groups(crops.images)
    parts = grouped_folds(groups, crops.labels, HOLDOUT_PARTS, seed)
    pool = np.flatnonzero(parts != 0)
    return Split(
        held=np.flatnonzero(parts == 0),
        pool=pool,
        folds=grouped_folds(groups[pool], crops.labels[pool], folds, seed + 1),
        groups=len(np.unique(groups)),
    )


def _run(plan: Plan, crops: CropSet, split: Split, work: Path) -> None:
    pool, folds = split.pool, split.folds
    fold_members = plan.fold_members or plan.members

    def job(name: str, chosen: npt.NDArray[np.int64], seed: int) -> Job:
        train = tuple(int(i) for i in chosen)
        return Job(
            plan.data, train, seed, plan.epochs, work / f"{name}-{seed}-{plan.epochs}.pt", name
        )

    finals = [job(f"final-{m}", pool, plan.seed * 1000 + m) for m in range(plan.members)]
    checks = {
        (k, m): job(f"fold-{k}-{m}", pool[folds != k], plan.seed * 1000 + 100 + 10 * k + m)
        for k in range(plan.folds)
        for m in range(fold_members)
    }
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(plan.jobs, mp_context=context) as workers:
        for name in workers.map(_train_job, [*finals, *checks.values()]):
            log.info("%s is trained", name)

    # Cross-validation: every pool crop judged by the networks that did not see its fold.
    logits = np.zeros(len(pool))
    for k in range(plan.folds):
        unseen = crops.images[pool[folds == k]]
        members = [_logits(checks[(k, m)].weights, unseen) for m in range(fold_members)]
        logits[folds == k] = np.mean(members, axis=0)
    labels = crops.labels[pool]
    raw, calibrated = evaluate.sigmoid(logits), np.zeros(len(pool))
    for k in range(plan.folds):  # each fold calibrated by the others, so that figures are honest
        scale, shift = evaluate.fit_calibration(logits[folds != k], labels[folds != k])
        calibrated[folds == k] = evaluate.sigmoid(logits[folds == k] / scale + shift)
    temperature, shift = evaluate.fit_calibration(logits, labels)
    masked_from, unmasked_to = evaluate.choose_thresholds(calibrated, labels, 0.997, 0.04)
    decision = Decision(temperature, shift, masked_from, unmasked_to)

    plan.out.mkdir(parents=True, exist_ok=True)
    path = plan.out / "mask_status.onnx"
    model_id = write_onnx(path, [_load(final.weights) for final in finals], decision)
    session = evaluate.open_model(path)
    test = crops.subset(split.held)
    probabilities = evaluate.probabilities_of(session, test.images)
    write_report(
        plan.out / "report.md",
        {
            "model_id": model_id,
            "bytes": path.stat().st_size,
            "seed": plan.seed,
            "epochs": plan.epochs,
            "members": plan.members,
            "fold_members": fold_members,
            "folds": plan.folds,
            "data_sha256": hashlib.sha256(plan.data.read_bytes()).hexdigest(),
            "crops": len(crops),
            "groups": split.groups,
            "temperature": round(temperature, 4),
            "shift": round(shift, 4),
            "threshold_masked": masked_from,
            "threshold_unmasked": unmasked_to,
            "cross_validation": _figures(calibrated, labels, decision)
            | {
                "calibration_error_before": round(evaluate.calibration_error(raw, labels), 4),
                "balanced_accuracy_before": round(evaluate.score(raw, labels).balanced_accuracy, 4),
            },
            "fold_balanced_accuracy": [
                round(
                    evaluate.score(calibrated[folds == k], labels[folds == k]).balanced_accuracy, 4
                )
                for k in range(plan.folds)
            ],
            "holdout": _figures(probabilities, test.labels, decision),
            "drawn_masks": _drawn(session, test, masked_from),
            "ms_per_crop": {
                str(batch): round(evaluate.milliseconds_per_crop(session, crops.images, batch), 3)
                for batch in (1, 8)
            },
        },
    )
    log.info("%s written: %s", path, model_id)


def _train_job(job: Job) -> str:
    if job.weights.exists():
        return f"{job.name} (kept)"
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    crops = load_crops(job.data).subset(np.array(job.train, np.int64))
    recipe = Recipe(seed=job.seed, epochs=job.epochs)
    network = train_network(crops, recipe)
    torch.save({"widths": recipe.widths, "state": network.state_dict()}, job.weights)
    return job.name


def _load(weights: Path) -> Any:
    saved = torch.load(weights, weights_only=True)
    network = MaskNet(tuple(saved["widths"]))
    network.load_state_dict(saved["state"])
    return network.eval()


def _logits(weights: Path, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    return logits_of(_load(weights), images)


def _figures(
    probabilities: evaluate.Probabilities, labels: evaluate.Labels, decision: Any
) -> dict[str, Any]:
    result = evaluate.score(probabilities, labels)
    unknown, accuracy = evaluate.decided(
        probabilities, labels, decision.threshold_masked, decision.threshold_unmasked
    )
    return asdict(result) | {
        "balanced_accuracy": round(result.balanced_accuracy, 4),
        "calibration_error": round(result.calibration_error, 4),
        "unknown": round(unknown, 4),
        "decided_accuracy": round(accuracy, 4),
    }


def _drawn(session: Any, crops: CropSet, masked_from: float) -> dict[str, float]:
    """Draw random masks on the unmasked held-out crops and count what is recognised."""
    rng = np.random.default_rng(0)
    bare = crops.images[crops.labels == 0]
    drawn = np.stack([draw_mask(image, rng) for image in bare])
    found = evaluate.probabilities_of(session, drawn)
    return {
        "crops": len(drawn),
        "masked_at_half": round(float((found >= 0.5).mean()), 4),
        "masked_at_threshold": round(float((found >= masked_from).mean()), 4),
    }
