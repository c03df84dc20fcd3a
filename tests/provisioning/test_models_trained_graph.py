"""Networks that are trained here come out as the ONNX files that are committed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from models import mask_classifier
from models.faces.onnx_reader import Graph, Node, read_onnx
from models.mask_classifier.export import Decision, write_onnx
from models.trained_graph import TrainedGraph
from runtime.onnx import cpu_session

COMMITTED = Path(mask_classifier.__file__).with_name("mask_status.onnx")
UNIT_SPREAD = np.sqrt(1 + 1e-5)
"""A batch normalisation of this weight and of variance 1 multiplies by 1."""


class Weights:
    """An array that is asked for as one of PyTorch's."""

    def __init__(self, values: NDArray[Any]) -> None:
        self._values = values

    def detach(self) -> Weights:
        return self

    def cpu(self) -> Weights:
        return self

    def numpy(self) -> NDArray[Any]:
        return self._values


class Network:
    """A network of which only the weights are there."""

    def __init__(self, state: dict[str, NDArray[Any]]) -> None:
        self._state = {name: Weights(values) for name, values in state.items()}

    def state_dict(self) -> dict[str, Weights]:
        return self._state


class Stored:
    """The weights of a file's graph, by the names that operations know them by."""

    def __init__(self, graph: Graph) -> None:
        self._casts = {node.outputs[0]: node.inputs[0] for node in graph.nodes}
        self._constants = graph.constants

    def of(self, node: Node) -> list[NDArray[Any]]:
        names = (self._casts.get(name, name) for name in node.inputs[1:])
        return [np.asarray(self._constants[name]) for name in names]


def member(convolutions: list[list[NDArray[Any]]], head: list[NDArray[Any]]) -> Network:
    """A network whose normalisations change nothing, so that its weights are those stored."""
    names = [("body.0", "body.1")]
    for block in range(3, 3 + len(convolutions) // 3):
        names += [
            (f"body.{block}.{place}", f"body.{block}.{norm}")
            for place, norm in (
                ("first", "first_norm"),
                ("second", "second_norm"),
                ("short.1", "short.2"),
            )
        ]
    state: dict[str, NDArray[Any]] = {}
    for (convolution, norm), (weight, bias) in zip(names, convolutions, strict=True):
        ones = np.ones(len(bias))
        state[f"{convolution}.weight"] = weight
        state[f"{norm}.weight"], state[f"{norm}.running_var"] = ones * UNIT_SPREAD, ones
        state[f"{norm}.bias"], state[f"{norm}.running_mean"] = bias, 0 * ones
    channels = len(convolutions[-1][1])
    state["place.weight"] = head[0].reshape(channels, 1, 7, 7)
    state["head.weight"], state["head.bias"] = np.ones((1, channels)), head[1]
    return Network(state)


def test_the_committed_mask_classifier_comes_of_its_weights_byte_for_byte(tmp_path: Path) -> None:
    content = COMMITTED.read_bytes()
    graph = read_onnx(content)
    stored = Stored(graph)
    members, convolutions = [], []
    for node in graph.nodes:
        if node.operation == "Conv":
            convolutions.append(stored.of(node))
        elif node.operation == "Gemm":
            members.append(member(convolutions, stored.of(node)))
            convolutions = []
    divided, shifted = graph.nodes[-4], graph.nodes[-3]
    about = cpu_session(content).get_modelmeta().custom_metadata_map
    decision = Decision(
        temperature=float(stored.of(divided)[0]) / len(members),
        shift=float(stored.of(shifted)[0]),
        threshold_masked=float(about["threshold_masked"]),
        threshold_unmasked=float(about["threshold_unmasked"]),
    )
    model_id = write_onnx(tmp_path / "again.onnx", members, decision)
    assert len(members) == 3
    assert model_id == about["model_id"]
    assert (tmp_path / "again.onnx").read_bytes() == content


@pytest.mark.parametrize("half", [True, False])
def test_only_big_weights_are_stored_in_half_and_all_are_used_in_full(half: bool) -> None:
    graph = TrainedGraph(half=half)
    big, small = np.full((300, 1), 1 / 3), np.full(1, 1 / 3)
    product = graph.put("MatMul", ["x", graph.weight(big)])
    graph.put("Add", [product, graph.weight(small)], "y")
    assert [weight.dtype for weight in graph.weights] == [
        np.float16 if half else np.float32,
        np.float32,
    ]
    content = graph.content("small", {"x": ("n", 300)}, {"y": ("n", 1)})
    (found,) = cpu_session(content).run(None, {"x": np.ones((1, 300), np.float32)})
    used = np.float16(1 / 3) if half else np.float32(1 / 3)
    assert found.item() == pytest.approx(300 * float(used) + 1 / 3, abs=1e-4)


def test_other_weights_have_another_hash() -> None:
    hashes = set()
    for value in (1.0, 2.0):
        graph = TrainedGraph()
        graph.weight([value])
        hashes.add(graph.weights_hash())
    assert len(hashes) == 2
