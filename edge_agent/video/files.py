"""Reads a video file from its beginning to its end, over damage and by whichever decoder can."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2

from edge_agent.video import ffmpeg, motion_jpeg, second
from edge_agent.video.clock import began_at
from edge_agent.video.decoder import Decoder, NotDecodedError, target_of
from edge_agent.video.reading import WHOLE, Picture, Shortcuts, StreamFacts
from edge_agent.video.reasons import reason_of
from edge_agent.video.timeline import Timeline
from edge_agent.video.url import SourceError

MAX_DAMAGE = 1000
"""So many packets in a row that cannot be decoded (40 s of film) end a file."""


class FileReader:
    """Decodes a video file; a file that breaks off ends there and says that it is truncated.

    OpenCV reads it as long as it decodes what it says it does; from where it does not, `ffmpeg`
    goes on, if it is installed.
    """

    def __init__(self, path: Path, shortcuts: Shortcuts = WHOLE) -> None:
        """Open a file.

        Args:
            path: the file.
            shortcuts: what need not be decoded; where `ffmpeg` is not installed all is.

        Raises:
            SourceError: it is no file that can be decoded.
        """
        self._path = path
        self._size = _size_of(path)
        decoder = self._opened(shortcuts)
        if not decoder.opened:
            raise SourceError(
                f"Video file {path} cannot be decoded: it is damaged, has no picture, or is not a "
                "video. Try to play it, or convert it to MP4 (H.264)."
            )
        self._decoder: Decoder | None = decoder
        self._process: ffmpeg.FfmpegProcess | None = None
        self._facts = replace(decoder.facts, began=began_at(path))
        if shortcuts.gap_s > 0:
            packets = motion_jpeg.packet_decoder(path, f"Video file {path}", decoder)
            if packets is not None:
                decoder.close()
                self._decoder = decoder = packets
        self.fps = decoder.fps
        self._timeline = Timeline(self.fps, self._facts.seconds)
        self._given_s = float("-inf")
        self._shortcuts = shortcuts
        self._whole = not shortcuts.keyframes
        # Containers often give the length a little too high.
        self._expected_s = (self._facts.seconds or 0.0) * 0.98 - 2 / self.fps
        self.bad = 0
        self.truncated = False
        self.grew = False
        self.jumps = 0
        self._spares = _saves(shortcuts) and ffmpeg.installed() is not None
        if self._spares:
            self._begin_second()

    def read(self, *, gap_s: float = 0.0) -> Picture | None:
        """The next picture, or None at the end of what can be decoded.

        Raises:
            SourceError: OpenCV does not decode it, and `ffmpeg` is not installed.
        """
        after_s = self._given_s + gap_s
        picture = None
        if self._decoder is not None:
            try:
                picture = self._read_first(self._decoder, after_s)
            except NotDecodedError:
                self._begin_second()
        if self._process is not None:
            try:
                picture = self._read_second(self._process, after_s)
            except SourceError:
                if not self._spares:
                    raise
                # It was there to save work, not because OpenCV cannot: a driver may have failed.
                self._begin_first_again()
                return self.read(gap_s=gap_s)
        if picture is None:
            self._end()
        else:
            self._given_s = picture.at_s
        return picture

    def close(self) -> None:
        """Release the decoders."""
        if self._decoder is not None:
            self._decoder.close()
        if self._process is not None:
            self._process.close()

    def facts(self) -> StreamFacts:
        """What the container says, and by whom it is read so far."""
        hardware = "" if self._process is None else self._process.hardware
        return replace(self._facts, by_ffmpeg=self._process is not None, hardware=hardware)

    def _read_first(self, decoder: Decoder, after_s: float) -> Picture | None:
        damaged = 0
        while damaged < MAX_DAMAGE:
            if not decoder.grab():
                damaged += 1
                continue
            # A stretch of damage is told from the end by what comes after it.
            self.bad += int(damaged > 0)
            damaged = 0
            at_s = self._timeline.place(decoder.stamp_s())
            self.jumps = self._timeline.jumps
            if at_s < after_s:
                continue
            image = decoder.picture()
            if image is not None:
                return Picture(image, at_s)
            self.bad += 1
        return None

    def _opened(self, shortcuts: Shortcuts) -> Decoder:
        threads = [cv2.CAP_PROP_N_THREADS, 1] if shortcuts.one_thread else []
        return Decoder(target_of(self._path), f"Video file {self._path}", threads)

    def _begin_second(self) -> None:
        if self._decoder is not None:
            self._decoder.close()
            self._decoder = None
        self._process = second.begin(
            f"Video file {self._path}", path=self._path, shortcuts=self._shortcuts
        )
        self._timeline = Timeline(self.fps, self._facts.seconds)
        self._before = self.bad

    def _begin_first_again(self) -> None:
        if self._process is not None:
            self._process.close()
            self._process = None
        self._spares = False
        self._shortcuts = WHOLE
        self._whole = True
        self._decoder = self._opened(WHOLE)
        self._timeline = Timeline(self.fps, self._facts.seconds)

    def _read_second(self, process: ffmpeg.FfmpegProcess, after_s: float) -> Picture | None:
        while (found := process.picture()) is not None:
            image, stamp_s = found
            at_s = self._timeline.place(stamp_s)
            self.jumps = self._timeline.jumps
            # What OpenCV gave before it failed is not given again.
            if at_s >= after_s and at_s > self._given_s:
                return Picture(image, at_s)
            image.fill(0)
        return None

    def _end(self) -> None:
        if self._process is not None:
            self.bad = self._before + self._process.bad
        self.truncated = self._whole and self._timeline.next_s < self._expected_s
        try:
            self.grew = self._path.stat().st_size > self._size
        except OSError:
            self.grew = False


def _saves(shortcuts: Shortcuts) -> bool:
    """Whether the process saves decoding: a gap alone is passed over as well by OpenCV."""
    hardware = shortcuts.hardware and ffmpeg.has_hardware()
    return shortcuts.keyframes or shortcuts.sparing or hardware


def _size_of(path: Path) -> int:
    try:
        size = path.stat().st_size
    except (OSError, ValueError) as error:
        raise SourceError(f"Video file {path} cannot be read: {reason_of(error)}.") from error
    if not path.is_file():
        raise SourceError(f"{path} is not a file. For a folder of images write folder:{path}.")
    if size == 0:
        raise SourceError(f"Video file {path} is empty (0 bytes).")
    return size
