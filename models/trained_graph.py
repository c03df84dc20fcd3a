"""Puts the weights of networks that are trained here into an ONNX graph."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from models.onnx_file import OnnxGraph

_SMALL = 256
"""Weights of so many numbers or fewer keep their 32 bits: biases and constants, which are few."""
_EPSILON = 1e-5
"""What PyTorch's batch normalisation adds to a variance."""


@dataclass(slots=True)
class TrainedGraph(OnnxGraph):
    """A graph whose operations have one output each; `half` stores big weights in 16 bits."""

    half: bool = False

    def fresh(self, count: int) -> list[str]:
        """Names as they are in the files that are committed, whose bytes are to stay the same."""
        return [f"t{len(self.nodes)}"] if count == 1 else OnnxGraph.fresh(self, count)

    def weight(self, values: npt.ArrayLike) -> str:
        """Put in weights, used in float32; return their name."""
        array = np.asarray(values, np.float32)
        halved = self.half and array.size > _SMALL
        return self.constant(array.astype(np.float16) if halved else array)

    def convolution(self, x: str, weight: Any, bias: Any, stride: int = 1, pad: int = 0) -> str:
        """Put in a convolution with a bias; return its output's name."""
        inputs = [x, self.weight(weight), self.weight(bias)]
        return self.put("Conv", inputs, strides=[stride, stride], pads=[pad] * 4)

    def weights_hash(self) -> str:
        """Lower-case hex SHA-256 of all weights as stored."""
        digest = hashlib.sha256()
        for weight in self.weights:
            digest.update(weight.tobytes())
        return digest.hexdigest()


def state_of(network: Any) -> dict[str, Any]:
    """The weights of a PyTorch module as float64 arrays by name."""
    return {
        key: value.detach().cpu().numpy().astype(np.float64)
        for key, value in network.state_dict().items()
    }


def folded(state: dict[str, Any], convolution: str, norm: str) -> tuple[Any, Any]:
    """Weight and bias of a convolution with the batch normalisation after it in them."""
    scale = norm_scale(state, norm)
    weight = state[f"{convolution}.weight"] * scale[:, None, None, None]
    return weight, state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * scale


def norm_scale(state: dict[str, Any], norm: str) -> Any:
    """What a batch normalisation multiplies each channel by."""
    return state[f"{norm}.weight"] / np.sqrt(state[f"{norm}.running_var"] + _EPSILON)
