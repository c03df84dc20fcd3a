"""Reads a network camera or a device for as long as it goes on, by whichever decoder can."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path

import cv2

from edge_agent.video import ffmpeg, second
from edge_agent.video.decoder import Decoder, NotDecodedError, facts_of
from edge_agent.video.reading import DEFAULT_FPS, Image, Picture, StreamFacts, retrieve
from edge_agent.video.url import SourceError, SourceUrl

OPEN_TIMEOUT_MS = 5_000
READ_TIMEOUT_MS = 5_000
_TRIES = 20
"""So many packets in a row that cannot be decoded end a connection."""
_AT_ONCE_S = 0.5
"""A frame that fails later than this is missing, not damaged."""


class _Live:
    """What network cameras and devices have in common: times by this machine's steady clock."""

    def __init__(self) -> None:
        self.fps = DEFAULT_FPS
        self.bad = 0
        self.truncated = False
        self.grew = False
        self.jumps = 0
        self._began_s: float | None = None
        self._given_s = float("-inf")

    def read(self, *, gap_s: float = 0.0) -> Picture | None:
        """The next picture, or None when the stream broke or timed out.

        Raises:
            SourceError: OpenCV does not decode it, and `ffmpeg` is not installed.
        """
        while (image := self._next()) is not None:
            now_s = time.monotonic()
            if self._began_s is None:
                self._began_s = now_s
            at_s = now_s - self._began_s
            if at_s >= self._given_s + gap_s:
                self._given_s = at_s
                return Picture(image, at_s)
            image.fill(0)
        return None

    def _next(self) -> Image | None:
        raise NotImplementedError


class NetworkReader(_Live):
    """A camera behind an address; None means that the connection broke."""

    def __init__(self, source: SourceUrl) -> None:
        super().__init__()
        self._source = source
        timeouts = [
            cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
            OPEN_TIMEOUT_MS,
            cv2.CAP_PROP_READ_TIMEOUT_MSEC,
            READ_TIMEOUT_MS,
        ]
        decoder = Decoder(source.target, f"Camera {source}", timeouts)
        if not decoder.opened:
            raise SourceError(
                f"Camera {source} cannot be opened: no answer, wrong user or password, "
                "or no video there."
            )
        self._decoder: Decoder | None = decoder
        self._process: ffmpeg.FfmpegProcess | None = None
        self._facts = decoder.facts

    def _next(self) -> Image | None:
        if self._decoder is not None:
            try:
                return self._decoded(self._decoder)
            except NotDecodedError:
                self._decoder.close()
                self._decoder = None
                self._process = second.begin(f"Camera {self._source}", address=self._source.target)
        found = None if self._process is None else self._process.picture()
        return None if found is None else found[0]

    def _decoded(self, decoder: Decoder) -> Image | None:
        for _ in range(_TRIES):
            asked_s = time.monotonic()
            if decoder.grab():
                image = decoder.picture()
                if image is not None:
                    return image
            elif time.monotonic() - asked_s > _AT_ONCE_S:
                return None
            self.bad += 1
        return None

    def close(self) -> None:
        """Hang up."""
        if self._decoder is not None:
            self._decoder.close()
        if self._process is not None:
            self._process.close()

    def facts(self) -> StreamFacts:
        """What the camera announces, and by whom it is read so far."""
        return replace(self._facts, by_ffmpeg=self._process is not None)


class DeviceReader(_Live):
    """A camera of this machine; its pictures come out of the kernel as they are."""

    def __init__(self, device: Path) -> None:
        super().__init__()
        if not device.exists():
            raise SourceError(f"Video device {device} is not there. Is it plugged in?")
        self._capture = cv2.VideoCapture(str(device), cv2.CAP_V4L2)
        if not self._capture.isOpened():
            raise SourceError(
                f"Video device {device} cannot be opened: it is no camera, or another program "
                "uses it."
            )

    def _next(self) -> Image | None:
        try:
            grabbed = self._capture.grab()
        except cv2.error:
            return None
        return retrieve(self._capture) if grabbed else None

    def close(self) -> None:
        """Release the device."""
        self._capture.release()

    def facts(self) -> StreamFacts:
        """What the device announces."""
        return facts_of(self._capture)
