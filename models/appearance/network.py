"""The network and its training loop. Only the training script imports this.

Needs PyTorch, which the agent itself does not.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from models.weight_average import average_into

from .augment import draw_style, vary
from .picture import MASK_HEIGHT
from .synthesis import PeopleSet

DIMENSION = 256
STRIPES = 6
STRIPE_FEATURES = 32
WHOLE_FEATURES = DIMENSION - STRIPES * STRIPE_FEATURES
STEM_SIDE, STEM_STRIDE = 6, 4
WIDTHS = (24, 32, 64)
STRIDES = (1, 2)
FEATURES = 96
VISIBLE = 2.0
"""A stripe in which so little of the person shows (of about 20) counts half."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that shapes a training run besides its people."""

    seed: int
    steps: int
    persons: int = 16
    pictures: int = 4
    learning_rate: float = 3e-3
    weight_decay: float = 0.02
    margin: float = 0.1
    scale: float = 18.0
    apart: float = 0.3
    triplet: float = 2.0
    attention: float = 0.5
    average_decay: float = 0.998


def stripe_windows() -> npt.NDArray[np.float32]:
    """Weights (16, stripes) of a map's rows in each stripe: overlapping triangles."""
    centres = (np.arange(STRIPES) + 0.5) * MASK_HEIGHT / STRIPES
    rows = np.arange(MASK_HEIGHT) + 0.5
    reach = MASK_HEIGHT / STRIPES
    windows = np.clip(1 - np.abs(rows[:, None] - centres[None]) / reach, 0, None)
    return windows.astype(np.float32)


class _Residual(nn.Module):  # type: ignore[misc]  # torch is not installed where types are checked
    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(outside)
        self.second = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(outside)
        self.pool: Any = nn.AvgPool2d(stride) if stride > 1 else nn.Identity()
        self.short = nn.Conv2d(inside, outside, 1, bias=False)
        self.short_norm = nn.BatchNorm2d(outside)

    def forward(self, x: Any) -> Any:
        inner = functional.relu(self.first_norm(self.first(x)))
        inner = self.second_norm(self.second(inner))
        return functional.relu(inner + self.short_norm(self.short(self.pool(x))))


class AppearanceNet(nn.Module):  # type: ignore[misc]  # as above
    """Float crops [n, 3, 128, 64], BGR in 0..255, to unit vectors [n, 256] and where the person is.

    A crop goes in twice: as it is, and with each colour's mean and spread in the crop evened out,
    which is much the same whatever the light. Features are pooled where the person is (a map of
    16 x 8 that learns from the drawn people's outlines), in stripes from head to feet and whole.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(6, WIDTHS[0], STEM_SIDE, STEM_STRIDE, 1, bias=False)
        self.stem_norm = nn.BatchNorm2d(WIDTHS[0])
        self.blocks = nn.ModuleList(
            _Residual(inside, outside, stride)
            for (inside, outside), stride in zip(itertools.pairwise(WIDTHS), STRIDES, strict=True)
        )
        self.last = nn.Conv2d(WIDTHS[-1], FEATURES, 3, 1, 1, bias=False)
        self.last_norm = nn.BatchNorm2d(FEATURES)
        self.where = nn.Conv2d(FEATURES, 1, 1)
        self.stripes = nn.Parameter(torch.randn(STRIPES, FEATURES, STRIPE_FEATURES) * 0.1)
        self.whole = nn.Linear(2 * FEATURES, WHOLE_FEATURES, bias=False)
        self.norm = nn.BatchNorm1d(DIMENSION)
        self.norm.bias.requires_grad_(False)
        self.register_buffer("windows", torch.from_numpy(stripe_windows()))

    def forward(self, crops: Any) -> tuple[Any, Any]:
        """Return the vectors of ``crops`` and the logits [n, 16, 8] of where the person is."""
        mean = crops.mean(dim=(2, 3), keepdim=True)
        spread = (crops - mean).square().mean(dim=(2, 3), keepdim=True).add(25.0).sqrt()
        x = torch.cat([(crops - 127.5) / 64.0, (crops - mean) / spread], dim=1)
        x = functional.relu(self.stem_norm(self.stem(x)))
        for block in self.blocks:
            x = block(x)
        x = functional.relu(self.last_norm(self.last(x)))
        logits = self.where(x)
        there = torch.sigmoid(logits)
        seen = x * there
        mass = there.sum(dim=3) @ self.windows
        striped = (seen.sum(dim=3) @ self.windows) / (mass + VISIBLE)
        parts = torch.matmul(striped.permute(2, 0, 1), self.stripes)
        mean_seen = seen.sum(dim=(2, 3)) / (there.sum(dim=(2, 3)) + VISIBLE)
        whole = self.whole(torch.cat([mean_seen, seen.amax(dim=(2, 3))], dim=1))
        joined = torch.cat([parts.permute(1, 0, 2).flatten(1), whole], dim=1)
        return functional.normalize(self.norm(joined), dim=1), logits[:, 0]


def train_network(
    people: PeopleSet, recipe: Recipe, report: Callable[[int, str], None] = lambda *_: None
) -> AppearanceNet:
    """Train a network to tell ``people`` apart; the returned one has the averaged weights."""
    torch.manual_seed(recipe.seed)
    rng = np.random.default_rng(recipe.seed)
    net, average = AppearanceNet(), AppearanceNet()
    net.to(memory_format=torch.channels_last)
    average.load_state_dict(net.state_dict())
    count = len(people.images)
    classes = nn.Parameter(torch.randn(count, DIMENSION) * 0.05)
    decayed = [p for p in net.parameters() if p.ndim > 1 and p.requires_grad]
    plain = [p for p in net.parameters() if p.ndim <= 1 and p.requires_grad]
    optimiser = torch.optim.AdamW(
        [
            {"params": [*decayed, classes], "weight_decay": recipe.weight_decay},
            {"params": plain, "weight_decay": 0.0},
        ],
        lr=recipe.learning_rate,
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser,
        recipe.learning_rate,
        total_steps=recipe.steps,
        pct_start=0.1,
        cycle_momentum=False,
    )
    visitors = _visitors(people)
    net.train()
    started, sums = time.monotonic(), np.zeros(3)
    for step in range(recipe.steps):
        crops, masks, names = _batch(people, visitors, recipe, rng)
        losses = _losses(net(crops), masks, names, classes, recipe)
        optimiser.zero_grad(set_to_none=True)
        (losses[0] + recipe.triplet * losses[1] + recipe.attention * losses[2]).backward()
        nn.utils.clip_grad_norm_(net.parameters(), 5.0)
        optimiser.step()
        schedule.step()
        average_into(average, net, min(recipe.average_decay, step / (step + 10)))
        sums += [float(loss.detach()) for loss in losses]
        if step % 100 == 99:
            taken = time.monotonic() - started
            names_of = zip(("identity", "triplet", "outline"), sums / 100, strict=True)
            text = ", ".join(f"{name} {value:.3f}" for name, value in names_of)
            report(step + 1, f"{text}, {taken / (step + 1):.3f} s a step")
            sums[:] = 0
    average.eval()
    return average


def vectors_of(net: AppearanceNet, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return the unit vectors (float32 [n, 256]) of uint8 crops [n, 128, 64, 3]."""
    parts = []
    with torch.no_grad():
        for start in range(0, len(images), 128):
            chunk = torch.from_numpy(np.array(images[start : start + 128]))
            parts.append(net(chunk.permute(0, 3, 1, 2).float())[0].numpy())
    return np.concatenate(parts)


