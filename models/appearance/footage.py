"""Real people to judge by: crops out of a folder of clips, by boxes drawn by hand.

The boxes (`footage.csv`) are of clips published by Intel under CC BY 4.0 (intel-iot-devkit,
sample-videos); the clips themselves are not kept here.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from .picture import HEIGHT, WIDTH

_BOXES = Path(__file__).with_name("footage.csv")
_WORDS = Path(__file__).with_name("footage_words.csv")


@dataclass(frozen=True, slots=True)
class Track:
    """A person of a clip: the first and the last crop, (128, 64, 3) uint8 BGR."""

    clip: str
    first: NDArray[np.uint8]
    last: NDArray[np.uint8]
    person: str = ""


def load_tracks(folder: Path) -> list[Track]:
    """Cut the people out of the clips in `folder`; a clip that is not there is left out."""
    boxes: dict[tuple[str, str], list[tuple[int, tuple[int, int, int, int]]]] = {}
    with _BOXES.open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            left, top, width, height = (int(row[k]) for k in ("left", "top", "width", "height"))
            key = (row["clip"], row["person"])
            boxes.setdefault(key, []).append((int(row["frame"]), (left, top, width, height)))
    tracks = []
    frames: dict[str, list[NDArray[np.uint8]]] = {}
    for (clip, person), places in boxes.items():
        if clip not in frames:
            frames[clip] = _frames(folder / clip)
        if frames[clip]:
            cut = [_cut(frames[clip][number], box) for number, box in places]
            tracks.append(Track(clip, cut[0], cut[-1], person))
    return tracks


def load_described(folder: Path) -> list[tuple[Track, str]]:
    """Cut the people out of the clips in `folder`, each with their clothes in words, by eye."""
    with _WORDS.open(encoding="utf-8", newline="") as stream:
        said = {(row["clip"], row["person"]): row["words"] for row in csv.DictReader(stream)}
    return [(track, said[track.clip, track.person]) for track in load_tracks(folder)]


def _frames(path: Path) -> list[NDArray[np.uint8]]:
    video = cv2.VideoCapture(str(path.absolute()))
    frames: list[NDArray[np.uint8]] = []
    while True:
        more, frame = video.read()
        if not more:
            return frames
        frames.append(frame.astype(np.uint8, copy=False))


def _cut(frame: NDArray[np.uint8], box: tuple[int, int, int, int]) -> NDArray[np.uint8]:
    left, top, width, height = box
    part = frame[max(0, top) : top + height, max(0, left) : left + width]
    return cv2.resize(part, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA).astype(np.uint8)
