"""Decodes pictures in files of their own, and reads a folder of them as a film."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from edge_agent.opencv import quiet_opencv
from edge_agent.video.reading import Image, Picture, StreamFacts
from edge_agent.video.reasons import reason_of
from edge_agent.video.url import SourceError

MAX_IMAGE_BYTES = 64 * 1024 * 1024


class FolderReader:
    """Decodes the files of a folder in the order of their names; what is no image is skipped."""

    def __init__(self, path: Path, fps: float) -> None:
        try:
            entries = sorted(path.iterdir())
        except (OSError, ValueError) as error:
            raise SourceError(f"Image folder {path} cannot be read: {reason_of(error)}.") from error
        self._files: Iterator[Path] = iter(
            [entry for entry in entries if entry.is_file() and not entry.name.startswith(".")]
        )
        self._number = 0
        self._given_s = float("-inf")
        self.fps = fps
        self.bad = 0
        self.truncated = False
        self.grew = False
        self.jumps = 0

    def read(self, *, gap_s: float = 0.0) -> Picture | None:
        """The next file that is an image, or None after the last."""
        for path in self._files:
            image = read_image(path)
            if image is None:
                self.bad += 1
                continue
            at_s = self._number / self.fps
            self._number += 1
            if at_s >= self._given_s + gap_s:
                self._given_s = at_s
                return Picture(image, at_s)
            image.fill(0)
        return None

    def close(self) -> None:
        """Nothing stays open between two images."""
        self._files = iter(())

    def facts(self) -> StreamFacts:
        """The rate that the folder stands for; each image has a size of its own."""
        return StreamFacts(codec="images", fps=self.fps)


def read_image(path: Path) -> Image | None:
    """Decode one image file to (H, W, 3) uint8 BGR; None when it is not an image we can decode."""
    try:
        if not 0 < path.stat().st_size <= MAX_IMAGE_BYTES:
            return None
        data = path.read_bytes()
    except OSError:
        return None
    return decode_image(data)


def decode_image(data: bytes) -> Image | None:
    """Decode an image file's bytes to (H, W, 3) uint8 BGR, upright by its EXIF orientation.

    None when it is no image, or one of more than `runtime.process.MAX_PIXELS`.
    """
    if not data or len(data) > MAX_IMAGE_BYTES:
        return None
    quiet_opencv()
    try:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    except cv2.error:
        return None
    return None if image is None else np.asarray(image, np.uint8)
