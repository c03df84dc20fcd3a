"""Persons are found by any network that the manifest describes, and by the one that is built in."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edge_agent.vision.arrays import Image
from edge_agent.vision.errors import ModelError
from edge_agent.vision.models import VisionModels
from edge_agent.vision.person_detector import OnnxPersonDetector, PersonForm, form_of
from models.onnx_file import OnnxGraph
from models.person_detector.source import person_detector_entry
from runtime.bundle import Bundle, ModelEntry, TensorSpec

Rows = NDArray[np.float32]


def network(scores: Rows, places: Rows) -> bytes:
    """A network that says the same, (1, n, k) and (1, n, m), of every picture."""
    graph = OnnxGraph()
    nothing = graph.add("Mul", ["input", graph.constant(np.zeros(1, np.float32))])
    nothing = graph.add("ReduceMax", nothing, keepdims=0)
    for name, values in (("scores", scores), ("places", places)):
        graph.add("Add", [graph.constant(values), *nothing], [name])
    return graph.content(
        "told",
        {"input": (1, 3, "height", "width")},
        {"scores": scores.shape, "places": places.shape},
    )


def rows(*values: object) -> Rows:
    return np.array([values], np.float32)


def frame(height: int = 64, width: int = 128) -> Image:
    return np.full((height, width, 3), 90, np.uint8)


@pytest.mark.parametrize("relative", [False, True])
def test_boxes_in_pixels_or_in_shares_of_the_picture_are_read(relative: bool) -> None:
    scale = np.array([128, 64, 128, 64]) if relative else 1
    model = network(rows([0.9], [0.2]), rows([10, 4, 30, 60] / np.array(scale), [0, 0, 9, 9]))
    detector = OnnxPersonDetector(
        model, PersonForm("boxes", None, relative=relative), width=128, height=64
    )
    found = detector.detect(frame())
    assert found.boxes.tolist() == [pytest.approx([10, 4, 20, 56])]
    assert found.scores.tolist() == pytest.approx([0.9])


def test_boxes_are_in_pixels_of_the_frame_however_much_it_was_shrunk() -> None:
    model = network(rows([0.9]), rows([10, 4, 30, 60]))
    found = OnnxPersonDetector(model, PersonForm("boxes", None), width=128, height=64).detect(
        frame(640, 1280)
    )
    assert found.boxes.tolist() == [pytest.approx([100, 40, 200, 560])]


def test_distances_count_in_strides_from_the_centre_of_their_cell() -> None:
    cells = 4 * 2 + 2 * 1  # strides 32 and 64 of 128x64
    scores, away = np.zeros((1, cells, 2), np.float32), np.zeros((1, cells, 4), np.float32)
    scores[0, 5, 1] = 0.8  # second row, second column of stride 32: centre 48, 48
    away[0, 5] = 1, 1.5, 0.5, 0.25
    form = PersonForm("distances", None, strides=(32, 64), person_class=1)
    found = OnnxPersonDetector(network(scores, away), form, width=128, height=64).detect(frame())
    assert found.boxes.tolist() == [pytest.approx([16, 0, 48, 56])]


def test_a_distribution_counts_by_its_mean() -> None:
    away = np.full((1, 2, 4, 3), -50, np.float32)
    away[0, 0, :, 0] = away[0, 0, :, 1] = 0  # half of each 0 and 1
    form = PersonForm("distances", None, strides=(64,), bins=3)
    model = network(rows([0.8], [0]), away.reshape(1, 2, 12))
    found = OnnxPersonDetector(model, form, width=128, height=64).detect(frame())
    assert found.boxes.tolist() == [pytest.approx([0, 0, 64, 64])]


def test_of_boxes_over_one_another_the_surest_stays() -> None:
    model = network(
        rows([0.7], [0.9], [0.6]), rows([10, 4, 30, 60], [11, 4, 31, 60], [80, 4, 99, 60])
    )
    found = OnnxPersonDetector(model, PersonForm("boxes", None), width=128, height=64).detect(
        frame()
    )
    assert found.boxes[:, 0].tolist() == [11, 80]


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_boxes_that_are_no_boxes_are_left_out(wrong: float) -> None:
    model = network(rows([0.9], [0.9], [0.9]), rows([wrong] * 4, [50, 9, 40, 8], [10, 4, 30, 60]))
    found = OnnxPersonDetector(model, PersonForm("boxes", None), width=128, height=64).detect(
        frame()
    )
    assert found.boxes[:, 0].tolist() == [10]


def test_outputs_that_are_not_what_the_manifest_says_are_an_error_of_the_model() -> None:
    model = network(rows([0.9], [0.8], [0.9]), rows([1.0] * 4, [1] * 4, [1] * 4))
    form = PersonForm("distances", None, strides=(64,))
    with pytest.raises(ModelError, match="not what its manifest says"):
        OnnxPersonDetector(model, form, width=128, height=64).detect(frame())
    with pytest.raises(ModelError, match="cannot be loaded"):
        OnnxPersonDetector(b"no model", form, width=128, height=64)


def changed(**fields: Any) -> ModelEntry:
    return person_detector_entry().model_copy(update=fields)


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        (changed(parameters={"layout": "heatmap"}), "'heatmap'"),
        (changed(parameters={"layout": "distances"}), "no strides"),
        (changed(engine="yunet"), "'onnx' detectors"),
        (changed(inputs=(TensorSpec(shape=(1, 8, 8, 3), layout="NHWC"),)), "NCHW"),
    ],
)
def test_a_manifest_that_this_version_cannot_read_is_refused(entry: ModelEntry, says: str) -> None:
    with pytest.raises(ModelError, match=says):
        form_of(entry)


def test_a_network_of_one_size_is_given_that_size() -> None:
    entry = changed(inputs=(TensorSpec(shape=(1, 3, 320, 416), layout="NCHW", colour="RGB"),))
    assert form_of(entry).size == (416, 320)
    assert form_of(entry).rgb


@pytest.mark.models
def test_the_built_in_detector_finds_people_whether_or_not_they_look(
    models: VisionModels, photos_path: Path
) -> None:
    detector = models.person_detector(512, 288)
    assert detector is not None
    image = np.asarray(cv2.imread(str(photos_path / "astronaut.png")), np.uint8)
    (box,) = detector.detect(image).boxes
    middle, top, height = box[0] + box[2] / 2, box[1], box[3]
    assert 150 < middle < 330  # the face of that picture is about 220 px from the left
    assert top < 60
    assert height > 400
    hidden = image.copy()
    hidden[60:210, 160:290] = image[320:470, 160:290]  # a suit where the face was
    assert len(detector.detect(hidden)) == 1
    assert len(detector.detect(np.full_like(image, 128))) == 0


@pytest.mark.models
def test_cameras_look_side_by_side_with_one_network(
    models: VisionModels, photos_path: Path
) -> None:
    image = np.asarray(cv2.imread(str(photos_path / "astronaut.png")), np.uint8)
    pictures = [np.ascontiguousarray(image[: 512 - 16 * n]) for n in range(6)]
    eyes = [(models.detector(320, 180), models.person_detector(320, 192)) for _ in range(2)]
    assert eyes[0][0]._net is eyes[1][0]._net

    def look(eye: int) -> list[Rows]:
        faces, persons = eyes[eye]
        assert persons is not None
        return [search.detect(one).boxes for one in pictures for search in (faces, persons)]

    alone = look(0)
    with ThreadPoolExecutor(4) as pool:
        beside = list(pool.map(look, [0, 1, 0, 1]))
    assert sum(map(len, alone)) >= len(pictures)
    for seen in beside:
        for one, other in zip(alone, seen, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.models
def test_a_bundle_without_a_person_detector_still_loads(
    bundle: Bundle, models: VisionModels
) -> None:
    assert replace(models, person_file=None).person_detector(512, 288) is None
    assert bundle.entry("person_detector").model_id.startswith("nanodet-g@")
