"""Compare many templates with a few, in blocks that fit the cache; knows nothing of keys or files.

Templates arrive as opened blocks lie in memory (`protocol.sightings`): rows of d int8 and one
little-endian float32 scale. A score is the cosine: ``int8 row . query x scale``. The product of
int8 with int8 is numkong's, which takes the rows where they lie.
"""

from __future__ import annotations

from dataclasses import dataclass

import numkong
import numpy as np
import numpy.typing as npt

from protocol.sightings import SCALE_BYTES, row_bytes

BLOCK_ROWS = 4096
"""So many rows are gathered before they are compared,"""
_ROWS_AT_ONCE = BLOCK_ROWS
"""and so many are compared at once at most."""
_PAIRS_AT_ONCE = 512
"""A box that lies about its scales has every pair looked at: not all at once, in float32."""
_UNIT = (0.98, 1.02)
_SLACK = 1e-5
"""What float32 may round away of a score."""
_INT32 = np.array([-(2**31), 2**31 - 256], np.float32)  # the ends of what float32 can say of it


@dataclass(frozen=True, slots=True)
class Hits:
    """Pairs that reached their threshold, as columns of length h.

    ``rows`` and ``queries`` are int64 indices, ``scores`` float32. ``malformed`` counts pairs that
    reached it only because the row times its scale has not unit length: they are left out.
    """

    rows: npt.NDArray[np.int64]
    queries: npt.NDArray[np.int64]
    scores: npt.NDArray[np.float32]
    malformed: int


class Kernel:
    """Compares rows with fixed queries in buffers of its own, which `wipe` clears.

    Nearly all pairs are told apart by the product of int8 with int8, which is exact: a query is
    rounded to int8 as templates are, and what that may cost it is granted to it. Only what comes so
    near its threshold is scored in float32.

    Args:
        queries: (k, d) float32, each of unit length.
        thresholds: (k,) float32: the score at which a pair counts.
    """

    def __init__(
        self, queries: npt.NDArray[np.float32], thresholds: npt.NDArray[np.float32]
    ) -> None:
        count, self.dimension = queries.shape
        self.width = row_bytes(self.dimension)
        self._queries = np.array(queries, np.float32)  # ours to wipe
        self._thresholds = np.ascontiguousarray(thresholds, np.float32)
        steps = np.maximum(np.abs(self._queries).max(axis=1), np.float32(1e-6)) / np.float32(127)
        self._coarse = np.rint(self._queries / steps[:, None]).astype(np.int8)
        rounded = np.linalg.norm(self._queries - self._coarse * steps[:, None], axis=1)
        # A row of unit length scores at most so much more than its product says.
        self._floor = float(((self._thresholds - _UNIT[1] * rounded - _SLACK) / steps).min())
        self._products = np.zeros((_ROWS_AT_ONCE, count), np.int32)

    def hits(self, table: npt.NDArray[np.uint8]) -> Hits:
        """Return the pairs of ``table``, (n, d + 4) uint8, that reach their query's threshold.

        Any number of rows is taken, ``_ROWS_AT_ONCE`` at a time. A scale that is no number makes no
        hit.
        """
        found: list[Hits] = []
        for start in range(0, len(table), _ROWS_AT_ONCE):
            block = table[start : start + _ROWS_AT_ONCE]
            scales = _scales(block, self.dimension)
            near = self._near(block, scales)
            if near.any():
                rows, queries = np.nonzero(near)
                for at in range(0, len(rows), _PAIRS_AT_ONCE):
                    some = slice(at, at + _PAIRS_AT_ONCE)
                    found.append(
                        self._checked(block, start, rows[some], queries[some], scales[rows[some]])
                    )
        if not found:
            none = np.zeros(0, np.int64)
            return Hits(none, none, np.zeros(0, np.float32), 0)
        return Hits(
            np.concatenate([hits.rows for hits in found]),
            np.concatenate([hits.queries for hits in found]),
            np.concatenate([hits.scores for hits in found]),
            sum(hits.malformed for hits in found),
        )

    def wipe(self) -> None:
        """Overwrite what the buffers still hold of anybody's template, the queries' too."""
        self._queries.fill(0)
        self._coarse.fill(0)
        self._products.fill(0)

    def _near(
        self, block: npt.NDArray[np.uint8], scales: npt.NDArray[np.float32]
    ) -> npt.NDArray[np.bool_]:
        """Tell of each of (n, k) pairs whether it may reach its threshold."""
        if self._floor <= 0:  # so low that a row of zeros might
            return np.ones((len(block), len(self._queries)), bool)
        out = self._products[: len(block)]
        rows = block[:, : self.dimension].view(np.int8)
        numkong.cdist(rows, self._coarse, "dot", out=out)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            least = np.fmin(np.float32(self._floor) / scales, _INT32[1])  # no number: never
        least[scales < 0] = _INT32[0]
        limits = np.maximum(least, _INT32[0]).astype(np.int32)
        near: npt.NDArray[np.bool_] = out >= limits[:, None]
        return near

    def _checked(
        self,
        block: npt.NDArray[np.uint8],
        start: int,
        rows: npt.NDArray[np.int64],
        queries: npt.NDArray[np.int64],
        scales: npt.NDArray[np.float32],
    ) -> Hits:
        """Score pairs, and keep the hits whose template has unit length.

        A board must not score by its scale.
        """
        templates = block[rows, : self.dimension].view(np.int8).astype(np.float32)
        with np.errstate(invalid="ignore", over="ignore"):
            scores = np.einsum("ij,ij->i", templates, self._queries[queries]) * scales
            reached = scores >= self._thresholds[queries]
            norms = np.linalg.norm(templates, axis=1) * scales
        templates.fill(0)
        unit = (norms > _UNIT[0]) & (norms < _UNIT[1])
        sound = reached & unit
        malformed = int(np.count_nonzero(reached & ~unit & (scales != 0)))
        return Hits(rows[sound] + start, queries[sound], scores[sound], malformed)


def is_unit(row: npt.NDArray[np.int8], scale: float) -> bool:
    """Tell whether a template, (d,) int8 times its scale, has unit length."""
    return bool(_UNIT[0] < float(np.linalg.norm(row.astype(np.float32))) * scale < _UNIT[1])


def _scales(table: npt.NDArray[np.uint8], dimension: int) -> npt.NDArray[np.float32]:
    """Copy the (n,) float32 scales out of (n, d + 4) rows; they are not aligned in place."""
    tail = np.ascontiguousarray(table[:, dimension : dimension + SCALE_BYTES])
    return tail.view("<f4").reshape(-1)
