"""From which score photos count as one person's: calibrated, or else cautious."""

from __future__ import annotations

import pytest

from edge_agent.vision.models import VisionModels, _agreement_threshold
from runtime.bundle import ModelEntry

TABLE: dict[str, tuple[float, ...]] = {
    "calibration.fmr.thresholds": (0.35, 0.45, 0.7),
    "calibration.fmr.rates": (0.03, 0.0071, 7.9e-07),
}


def embedder(**parameters: tuple[float, ...]) -> ModelEntry:
    return ModelEntry(
        role="face_embedder",
        name="net",
        model_id="net-192@" + "ab" * 4,
        file="net.tflite",
        sha256="ab" * 32,
        size=1,
        engine="litert",
        parameters={**parameters},
        licence="MIT",
        upstream="x",
    )


def test_the_bundles_calibration_decides() -> None:
    assert _agreement_threshold((embedder(**TABLE),)) == 0.45


@pytest.mark.parametrize(
    "embedders",
    [
        (embedder(),),
        (embedder(**{"calibration.fmr.thresholds": (0.1,)}),),
        (embedder(**{**TABLE, "calibration.fmr.rates": (0.5, 0.4, 0.3)}),),
        (embedder(**TABLE), embedder(**TABLE)),
    ],
)
def test_where_nothing_is_known_of_strangers_scores_photos_must_agree_well(
    embedders: tuple[ModelEntry, ...],
) -> None:
    assert _agreement_threshold(embedders) == 0.7


def test_no_default_lets_strangers_pass_for_one_person() -> None:
    assert VisionModels.__dataclass_fields__["agreement_threshold"].default == 0.7


@pytest.mark.models
def test_the_bundle_in_use_is_calibrated(models: VisionModels) -> None:
    assert models.agreement_threshold == 0.34
