"""One template for a whole track: the mean of its best crops' vectors, without the odd one out.

When two people cross, a track can hold crops of both. A template in the middle between them would
resemble nobody, or worse a third person, so crops that do not agree with the best-supported one
are left out, and a track that agrees with itself too little gives no template at all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from edge_agent.vision.arrays import Doubles, Floats

AGREEMENT = 0.30
"""Cosine from which two crops may be one person's. By the counts of models/calibration, 4 pairs of
strangers in a thousand reach it, 99 in a hundred of one bare person's, 93 where one is masked."""
LEAST_SHARE = 0.5
"""Share of the crops' weight that must agree."""


@dataclass(frozen=True, slots=True)
class Fused:
    """A unit vector (d,) float32, and which crops (n,) bool went into it."""

    vector: Floats
    used: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]


def fuse(vectors: Floats, qualities: Doubles, *, agreement: float = AGREEMENT) -> Fused | None:
    """Fuse unit rows (n, d) weighted by quality (n,); None when they do not agree.

    A single vector is returned as it is. `agreement` is the cosine from which two may be one's.
    """
    weights = np.asarray(qualities, np.float64)
    if not len(weights) or weights.sum() <= 0:
        return None
    cosines = vectors.astype(np.float64) @ vectors.T.astype(np.float64)
    centre = int(np.argmax(np.clip(cosines, 0.0, None) @ weights))
    used = (cosines[centre] >= agreement) & (weights > 0)
    if weights[used].sum() < LEAST_SHARE * weights.sum():
        return None
    mean = (vectors[used] * weights[used, None]).sum(axis=0)
    length = float(np.linalg.norm(mean))
    if length < 1e-6:
        return None
    return Fused((mean / length).astype(np.float32), used)
