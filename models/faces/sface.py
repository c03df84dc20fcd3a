"""SFace as a chain of layers: dequantised from its published file, written as a plain ONNX file.

The published file (OpenCV model zoo, 2021dec, int8 in blocks) stores its weights as whole numbers
with a scale for each block, names constants that it does not have among its inputs, and multiplies
out its weights anew in every run. Here that is done once: weights become floats, each batch
normalisation goes into the convolution before it, and what is left is the same function in 29
convolutions and one product. The arithmetic is elementwise in float64, so every machine gets the
same bytes, and `models build` pins their SHA-256.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from models.faces.onnx_reader import Graph, Node, OnnxFileError, read_onnx
from models.onnx_file import OnnxGraph

Weights = NDArray[np.float32]

DIMENSION = 128
SIDE = 112
MEAN, STD = 127.5, 128.0
"""What the published graph does to pixels first; in the bundle it stands in `preprocessing`."""
_BATCH_NORM_EPSILON = 1e-5


@dataclass(frozen=True, slots=True)
class Convolution:
    """A convolution: weights (out, in / groups, k, k), bias (out,), stride and padding in px."""

    weights: Weights
    bias: Weights
    stride: int
    padding: int
    groups: int


@dataclass(frozen=True, slots=True)
class Slopes:
    """A parametric rectifier: slopes (channels,) of what is below zero."""

    slopes: Weights


@dataclass(frozen=True, slots=True)
class Affine:
    """A scale and shift (channels,) each, of a picture's channels."""

    scale: Weights
    shift: Weights


@dataclass(frozen=True, slots=True)
class Product:
    """The last step: the flattened channels times weights (out, in) plus bias (out,)."""

    weights: Weights
    bias: Weights


Layer = Convolution | Slopes | Affine | Product


def dequantised(data: bytes) -> tuple[Layer, ...]:
    """The layers of the published file.

    Raises:
        OnnxFileError: it is not that file.
    """
    graph = read_onnx(data)
    values = _constants(graph)
    layers: list[Layer] = []
    for node in graph.nodes:
        weights = [values[name] for name in node.inputs[1:] if name in values]
        if node.operation == "Conv":
            strides, pads = node.attributes.get("strides"), node.attributes.get("pads")
            groups = node.attributes.get("group", 1)
            layers.append(
                Convolution(
                    weights=weights[0],
                    bias=weights[1] if len(weights) > 1 else _zeros(len(weights[0])),
                    stride=int(strides[0]) if isinstance(strides, tuple) else 1,
                    padding=int(pads[0]) if isinstance(pads, tuple) else 0,
                    groups=groups if isinstance(groups, int) else 1,
                )
            )
        elif node.operation == "PRelu":
            layers.append(Slopes(weights[0].reshape(-1)))
        elif node.operation == "Gemm":
            if not node.attributes.get("transB", 0):
                weights[0] = np.ascontiguousarray(weights[0].T)
            layers.append(Product(weights[0], weights[1]))
        elif node.operation == "BatchNormalization":
            epsilon = node.attributes.get("epsilon", _BATCH_NORM_EPSILON)
            _normalise(layers, weights, float(epsilon) if isinstance(epsilon, float) else 0.0)
        elif node.operation not in _SKIPPED:
            raise OnnxFileError(f"the operation {node.operation} is not one of SFace's")
    if not layers or not isinstance(layers[-1], Product) or len(layers[-1].bias) != DIMENSION:
        raise OnnxFileError("this is not the SFace network: it does not end in 128 numbers")
    return tuple(layers)


_SKIPPED = frozenset({"DequantizeLinear", "Reshape", "Dropout", "Flatten", "Sub", "Mul"})
"""Done while reading (weights), without effect outside training, or done to the pixels before."""


def to_onnx(layers: Sequence[Layer]) -> bytes:
    """The layers as the content of an ONNX file: `crops` (n, 3, 112, 112) to `templates` (n, 128).

    Pixels are expected as (x - `MEAN`) / `STD`, in the order RGB.
    """
    graph, at = OnnxGraph(), "crops"
    for number, layer in enumerate(layers):
        last = "templates" if number + 1 == len(layers) else None
        if isinstance(layer, Convolution):
            at = graph.put(
                "Conv",
                [at, graph.constant(layer.weights), graph.constant(layer.bias)],
                last,
                group=layer.groups,
                kernel_shape=layer.weights.shape[2:],
                pads=(layer.padding,) * 4,
                strides=(layer.stride,) * 2,
            )
        elif isinstance(layer, Slopes):
            at = graph.put("PRelu", [at, graph.constant(layer.slopes[:, None, None])], last)
        elif isinstance(layer, Affine):
            at = graph.put("Mul", [at, graph.constant(layer.scale[:, None, None])])
            at = graph.put("Add", [at, graph.constant(layer.shift[:, None, None])], last)
        else:
            at = graph.put("Flatten", [at], axis=1)
            weights = [graph.constant(layer.weights), graph.constant(layer.bias)]
            at = graph.put("Gemm", [at, *weights], last, transB=1)
    shapes = {"crops": ("n", 3, SIDE, SIDE)}, {"templates": ("n", DIMENSION)}
    return graph.content("faces", *shapes)


def _constants(graph: Graph) -> dict[str, Weights]:
    """All constants of the graph that are floats, or become floats by scales and zero points."""
    values = {
        name: np.asarray(value, np.float32)
        for name, value in graph.constants.items()
        if value.dtype == np.float32
    }
    for node in graph.nodes:
        if node.operation == "DequantizeLinear":
            values[node.outputs[0]] = _scaled(graph, node)
        elif node.operation == "Reshape" and node.inputs[0] in values:
            shape = graph.constants[node.inputs[1]].tolist()
            values[node.outputs[0]] = values[node.inputs[0]].reshape(shape)
    return values


def _scaled(graph: Graph, node: Node) -> Weights:
    """(q - zero point) * scale, with scale and zero point for blocks along an axis."""
    whole, scale, zero = (np.asarray(graph.constants[name]) for name in node.inputs)
    axis, block = node.attributes.get("axis", 1), node.attributes.get("block_size", 0)
    if not isinstance(axis, int) or not isinstance(block, int):
        raise OnnxFileError("a weight of this file is scaled in a way that is not understood")
    if block:
        each = np.arange(whole.shape[axis]) // block
        scale, zero = scale.take(each, axis=axis), zero.take(each, axis=axis)
    offset = whole.astype(np.int32) - zero.astype(np.int32)
    return offset.astype(np.float32) * scale.astype(np.float32)


def _normalise(layers: list[Layer], weights: list[Weights], epsilon: float) -> None:
    """Put a batch normalisation into the layer before it, or behind it as a scale and shift."""
    gain, shift, mean, variance = (part.astype(np.float64) for part in weights)
    scale = gain / np.sqrt(variance + epsilon)
    before = layers[-1]
    if isinstance(before, Convolution | Product):
        wide = scale.reshape(-1, *(1,) * (before.weights.ndim - 1))
        layers[-1] = replace(
            before,
            weights=(before.weights * wide).astype(np.float32),
            bias=((before.bias - mean) * scale + shift).astype(np.float32),
        )
    else:
        layers.append(Affine(scale.astype(np.float32), (shift - mean * scale).astype(np.float32)))


def _zeros(count: int) -> Weights:
    return np.zeros(count, np.float32)
