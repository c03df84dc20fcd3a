"""Bake the trained network and its normalisations into one ONNX file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, checker, helper

from models.onnx_graph import Graph, folded, state_of

from .network import DIMENSION, STEM_STRIDE, STRIDES, STRIPES, VISIBLE

MODEL_NAME = "appearance"
OPSET = 17
INPUT, OUTPUT = "crops", "vectors"


def write_onnx(path: Path, network: Any) -> None:
    """Write ``network`` (a trained ``AppearanceNet``) to ``path``.

    Input ``crops`` uint8 [n, 128, 64, 3] BGR, output ``vectors`` float32 [n, 256], rows of unit
    length. All normalisation is in the graph; weights are stored in 32 bits.
    """
    state, graph = state_of(network), Graph()
    x = graph.add("Cast", ["crops"], to=TensorProto.FLOAT)
    x = graph.add("Transpose", [x], perm=[0, 3, 1, 2])
    x = graph.add("Concat", [*_twice(graph, x)], axis=1)
    x = graph.convolution(x, *folded(state, "stem", "stem_norm"), stride=STEM_STRIDE, pad=1)
    x = graph.add("Relu", [x])
    for number, stride in enumerate(STRIDES):
        x = _block(graph, state, f"blocks.{number}", x, stride)
    x = graph.convolution(x, *folded(state, "last", "last_norm"), pad=1)
    x = graph.add("Relu", [x])
    vectors = _pooled(graph, state, x)
    scale = state["norm.weight"] / np.sqrt(state["norm.running_var"] + 1e-5)
    vectors = graph.add("Sub", [vectors, graph.constant(state["norm.running_mean"])])
    vectors = graph.add("Mul", [vectors, graph.constant(scale)])
    length = graph.add("ReduceL2", [vectors], axes=[1], keepdims=1)
    length = graph.add("Max", [length, graph.constant(1e-12)])
    graph.add("Div", [vectors, length], output=OUTPUT)

    crops = helper.make_tensor_value_info(INPUT, TensorProto.UINT8, ["n", 128, 64, 3])
    out = helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["n", DIMENSION])
    body = helper.make_graph(graph.nodes, MODEL_NAME, [crops], [out], graph.weights)
    model = helper.make_model(
        body, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="sealtrace"
    )
    model.ir_version = 8
    checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())


def _twice(graph: Graph, crops: str) -> tuple[str, str]:
    """The crop as it is, and with each colour's mean and spread evened out."""
    plain = graph.add("Sub", [crops, graph.constant(127.5)])
    plain = graph.add("Div", [plain, graph.constant(64.0)])
    mean = graph.add("ReduceMean", [crops], axes=[2, 3], keepdims=1)
    off = graph.add("Sub", [crops, mean])
    squares = graph.add("Mul", [off, off])
    spread = graph.add("ReduceMean", [squares], axes=[2, 3], keepdims=1)
    spread = graph.add("Sqrt", [graph.add("Add", [spread, graph.constant(25.0)])])
    return plain, graph.add("Div", [off, spread])


def _block(graph: Graph, state: dict[str, Any], name: str, x: str, stride: int) -> str:
    inner = graph.convolution(
        x, *folded(state, f"{name}.first", f"{name}.first_norm"), stride=stride, pad=1
    )
    inner = graph.add("Relu", [inner])
    inner = graph.convolution(inner, *folded(state, f"{name}.second", f"{name}.second_norm"), pad=1)
    if stride > 1:
        sides = [stride, stride]
        x = graph.add("AveragePool", [x], kernel_shape=sides, strides=sides)
    short = graph.convolution(x, *folded(state, f"{name}.short", f"{name}.short_norm"))
    return graph.add("Relu", [graph.add("Add", [inner, short])])


def _pooled(graph: Graph, state: dict[str, Any], x: str) -> str:
    """Stripes and the whole, pooled where the person is: [n, 256]."""
    where = graph.convolution(x, state["where.weight"], state["where.bias"])
    there = graph.add("Sigmoid", [where])
    seen = graph.add("Mul", [x, there])
    windows, visible = graph.constant(state["windows"]), graph.constant(VISIBLE)
    over = graph.constant([3], np.int64)

    def by_stripe(values: str) -> str:
        rows = graph.add("ReduceSum", [values, over], keepdims=0)
        return graph.add("MatMul", [rows, windows])

    mass = graph.add("Add", [by_stripe(there), visible])
    striped = graph.add("Div", [by_stripe(seen), mass])
    striped = graph.add("Transpose", [striped], perm=[2, 0, 1])
    parts = graph.add("MatMul", [striped, graph.constant(state["stripes"])])
    parts = graph.add("Transpose", [parts], perm=[1, 0, 2])
    features = state["stripes"].shape[2]
    parts = graph.add("Reshape", [parts, graph.constant([-1, STRIPES * features], np.int64)])
    both = graph.constant([2, 3], np.int64)
    total = graph.add("ReduceSum", [there, both], keepdims=0)
    total = graph.add("Add", [total, visible])
    mean = graph.add("Div", [graph.add("ReduceSum", [seen, both], keepdims=0), total])
    most = graph.add("ReduceMax", [seen], axes=[2, 3], keepdims=0)
    joined = graph.add("Concat", [mean, most], axis=1)
    whole = graph.add("MatMul", [joined, graph.constant(state["whole.weight"].T)])
    return graph.add("Concat", [parts, whole], axis=1)
