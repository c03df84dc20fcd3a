"""The best crops of one track: few, good, and not all of the same moment."""

from __future__ import annotations

import numpy as np

from edge_agent.vision.arrays import CROP_SIZE, Crops, Doubles, Image, Ints


class Gallery:
    """Keeps the `size` best crops of one `shape`, at most one for each `spacing_ms` of time.

    Crops are offered in the order of time.
    """

    def __init__(
        self,
        size: int,
        spacing_ms: int,
        shape: tuple[int, int, int] = (CROP_SIZE, CROP_SIZE, 3),
    ) -> None:
        self._spacing_ms = spacing_ms
        self._crops: Crops = np.zeros((size, *shape), np.uint8)
        self._qualities: Doubles = np.zeros(size, np.float64)
        self._window_ms: Ints = np.zeros(size, np.int64)  # when each crop's time window began
        self._count = 0
        self.version = 0
        """Goes up with every change."""

    def __len__(self) -> int:
        return self._count

    def wants(self, quality: float, at_ms: int) -> bool:
        """Whether a crop of this quality, captured now, would be kept."""
        return self._place(quality, at_ms) is not None

    def offer(self, crop: Image, quality: float, at_ms: int) -> bool:
        """Keep a copy of a crop (112, 112, 3) if it is among the best; whether it was kept."""
        place = self._place(quality, at_ms)
        if place is None:
            return False
        if place == self._count:
            self._count += 1
            self._window_ms[place] = at_ms
        elif at_ms - self._window_ms[place] >= self._spacing_ms:
            self._window_ms[place] = at_ms
        self._crops[place] = crop
        self._qualities[place] = quality
        self.version += 1
        return True

    def crops(self, min_quality: float = 0.0) -> tuple[Crops, Doubles]:
        """Copies of the crops (n, 112, 112, 3) and qualities (n,) from `min_quality`, best first.

        The caller wipes them.
        """
        order = np.argsort(-self._qualities[: self._count], kind="stable")
        order = order[self._qualities[order] >= min_quality]
        return self._crops[order], self._qualities[order]

    def times_ms(self) -> Ints:
        """Return when each crop of :meth:`crops`, best first, was captured, (n,) ms.

        To within the spacing: it is the beginning of the crop's time window.
        """
        order = np.argsort(-self._qualities[: self._count], kind="stable")
        return np.asarray(self._window_ms[order], np.int64)

    def wipe(self) -> None:
        """Overwrite all crops with zeros and forget them."""
        self._crops.fill(0)
        self._qualities.fill(0)
        self._count = 0
        self.version += 1

    def _place(self, quality: float, at_ms: int) -> int | None:
        """Where a crop would go: into its time window, a free place, or the worst one's."""
        ages = at_ms - self._window_ms[: self._count]
        same = np.flatnonzero(ages < self._spacing_ms)
        if len(same):
            place = int(same[-1])
        elif self._count < len(self._qualities):
            return self._count
        else:
            place = int(np.argmin(self._qualities))
        return place if quality > self._qualities[place] else None
