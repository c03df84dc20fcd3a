"""Compare many templates with a few, in blocks that fit the cache; knows nothing of keys or files.

Templates arrive as opened blocks lie in memory (`protocol.sightings`): rows of d int8 and one
little-endian float32 scale. A score is the cosine: ``int8 row . query x scale``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from protocol.sightings import SCALE_BYTES, row_bytes

BLOCK_ROWS = 4096
_UNIT = (0.98, 1.02)


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

    Args:
        queries: (k, d) float32, each of unit length.
        thresholds: (k,) float32: the score at which a pair counts.
    """

    def __init__(
        self, queries: npt.NDArray[np.float32], thresholds: npt.NDArray[np.float32]
    ) -> None:
        count, self.dimension = queries.shape
        self.width = row_bytes(self.dimension)
        self._columns = np.array(queries.T, np.float32, order="C")  # ours to wipe
        self._thresholds = np.ascontiguousarray(thresholds, np.float32)
        self._floor = float(self._thresholds.min())
        self._rows = np.zeros((BLOCK_ROWS, self.dimension), np.float32)
        self._scores = np.zeros((BLOCK_ROWS, count), np.float32)

    def scores(self, table: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Return the (n, k) float32 scores of at most ``BLOCK_ROWS`` rows: a view, reused next.

        ``table`` is (n, d + 4) uint8. A scale that is no number gives scores that are none.
        """
        size = len(table)
        rows, scores = self._rows[:size], self._scores[:size]
        np.copyto(rows, table[:, : self.dimension].view(np.int8))
        np.matmul(rows, self._columns, out=scores)
        with np.errstate(invalid="ignore", over="ignore"):
            scores *= _scales(table, self.dimension)[:, None]
        return scores

    def hits(self, table: npt.NDArray[np.uint8]) -> Hits:
        """Return the pairs of ``table``, (n, d + 4) uint8, that reach their query's threshold.

        Any number of rows is taken, ``BLOCK_ROWS`` at a time.
        """
        found: list[Hits] = []
        for start in range(0, len(table), BLOCK_ROWS):
            block = table[start : start + BLOCK_ROWS]
            scores = self.scores(block)
            if scores.size == 0 or not (scores >= self._floor).any():
                continue
            reached = scores >= self._thresholds
            rows, queries = np.nonzero(reached)
            if rows.size:
                found.append(self._checked(block, start, rows, queries, scores[rows, queries]))
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
        self._rows.fill(0)
        self._scores.fill(0)
        self._columns.fill(0)

    def _checked(
        self,
        block: npt.NDArray[np.uint8],
        start: int,
        rows: npt.NDArray[np.int64],
        queries: npt.NDArray[np.int64],
        scores: npt.NDArray[np.float32],
    ) -> Hits:
        """Keep the hits whose template has unit length: a board must not score by its scale."""
        scales = _scales(block[rows], self.dimension)
        norms = np.linalg.norm(self._rows[rows], axis=1) * scales
        sound = (norms > _UNIT[0]) & (norms < _UNIT[1])
        malformed = int(np.count_nonzero(~sound & (scales != 0)))
        return Hits(rows[sound] + start, queries[sound], scores[sound], malformed)


def is_unit(row: npt.NDArray[np.int8], scale: float) -> bool:
    """Tell whether a template, (d,) int8 times its scale, has unit length."""
    return bool(_UNIT[0] < float(np.linalg.norm(row.astype(np.float32))) * scale < _UNIT[1])


def _scales(table: npt.NDArray[np.uint8], dimension: int) -> npt.NDArray[np.float32]:
    """Copy the (n,) float32 scales out of (n, d + 4) rows; they are not aligned in place."""
    tail = np.ascontiguousarray(table[:, dimension : dimension + SCALE_BYTES])
    return tail.view("<f4").reshape(-1)
