"""Bake the trained network and its normalisations into one ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from models.onnx_file import FLOAT
from models.trained_graph import TrainedGraph, folded, norm_scale, state_of

from .network import DIMENSION, STEM_STRIDE, STRIDES, STRIPES, VISIBLE

MODEL_NAME = "appearance"
INPUT, OUTPUT = "crops", "vectors"


def write_onnx(path: Path, network: Any) -> None:
    """Write ``network`` (a trained ``AppearanceNet``) to ``path``.

    Input ``crops`` uint8 [n, 128, 64, 3] BGR, output ``vectors`` float32 [n, 256], rows of unit
    length. All normalisation is in the graph; weights are stored in 32 bits.
    """
    state, graph = state_of(network), TrainedGraph()
    x = graph.put("Cast", ["crops"], to=FLOAT)
    x = graph.put("Transpose", [x], perm=[0, 3, 1, 2])
    x = graph.put("Concat", [*_twice(graph, x)], axis=1)
    x = graph.convolution(x, *folded(state, "stem", "stem_norm"), stride=STEM_STRIDE, pad=1)
    x = graph.put("Relu", [x])
    for number, stride in enumerate(STRIDES):
        x = _block(graph, state, f"blocks.{number}", x, stride)
    x = graph.convolution(x, *folded(state, "last", "last_norm"), pad=1)
    x = graph.put("Relu", [x])
    vectors = _pooled(graph, state, x)
    vectors = graph.put("Sub", [vectors, graph.weight(state["norm.running_mean"])])
    vectors = graph.put("Mul", [vectors, graph.weight(norm_scale(state, "norm"))])
    length = graph.put("ReduceL2", [vectors], axes=[1], keepdims=1)
    length = graph.put("Max", [length, graph.weight(1e-12)])
    graph.put("Div", [vectors, length], output=OUTPUT)

    path.write_bytes(
        graph.content(
            MODEL_NAME,
            {INPUT: ("n", 128, 64, 3)},
            {OUTPUT: ("n", DIMENSION)},
            input_type="uint8",
        )
    )


def _twice(graph: TrainedGraph, crops: str) -> tuple[str, str]:
    """The crop as it is, and with each colour's mean and spread evened out."""
    plain = graph.put("Sub", [crops, graph.weight(127.5)])
    plain = graph.put("Div", [plain, graph.weight(64.0)])
    mean = graph.put("ReduceMean", [crops], axes=[2, 3], keepdims=1)
    off = graph.put("Sub", [crops, mean])
    squares = graph.put("Mul", [off, off])
    spread = graph.put("ReduceMean", [squares], axes=[2, 3], keepdims=1)
    spread = graph.put("Sqrt", [graph.put("Add", [spread, graph.weight(25.0)])])
    return plain, graph.put("Div", [off, spread])


def _block(graph: TrainedGraph, state: dict[str, Any], name: str, x: str, stride: int) -> str:
    inner = graph.convolution(
        x, *folded(state, f"{name}.first", f"{name}.first_norm"), stride=stride, pad=1
    )
    inner = graph.put("Relu", [inner])
    inner = graph.convolution(inner, *folded(state, f"{name}.second", f"{name}.second_norm"), pad=1)
    if stride > 1:
        sides = [stride, stride]
        x = graph.put("AveragePool", [x], kernel_shape=sides, strides=sides)
    short = graph.convolution(x, *folded(state, f"{name}.short", f"{name}.short_norm"))
    return graph.put("Relu", [graph.put("Add", [inner, short])])


def _pooled(graph: TrainedGraph, state: dict[str, Any], x: str) -> str:
    """Stripes and the whole, pooled where the person is: [n, 256]."""
    where = graph.convolution(x, state["where.weight"], state["where.bias"])
    there = graph.put("Sigmoid", [where])
    seen = graph.put("Mul", [x, there])
    windows, visible = graph.weight(state["windows"]), graph.weight(VISIBLE)
    over = graph.constant(np.array([3]))

    def by_stripe(values: str) -> str:
        rows = graph.put("ReduceSum", [values, over], keepdims=0)
        return graph.put("MatMul", [rows, windows])

    mass = graph.put("Add", [by_stripe(there), visible])
    striped = graph.put("Div", [by_stripe(seen), mass])
    striped = graph.put("Transpose", [striped], perm=[2, 0, 1])
    parts = graph.put("MatMul", [striped, graph.weight(state["stripes"])])
    parts = graph.put("Transpose", [parts], perm=[1, 0, 2])
    features = state["stripes"].shape[2]
    parts = graph.put("Reshape", [parts, graph.constant(np.array([-1, STRIPES * features]))])
    both = graph.constant(np.array([2, 3]))
    total = graph.put("ReduceSum", [there, both], keepdims=0)
    total = graph.put("Add", [total, visible])
    mean = graph.put("Div", [graph.put("ReduceSum", [seen, both], keepdims=0), total])
    most = graph.put("ReduceMax", [seen], axes=[2, 3], keepdims=0)
    joined = graph.put("Concat", [mean, most], axis=1)
    whole = graph.put("MatMul", [joined, graph.weight(state["whole.weight"].T)])
    return graph.put("Concat", [parts, whole], axis=1)
