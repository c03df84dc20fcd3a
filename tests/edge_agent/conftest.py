"""Fixtures of the edge agent's tests: models from the bundle, faces cut from the photographs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_agent.capture import Frame
from edge_agent.vision.arrays import Image
from edge_agent.vision.models import VisionModels, load_models
from runtime.bundle import Bundle, load_bundle


@pytest.fixture(scope="session")
def bundle(model_bundle_path: Path, model_bundle_key: bytes) -> Bundle:
    return load_bundle(model_bundle_path, [model_bundle_key])


@pytest.fixture(scope="session")
def models(bundle: Bundle) -> VisionModels:
    return load_models(bundle)


@pytest.fixture(scope="session")
def face(photos_path: Path, models: VisionModels) -> Callable[[str, int], Image]:
    """Call it with a photo's name and a height: the head from it, its face so many pixels high."""
    detector = models.detector(640, 640)
    cache: dict[str, tuple[Image, list[float]]] = {}

    def cut(name: str, height: int) -> Image:
        if name not in cache:
            image = np.asarray(cv2.imread(str(photos_path / name)), np.uint8)
            found = detector.detect(image)
            cache[name] = image, found.boxes[int(np.argmax(found.boxes[:, 3]))].tolist()
        image, (x, y, w, h) = cache[name]
        left, top = round(max(0, x - 0.6 * w)), round(max(0, y - 0.6 * h))
        head = image[top : round(y + 1.6 * h), left : round(x + 1.6 * w)]
        size = (round(head.shape[1] * height / h), round(head.shape[0] * height / h))
        return np.asarray(cv2.resize(head, size, interpolation=cv2.INTER_AREA), np.uint8)

    return cut


@dataclass(frozen=True)
class Clip:
    """A scene: a dull background, and patches that move over it."""

    seconds: float
    fps: float = 10.0
    size: tuple[int, int] = (360, 640)
    start_ms: int = 1_700_000_000_000
    moving: list[tuple[Image, tuple[float, float], tuple[float, float], float, float]] = field(
        default_factory=list
    )

    def add(
        self,
        patch: Image,
        at: tuple[float, float],
        speed: tuple[float, float] = (0.0, 0.0),
        seen_s: tuple[float, float] = (0.0, 1e9),
    ) -> Clip:
        """Put in a patch at (x, y) px, moving at (x, y) px/s, seen from and until."""
        self.moving.append((patch, at, speed, *seen_s))
        return self

    def __iter__(self) -> Iterator[Frame]:
        noise = np.random.default_rng(7).integers(60, 180, (*self.size, 3), np.uint8)
        background = np.asarray(cv2.GaussianBlur(noise, (0, 0), 9), np.uint8)
        for index in range(round(self.seconds * self.fps)):
            image, now_s = background.copy(), index / self.fps
            for patch, at, speed, from_s, until_s in self.moving:
                if from_s <= now_s < until_s:
                    _paste(
                        image, patch, [round(a + v * now_s) for a, v in zip(at, speed, strict=True)]
                    )
            yield Frame(image, self.start_ms + round(now_s * 1000), index)


@pytest.fixture
def clip() -> type[Clip]:
    return Clip


def _paste(image: Image, patch: Image, corner: Sequence[int]) -> None:
    left, top = corner
    low_x, low_y = max(0, left), max(0, top)
    high_x = min(image.shape[1], left + patch.shape[1])
    high_y = min(image.shape[0], top + patch.shape[0])
    if high_x > low_x and high_y > low_y:
        image[low_y:high_y, low_x:high_x] = patch[
            low_y - top : high_y - top, low_x - left : high_x - left
        ]


@pytest.fixture
def wait_until() -> Callable[[Callable[[], bool]], None]:
    """Call it with a condition: returns when it holds, fails the test when it never does."""

    def wait(condition: Callable[[], bool], timeout_s: float = 30.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, "the condition did not come true in time"
            time.sleep(0.01)

    return wait
