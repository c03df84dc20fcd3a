"""The small residual network and its training loop. Only the training script imports this.

Needs PyTorch, which the agent itself does not.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from models.weight_average import average_into

from .augment import Variations, vary
from .crops import CropSet


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that shapes one training run besides its crops."""

    seed: int
    epochs: int = 50
    batch: int = 64
    learning_rate: float = 3e-3
    weight_decay: float = 0.03
    label_smoothing: float = 0.03
    mixup: float = 0.2
    average_decay: float = 0.997
    widths: tuple[int, ...] = (16, 32, 64, 128)
    variations: Variations = field(default_factory=Variations)


class _Residual(nn.Module):  # type: ignore[misc]  # torch is not installed where types are checked
    def __init__(self, inside: int, outside: int, stride: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(inside, outside, 3, stride, 1, bias=False)
        self.first_norm = nn.BatchNorm2d(outside)
        self.second = nn.Conv2d(outside, outside, 3, 1, 1, bias=False)
        self.second_norm = nn.BatchNorm2d(outside)
        self.short: Any = nn.Identity()
        if stride != 1 or inside != outside:
            self.short = nn.Sequential(
                nn.AvgPool2d(stride) if stride > 1 else nn.Identity(),
                nn.Conv2d(inside, outside, 1, bias=False),
                nn.BatchNorm2d(outside),
            )

    def forward(self, x: Any) -> Any:
        inner = functional.relu(self.first_norm(self.first(x)))
        return functional.relu(self.second_norm(self.second(inner)) + self.short(x))


class MaskNet(nn.Module):  # type: ignore[misc]  # as above
    """Float crops [n, 3, 112, 112], BGR in 0..255, to logits [n]; positive means masked."""

    def __init__(self, widths: tuple[int, ...]) -> None:
        super().__init__()
        layers: list[Any] = [
            nn.Conv2d(3, widths[0], 3, 2, 1, bias=False),
            nn.BatchNorm2d(widths[0]),
            nn.ReLU(),
        ]
        for inside, outside in itertools.pairwise(widths):
            layers.append(_Residual(inside, outside, 2))
        self.body = nn.Sequential(*layers)
        # A 7 x 7 map keeps "where": the head weighs the places of the face before it averages.
        self.drop = nn.Dropout(0.2)
        self.place = nn.Conv2d(widths[-1], widths[-1], 7, groups=widths[-1], bias=False)
        self.head = nn.Linear(widths[-1], 1)
        nn.init.constant_(self.place.weight, 1.0 / 49)

    def forward(self, crops: Any) -> Any:
        """Return the logits of ``crops``."""
        features = self.body((crops - 127.5) / 64.0)
        features = self.place(functional.adaptive_avg_pool2d(features, 7))
        return self.head(self.drop(features.flatten(1))).squeeze(1)


def train_network(crops: CropSet, recipe: Recipe, report: Any = None) -> MaskNet:
    """Train one network on ``crops``; the returned one has the averaged weights.

    ``report(epoch, loss)`` is called after each epoch when given.
    """
    torch.manual_seed(recipe.seed)
    torch.use_deterministic_algorithms(True)
    torch.utils.deterministic.fill_uninitialized_memory = False
    rng = np.random.default_rng(recipe.seed)
    net = MaskNet(recipe.widths)
    net.to(memory_format=torch.channels_last)
    average = MaskNet(recipe.widths)
    average.to(memory_format=torch.channels_last)
    average.load_state_dict(net.state_dict())
    decayed = [p for p in net.parameters() if p.ndim > 1]
    plain = [p for p in net.parameters() if p.ndim <= 1]
    optimiser = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": recipe.weight_decay}, {"params": plain}],
        lr=recipe.learning_rate,
        weight_decay=0.0,
    )
    per_epoch = len(crops) // recipe.batch
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser,
        recipe.learning_rate,
        total_steps=per_epoch * recipe.epochs,
        pct_start=0.15,
        cycle_momentum=False,
    )
    step = 0
    for epoch in range(recipe.epochs):
        order = rng.permutation(len(crops))
        total = 0.0
        net.train()
        for start in range(per_epoch):
            batch = order[start * recipe.batch : (start + 1) * recipe.batch]
            inputs, targets = _batch(crops, batch, rng, recipe)
            loss = functional.binary_cross_entropy_with_logits(net(inputs), targets)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(net.parameters(), 2.0)
            optimiser.step()
            schedule.step()
            step += 1
            average_into(average, net, min(recipe.average_decay, step / (step + 10)))
            total += float(loss.detach())
        if report is not None:
            report(epoch, total / per_epoch)
    average.eval()
    return average


def logits_of(net: MaskNet, images: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Return the logits (float64 [n]) of uint8 crops [n, 112, 112, 3]."""
    parts = []
    with torch.no_grad():
        for start in range(0, len(images), 128):
            chunk = torch.from_numpy(images[start : start + 128]).permute(0, 3, 1, 2).float()
            parts.append(net(chunk).double().numpy())
    return np.concatenate(parts)


def _batch(
    crops: CropSet, indices: npt.NDArray[np.int64], rng: np.random.Generator, recipe: Recipe
) -> tuple[Any, Any]:
    varied = [vary(int(i), crops.images, crops.labels, rng, recipe.variations) for i in indices]
    inputs = torch.from_numpy(np.stack([image for image, _ in varied]))
    inputs = inputs.permute(0, 3, 1, 2).float()
    targets = torch.tensor([float(label) for _, label in varied])
    targets = targets * (1 - recipe.label_smoothing) + 0.5 * recipe.label_smoothing
    if recipe.mixup > 0 and rng.random() < 0.5:
        share = float(rng.beta(recipe.mixup, recipe.mixup))
        other = torch.from_numpy(rng.permutation(len(indices)))
        inputs = share * inputs + (1 - share) * inputs[other]
        targets = share * targets + (1 - share) * targets[other]
    return inputs.contiguous(memory_format=torch.channels_last), targets
