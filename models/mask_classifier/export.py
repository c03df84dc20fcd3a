"""Bake trained networks, their calibration and their thresholds into one ONNX file.

The graph is written node by node, so that the file depends on the weights alone: batch
normalisation is folded into the convolutions and the mean of all members is part of the graph.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from models.onnx_file import FLOAT
from models.trained_graph import TrainedGraph, folded, state_of

MODEL_NAME = "maskstatus"
MODEL_VERSION = "1"


@dataclass(frozen=True, slots=True)
class Decision:
    """How logits become a status: the calibration and the two thresholds on the probability.

    The probability is sigmoid(logit / temperature + shift).
    """

    temperature: float
    shift: float
    threshold_masked: float
    threshold_unmasked: float


def write_onnx(path: Path, networks: list[Any], decision: Decision, *, half: bool = True) -> str:
    """Write the ensemble of ``networks`` (trained ``MaskNet``) to ``path``; return its model id.

    Input ``crops`` uint8 [n, 112, 112, 3] BGR, output ``masked_probability`` float32 [n]: the
    calibrated sigmoid of the members' mean logit. ``half`` stores weights in
    16 bits; arithmetic is in 32. The id ends in the first 8 hex digits of the SHA-256 of
    all weights as stored.
    """
    graph = TrainedGraph(half=half)
    x = graph.put("Cast", ["crops"], to=FLOAT)
    x = graph.put("Transpose", [x], perm=[0, 3, 1, 2])
    x = graph.put("Sub", [x, graph.weight(127.5)])
    x = graph.put("Div", [x, graph.weight(64.0)])
    logits = [_member(graph, x, network) for network in networks]
    total = logits[0]
    for other in logits[1:]:
        total = graph.put("Add", [total, other])
    scaled = graph.put("Div", [total, graph.weight(len(logits) * decision.temperature)])
    shifted = graph.put("Add", [scaled, graph.weight(decision.shift)])
    flat = graph.put("Reshape", [shifted, graph.constant(np.array([-1]))])
    graph.put("Sigmoid", [flat], output="masked_probability")

    model_id = f"{MODEL_NAME}-{MODEL_VERSION}@{graph.weights_hash()[:8]}"
    content = graph.content(
        MODEL_NAME,
        {"crops": ("n", 112, 112, 3)},
        {"masked_probability": ("n",)},
        input_type="uint8",
        properties={
            "model_id": model_id,
            "threshold_masked": f"{decision.threshold_masked:.4f}",
            "threshold_unmasked": f"{decision.threshold_unmasked:.4f}",
            "temperature": f"{decision.temperature:.4f}",
            "shift": f"{decision.shift:.4f}",
        },
    )
    path.write_bytes(content)
    return model_id


def _member(graph: TrainedGraph, x: str, network: Any) -> str:
    """Add one ``MaskNet`` to the graph; return the name of its logits, [n, 1]."""
    state = state_of(network)
    x = graph.convolution(x, *folded(state, "body.0", "body.1"), stride=2, pad=1)
    x = graph.put("Relu", [x])
    index = 3
    while f"body.{index}.first.weight" in state:
        block = f"body.{index}"
        inner = graph.convolution(
            x, *folded(state, f"{block}.first", f"{block}.first_norm"), stride=2, pad=1
        )
        inner = graph.put("Relu", [inner])
        inner = graph.convolution(
            inner, *folded(state, f"{block}.second", f"{block}.second_norm"), pad=1
        )
        short = graph.put("AveragePool", [x], kernel_shape=[2, 2], strides=[2, 2])
        short = graph.convolution(short, *folded(state, f"{block}.short.1", f"{block}.short.2"))
        x = graph.put("Relu", [graph.put("Add", [inner, short])])
        index += 1
    # The depthwise "place" weights and the linear head are one weighted sum of the 7 x 7 map.
    head = state["place.weight"][:, 0] * state["head.weight"][0][:, None, None]
    flat = graph.put("Flatten", [x])
    return graph.put(
        "Gemm",
        [flat, graph.weight(head.reshape(-1, 1)), graph.weight(state["head.bias"])],
    )
