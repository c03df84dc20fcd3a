"""Embedders: unit vectors whatever the number of crops, ONNX and ensembles, refused models."""

from __future__ import annotations

import numpy as np
import pytest

from edge_agent.vision.arrays import Crops
from edge_agent.vision.embedder import (
    EnsembleEmbedder,
    InputForm,
    LiteRtEmbedder,
    OnnxEmbedder,
    SpaceEmbedder,
)
from edge_agent.vision.errors import ModelError
from edge_agent.vision.models import VisionModels, load_models
from runtime.bundle import Bundle


def crops(count: int, seed: int = 0) -> Crops:
    return np.random.default_rng(seed).integers(0, 255, (count, 112, 112, 3), np.uint8)


# -- the smallest ONNX embedder there is: the mean of each channel --------------------------------


def _field(number: int, value: int | bytes) -> bytes:
    """One protobuf field: a varint, or bytes with their length."""

    def varint(n: int) -> bytes:
        out = b""
        while n > 0x7F:
            out, n = out + bytes([n & 0x7F | 0x80]), n >> 7
        return out + bytes([n])

    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def channel_means(batch: int | None) -> bytes:
    """An ONNX file (onnx.proto3): GlobalAveragePool of (batch, 3, 112, 112); None: any batch."""

    def tensor(name: bytes, sizes: list[int | None]) -> bytes:
        shape = b"".join(
            _field(1, _field(2, b"n") if size is None else _field(1, size)) for size in sizes
        )
        kind = _field(1, _field(1, 1) + _field(2, shape))
        return _field(1, name) + _field(2, kind)

    node = _field(1, b"x") + _field(2, b"y") + _field(4, b"GlobalAveragePool")
    graph = (
        _field(1, node)
        + _field(2, b"g")
        + _field(11, tensor(b"x", [batch, 3, 112, 112]))
        + _field(12, tensor(b"y", [batch, 3, 1, 1]))
    )
    return _field(1, 8) + _field(7, graph) + _field(8, _field(1, b"") + _field(2, 13))


FORM = InputForm(colour="RGB", layout="NCHW", mean=(0.0,), std=(255.0,))


def means_embedder(batch: int | None = None, form: InputForm = FORM) -> OnnxEmbedder:
    return OnnxEmbedder(channel_means(batch), model_id="means-3@00000000", dimension=3, form=form)


@pytest.mark.parametrize("batch", [None, 1, 4])
def test_an_onnx_embedder_takes_any_number_of_crops(batch: int | None) -> None:
    pixels = crops(19)
    expected = pixels[..., ::-1].mean(axis=(1, 2))
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    embedder = means_embedder(batch)
    np.testing.assert_allclose(embedder.embed(pixels), expected, atol=1e-5)
    assert embedder.embed(pixels[:0]).shape == (0, 3)


def test_colour_order_mean_and_scale_are_the_manifests() -> None:
    pixels = crops(1)
    form = InputForm(colour="BGR", layout="NCHW", mean=(10.0, 20.0, 30.0), std=(2.0, 4.0, 8.0))
    expected = (pixels.mean(axis=(1, 2)) - [10, 20, 30]) / [2, 4, 8]
    expected /= np.linalg.norm(expected)
    np.testing.assert_allclose(means_embedder(form=form).embed(pixels), expected, atol=1e-5)
    with pytest.raises(ModelError):
        InputForm(std=(0.0,))
    with pytest.raises(ModelError):
        InputForm(mean=(1.0, 2.0))


def test_an_ensemble_is_its_members_end_to_end() -> None:
    first = means_embedder()
    second = means_embedder(form=InputForm(colour="BGR", layout="NCHW", mean=(99.0,), std=(1.0,)))
    ensemble = EnsembleEmbedder([first, second])
    pixels = crops(3)
    joined = np.concatenate([first.embed(pixels), second.embed(pixels)], axis=1) / np.sqrt(2)
    np.testing.assert_allclose(ensemble.embed(pixels), joined, atol=1e-6)
    assert ensemble.dimension == 6
    assert ensemble.model_id == "means-3@00000000+means-3@00000000"


