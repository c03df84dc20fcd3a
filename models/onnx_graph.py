"""Writes an ONNX graph node by node, so that the file depends on the weights alone."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import numpy.typing as npt
from onnx import helper, numpy_helper


class Graph:
    """Nodes and weights of a graph in the making; ``half`` stores big weights in 16 bits."""

    def __init__(self, half: bool = False) -> None:
        self._half = half
        self.nodes: list[Any] = []
        self.weights: list[Any] = []

    def constant(self, values: npt.ArrayLike, dtype: Any = np.float32) -> str:
        """Add a constant; return its name."""
        array = np.asarray(values, dtype)
        name = f"w{len(self.weights)}"
        if self._half and array.dtype == np.float32 and array.size > 256:
            stored = numpy_helper.from_array(array.astype(np.float16), name)
            self.weights.append(stored)
            return self.add("Cast", [name], to=1)  # float32; onnxruntime folds it when it loads
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def add(
        self, kind: str, inputs: list[str], output: str | None = None, **attributes: Any
    ) -> str:
        """Add a node of one output; return the output's name."""
        name = output or f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], **attributes))
        return name

    def convolution(self, x: str, weight: Any, bias: Any, stride: int = 1, pad: int = 0) -> str:
        """Add a convolution with a bias; return its output's name."""
        return self.add(
            "Conv",
            [x, self.constant(weight), self.constant(bias)],
            strides=[stride, stride],
            pads=[pad] * 4,
        )

    def weights_hash(self) -> str:
        """Lower-case hex SHA-256 of all weights as stored."""
        digest = hashlib.sha256()
        for weight in self.weights:
            digest.update(weight.raw_data)
        return digest.hexdigest()


def state_of(network: Any) -> dict[str, Any]:
    """The weights of a PyTorch module as float64 arrays by name."""
    return {
        key: value.detach().cpu().numpy().astype(np.float64)
        for key, value in network.state_dict().items()
    }


def folded(state: dict[str, Any], convolution: str, norm: str) -> tuple[Any, Any]:
    """Weight and bias of a convolution with the batch normalisation after it in them."""
    scale = state[f"{norm}.weight"] / np.sqrt(state[f"{norm}.running_var"] + 1e-5)
    weight = state[f"{convolution}.weight"] * scale[:, None, None, None]
    return weight, state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * scale
