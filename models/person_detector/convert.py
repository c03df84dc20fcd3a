"""Translates NanoDet-g, as published for TensorFlow.js, to ONNX that any frame size fits.

The published graph was itself translated from ONNX, by way of TensorFlow: every convolution stands
between two transpositions, padding is an operation of its own, and shapes are fixed to 416x416.
Here each becomes one convolution with padding and bias; sizes are left open (multiples of 32); of
the 80 classes only the person's is kept. Weights stay in the 16 bits in which they are published.

The graph (RangiLyu/nanodet, Apache-2.0, `config/legacy_v0.x_configs/nanodet-g.yml`): CSP backbone,
PAN, one head for strides 8, 16 and 32 that gives 80 scores and four distributions over 11 bins.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from models.onnx_file import OnnxGraph
from models.person_detector.tfjs import Array, Graph, GraphError, Node

CLASSES, PERSON, BINS = 80, 0, 11
STRIDES = (8, 16, 32)
_TRAINED_SIZE = 416
_HEADS = tuple(f"PartitionedCall/Add_{number}" for number in (29, 33, 37))
_TO_LAST, _TO_FIRST = (0, 2, 3, 1), (0, 3, 1, 2)


def to_onnx(graph: Graph) -> bytes:
    """Return the ONNX file's content; the same bytes from the same graph.

    Input `input` float32 [1, 3, H, W]; outputs `scores` float32 [1, A, 1] in 0..1 and
    `distributions` float32 [1, A, 44] (left, top, right, bottom; 11 bins each), where A counts the
    cells of stride 8 row by row, then those of 16, then those of 32.

    Raises:
        GraphError: it is not the graph that this was written for.
    """
    return _Translation(graph).content()


@dataclass(frozen=True, slots=True)
class _Tensor:
    """A tensor of the new graph, channels first there; how the old graph has it by now.

    `stride` is input pixels a cell; `pads` (top, left, bottom, right) wait for what comes next.
    """

    name: str
    stride: int
    channels_last: bool = False
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)


class _Translation:
    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._new = OnnxGraph()
        self._done: dict[str, _Tensor] = {}
        self._rules: dict[str, Callable[[Node], _Tensor]] = {
            "Placeholder": lambda _: _Tensor("input", 1),
            "Transpose": self._transpose,
            "Pad": self._pad,
            "PadV2": self._pad,
            "Add": self._add,
            "LeakyRelu": self._leaky,
            "MaxPool": self._pool,
            "ConcatV2": self._concatenate,
            "ResizeBilinear": self._resize,
        }

    def content(self) -> bytes:
        scores, boxes = [], []
        for name, stride in zip(_HEADS, STRIDES, strict=True):
            head = self._tensor(name)
            if head.stride != stride:
                raise GraphError(f"the head {name} has stride {head.stride}, not {stride}")
            sizes = self._new.constant(np.array([1, 4 * BINS]))
            score, box = self._new.add("Split", [head.name, sizes], outputs=2, axis=1)
            scores.append(self._rows(score, 1))
            boxes.append(self._rows(box, 4 * BINS))
        joined = self._new.put("Concat", scores, axis=1)
        self._new.put("Sigmoid", [joined], "scores")
        self._new.put("Concat", boxes, "distributions", axis=1)
        return self._new.content(
            "persons",
            {"input": (1, 3, "height", "width")},
            {"scores": (1, "cells", 1), "distributions": (1, "cells", 4 * BINS)},
        )

    def _rows(self, name: str, columns: int) -> str:
        flat = self._new.put("Reshape", [name, self._new.constant(np.array([1, columns, -1]))])
        return self._new.put("Transpose", [flat], perm=(0, 2, 1))

    # -- one rule an operation ------------------------------------------------------------------

    def _tensor(self, name: str) -> _Tensor:
        if name not in self._done:
            node = self._graph.nodes.get(name)
            if node is None or node.kind not in self._rules:
                what = "missing" if node is None else f"a {node.kind}, for which there is no rule"
                raise GraphError(f"{name} is {what}")
            self._done[name] = self._rules[node.kind](node)
        return self._done[name]

    def _transpose(self, node: Node) -> _Tensor:
        x, order = self._tensor(node.inputs[0]), tuple(self._numbers(node.inputs[1]))
        if order != (_TO_FIRST if x.channels_last else _TO_LAST):
            raise GraphError(f"{node.name} does not turn the layout round")
        return replace(x, channels_last=not x.channels_last)

    def _pad(self, node: Node) -> _Tensor:
        x, pads = self._tensor(node.inputs[0]), self._value(node.inputs[1]).reshape(4, 2)
        rows, columns = pads[1:3] if x.channels_last else pads[2:4]
        return replace(x, pads=(int(rows[0]), int(columns[0]), int(rows[1]), int(columns[1])))

    def _add(self, node: Node) -> _Tensor:
        first, second = node.inputs
        if self._graph.nodes[first].kind == "Conv2D":
            return self._convolution(node, self._graph.nodes[first], self._value(second))
        left, right = self._tensor(first), self._tensor(second)
        if (left.stride, left.channels_last) != (right.stride, right.channels_last):
            raise GraphError(f"{node.name} adds what does not lie alike")
        return replace(left, name=self._new.put("Add", [left.name, right.name]))

    def _convolution(self, node: Node, convolution: Node, bias: Array) -> _Tensor:
        x, weight = self._tensor(convolution.inputs[0]), self._value(convolution.inputs[1])
        if not x.channels_last:
            raise GraphError(f"{convolution.name} is not given channels last")
        weight, bias = weight.transpose(3, 2, 0, 1), bias.reshape(-1)
        if node.name in _HEADS:
            kept = [PERSON, *range(CLASSES, CLASSES + 4 * BINS)]
            weight, bias = weight[kept], bias[kept]
        stride = convolution.numbers("strides")[1]
        inputs = [x.name, self._new.constant(weight), self._new.constant(bias)]
        name = self._new.put("Conv", inputs, strides=[stride] * 2, pads=list(x.pads))
        return _Tensor(name, x.stride * stride, channels_last=True)

    def _leaky(self, node: Node) -> _Tensor:
        x, alpha = self._tensor(node.inputs[0]), float(node.attributes["alpha"]["f"])
        return replace(x, name=self._new.put("LeakyRelu", [x.name], alpha=alpha))

    def _pool(self, node: Node) -> _Tensor:
        x, side, stride = self._tensor(node.inputs[0]), *self._sides(node)
        name = self._new.put(
            "MaxPool", [x.name], kernel_shape=[side] * 2, strides=[stride] * 2, pads=list(x.pads)
        )
        return _Tensor(name, x.stride * stride, x.channels_last)

    def _sides(self, node: Node) -> tuple[int, int]:
        return node.numbers("ksize")[1], node.numbers("strides")[1]

    def _concatenate(self, node: Node) -> _Tensor:
        parts = [self._tensor(name) for name in node.inputs[:-1]]
        if self._numbers(node.inputs[-1]) != [1] or any(part.channels_last for part in parts):
            raise GraphError(f"{node.name} does not join channels")
        return replace(parts[0], name=self._new.put("Concat", [x.name for x in parts], axis=1))

    def _resize(self, node: Node) -> _Tensor:
        x, rows = self._tensor(node.inputs[0]), self._numbers(node.inputs[1])[0]
        stride = _TRAINED_SIZE // rows
        scale = self._new.constant(np.array([1, 1, *[x.stride / stride] * 2], np.float32))
        name = self._new.put(
            "Resize",
            [x.name, "", scale],
            mode="linear",
            coordinate_transformation_mode="half_pixel",
        )
        return _Tensor(name, stride, x.channels_last)

    # -- pieces -----------------------------------------------------------------------------------

    def _value(self, name: str) -> Array:
        if name not in self._graph.constants:
            raise GraphError(f"{name} is no constant")
        return self._graph.constants[name]

    def _numbers(self, name: str) -> list[int]:
        return [int(value) for value in self._value(name).reshape(-1)]
