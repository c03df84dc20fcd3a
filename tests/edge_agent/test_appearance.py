"""What people wear becomes a vector, where enough of them shows to tell."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_agent.vision.appearance import AppearanceEmbedder
from edge_agent.vision.errors import ModelError
from models.appearance.evaluate import second_camera
from models.appearance.source import appearance_model
from models.build import default_mask_model


@pytest.fixture(scope="module")
def embedder() -> AppearanceEmbedder:
    data, entry = appearance_model()
    return AppearanceEmbedder(data, model_id=entry.model_id, dimension=entry.dimension)


def _person(upper: tuple[int, int, int], lower: tuple[int, int, int]) -> np.ndarray:
    """A crop (128, 64, 3) of a figure in two colours before a grey wall."""
    crop = np.full((128, 64, 3), 150, np.uint8)
    cv2.circle(crop, (32, 14), 9, (120, 150, 190), -1)
    cv2.rectangle(crop, (16, 24), (47, 68), upper, -1)
    cv2.rectangle(crop, (19, 69), (30, 122), lower, -1)
    cv2.rectangle(crop, (34, 69), (45, 122), lower, -1)
    noise = np.random.default_rng(0).normal(0, 6, crop.shape)
    return np.clip(crop + noise, 0, 255).astype(np.uint8)


RED_AND_DARK = _person((40, 40, 190), (40, 35, 35))
GREEN_AND_LIGHT = _person((60, 150, 60), (210, 215, 220))


def test_the_same_clothes_at_another_camera_score_above_other_clothes(
    embedder: AppearanceEmbedder,
) -> None:
    rng = np.random.default_rng(1)
    elsewhere = np.stack([second_camera(RED_AND_DARK, rng) for _ in range(12)])
    scores = embedder.embed(elsewhere) @ embedder.embed(np.stack([RED_AND_DARK, GREEN_AND_LIGHT])).T
    assert (scores[:, 0] > scores[:, 1]).mean() >= 0.9


def test_vectors_are_unit_rows_whatever_is_embedded_beside_them(
    embedder: AppearanceEmbedder,
) -> None:
    crops = np.stack([RED_AND_DARK, GREEN_AND_LIGHT] * 10)
    vectors = embedder.embed(crops)
    assert vectors.shape == (20, embedder.dimension) and vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert np.allclose(vectors[18:], embedder.embed(crops[:2]), atol=1e-4)
    assert embedder.embed(crops[:0]).shape == (0, embedder.dimension)


def test_a_file_that_is_another_network_is_refused() -> None:
    data, entry = appearance_model()
    with pytest.raises(ModelError, match="not vectors of 128"):
        AppearanceEmbedder(data, model_id=entry.model_id, dimension=128)
    other = default_mask_model().read_bytes()
    with pytest.raises(ModelError, match="not crops of 128x64x3"):
        AppearanceEmbedder(other, model_id=entry.model_id, dimension=256)
    with pytest.raises(ModelError, match="cannot be loaded"):
        AppearanceEmbedder(b"no network", model_id=entry.model_id, dimension=256)


def test_the_file_is_the_one_that_its_report_describes() -> None:
    data, entry = appearance_model()
    assert len(data) == entry.size <= 1_500_000
    assert entry.model_id == f"appearance-256@{entry.sha256[:8]}"
    assert entry.false_match_rate is not None
    report = Path("models/appearance/report.md").read_text(encoding="utf-8")
    assert entry.sha256 in report
