"""Decides whether a person wears a mask, by a vote over the best crops of the track.

Each crop's probability comes from our own small network (`models/mask_classifier`). The vote is
the quality-weighted mean of the log-odds: crops of one track look alike, so their evidence is
averaged, not summed. Between the two thresholds, which come with the network, the answer is
unknown: a wrong mask status costs more than a missing one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from edge_agent.vision.arrays import CROP_SIZE, Crops, Doubles, Flags, Floats, Ints
from edge_agent.vision.embedder import onnx_session, run_onnx
from edge_agent.vision.errors import ModelError
from edge_agent.vision.light import lightened
from protocol.sightings import MaskStatus
from protocol.v2.sightings import MAX_SPANS, MaskSpan

GLIMPSE_MS = 1500
"""A mask that is off for a shorter time, by one crop alone, was not off."""
_CLIP = 0.005  # one crop alone can be sure to 99.5%, never certain
_INPUT, _OUTPUT = "crops", "masked_probability"


@dataclass(frozen=True, slots=True)
class MaskVote:
    """The mask status of a track and the probability that it is right (0 when unknown)."""

    status: MaskStatus
    confidence: float


UNKNOWN_MASK = MaskVote(MaskStatus.UNKNOWN, 0.0)


@dataclass(frozen=True, slots=True)
class MaskCourse:
    """The vote over a whole track, and what it was from when on (ms), in order.

    `changes` is empty when nothing is known, has one part when the status never changed, and one
    more for each time that it did.
    """

    vote: MaskVote
    changes: tuple[tuple[int, MaskVote], ...] = ()

    def spans(self, from_ms: int, until_ms: int) -> tuple[MaskSpan, ...]:
        """Return what is known from one moment until another: spans without gaps."""
        spans: list[MaskSpan] = []
        for number, (begins_ms, vote) in enumerate(self.changes):
            is_last = number + 1 == len(self.changes)
            ends_ms = until_ms if is_last else self.changes[number + 1][0]
            first = from_ms if not spans else max(from_ms, begins_ms)
            last = min(until_ms, ends_ms)
            if first <= last and (is_last or ends_ms > from_ms):
                spans.append(MaskSpan(first, last, vote.status, vote.confidence))
        return tuple(spans[:MAX_SPANS])


NOTHING_KNOWN = MaskCourse(UNKNOWN_MASK)


Run: TypeAlias = tuple[MaskStatus, list[int]]
"""A status, and the crops after one another that say it."""


def _without_glimpses(runs: list[Run], times_ms: Ints) -> list[Run]:
    """Runs without those of one crop between two that say otherwise, less than `GLIMPSE_MS` apart.

    Two runs that then say the same become one.
    """
    kept: list[Run] = []
    for number, (status, crops) in enumerate(runs):
        if 0 < number < len(runs) - 1 and len(crops) == 1:
            apart = times_ms[runs[number + 1][1][0]] - times_ms[runs[number - 1][1][-1]]
            if apart < GLIMPSE_MS:
                continue
        if kept and kept[-1][0] is status:
            kept[-1][1].extend(crops)
        else:
            kept.append((status, list(crops)))
    return kept


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

        Dark crops are made lighter for it, or darkness would be taken for a mask.

        Raises:
            ModelError: the model fails or gives something else than probabilities.
        """
        if not len(crops):
            return np.zeros(0, np.float32)
        seen = lightened(crops)
        try:
            out = run_onnx(self._session, {_INPUT: seen}, "the mask classifier")
        finally:
            seen.fill(0)
        values = np.asarray(out, np.float32).reshape(-1)
        if len(values) != len(crops) or not np.isfinite(values).all():
            raise ModelError("the mask classifier gave no probability for each crop")
        return np.clip(values, 0.0, 1.0)

    def shows_mask(self, crops: Crops) -> Flags:
        """Which crops (n, 112, 112, 3) show a mask rather than not, (n,) bool.

        It decides which network embeds a crop, and is never reported: there is no "unknown".

        Raises:
            ModelError: as :meth:`probabilities`.
        """
        return self.probabilities(crops) >= 0.5

    def vote(self, crops: Crops, qualities: Doubles) -> MaskVote:
        """The mask status of a track from its crops (n, 112, 112, 3) and their qualities (n,)."""
        return self.decide(self.probabilities(crops), qualities)

    def course(self, crops: Crops, qualities: Doubles, times_ms: Ints) -> MaskCourse:
        """The mask status of a track, and as it went on, from crops, qualities and times (n,).

        Crops that follow each other and say the same are voted together; those that alone say
        nothing decide nothing here, nor does a single one between two that are less than
        `GLIMPSE_MS` apart: nobody takes a mask off and puts it on again so fast. Between two crops
        the status is that of the earlier one.

        Raises:
            ModelError: as :meth:`probabilities`.
        """
        probabilities = self.probabilities(crops)
        vote = self.decide(probabilities, qualities)
        runs: list[Run] = []
        for number in np.argsort(times_ms, kind="stable").tolist():
            alone = slice(number, number + 1)
            status = self.decide(probabilities[alone], qualities[alone]).status
            if status is MaskStatus.UNKNOWN:
                continue
            if not runs or runs[-1][0] is not status:
                runs.append((status, []))
            runs[-1][1].append(number)
        runs = _without_glimpses(runs, times_ms)
        if len(runs) < 2:
            known = vote.status is not MaskStatus.UNKNOWN
            return MaskCourse(vote, ((int(times_ms.min()), vote),) if known else ())
        changes = [
            (int(times_ms[run].min()), self.decide(probabilities[run], qualities[run]))
            for _, run in runs
        ]
        return MaskCourse(vote, tuple(changes))

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
