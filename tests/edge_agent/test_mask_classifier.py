"""The committed mask classifier tells masked from unmasked on crops it was not trained on."""

import json
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest
from examples import step

from models import mask_classifier
from models.mask_classifier import evaluate, train
from models.mask_classifier.augment import Variations, vary
from models.mask_classifier.crops import (
    CropSet,
    grouped_folds,
    load_crops,
    near_duplicate_groups,
    save_crops,
)
from runtime.onnx import InferenceSession

PACKAGE = Path(mask_classifier.__file__).parent
EACH = slice(None, None, step())
HOLDOUT = Path(__file__).parents[1] / "data" / "mask_holdout.npz"

# The ArcFace template on a 112-pixel crop: eyes, tip of the nose, corners of the mouth.
LEFT_EYE, RIGHT_EYE = (38.2946, 51.6963), (73.5318, 51.5014)
NOSE, LEFT_MOUTH, RIGHT_MOUTH = (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)
WHITE, BLUE, BLACK = (245, 245, 245), (200, 150, 90), (25, 25, 25)


@pytest.fixture(scope="module")
def session() -> InferenceSession:
    return evaluate.open_model(PACKAGE / "mask_status.onnx")


@pytest.fixture(scope="module")
def holdout() -> CropSet:
    return load_crops(HOLDOUT)


@pytest.fixture(scope="module")
def probabilities(session: InferenceSession, holdout: CropSet) -> npt.NDArray[np.float64]:
    return evaluate.probabilities_of(session, holdout.images)


@pytest.fixture(scope="module")
def metadata(session: InferenceSession) -> dict[str, str]:
    return dict(session.get_modelmeta().custom_metadata_map)


def draw_flat_mask(image: npt.NDArray[np.uint8], colour: tuple[int, int, int]) -> None:
    """Fill a polygon over nose, mouth and chin, as a person drawing on a photograph would."""
    width = RIGHT_EYE[0] - LEFT_EYE[0]
    corners = [
        (LEFT_EYE[0] - 0.25 * width, NOSE[1] - 5),
        (NOSE[0], NOSE[1] - 10),
        (RIGHT_EYE[0] + 0.25 * width, NOSE[1] - 5),
        (RIGHT_MOUTH[0] + 8, RIGHT_MOUTH[1] + 6),
        (NOSE[0], LEFT_MOUTH[1] + 18),
        (LEFT_MOUTH[0] - 8, LEFT_MOUTH[1] + 6),
    ]
    cv2.fillPoly(image, [np.round(corners).astype(np.int32)], colour, cv2.LINE_AA)


@pytest.mark.slow
def test_unseen_crops_are_told_apart(
    probabilities: npt.NDArray[np.float64], holdout: CropSet
) -> None:
    assert min(np.bincount(holdout.labels)) >= 80
    assert evaluate.score(probabilities, holdout.labels).balanced_accuracy >= 0.985


@pytest.mark.slow
def test_doubtful_crops_are_left_unknown(
    probabilities: npt.NDArray[np.float64], holdout: CropSet, metadata: dict[str, str]
) -> None:
    masked_from = float(metadata["threshold_masked"])
    unmasked_to = float(metadata["threshold_unmasked"])
    assert 0 < unmasked_to < 0.5 < masked_from < 1
    unknown, accuracy = evaluate.decided(probabilities, holdout.labels, masked_from, unmasked_to)
    assert unknown <= 0.08
    assert accuracy >= 0.985
    assert accuracy >= evaluate.score(probabilities, holdout.labels).balanced_accuracy - 0.005


def test_probabilities_mean_what_they_say(
    probabilities: npt.NDArray[np.float64], holdout: CropSet
) -> None:
    assert probabilities.min() >= 0
    assert probabilities.max() <= 1
    assert evaluate.calibration_error(probabilities, holdout.labels) <= 0.03


@pytest.mark.parametrize("colour", [WHITE, BLUE, BLACK], ids=["white", "blue", "black"])
def test_a_drawn_mask_is_a_mask(
    session: InferenceSession,
    holdout: CropSet,
    metadata: dict[str, str],
    colour: tuple[int, int, int],
) -> None:
    drawn = holdout.images[holdout.labels == 0][EACH].copy()
    for image in drawn:
        draw_flat_mask(image, colour)
    found = evaluate.probabilities_of(session, drawn)
    assert (found >= float(metadata["threshold_masked"])).mean() >= 0.9


@pytest.mark.parametrize("kind", ["sunglasses", "grey", "dark", "mirrored", "half size"])
def test_a_bare_face_stays_unmasked(session: InferenceSession, holdout: CropSet, kind: str) -> None:
    bare = holdout.images[holdout.labels == 0][EACH].copy()
    for i, image in enumerate(bare):
        if kind == "sunglasses":
            cv2.rectangle(image, (24, 43), (88, 60), (20, 20, 20), cv2.FILLED)
        elif kind == "grey":
            image[:] = image.mean(axis=2, keepdims=True)
        elif kind == "dark":
            image[:] = image // 2
        elif kind == "mirrored":
            bare[i] = image[:, ::-1].copy()
        else:
            small = cv2.resize(image, (56, 56), interpolation=cv2.INTER_AREA)
            bare[i] = cv2.resize(small, (112, 112))
    assert (evaluate.probabilities_of(session, bare) < 0.5).mean() >= 0.95