def test_crops_that_show_a_mask_go_to_the_network_that_was_taught_masks() -> None:
    bare = means_embedder()
    form = InputForm(colour="BGR", layout="NCHW", mean=(99.0,), std=(1.0,))
    masked = OnnxEmbedder(channel_means(None), model_id="masked-3@00000001", dimension=3, form=form)
    space = SpaceEmbedder(bare, masked)
    pixels = crops(4)
    worn = np.array([False, True, True, False])
    vectors = space.embed(pixels, worn)
    np.testing.assert_allclose(vectors[~worn], bare.embed(pixels[~worn]), atol=1e-6)
    np.testing.assert_allclose(vectors[worn], masked.embed(pixels[worn]), atol=1e-6)
    np.testing.assert_allclose(space.embed(pixels), bare.embed(pixels), atol=1e-6)
    assert space.model_id == bare.model_id
    assert space.networks(worn) == "means-3@00000000&masked-3@00000001"
    assert space.networks(worn[1:3]) == "masked-3@00000001"
    assert space.networks(~worn[1:3]) == "means-3@00000000"


def test_two_networks_of_different_lengths_make_no_space() -> None:
    longer = OnnxEmbedder(channel_means(None), model_id="m-4@00000001", dimension=4, form=FORM)
    with pytest.raises(ModelError, match="cannot lie in the space"):
        SpaceEmbedder(means_embedder(), longer)


def test_a_vector_of_nothing_is_an_error_and_no_template() -> None:
    with pytest.raises(ModelError, match="zero"):
        means_embedder().embed(np.zeros((1, 112, 112, 3), np.uint8))


def test_models_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ModelError, match="cannot be loaded"):
        LiteRtEmbedder(b"no model", model_id="x-192@0", dimension=192, form=InputForm())
    with pytest.raises(ModelError, match="cannot be loaded"):
        OnnxEmbedder(b"no model", model_id="x-192@0", dimension=192, form=FORM)
    wrong = OnnxEmbedder(channel_means(None), model_id="x-9@0", dimension=9, form=FORM)
    with pytest.raises(ModelError, match="manifest"):
        wrong.embed(crops(2))


# -- the bundle's own models ----------------------------------------------------------------------


@pytest.mark.models
def test_the_bundles_embedder_gives_each_crop_its_vector_in_any_company(
    models: VisionModels,
) -> None:
    pixels = crops(5)
    vectors = models.embedder.embed(pixels)
    assert vectors.shape == (5, models.embedder.dimension)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)
    for row in range(5):
        alone = models.embedder.embed(pixels[row : row + 1])[0]
        assert alone @ vectors[row] > 0.9999


@pytest.mark.models
def test_the_bundles_model_id_is_the_manifests(bundle: Bundle, models: VisionModels) -> None:
    assert models.model_id == bundle.model_id("face")
    assert models.embedder.dimension == bundle.dimension("face")


@pytest.mark.models
def test_a_manifest_that_lies_about_its_model_is_refused(bundle: Bundle) -> None:
    content = bundle.read(bundle.entry("face_embedder"))
    wrong = OnnxEmbedder(content, model_id="x-192@0", dimension=192, form=FORM)
    with pytest.raises(ModelError, match="manifest"):
        wrong.embed(crops(1))
    half = content[: len(content) // 2]
    with pytest.raises(ModelError, match="cannot be loaded"):
        OnnxEmbedder(half, model_id="x-128@0", dimension=128, form=FORM)


@pytest.mark.models
def test_more_threads_give_the_same_vectors(bundle: Bundle, models: VisionModels) -> None:
    pixels = crops(3)
    again = load_models(bundle, num_threads=2).embedder.embed(pixels)
    assert (again * models.embedder.embed(pixels)).sum(axis=1).min() > 0.9999
