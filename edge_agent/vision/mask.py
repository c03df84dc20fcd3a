"""Decides whether a person wears a mask, by a vote over the best crops of the track.

Each crop's probability comes from our own small network (`models/mask_classifier`). The vote is
the quality-weighted mean of the log-odds: crops of one track look alike, so their evidence is
averaged, not summed. Between the two thresholds, which come with the network, the answer is
unknown: a wrong mask status costs more than a missing one.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge_agent.vision.arrays import CROP_SIZE, Crops, Doubles, Floats
from edge_agent.vision.embedder import onnx_session, run_onnx
from edge_agent.vision.errors import ModelError
from protocol.sightings import MaskStatus

_CLIP = 0.005  # one crop alone can be sure to 99.5%, never certain
_INPUT, _OUTPUT = "crops", "masked_probability"


@dataclass(frozen=True, slots=True)
class MaskVote:
    """The mask status of a track and the probability that it is right (0 when unknown)."""

    status: MaskStatus
    confidence: float


UNKNOWN_MASK = MaskVote(MaskStatus.UNKNOWN, 0.0)


class MaskClassifier:
    """The network and its thresholds; may be called from several threads."""

    def __init__(self, model: bytes, *, num_threads: int = 1) -> None:
        """Load the ONNX file's content.

        Raises:
            ModelError: it cannot be loaded, has other tensors, or names no usable thresholds.
        """
        self._session = onnx_session(model, "the mask classifier", num_threads)
        inputs = {tensor.name: tensor.shape for tensor in self._session.get_inputs()}
        outputs = [tensor.name for tensor in self._session.get_outputs()]
        if list(inputs) != [_INPUT] or inputs[_INPUT][1:] != [CROP_SIZE, CROP_SIZE, 3]:
            raise ModelError(f"the mask classifier takes {inputs}, not crops of 112x112x3")
        if outputs[:1] != [_OUTPUT]:
            raise ModelError(f"the mask classifier gives {outputs}, not {_OUTPUT}")
        properties = self._session.get_modelmeta().custom_metadata_map
        try:
            self.threshold_masked = float(properties["threshold_masked"])
            self.threshold_unmasked = float(properties["threshold_unmasked"])
        except (KeyError, ValueError) as error:
            raise ModelError(
                "the mask classifier names no threshold_masked and threshold_unmasked"
            ) from error
        if not 0 < self.threshold_unmasked <= self.threshold_masked < 1:
            raise ModelError(
                f"the mask classifier's thresholds {self.threshold_unmasked} (unmasked) and "
                f"{self.threshold_masked} (masked) are not in order between 0 and 1"
            )

    def probabilities(self, crops: Crops) -> Floats:
        """Probability of a mask (n,) float32 for each aligned crop (n, 112, 112, 3) uint8 BGR.

        Raises:
            ModelError: the model fails or gives something else than probabilities.
        """
        if not len(crops):
            return np.zeros(0, np.float32)
        out = run_onnx(self._session, {_INPUT: crops}, "the mask classifier")
        values = np.asarray(out, np.float32).reshape(-1)
        if len(values) != len(crops) or not np.isfinite(values).all():
            raise ModelError("the mask classifier gave no probability for each crop")
        return np.clip(values, 0.0, 1.0)

    def vote(self, crops: Crops, qualities: Doubles) -> MaskVote:
        """The mask status of a track from its crops (n, 112, 112, 3) and their qualities (n,)."""
        return self.decide(self.probabilities(crops), qualities)

    def decide(self, probabilities: Floats, qualities: Doubles) -> MaskVote:
        """The status for probabilities (n,) weighted by qualities (n,), unknown without any."""
        weights = np.asarray(qualities, np.float64)
        if not len(weights) or weights.sum() <= 0:
            return UNKNOWN_MASK
        clipped = np.clip(np.asarray(probabilities, np.float64), _CLIP, 1 - _CLIP)
        log_odds = float(np.average(np.log(clipped / (1 - clipped)), weights=weights))
        masked = 1.0 / (1.0 + np.exp(-log_odds))
        if masked >= self.threshold_masked:
            return MaskVote(MaskStatus.MASKED, float(masked))
        if masked <= self.threshold_unmasked:
            return MaskVote(MaskStatus.UNMASKED, float(1.0 - masked))
        return UNKNOWN_MASK