def test_answers_repeat_and_do_not_depend_on_the_batch(
    session: InferenceSession, holdout: CropSet
) -> None:
    crops = holdout.images[:24]
    together = session.run(["masked_probability"], {"crops": crops})[0]
    again = session.run(["masked_probability"], {"crops": crops})[0]
    alone = [session.run(["masked_probability"], {"crops": crops[i : i + 1]})[0] for i in range(24)]
    assert together.dtype == np.float32
    assert together.shape == (24,)
    np.testing.assert_array_equal(together, again)
    np.testing.assert_allclose(together, np.concatenate(alone), atol=1e-5)


def test_the_file_and_its_report_agree(metadata: dict[str, str]) -> None:
    report = json.loads((PACKAGE / "report.json").read_text(encoding="utf-8"))
    name, _, digest = metadata["model_id"].partition("@")
    assert name == "maskstatus-1"
    assert len(bytes.fromhex(digest)) == 4
    assert report["model_id"] == metadata["model_id"]
    assert report["threshold_masked"] == pytest.approx(float(metadata["threshold_masked"]))
    assert metadata["model_id"] in (PACKAGE / "report.md").read_text(encoding="utf-8")


def test_the_reported_holdout_figure_is_reproduced(
    probabilities: npt.NDArray[np.float64], holdout: CropSet
) -> None:
    report = json.loads((PACKAGE / "report.json").read_text(encoding="utf-8"))
    measured = evaluate.score(probabilities, holdout.labels).balanced_accuracy
    assert measured == pytest.approx(report["holdout"]["balanced_accuracy"], abs=0.006)


def test_copies_of_a_crop_share_a_group_and_groups_are_not_divided(holdout: CropSet) -> None:
    originals = holdout.images[:30]
    mirrored = originals[:, :, ::-1]
    softer = np.stack([cv2.GaussianBlur(image, (0, 0), 1.0) for image in originals])
    groups = near_duplicate_groups(np.concatenate([originals, mirrored, softer]))
    np.testing.assert_array_equal(groups[:30], groups[30:60])
    np.testing.assert_array_equal(groups[:30], groups[60:])
    assert len(np.unique(groups)) >= 25
    folds = grouped_folds(groups, np.tile(holdout.labels[:30], 3), folds=4, seed=7)
    assert all(len(np.unique(folds[groups == g])) == 1 for g in np.unique(groups))
    assert sorted(np.unique(folds)) == [0, 1, 2, 3]


def test_an_archive_survives_writing_and_reading(holdout: CropSet, tmp_path: Path) -> None:
    chosen = holdout.subset(np.array([5, 3, 8]))
    save_crops(tmp_path / "crops.npz", chosen)
    back = load_crops(tmp_path / "crops.npz")
    np.testing.assert_array_equal(back.images, holdout.images[[5, 3, 8]])
    np.testing.assert_array_equal(back.labels, chosen.labels)
    assert back.files == chosen.files


def test_variations_follow_their_seed_and_keep_the_label_of_a_masked_crop(
    holdout: CropSet,
) -> None:
    masked = int(np.flatnonzero(holdout.labels == 1)[0])
    for seed in range(40):
        first, label = vary(
            masked, holdout.images, holdout.labels, np.random.default_rng(seed), Variations()
        )
        second, _ = vary(
            masked, holdout.images, holdout.labels, np.random.default_rng(seed), Variations()
        )
        np.testing.assert_array_equal(first, second)
        assert first.shape == (112, 112, 3)
        assert first.dtype == np.uint8
        assert label == 1


def test_thresholds_open_until_the_decided_are_right() -> None:
    probabilities = np.array([0.99] * 50 + [0.01] * 50 + [0.7, 0.3])
    labels = np.array([1] * 50 + [0] * 50 + [0, 1], np.uint8)
    assert evaluate.choose_thresholds(probabilities, labels, 1.0, 0.05) == (0.71, 0.29)
    assert evaluate.choose_thresholds(probabilities, labels, 1.0, 0.01) == (0.70, 0.30)


@pytest.mark.slow
def test_calibration_undoes_overconfidence_and_bias() -> None:
    rng = np.random.default_rng(3)
    honest = rng.normal(0, 2, 2000)
    labels = (rng.random(2000) < evaluate.sigmoid(honest)).astype(np.uint8)
    temperature, shift = evaluate.fit_calibration((honest - 0.8) * 3, labels)
    assert temperature == pytest.approx(3, rel=0.15)
    assert shift == pytest.approx(0.8, abs=0.2)


def test_training_on_a_missing_archive_says_so(tmp_path: Path) -> None:
    arguments = ["--data", str(tmp_path / "none.npz"), "--out", str(tmp_path)]
    assert train.main([*arguments, "--holdout", str(tmp_path / "h.npz")]) == 1
    assert list(tmp_path.iterdir()) == []