def _visitors(people: PeopleSet) -> list[npt.NDArray[np.int64]]:
    """The people that each camera saw."""
    numbers = range(int(people.cameras.max()) + 1)
    return [np.flatnonzero((people.cameras == camera).any(axis=1)) for camera in numbers]


def _batch(
    people: PeopleSet, visitors: list[npt.NDArray[np.int64]], recipe: Recipe, rng: Any
) -> tuple[Any, Any, Any]:
    """People, half of them seen by one camera, so that its background tells nobody apart."""
    camera = int(rng.integers(len(visitors)))
    near = visitors[camera]
    chosen = rng.choice(near, min(len(near), recipe.persons // 2), replace=False)
    others = np.setdiff1d(np.arange(len(people.images)), chosen)
    chosen = np.concatenate(
        [chosen, rng.choice(others, recipe.persons - len(chosen), replace=False)]
    )
    images, masks = [], []
    for person in chosen:
        shown = rng.permutation(people.images.shape[1])
        there = np.flatnonzero(people.cameras[person] == camera)
        if len(there):
            first = int(rng.choice(there))
            shown = np.concatenate([[first], shown[shown != first]])
        styles = draw_style(rng), draw_style(rng)
        for number, row in enumerate(shown[: recipe.pictures]):
            other = people.images[int(rng.choice(chosen)), int(rng.integers(len(shown)))]
            image, mask = vary(
                people.images[person, row],
                people.masks[person, row],
                styles[number % 2],
                other,
                rng,
            )
            images.append(image)
            masks.append(mask)
    crops = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float()
    return (
        crops.contiguous(memory_format=torch.channels_last),
        torch.from_numpy(np.stack(masks)).float() / 255,
        torch.from_numpy(np.repeat(chosen, recipe.pictures)),
    )


def _losses(
    found: tuple[Any, Any], masks: Any, names: Any, classes: Any, recipe: Recipe
) -> tuple[Any, Any, Any]:
    """Identity (cosines with a margin), batch-hard triplets, and the outline.

    Sources: Wang et al., "CosFace", 2018; Hermans et al., "In Defense of the Triplet Loss", 2017.
    """
    vectors, logits = found
    cosines = vectors @ functional.normalize(classes, dim=1).T
    target = functional.one_hot(names, len(classes)).float()
    identity = functional.cross_entropy(
        recipe.scale * (cosines - recipe.margin * target), names, label_smoothing=0.05
    )
    pairs = vectors @ vectors.T
    same = names[:, None] == names[None]
    farthest = torch.where(same, pairs, 2.0).amin(dim=1)
    nearest = torch.where(same, -2.0, pairs).amax(dim=1)
    triplet = functional.relu(nearest - farthest + recipe.apart).mean()
    outline = functional.binary_cross_entropy_with_logits(logits, masks)
    return identity, triplet, outline
