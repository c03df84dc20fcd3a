"""The mask status of a track is a weighted vote, and doubt is said to be doubt."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from examples import step
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.bench_detection import darkened
from edge_agent.vision.errors import ModelError
from edge_agent.vision.mask import UNKNOWN_MASK, MaskClassifier
from models.build import default_mask_model
from models.mask_classifier.crops import load_crops
from protocol.sightings import MaskStatus

WEIGHTS = default_mask_model()
EACH = slice(None, None, step())


@pytest.fixture(scope="module")
def classifier() -> MaskClassifier:
    return MaskClassifier(WEIGHTS.read_bytes())


def decide(
    classifier: MaskClassifier, probabilities: list[float], qualities: list[float]
) -> object:
    return classifier.decide(np.array(probabilities, np.float32), np.array(qualities)).status


def test_agreeing_crops_decide(classifier: MaskClassifier) -> None:
    assert decide(classifier, [0.99, 0.995, 0.98], [0.5, 0.6, 0.7]) is MaskStatus.MASKED
    assert decide(classifier, [0.01, 0.005, 0.02], [0.5, 0.6, 0.7]) is MaskStatus.UNMASKED


def test_better_crops_outvote_worse_ones(classifier: MaskClassifier) -> None:
    assert decide(classifier, [0.999, 0.001], [0.95, 0.05]) is MaskStatus.MASKED
    assert decide(classifier, [0.999, 0.001], [0.05, 0.95]) is MaskStatus.UNMASKED


def test_doubt_is_unknown_with_no_confidence(classifier: MaskClassifier) -> None:
    middle = (classifier.threshold_masked + classifier.threshold_unmasked) / 2
    assert decide(classifier, [middle], [0.9]) is MaskStatus.UNKNOWN
    assert decide(classifier, [0.999, 0.001], [0.5, 0.5]) is MaskStatus.UNKNOWN
    assert UNKNOWN_MASK.confidence == 0.0


def test_without_crops_it_is_unknown(classifier: MaskClassifier) -> None:
    assert classifier.vote(np.zeros((0, 112, 112, 3), np.uint8), np.zeros(0)) == UNKNOWN_MASK
    assert decide(classifier, [0.99], [0.0]) is MaskStatus.UNKNOWN


@given(crops=st.lists(st.tuples(st.floats(0, 1), st.floats(0.01, 1)), min_size=1, max_size=8))
def test_the_confidence_fits_the_status(
    classifier: MaskClassifier, crops: list[tuple[float, float]]
) -> None:
    probabilities = np.array([p for p, _ in crops], np.float32)
    vote = classifier.decide(probabilities, np.array([q for _, q in crops]))
    if vote.status is MaskStatus.MASKED:
        assert classifier.threshold_masked <= vote.confidence < 1
        assert probabilities.max() >= classifier.threshold_masked
    elif vote.status is MaskStatus.UNMASKED:
        assert 1 - classifier.threshold_unmasked <= vote.confidence < 1
        assert probabilities.min() <= classifier.threshold_unmasked
    else:
        assert vote.confidence == 0.0


def test_probabilities_do_not_depend_on_the_batch(classifier: MaskClassifier) -> None:
    crops = np.random.default_rng(1).integers(0, 255, (5, 112, 112, 3), np.uint8)
    together = classifier.probabilities(crops)
    alone = np.concatenate([classifier.probabilities(crops[i : i + 1]) for i in range(5)])
    assert together.shape == (5,)
    np.testing.assert_allclose(together, alone, atol=1e-4)


@pytest.mark.slow
def test_held_out_faces_are_told_apart_in_daylight_and_a_quarter_of_it(
    classifier: MaskClassifier,
) -> None:
    held_out = load_crops(Path(__file__).parents[1] / "data" / "mask_holdout.npz")
    masked = held_out.labels == 1
    for light, noise in ((1.0, 0), (0.25, 2)):
        crops = darkened(held_out.images, light, noise)[EACH]
        found, true = classifier.probabilities(crops), masked[EACH]
        right = found >= 0.5
        assert (right[true].mean() + (~right[~true]).mean()) / 2 >= 0.992
        assert not (found[~true] >= classifier.threshold_masked).any()


def test_darkness_is_no_mask(classifier: MaskClassifier) -> None:
    grey = np.full((3, 112, 112, 3), 110, np.uint8)
    levels = np.array([1.0, 0.25, 0.1])[:, None, None, None]
    found = classifier.probabilities((grey * levels).astype(np.uint8))
    np.testing.assert_allclose(found, found[0], atol=0.15)


def test_what_is_no_mask_classifier_is_refused() -> None:
    with pytest.raises(ModelError, match="cannot be loaded"):
        MaskClassifier(b"no model")
    with pytest.raises(ModelError, match="cannot be loaded"):
        MaskClassifier(WEIGHTS.read_bytes()[:2000])
