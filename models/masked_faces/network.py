"""SFace as a PyTorch network whose last stages can be taught. Only the training imports this.

Needs PyTorch, which nothing that runs needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import nn
from torch.nn import functional

from models.faces.sface import MEAN, STD, Affine, Convolution, Layer, Slopes


class FaceNet(nn.Module):  # type: ignore[misc]  # torch is not installed where types are checked
    """The layers in order; crops in, unit templates out. `first` is the first that is taught."""

    def __init__(self, layers: Sequence[Layer], first: int) -> None:
        super().__init__()
        self.layers = tuple(layers)
        self.first = first
        self.steps = nn.ModuleList([_module(layer) for layer in layers])
        for number, step in enumerate(self.steps):
            for values in step.parameters():
                values.requires_grad_(number >= first)

    def forward(self, x: Any) -> Any:
        """Pixels from `prepared` to unit rows [n, 128]."""
        with torch.no_grad():
            for step in self.steps[: self.first]:
                x = step(x)
        for step in self.steps[self.first :]:
            x = step(x)
        return functional.normalize(x)

    def taught(self) -> list[Any]:
        """The parameters that learn."""
        return [values for values in self.parameters() if values.requires_grad]

    def learned(self) -> tuple[Layer, ...]:
        """The layers as they are now."""
        return tuple(map(_layer, self.layers, self.steps))


def prepared(crops: npt.NDArray[np.uint8]) -> Any:
    """Crops uint8 [n, 112, 112, 3] BGR as the network's input."""
    pixels = (crops[..., ::-1].astype(np.float32) - MEAN) / STD
    x = torch.from_numpy(np.ascontiguousarray(pixels.transpose(0, 3, 1, 2)))
    return x.contiguous(memory_format=torch.channels_last)


class _Scale(nn.Module):  # type: ignore[misc]  # as above
    def __init__(self, layer: Affine) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.from_numpy(layer.scale.copy()))
        self.bias = nn.Parameter(torch.from_numpy(layer.shift.copy()))

    def forward(self, x: Any) -> Any:
        return x * self.weight[:, None, None] + self.bias[:, None, None]


def _module(layer: Layer) -> Any:
    if isinstance(layer, Slopes):
        rectifier = nn.PReLU(len(layer.slopes))
        rectifier.weight.data = torch.from_numpy(layer.slopes.copy())
        return rectifier
    if isinstance(layer, Affine):
        return _Scale(layer)
    step: Any
    if isinstance(layer, Convolution):
        out, inside, side, _ = layer.weights.shape
        step = nn.Conv2d(
            inside * layer.groups, out, side, layer.stride, layer.padding, groups=layer.groups
        )
    else:
        step = nn.Linear(layer.weights.shape[1], layer.weights.shape[0])
    step.weight.data = torch.from_numpy(layer.weights.copy())
    step.bias.data = torch.from_numpy(layer.bias.copy())
    return step if isinstance(layer, Convolution) else nn.Sequential(nn.Flatten(), step)


def _layer(layer: Layer, step: Any) -> Layer:
    if not isinstance(layer, Convolution | Slopes | Affine):
        step = step[1]
    weight = step.weight.detach().numpy().copy()
    if isinstance(layer, Slopes):
        return replace(layer, slopes=weight)
    bias = step.bias.detach().numpy().copy()
    if isinstance(layer, Affine):
        return replace(layer, scale=weight, shift=bias)
    return replace(layer, weights=np.ascontiguousarray(weight), bias=bias)
