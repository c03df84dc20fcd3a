"""Figures for the report: how well people are told apart, beside a histogram of colours."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from runtime.onnx import cpu_session

from .colours import Rng
from .footage import Track
from .picture import HEIGHT, WIDTH
from .synthesis import PeopleSet

Vectors = npt.NDArray[np.float32]
Describe = Callable[[npt.NDArray[np.uint8]], Vectors]
"""Crops (n, 128, 64, 3) uint8 BGR to unit rows (n, d)."""
_RATES = (1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4)


@dataclass(frozen=True, slots=True)
class Told:
    """How well a description tells people apart.

    `auc`: chance that a person's own picture scores above a stranger's; `rank_1`: share of persons
    whose own picture scores above all rivals; `pairs`: of one person, of strangers.
    """

    auc: float
    rank_1: float
    pairs: tuple[int, int]


def open_model(path: Path) -> Any:
    """Open an ONNX file for one thread on the CPU (an ``onnxruntime.InferenceSession``)."""
    return cpu_session(str(path), quiet=False)


def describe_with(session: Any) -> Describe:
    """The network as a description."""

    def describe(images: npt.NDArray[np.uint8]) -> Vectors:
        parts = [
            session.run(["vectors"], {"crops": np.ascontiguousarray(images[start : start + 64])})[0]
            for start in range(0, len(images), 64)
        ]
        return np.concatenate(parts)

    return describe


def colour_stripes(images: npt.NDArray[np.uint8]) -> Vectors:
    """The peer: roots of hue and brightness histograms of six stripes from head to feet.

    Pixels near the middle count more, hue counts by saturation.
    """
    stripes, rows = 6, []
    middle = np.exp(-(((np.arange(WIDTH) - (WIDTH - 1) / 2) / 16) ** 2))
    weights = np.tile(middle, (HEIGHT, 1))
    for image in images:
        hsv = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_BGR2HSV).astype(np.int64)
        parts = []
        for number in range(stripes):
            band = slice(HEIGHT * number // stripes, HEIGHT * (number + 1) // stripes)
            hue, saturation, value = hsv[band].reshape(-1, 3).T
            weight = weights[band].ravel()
            colourful = weight * np.minimum(saturation / 64, 1) * (value > 40)
            hues = np.bincount(hue * 12 // 180, weights=colourful, minlength=12)
            values = np.bincount(value // 32, weights=weight, minlength=8)
            histogram = np.concatenate([hues, values])
            parts.append(np.sqrt(histogram / histogram.sum()))
        rows.append(np.concatenate(parts) / np.sqrt(stripes))
    return np.array(rows, np.float32)


def second_camera(image: npt.NDArray[np.uint8], rng: Rng) -> npt.NDArray[np.uint8]:
    """Show a crop as another camera might: colour, gamma, few lines, shift, JPEG, mirror."""
    gains, gamma = np.exp(rng.normal(0, 0.18, 3)), np.exp(rng.normal(0, 0.3))
    toned = 255 * (np.clip(image.astype(np.float32) * gains, 0, 255) / 255) ** gamma
    lines = int(rng.choice([40, 56, 80]))
    small = cv2.resize(toned.astype(np.uint8), (lines // 2, lines), interpolation=cv2.INTER_AREA)
    move = np.array([[1, 0, rng.normal(0, 2)], [0, 1, rng.normal(0, 3)]])
    moved = cv2.warpAffine(
        cv2.resize(small, (WIDTH, HEIGHT)), move, (WIDTH, HEIGHT), borderMode=cv2.BORDER_REPLICATE
    )
    _, file = cv2.imencode(".jpg", moved, [cv2.IMWRITE_JPEG_QUALITY, 50])
    shown = np.asarray(cv2.imdecode(file, cv2.IMREAD_COLOR), np.uint8)
    return np.ascontiguousarray(shown[:, ::-1]) if rng.random() < 0.5 else shown


def judge_tracks(
    tracks: Sequence[Track], describe: Describe, *, changed: int, within: bool = True
) -> Told:
    """Find each track's first crop by its last, shown by `changed` second cameras (0: as it is).

    Rivals are the others of the same clip; with `within` False, all others.
    """
    return _told(*_track_scores(tracks, describe, changed=changed, within=within))


def calibrate_by_tracks(
    tracks: Sequence[Track], describe: Describe, thresholds: Sequence[float], *, changed: int
) -> dict[str, Any]:
    """What scores are worth among real people: shares that reach each threshold, and spreads.

    Strangers are of the same clip, which have light and background in common; the share is the
    larger of those at one camera and at `changed` simulated second ones, and where nobody reaches a
    threshold three in as many pairs as there were (an upper bound that holds in 95 of a hundred).
    """
    same, elsewhere = (
        _track_scores(tracks, describe, changed=number, within=True) for number in (0, changed)
    )
    rates = [
        max(*(float((kind[1] >= at).mean()) for kind in (same, elsewhere)), 3 / len(same[1]))
        for at in thresholds
    ]
    return {
        "thresholds": list(thresholds),
        "strangers": [round(rate, 4) for rate in rates],
        "own": [round(float((elsewhere[0] >= at).mean()), 4) for at in thresholds],
        "pairs_of_strangers": len(same[1]),
        "strangers_mean": round(float(elsewhere[1].mean()), 4),
        "strangers_sd": round(float(elsewhere[1].std()), 4),
        "own_mean": round(float(elsewhere[0].mean()), 4),
        "own_sd": round(float(elsewhere[0].std()), 4),
    }


def _track_scores(
    tracks: Sequence[Track], describe: Describe, *, changed: int, within: bool
) -> tuple[npt.NDArray[np.floating], npt.NDArray[np.floating], list[bool]]:
    own = describe(np.stack([track.first for track in tracks]))
    clips = np.array([track.clip for track in tracks])
    genuine, strangers, first = [], [], []
    rng = np.random.default_rng(5)
    for _ in range(max(1, changed)):
        last = [second_camera(t.last, rng) if changed else t.last for t in tracks]
        scores = describe(np.stack(last)) @ own.T
        for row in range(len(tracks)):
            rivals = np.flatnonzero((clips == clips[row]) | (not within))
            rivals = rivals[rivals != row]
            genuine.append(scores[row, row])
            strangers += scores[row, rivals].tolist()
            if len(rivals):
                first.append(scores[row, row] > scores[row, rivals].max())
    return np.array(genuine), np.array(strangers), first


def judge_people(people: PeopleSet, vectors: Vectors, *, one_camera: bool) -> Told:
    """Find drawn people again: at one camera among its other visitors, or at another camera.

    `vectors` (n, k, d): of the set's pictures.
    """
    count, pictures = people.cameras.shape
    genuine, strangers, first = [], [], []
    for person in range(count):
        query, camera = vectors[person, 0], people.cameras[person, 0]
        scores = vectors @ query
        at_camera = people.cameras == camera
        mine = np.zeros((count, pictures), bool)
        mine[person, 1:] = True
        own = scores[mine & (at_camera == one_camera)]
        others = scores[~mine & (at_camera == one_camera) & (np.arange(count) != person)[:, None]]
        genuine += own.tolist()
        strangers += others.tolist()
        if len(own) and len(others):
            first.append(own.max() > others.max())
    return _told(np.array(genuine), np.array(strangers), first)


def strangers_by_score(
    people: PeopleSet, vectors: Vectors
) -> tuple[list[tuple[float, float]], dict[str, float]]:
    """Thresholds with the share of strangers who reach each; mean and deviation of both kinds.

    Pairs of pictures of different cameras alone.
    """
    count, pictures = people.cameras.shape
    flat, cameras = vectors.reshape(count * pictures, -1), people.cameras.ravel()
    persons = np.repeat(np.arange(count), pictures)
    scores = flat @ flat.T
    upper = np.triu(cameras[:, None] != cameras[None], 1)
    same = persons[:, None] == persons[None]
    genuine, strangers = scores[upper & same], scores[upper & ~same]
    ordered = np.sort(strangers)[::-1]
    table = [
        (round(float(ordered[int(rate * len(ordered))]), 4), rate)
        for rate in _RATES
        if rate * len(ordered) >= 30  # fewer would be an accident
    ]
    figures = {
        "strangers": float(len(strangers)),
        "strangers_mean": float(strangers.mean()),
        "strangers_sd": float(strangers.std()),
        "genuine": float(len(genuine)),
        "genuine_mean": float(genuine.mean()),
        "genuine_sd": float(genuine.std()),
    }
    for threshold, rate in table:
        figures[f"genuine_at_{rate:g}"] = float((genuine >= threshold).mean())
    return table, figures


def milliseconds_per_crop(session: Any, images: npt.NDArray[np.uint8], batch: int) -> float:
    """Return the median CPU time of one call with ``batch`` crops, divided by ``batch``."""
    crops = np.ascontiguousarray(images[:batch])
    times = []
    for _ in range(200):
        start = time.thread_time()
        session.run(None, {"crops": crops})
        times.append(time.thread_time() - start)
    return float(np.median(times)) * 1000 / batch


def auc(genuine: npt.NDArray[np.floating], strangers: npt.NDArray[np.floating]) -> float:
    """Chance that a score of the first (n,) is above one of the second (m,); ties count half."""
    ordered = np.sort(strangers)
    below = np.searchsorted(ordered, genuine, "left") + np.searchsorted(ordered, genuine, "right")
    return float(below.mean() / (2 * len(strangers)))


def _told(
    genuine: npt.NDArray[np.floating], strangers: npt.NDArray[np.floating], first: list[bool]
) -> Told:
    return Told(auc(genuine, strangers), float(np.mean(first)), (len(genuine), len(strangers)))
