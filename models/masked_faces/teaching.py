"""Teaches the student: its template of a masked crop is to be the teacher's of the bare crop.

No names are needed: each crop is its own pair. Imports PyTorch, which nothing that runs needs.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from models.faces.sface import Layer
from models.mask_classifier.augment import swap_top
from models.masked_faces.network import FaceNet, prepared
from models.masked_faces.wear import degraded
from runtime.masks_drawn import draw_mask

log = logging.getLogger("masked_faces")

Image = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that shapes a training run besides its crops."""

    seed: int = 1
    samples: int = 9_600
    batch: int = 32
    learning_rate: float = 2e-4
    weight_decay: float = 1e-4
    first: int = 22
    """The first layer taught: from here on the picture is 14 x 14."""
    blended: float = 0.5
    """Share of samples that are two people's crops laid over each other: faces of nobody, whose
    template the teacher tells like any other's. They make 700 faces many."""
    bare: float = 0.10
    worn: float = 0.40
    """Shares of samples with no mask, and with the lower half of somebody who wears one; on all
    others a mask is drawn."""
    too_alike: float = 0.55
    """Crops whose bare templates score above this are not told apart in the contrast."""
    kept: float = 0.6
    """How far the result goes from the teacher's weights to those learned. Between them it finds as
    much and takes fewer strangers for somebody, and what it never saw does it less harm (Wortsman
    and others, Robust fine-tuning of zero-shot models, CVPR 2022)."""
    sharpness: float = 24.0
    margin: float = 0.1


def teach(layers: Sequence[Layer], bare: Image, masked: Image, recipe: Recipe) -> tuple[Layer, ...]:
    """Teach a copy of `layers` with `bare` and `masked` crops, uint8 [n, 112, 112, 3] BGR."""
    torch.manual_seed(recipe.seed)
    rng = np.random.default_rng(recipe.seed)
    teacher = FaceNet(layers, first=len(layers)).eval()
    student = FaceNet(layers, first=recipe.first)
    for network in (teacher, student):
        network.to(memory_format=torch.channels_last)
    both = np.concatenate([bare, bare[:, :, ::-1]])  # either way round
    bank = torch.cat([_templates(teacher, both[k : k + 64]) for k in range(0, len(both), 64)])
    learner = torch.optim.AdamW(
        student.taught(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay
    )
    steps = recipe.samples // recipe.batch
    likeness = 0.0
    for step in range(steps):
        rate = min(1.0, step / 25 + 0.04) * (0.5 * (1 + np.cos(np.pi * step / steps)) + 0.01)
        for group in learner.param_groups:
            group["lr"] = recipe.learning_rate * rate
        rows = rng.choice(len(both), recipe.batch, replace=False)
        faces, aims = both[rows].copy(), bank[rows].clone()
        blended = rng.random(len(rows)) < recipe.blended
        if blended.any():
            faces[blended] = [_blend(crop, both, rng) for crop in faces[blended]]
            aims[blended] = _templates(teacher, faces[blended])
        shown = np.stack([_seen(crop, masked, rng, recipe) for crop in faces])
        found = student(prepared(shown))
        cosines = (found * aims).sum(1)
        loss = 4 * (1 - cosines).mean() + 0.5 * _contrast(found, aims, bank, recipe)
        learner.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(student.taught(), 5.0)
        learner.step()
        likeness += (float(cosines.mean()) - likeness) * (0.02 if step else 1.0)
        if step % 10 == 0:
            log.info("step %d of %d: loss %.3f, cosine %.3f", step, steps, float(loss), likeness)
    return between(layers, student.eval().learned(), recipe.kept)


def between(teacher: Sequence[Layer], student: Sequence[Layer], share: float) -> tuple[Layer, ...]:
    """Layers whose arrays lie at this share of the way from the teacher's to the student's."""

    def mixed(before: Layer, after: Layer) -> Layer:
        arrays: dict[str, Any] = {
            part.name: np.asarray(value + share * (getattr(after, part.name) - value), np.float32)
            for part in fields(before)
            if isinstance(value := getattr(before, part.name), np.ndarray)
        }
        return replace(before, **arrays)

    return tuple(map(mixed, teacher, student))


def _templates(network: FaceNet, crops: Image) -> torch.Tensor:
    with torch.no_grad():
        return network(prepared(crops))


def _contrast(
    found: torch.Tensor, aims: torch.Tensor, bank: torch.Tensor, recipe: Recipe
) -> torch.Tensor:
    """Cross-entropy of finding each crop's own aim among those of all others."""
    others = torch.cat([aims, bank])
    scores = found @ others.T
    alike = aims @ others.T > recipe.too_alike
    own = torch.eye(len(aims), len(others), dtype=torch.bool)
    logits = torch.where(own, scores - recipe.margin, scores.masked_fill(alike, -9.0))
    return functional.cross_entropy(logits * recipe.sharpness, torch.arange(len(aims)))


def _blend(crop: Image, others: Image, rng: np.random.Generator) -> Image:
    """Two crops laid over each other."""
    other, share = others[int(rng.integers(len(others)))], float(rng.uniform(0.3, 0.7))
    return np.asarray(cv2.addWeighted(crop, 1 - share, other, share, 0), np.uint8)


def _seen(crop: Image, masked: Image, rng: np.random.Generator, recipe: Recipe) -> Image:
    """The face as a camera sees it: with a mask on, turned a little, small, dark, compressed."""
    kind = rng.random()
    image = crop
    if kind >= recipe.bare + recipe.worn:
        image = draw_mask(crop, rng)
    elif kind >= recipe.bare:
        worn = masked[int(rng.integers(len(masked)))]
        image = swap_top(worn[:, ::-1] if rng.random() < 0.5 else worn, crop, rng)
    return degraded(image, rng)
