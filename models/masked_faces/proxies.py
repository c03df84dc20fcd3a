"""How well masked faces are found, on held-out crops with drawn masks: before teaching, and after.

Genuine pairs are a bare crop and the same photograph with a mask drawn on and the camera's wear, so
found shares are on the good side; before and after are compared alike. Strangers are counted pair
by pair. Runs without PyTorch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from models.faces.sface import MEAN, STD
from models.masked_faces.wear import degraded
from runtime.masks_drawn import draw_mask
from runtime.onnx import cpu_session

SIGHTINGS = 3
VARIANTS = SIGHTINGS
"""Pictures of each held-out crop, masked and bare."""
ENROLMENT_MASKS = 2
"""Masks drawn on a photo where enrolment is measured (it takes four)."""
MASKED_SHARE = 0.2
"""Weight of the drawn masks in a template, as enrolment has it."""
FMRS = (1e-4, 1e-5)
DEFAULT = 0.49
"""The space's default threshold."""
_BATCH = 16

Image = npt.NDArray[np.uint8]
Templates = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.int64]


class Network:
    """A network of the face space: unit templates of crops."""

    def __init__(self, model: bytes) -> None:
        self._session = cpu_session(model)

    def templates(self, crops: Image) -> Templates:
        """Unit rows (n, 128) of crops (n, 112, 112, 3) BGR."""
        rows = []
        for start in range(0, len(crops), _BATCH):
            pixels = (crops[start : start + _BATCH, ..., ::-1].astype(np.float32) - MEAN) / STD
            part = np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))
            rows.append(np.asarray(self._session.run(None, {"crops": part})[0], np.float32))
        return unit(np.concatenate(rows))


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores of pairs: of one person (n,) in the probes' order, and of strangers (m,), falling."""

    same: Templates
    strangers: Templates

    def figures(self) -> dict[str, Any]:
        """What is found at each rate of strangers, in one sighting and in any of three."""
        whole = len(self.same) // SIGHTINGS * SIGHTINGS
        several = self.same[:whole].reshape(-1, SIGHTINGS).max(axis=1)
        found: dict[str, Any] = {
            "stranger_pairs": len(self.strangers),
            "same_pairs": len(self.same),
            "same_mean": round(float(self.same.mean()), 3),
            "highest_strangers": [round(float(score), 3) for score in self.strangers[:3]],
        }
        found[f"found@{DEFAULT:g}"] = round(float((self.same >= DEFAULT).mean()), 3)
        found[f"strangers@{DEFAULT:g}"] = int((self.strangers >= DEFAULT).sum())
        for rate in FMRS:
            threshold = float(self.strangers[int(rate * len(self.strangers))])
            found[f"threshold@{rate:.0e}"] = round(threshold, 3)
            found[f"found@{rate:.0e}"] = round(float((self.same > threshold).mean()), 3)
            found[f"found_in_three@{rate:.0e}"] = round(float((several > threshold).mean()), 3)
        return found


@dataclass(frozen=True, slots=True)
class People:
    """Enrolled people (n,): one or more templates each, an array (n, d) a kind, and who they are.

    A probe's score with a person is that of the best of the person's templates.
    """

    templates: tuple[Templates, ...]
    person: Numbers

    def compared(self, probes: Templates, person: Numbers, own: tuple[Templates, ...]) -> Scores:
        """Scores of probes (m, d) of people (m,) with their `own` (m, d) and with strangers."""
        everybody = np.max([probes @ kind.T for kind in self.templates], axis=0)
        strangers = everybody[person[:, None] != self.person[None]]
        same = np.max([(probes * kind).sum(axis=1) for kind in own], axis=0)
        return Scores(same, np.sort(strangers)[::-1])


def unit(rows: Templates) -> Templates:
    """Rows (n, d) at unit length."""
    scaled: Templates = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return scaled


def pictures(bare: Image, seed: int, *, masked: bool) -> Image:
    """`VARIANTS` of each crop, one after the other, with the camera's wear, and a mask drawn on."""
    rng = np.random.default_rng(seed)

    def picture(crop: Image) -> Image:
        return degraded(draw_mask(crop, rng) if masked else crop, rng)

    return np.stack([picture(crop) for crop in bare for _ in range(VARIANTS)])


@dataclass(frozen=True, slots=True)
class Enrolled:
    """Templates of people (n, d) by SFace of their bare crop, and by the student of drawn masks."""

    bare: Templates
    covered: Templates

    @classmethod
    def of(cls, crops: Image, teacher: Network, student: Network, seed: int) -> Enrolled:
        """Embed bare crops (n, 112, 112, 3), each with `ENROLMENT_MASKS` masks drawn on."""
        rng = np.random.default_rng(seed)
        drawn = np.stack([draw_mask(crop, rng) for crop in crops for _ in range(ENROLMENT_MASKS)])
        rows = student.templates(drawn).reshape(len(crops), ENROLMENT_MASKS, -1)
        return cls(teacher.templates(crops), unit(rows.mean(axis=1)))

    def averaged(self, share: float = MASKED_SHARE) -> Templates:
        """One template a person: the mean of both, with this share of the masked one."""
        return unit((1 - share) * self.bare + share * self.covered)

    def repeated(self, times: int) -> Enrolled:
        """Each person so many times in a row."""
        return Enrolled(np.repeat(self.bare, times, axis=0), np.repeat(self.covered, times, axis=0))
