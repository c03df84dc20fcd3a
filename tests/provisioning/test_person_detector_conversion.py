"""The published person detector becomes an ONNX file, and nothing else does."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from models.onnx_file import OnnxGraph
from models.person_detector.convert import to_onnx
from models.person_detector.source import ConversionFailed, converted
from models.person_detector.tfjs import GraphError, read_graph
from runtime.onnx import cpu_session


def written(nodes: list[dict[str, Any]], weights: list[dict[str, Any]]) -> bytes:
    return json.dumps(
        {"modelTopology": {"node": nodes}, "weightsManifest": [{"weights": weights}]}
    ).encode()


HALVES = np.array([[1, 2], [3, 4]], np.float16)
CONSTANT = {
    "name": "k",
    "shape": [2, 2],
    "dtype": "float32",
    "quantization": {"dtype": "float16"},
}


def test_constants_and_operations_are_read_as_they_are_stored() -> None:
    node = {"name": "n", "op": "Add", "input": ["a:0", "^b"], "attr": {"s": {"list": {"i": ["2"]}}}}
    graph = read_graph(written([node], [CONSTANT]), HALVES.tobytes())
    assert graph.constants["k"].dtype == np.float16
    assert graph.constants["k"].tolist() == HALVES.tolist()
    assert graph.nodes["n"].inputs == ("a",)
    assert graph.nodes["n"].numbers("s") == [2]


@pytest.mark.parametrize(
    ("model", "weights"),
    [
        (b"no JSON", b""),
        (b"{}", b""),
        (b'{"modelTopology": 1}', b""),
        (written([], [CONSTANT]), HALVES.tobytes()[:-1]),
        (written([], [CONSTANT]), HALVES.tobytes() + b"\0"),
        (written([], [{**CONSTANT, "quantization": {"dtype": "uint8"}}]), b"1234"),
    ],
)
def test_what_is_no_such_graph_is_refused(model: bytes, weights: bytes) -> None:
    with pytest.raises(GraphError):
        read_graph(model, weights)


def test_another_graph_is_not_converted() -> None:
    other = {"name": "PartitionedCall/Add_29", "op": "Softmax", "input": []}
    with pytest.raises(GraphError, match="Softmax"):
        to_onnx(read_graph(written([other], []), b""))


def test_a_written_file_computes_what_its_graph_says() -> None:
    graph = OnnxGraph()
    scale = graph.constant(np.array([[2, 3]], np.float16))
    scaled = graph.add("Mul", ["x", scale])
    leaky = graph.add("LeakyRelu", scaled, alpha=0.5)
    graph.add("Transpose", leaky, ["y"], perm=(1, 0))
    content = graph.content("small", {"x": ("rows", 2)}, {"y": (2, "rows")})
    values = np.array([[1, -1], [-2, 4], [0, 300]], np.float32)
    (found,) = cpu_session(content).run(None, {"x": values})
    assert found.tolist() == [[2, -2, 0], [-1.5, 12, 900]]


def test_a_graph_of_which_the_pinned_file_does_not_come_gives_none() -> None:
    with pytest.raises(ConversionFailed, match="missing"):
        converted(written([], []), b"")
