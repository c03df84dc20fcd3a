"""Clothes in words as a template: directions in the appearance space, out of the bundle.

They stand among the parameters of the appearance embedder, so that they are signed with the network
that they were counted for, and software that does not know them runs the same bundle:
``words.upper`` and ``words.lower`` (a direction for each of `protocol.clothes.COLOURS`, base64 of
little-endian float16), ``words.threshold``, and ``words.rate``, the share of others who reach it.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from protocol.clothes import COLOURS, Clothes, Shares
from runtime.bundle import Bundle, ModelEntry, Role
from runtime.errors import OperationError
from runtime.phrases import marked

UPPER, LOWER, THRESHOLD, RATE = "words.upper", "words.lower", "words.threshold", "words.rate"
BY_WORDS_NOTE = marked("by words: {words}; a ranking aid, identifies nobody")
_ROLE: Role = "appearance_embedder"
_LEAST_LENGTH = 1e-3


class WordsUnusable(OperationError):
    """The bundle cannot turn words into a template, or not these."""


@dataclass(frozen=True, slots=True)
class WordDirections:
    """What each colour of upper and lower body adds to a template: (11, d) float64 each.

    Args:
        model_id: of the network in whose space they lie.
        threshold: recommended for queries by words.
        rate: share of people dressed otherwise who reach it.
    """

    model_id: str
    upper: npt.NDArray[np.float64]
    lower: npt.NDArray[np.float64]
    threshold: float
    rate: float

    def template(self, clothes: Clothes) -> npt.NDArray[np.float32]:
        """Return the unit vector (d,) that people so dressed lie nearest to.

        Raises:
            WordsUnusable: the words say nothing here.
        """
        total = _weights(clothes.upper) @ self.upper + _weights(clothes.lower) @ self.lower
        length = float(np.linalg.norm(total))
        if length < _LEAST_LENGTH:
            raise WordsUnusable(
                "these colours cancel one another out; describe fewer of them for each garment"
            )
        return np.asarray(total / length, np.float32)


def word_directions(bundle: Bundle) -> WordDirections:
    """Read what a verified bundle knows of words.

    Raises:
        WordsUnusable: nothing, or something that is none.
    """
    entry = bundle.entry(_ROLE)
    if UPPER not in entry.parameters:
        raise WordsUnusable(
            f"the model bundle {bundle.folder} knows no words: its appearance network came without "
            "directions for colours. Build it anew with `sealtrace models build`, and hand it out "
            "with `sealtrace site models`"
        )
    threshold, rate = entry.parameters.get(THRESHOLD), entry.parameters.get(RATE)
    numbers = [v for v in (threshold, rate) if isinstance(v, int | float) and -1 <= v <= 1]
    if len(numbers) != 2:
        raise _broken(entry, f"{THRESHOLD} and {RATE} must be numbers")
    return WordDirections(
        entry.model_id, _rows(entry, UPPER), _rows(entry, LOWER), *map(float, numbers)
    )


def packed(rows: npt.NDArray[np.float64]) -> str:
    """Return directions (11, d) as the manifest holds them."""
    return base64.b64encode(np.asarray(rows, "<f2").tobytes()).decode("ascii")


def _rows(entry: ModelEntry, name: str) -> npt.NDArray[np.float64]:
    text = entry.parameters.get(name)
    try:
        data = base64.b64decode(text if isinstance(text, str) else "", validate=True)
    except binascii.Error:
        data = b""
    if len(data) != 2 * len(COLOURS) * entry.dimension:
        raise _broken(entry, f"{name} must hold {len(COLOURS)} directions of {entry.dimension}")
    rows = np.frombuffer(data, "<f2").astype(np.float64).reshape(len(COLOURS), entry.dimension)
    if not np.isfinite(rows).all():
        raise _broken(entry, f"{name} holds what is no number")
    return rows


def _broken(entry: ModelEntry, why: str) -> WordsUnusable:
    return WordsUnusable(
        f"the manifest's words for {entry.model_id} cannot be used: {why}; install the site's "
        "bundle again"
    )


def _weights(shares: Shares) -> npt.NDArray[np.float64]:
    return np.array([shares.get(colour, 0.0) for colour in COLOURS])
