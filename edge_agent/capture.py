"""Frames from one camera in a thread of their own: the newest is kept, older ones are dropped.

A board that falls behind must see the present, not a growing queue of the past, so there is one
slot and no queue. Recorded sources may be read without drops (`pace="fast"`) for tests and
measurements.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from secrets import SystemRandom
from types import TracebackType
from typing import Literal, Self

import structlog

from edge_agent.sources import (
    Image,
    Picture,
    Reader,
    SourceError,
    SourceUrl,
    open_reader,
    parse_source_url,
)
from runtime.clock import system_ms
from runtime.clocksteps import read_moment

__all__ = ["CaptureStats", "Frame", "FrameSource", "Pace", "SourceError"]

log = structlog.get_logger()

Pace = Literal["realtime", "fast"]
BACKOFF_FIRST_S = 0.5
BACKOFF_MAX_S = 30.0


@dataclass(frozen=True, slots=True)
class Frame:
    """One image (H, W, 3) uint8 BGR, when it was captured (ms since 1970) and its number.

    `origin_ms` tells by which wall clock (`runtime.clocksteps.Moment`); None for a recording's own
    time.
    """

    image: Image
    captured_at_ms: int
    index: int
    origin_ms: int | None = None

    def wipe(self) -> None:
        """Overwrite the pixels with zeros."""
        self.image.fill(0)


@dataclass(frozen=True, slots=True)
class CaptureStats:
    """Counts since the start.

    `read` frames decoded, `dropped` of them never looked at, `bad` files that were no image,
    `truncated` passes over a file that broke off, `reconnects` attempts to reach a live source
    again, `connected` whether frames are coming now.
    """

    read: int = 0
    dropped: int = 0
    bad: int = 0
    truncated: int = 0
    reconnects: int = 0
    connected: bool = False


class FrameSource:
    """Reads one source in a named thread and hands out its newest frame.

    Use as a context manager, or call `start` and `stop`:

    >>> with FrameSource("file:walk.mp4", pace="fast") as source:  # doctest: +SKIP
    ...     for frame in source.frames():
    ...         pipeline.process(frame)
    """

    def __init__(
        self,
        url: str,
        *,
        pace: Pace = "realtime",
        loop: bool = False,
        start_ms: int | None = None,
        name: str = "camera",
        backoff_first_s: float = BACKOFF_FIRST_S,
        backoff_max_s: float = BACKOFF_MAX_S,
        now_ms: Callable[[], int] = system_ms,
    ) -> None:
        """Describe the source; nothing is opened before `start`.

        Args:
            url: what `edge_agent.sources.parse_source_url` takes.
            pace: "realtime" plays a recorded source at its own rate, stamps frames with the wall
                clock and drops what is not fetched in time; "fast" gives every frame, as fast as
                they are fetched, stamped `start_ms` and its own time in the recording. Live sources
                are realtime.
            loop: start a recorded source again when it ends.
            start_ms: time of the first frame for "fast"; default now.
            name: the camera's name, for the thread and the logs.
            backoff_first_s: longest wait before the first reconnection of a live source.
            backoff_max_s: longest wait before any reconnection.
            now_ms: the wall clock.

        Raises:
            SourceError: the url has none of the known forms.
        """
        self.source: SourceUrl = parse_source_url(url)
        self._fast = pace == "fast" and not self.source.live
        self._loop = loop and not self.source.live
        self._start_ms = start_ms
        self._name = name
        self._backoff_first_s = backoff_first_s
        self._backoff_max_s = backoff_max_s
        self._now_ms = now_ms
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._slot: Frame | None = None
        self._ended = False
        self._changed = threading.Condition()
        self._read = self._dropped = self._bad = self._truncated = self._reconnects = 0
        self._connected = False
        self.lost = ""
        """Why a recorded source ended before its end; empty if it did not."""

    def start(self) -> None:
        """Open the source and start reading.

        A live source that does not answer yet is no error: it is tried again for ever.

        Raises:
            SourceError: a recorded source holds nothing that can be decoded.
        """
        if self._thread is not None:
            raise SourceError(f"The source of {self._name} is already running.")
        first: tuple[Reader, Picture] | None = None
        if not self.source.live:
            first = self._open_recorded()
        self._thread = threading.Thread(
            target=self._run, args=(first,), name=f"capture-{self._name}", daemon=True
        )
        self._thread.start()

    def stop(self, timeout_s: float = 2.0) -> None:
        """Stop reading and forget the frame not yet fetched; a hung camera is left behind."""
        self._stop.set()
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout_s)
        with self._changed:
            if self._slot is not None:
                self._slot.wipe()
                self._slot = None

    def next_frame(self, timeout_s: float | None = None) -> Frame | None:
        """Wait for a frame newer than the last one fetched.

        Returns:
            The frame, or None when the source has ended or `timeout_s` went by: see `ended`.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._slot is not None or self._ended, timeout_s)
            frame, self._slot = self._slot, None
            self._changed.notify_all()
            return frame

    def frames(self) -> Iterator[Frame]:
        """Every frame until the source ends; each is wiped when the next one is asked for."""
        while (frame := self.next_frame()) is not None:
            try:
                yield frame
            finally:
                frame.wipe()

    @property
    def ended(self) -> bool:
        """Whether no further frame will come."""
        with self._changed:
            return self._ended and self._slot is None

    @property
    def stats(self) -> CaptureStats:
        """The counts so far."""
        with self._changed:
            return CaptureStats(
                read=self._read,
                dropped=self._dropped,
                bad=self._bad,
                truncated=self._truncated,
                reconnects=self._reconnects,
                connected=self._connected,
            )

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    # -- the thread ---------------------------------------------------------------------------

    def _run(self, first: tuple[Reader, Picture] | None) -> None:
        try:
            if first is None:
                self._run_live()
            else:
                self._run_recorded(*first)
        except SourceError as error:
            log.warning("capture.lost", camera=self._name, reason=str(error))
            self.lost = str(error)
        except Exception as error:  # a decoder's own failure must end in a log line, not in silence
            self._say_failed(error)
        finally:
            with self._changed:
                self._ended = True
                self._connected = False
                self._changed.notify_all()

    def _say_failed(self, error: Exception) -> None:
        log.error(  # no traceback: it could quote the address
            "capture.failed", camera=self._name, source=str(self.source), kind=str(type(error))
        )

    def _open_recorded(self) -> tuple[Reader, Picture]:
        reader = open_reader(self.source)
        try:
            picture = reader.read()
        except SourceError:
            reader.close()
            raise
        if picture is None:
            self._account(reader)
            raise SourceError(
                f"{self.source} holds no image that can be decoded"
                + (f" ({reader.bad} files were tried)." if reader.bad else ".")
            )
        return reader, picture

    def _run_recorded(self, reader: Reader, first: Picture) -> None:
        start_ms = self._start_ms if self._start_ms is not None else self._now_ms()
        start = time.monotonic()
        began_s = due_s = 0.0  # of this pass and of its last picture, since the start
        current: Picture | None = first
        while not self._stop.is_set():
            if current is None:
                self._account(reader)
                if not self._loop:
                    return
                began_s = due_s + 1.0 / reader.fps
                reader, current = self._open_recorded()
            due_s = began_s + current.at_s
            if self._fast:
                self._put(current.image, start_ms + round(due_s * 1000), None, wait=True)
            else:
                if self._stop.wait(max(0.0, start + due_s - time.monotonic())):
                    break
                now = read_moment(self._now_ms)
                self._put(current.image, now.wall_ms, now.origin_ms, wait=False)
            try:
                current = reader.read()
            except SourceError:
                self._account(reader)
                raise
        if current is not None:
            current.image.fill(0)
        self._account(reader)

    def _run_live(self) -> None:
        random = SystemRandom()
        ceiling_s = self._backoff_first_s
        while not self._stop.is_set():
            try:
                reader = open_reader(self.source)
                if self._read_live(reader):
                    ceiling_s = self._backoff_first_s
            except SourceError as error:
                log.warning("capture.unreachable", camera=self._name, reason=str(error))
            except Exception as error:  # a camera is a stranger: its stream ends no thread
                self._say_failed(error)
            else:
                if self._stop.is_set():
                    return
                log.warning("capture.disconnected", camera=self._name, source=str(self.source))
            # Full jitter: after a power cut a city's boards must not all call at once.
            if self._stop.wait(random.uniform(ceiling_s / 4, ceiling_s)):
                return
            ceiling_s = min(ceiling_s * 2, self._backoff_max_s)
            with self._changed:
                self._reconnects += 1

    def _read_live(self, reader: Reader) -> bool:
        """Read until the connection breaks; whether any frame came."""
        came = False
        try:
            while not self._stop.is_set() and (picture := reader.read()) is not None:
                if not came:
                    log.info("capture.connected", camera=self._name, source=str(self.source))
                    came = True
                now = read_moment(self._now_ms)
                self._put(picture.image, now.wall_ms, now.origin_ms, wait=False)
        finally:
            with self._changed:
                self._connected = False
            reader.close()
        return came

    def _put(self, image: Image, at_ms: int, origin_ms: int | None, *, wait: bool) -> None:
        with self._changed:
            if wait:
                self._changed.wait_for(lambda: self._slot is None or self._stop.is_set())
            if self._slot is not None:
                self._slot.wipe()
                self._dropped += 1
            self._connected = True
            if self._stop.is_set():
                image.fill(0)
                self._slot = None
            else:
                self._slot = Frame(image, at_ms, self._read, origin_ms)
            self._read += 1
            self._changed.notify_all()

    def _account(self, reader: Reader) -> None:
        reader.close()
        with self._changed:
            self._bad += reader.bad
            self._truncated += int(reader.truncated)
        if reader.bad or reader.truncated or reader.jumps:
            log.warning(
                "capture.damaged",
                camera=self._name,
                source=str(self.source),
                skipped_files=reader.bad,
                truncated=reader.truncated,
                times_begun_anew=reader.jumps,
            )
