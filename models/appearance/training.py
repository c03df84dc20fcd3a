"""The whole training: people, network, ONNX, figures, report.

Imports PyTorch, which the agent itself does not need.
"""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from runtime.registries import fetch_archive, sha256_of

from . import evaluate
from .anatomy import WHEEL, Anatomy, load_anatomy
from .export import write_onnx
from .footage import load_tracks
from .network import AppearanceNet, Recipe, train_network, vectors_of
from .report import write_report
from .synthesis import Cast, PeopleSet, draw_people

log = logging.getLogger("appearance")

_SAME = 1e-4
"""Most that the ONNX file's vectors may differ from PyTorch's."""
_CHANGES = 20
"""Second cameras that each track of the clips is shown by."""
_THRESHOLDS = tuple(round(0.05 * step, 2) for step in range(2, 18))


@dataclass(frozen=True, slots=True)
class Plan:
    """Whom to draw, how long to train, and where the results go: the options of ``train.py``."""

    work: Path
    out: Path
    cache: Path
    footage: Path | None
    seed: int
    people: int
    cameras: int
    held: int
    held_cameras: int
    steps: int


def train_all(plan: Plan) -> None:
    """Carry out ``plan``: write the ONNX file and the report.

    Raises:
        FetchError: the mesh cannot be fetched.
        RuntimeError: the ONNX file does not compute what PyTorch does.
    """
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    plan.work.mkdir(parents=True, exist_ok=True)
    anatomy = load_anatomy(fetch_archive(WHEEL, plan.cache, log.info))
    learnt = Cast(plan.seed, plan.people, plan.cameras)
    held = Cast(plan.seed + 1, plan.held, plan.held_cameras)
    weights = plan.work / f"weights-{plan.seed}-{plan.people}-{plan.steps}.pt"
    network = AppearanceNet()
    if weights.exists():
        network.load_state_dict(torch.load(weights, weights_only=True))
        network.eval()
    else:
        people = _in_memory(_drawn(anatomy, learnt, plan.work / "learnt"))
        recipe = Recipe(seed=plan.seed, steps=plan.steps)
        network = train_network(people, recipe, lambda step, text: log.info("%d: %s", step, text))
        torch.save(network.state_dict(), weights)
    plan.out.mkdir(parents=True, exist_ok=True)
    path = plan.out / "appearance.onnx"
    write_onnx(path, network)
    session = evaluate.open_model(path)
    unseen = _in_memory(_drawn(anatomy, held, plan.work / "held"))
    _check_same(session, network, unseen)
    write_report(
        plan.out / "report.md",
        {
            "sha256": sha256_of(path),
            "bytes": path.stat().st_size,
            "weights": sum(p.numel() for p in network.parameters()),
            "seed": plan.seed,
            "steps": plan.steps,
            "learnt": asdict(learnt),
            "held": asdict(held),
            "mesh": {"requirement": WHEEL.requirement, "sha256": WHEEL.sha256},
            **_figures(session, unseen, plan.footage),
            "ms_per_crop": {
                str(batch): round(
                    evaluate.milliseconds_per_crop(session, unseen.images[:, 0], batch), 3
                )
                for batch in (1, 8)
            },
        },
    )
    log.info("%s written", path)


def _drawn(anatomy: Anatomy, cast: Cast, folder: Path) -> PeopleSet:
    def report(count: int) -> None:
        if count % 100 == 0:
            log.info("%d people drawn", count)

    return draw_people(anatomy, cast, folder, report)


def _in_memory(people: PeopleSet) -> PeopleSet:
    return PeopleSet(np.array(people.images), np.array(people.masks), people.cameras)


def _check_same(session: Any, network: AppearanceNet, people: PeopleSet) -> None:
    crops = people.images[:32, 0]
    apart = np.abs(evaluate.describe_with(session)(crops) - vectors_of(network, crops)).max()
    if not apart < _SAME:
        raise RuntimeError(f"the ONNX file's vectors are {apart:.2g} off those that were trained")


def _figures(session: Any, unseen: PeopleSet, footage: Path | None) -> dict[str, Any]:
    """How well the network, and the peer, tell people apart: those drawn, and those of clips."""
    descriptions = {
        "network": evaluate.describe_with(session),
        "colour_stripes": evaluate.colour_stripes,
    }
    figures: dict[str, Any] = {"drawn": {}, "clips": {}}
    shape = unseen.cameras.shape
    for name, describe in descriptions.items():
        vectors = describe(unseen.images.reshape(-1, *unseen.images.shape[2:]))
        vectors = vectors.reshape(*shape, -1)
        figures["drawn"][name] = {
            "same_camera": _told(evaluate.judge_people(unseen, vectors, one_camera=True)),
            "other_camera": _told(evaluate.judge_people(unseen, vectors, one_camera=False)),
        }
        if name == "network":
            table, spread = evaluate.strangers_by_score(unseen, vectors)
            figures["strangers"] = {
                "table": table,
                **{key: round(value, 4) for key, value in spread.items()},
            }
    tracks = load_tracks(footage) if footage else []
    for name, describe in descriptions.items() if tracks else ():
        figures["clips"][name] = {
            f"{camera}_{rivals}": _told(
                evaluate.judge_tracks(
                    tracks, describe, changed=changed, within=rivals == "own_clip"
                )
            )
            for camera, changed in (("same_camera", 0), ("other_camera", _CHANGES))
            for rivals in ("own_clip", "all_clips")
        }
    if tracks:
        figures["calibration"] = evaluate.calibrate_by_tracks(
            tracks, descriptions["network"], _THRESHOLDS, changed=_CHANGES
        )
    return figures


def _told(told: evaluate.Told) -> dict[str, Any]:
    return {"auc": round(told.auc, 4), "rank_1": round(told.rank_1, 4), "pairs": list(told.pairs)}
