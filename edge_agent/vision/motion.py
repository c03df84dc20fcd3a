"""Where what is tracked is and goes: constant-velocity Kalman filters, all tracks in one array.

Each of the four box values (centre x, centre y or top, width, height) has its own filter of
position and velocity, so a track's covariance is four symmetric 2x2 blocks and needs no matrix
inverse. Noise is given in heights of what is tracked, so that near and far people are treated
alike: a face is about 0.23 m high, so walking at 1.4 m/s is 6 face heights a second, and less than
one of a body.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from edge_agent.vision.arrays import Doubles, Ints


@dataclass(frozen=True, slots=True)
class Gait:
    """How what is tracked moves: standard deviations of centre x, y, width, height, in heights."""

    position: tuple[float, float, float, float]
    """Of a measured box."""
    first_velocity: tuple[float, float, float, float]
    """A second, of somebody just seen."""
    acceleration: tuple[float, float, float, float]
    """A second squared, of walking people."""
    hangs: bool = False
    """What is hidden of it is its lower part: its top, not its centre, is where it is."""


FACES = Gait((0.06, 0.06, 0.10, 0.10), (5.0, 3.0, 0.5, 0.5), (6.0, 4.0, 0.7, 0.7))
BODIES = Gait((0.05, 0.04, 0.06, 0.08), (0.9, 0.4, 0.15, 0.2), (0.5, 0.3, 0.15, 0.3), hangs=True)
"""Of a body much is hidden at times: then it is lower, and its height a smaller measure."""
_SIZE_LASTS_S = 0.3


class Motion:
    """The filters of n tracks: `state` (n, 4, 2) position and velocity, `spread` (n, 4, 3).

    `spread` holds of each 2x2 covariance: variance of position, covariance, variance of velocity.
    Units: pixels and seconds.
    """

    def __init__(self, gait: Gait = FACES) -> None:
        self._hangs = gait.hangs
        self._anchor = np.array([0.5, 0.0 if gait.hangs else 0.5])  # of a box, in its sides
        self._position = np.array(gait.position)
        self._first_velocity = np.array(gait.first_velocity)
        self._acceleration = np.array(gait.acceleration)
        self.state: Doubles = np.zeros((0, 4, 2), np.float64)
        self.spread: Doubles = np.zeros((0, 4, 3), np.float64)

    def __len__(self) -> int:
        return len(self.state)

    def boxes(self) -> Doubles:
        """The estimated boxes (n, 4): left, top, width, height."""
        centre, size = self.state[:, :2, 0], self.state[:, 2:, 0]
        return np.concatenate([centre - self._anchor * size, size], axis=1)

    def add(self, boxes: Doubles) -> None:
        """Begin a track at each of the boxes (n, 4) left, top, width, height."""
        measured = self._anchored(boxes)
        height = measured[:, 3:4]
        state = np.zeros((len(boxes), 4, 2), np.float64)
        state[:, :, 0] = measured
        spread = np.zeros((len(boxes), 4, 3), np.float64)
        spread[:, :, 0] = (self._position * height) ** 2
        spread[:, :, 2] = (self._first_velocity * height) ** 2
        self.state = np.concatenate([self.state, state])
        self.spread = np.concatenate([self.spread, spread])

    def predict(self, seconds: float) -> None:
        """Move all tracks ahead by a time."""
        state, spread = self.state, self.spread
        noise = (self._acceleration * state[:, 3, 0][:, None]) ** 2
        state[:, :, 0] += state[:, :, 1] * seconds
        np.maximum(state[:, 2:, 0], 1.0, out=state[:, 2:, 0])
        spread[:, :, 0] += (
            2 * seconds * spread[:, :, 1] + seconds**2 * spread[:, :, 2] + noise * seconds**4 / 4
        )
        spread[:, :, 1] += seconds * spread[:, :, 2] + noise * seconds**3 / 2
        spread[:, :, 2] += noise * seconds**2
        if self._hangs:
            # It grew or shrank by what stood before it, which says nothing of the next moment.
            state[:, 2:, 1] *= math.exp(-seconds / _SIZE_LASTS_S)

    def correct(self, rows: Ints, boxes: Doubles) -> None:
        """Take in the boxes (k, 4) measured for the tracks at `rows` (k,)."""
        state, spread = self.state[rows], self.spread[rows]
        measured = self._anchored(boxes)
        variance = spread[:, :, 0] + (self._position * measured[:, 3:4]) ** 2
        gain_position = spread[:, :, 0] / variance
        gain_velocity = spread[:, :, 1] / variance
        surprise = measured - state[:, :, 0]
        state[:, :, 0] += gain_position * surprise
        state[:, :, 1] += gain_velocity * surprise
        before = spread.copy()
        spread[:, :, 0] = before[:, :, 0] * (1 - gain_position)
        spread[:, :, 1] = before[:, :, 1] * (1 - gain_position)
        spread[:, :, 2] = before[:, :, 2] - gain_velocity * before[:, :, 1]
        self.state[rows], self.spread[rows] = state, spread

    def distances(self, boxes: Doubles) -> Doubles:
        """Squared Mahalanobis distance (n, k) of boxes' centres (k, 4) to the estimated ones."""
        measured = self._anchored(boxes)
        noise = (self._position[:2] * measured[:, 3:4]) ** 2  # (k, 2)
        surprise = measured[None, :, :2] - self.state[:, None, :2, 0]
        variance = self.spread[:, None, :2, 0] + noise[None]
        squared: Doubles = (surprise**2 / variance).sum(axis=2)
        return squared

    def keep(self, rows: Ints) -> None:
        """Forget all tracks but these."""
        self.state, self.spread = self.state[rows], self.spread[rows]

    def _anchored(self, boxes: Doubles) -> Doubles:
        anchored = np.array(boxes, np.float64)
        anchored[:, :2] += self._anchor * anchored[:, 2:]
        return anchored
