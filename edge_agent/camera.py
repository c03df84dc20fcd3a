"""One camera's thread: frames in, sightings out to its sealer, whatever one camera does."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog

from edge_agent.capture import CaptureStats, FrameSource
from edge_agent.config import CameraConfig, start_ms
from edge_agent.coverage import View
from edge_agent.health import ENDED, FAILED, SILENT, WORKING, CameraFigures
from edge_agent.seal import CameraSealer
from edge_agent.sources import parse_source_url
from edge_agent.vision.config import VisionConfig
from edge_agent.vision.models import VisionModels
from edge_agent.vision.pipeline import CameraPipeline
from edge_agent.vision.view import Watch
from protocol.epoch import CAMERA_NOW, RECORDING
from protocol.v2.header import CLOCK, STATED
from protocol.v2.sightings import Sighting
from runtime.clock import system_ms
from runtime.clocksteps import Moment, read_moment, step_between
from runtime.errors import OperationError

_log = structlog.get_logger()

_WAIT_S = 0.5
_MAX_ERRORS = 50
_AGAIN_S = (5.0, 300.0)


class CameraWorker:
    """Watches one camera until its source ends or `stop` is called.

    A live camera that fails is begun again, ever more rarely; a recording is not.

    Args:
        config: of the camera.
        vision: of the box; the camera's own settings are put in here.
        models: shared by all cameras.
        sealer: takes the sightings.
        stills: whether a still is made of each sighting now; never of a recording with its own
            time.
        now_ms: the wall clock.
        again_s: first and longest pause before a live camera that failed is begun again.

    Raises:
        SourceError: the source has none of the known forms.
    """

    def __init__(
        self,
        config: CameraConfig,
        *,
        vision: VisionConfig,
        models: VisionModels,
        sealer: CameraSealer,
        stills: Callable[[], bool] = lambda: False,
        now_ms: Callable[[], int] = system_ms,
        again_s: tuple[float, float] = _AGAIN_S,
    ) -> None:
        self.name = config.name
        self.sealer = sealer
        self._config = config
        self._vision = config.vision(vision)
        self._models = models
        self._stills = stills if not has_own_time(config) else lambda: False
        self._now_ms = now_ms
        self._again_s = again_s
        self._source = self._new_source()
        self._own_time = has_own_time(config)
        self._time_ms: int | None = None  # of the last frame
        self._origin_ms: int | None = None  # of the clock by which the open tracks are stamped
        self._watch = Watch(
            self._cover,
            stands_in=not self._own_time and not self._source.source.live,
            own_time=self._own_time,
            moves=config.moves,
        )
        self._pipeline: CameraPipeline | None = None
        self._stopping = threading.Event()
        self._starting = threading.Lock()
        self._errors = 0
        self.failure = ""
        """Why this camera cannot work now; empty while it can."""
        self.ended = False
        """Whether no more sightings will come."""

    def run(self) -> None:
        """Work until the end; the target of the thread ``camera-<name>``."""
        pause_s = self._again_s[0]
        try:
            while True:
                try:
                    self._work()
                except OperationError as error:
                    self._fail(str(error))
                except Exception as error:
                    if not self._source.source.live:
                        raise
                    self._fail(f"{type(error).__name__}: {error}", error)
                finally:
                    self._source.stop()
                if self._stopping.is_set() or not self._source.source.live:
                    return
                if self._pause(pause_s):
                    return
                pause_s = min(2 * pause_s, self._again_s[1])
                with self._starting:
                    self._source = self._new_source()
        finally:
            self.ended = True

    def _pause(self, pause_s: float) -> bool:
        """Wait before the camera is begun again; tell whether to stop instead."""
        ends_s = time.monotonic() + pause_s
        while (rest_s := ends_s - time.monotonic()) > 0:
            if self._stopping.wait(min(_WAIT_S, rest_s)):
                return True
            self._see_nothing()
        return False

    def stop(self) -> None:
        """Ask the thread to end; it closes its tracks and hands over their sightings first."""
        self._stopping.set()
        with self._starting:  # a source cannot be stopped while it starts
            self._source.stop(0.0)

    def time_ms(self) -> int | None:
        """Return the camera's time: the wall clock, or a fast recording's own (None before it)."""
        return self._time_ms if self._own_time else self._now_ms()

    def figures(self) -> CameraFigures:
        """Return what a health report tells of this camera."""
        capture: CaptureStats = self._source.stats
        held = self.sealer.stats()
        if self.failure:
            state = FAILED
        elif self.ended:
            state = ENDED
        else:
            state = WORKING if capture.connected else SILENT
        return CameraFigures(
            state=state,
            fps=self._pipeline.stats.fps if self._pipeline is not None else 0.0,
            read=capture.read,
            dropped=capture.dropped,
            waiting=bool(held.waiting_for),
            generation=held.generation,
            trouble=self._watch.trouble,
        )

    def _new_source(self) -> FrameSource:
        config = self._config
        return FrameSource(
            config.source,
            pace=config.pace,
            loop=config.loop,
            start_ms=start_ms(config.recorded_at),
            name=config.name,
            now_ms=self._now_ms,
        )

    def _work(self) -> None:
        """Watch the source to its end; what is in view then, or at a failure, is handed over."""
        pipeline = self._pipeline = CameraPipeline(
            self._vision, self._models, camera=self.name, stills=self._stills
        )
        with self._starting:
            if not self._stopping.is_set():
                self._source.start()
        try:
            self._watch_source(pipeline)
        finally:
            self._hand_over(pipeline.flush())
        if not self._stopping.is_set():
            _log.info("source_ended", camera=self.name, sightings=pipeline.stats.sightings)

    def _watch_source(self, pipeline: CameraPipeline) -> None:
        while not self._stopping.is_set():
            frame = self._source.next_frame(_WAIT_S)
            if frame is None:
                if self._source.ended:
                    if self._source.lost:
                        raise OperationError(self._source.lost)
                    return
                if not self._own_time:
                    now = read_moment(self._now_ms)
                    self._see_clock(pipeline, now.origin_ms)
                    self._watch.silence(now.wall_ms)
                    self._hand_over(pipeline.expire(now.wall_ms))
                continue
            self._time_ms = frame.captured_at_ms
            self._see_clock(pipeline, frame.origin_ms)
            try:
                self._watch.frame(frame.image, frame.captured_at_ms)
                if self._watch.sees:
                    sightings = pipeline.process(frame)
                else:  # who is found in the dark, or in a picture that stands still, is nobody
                    sightings = pipeline.expire(frame.captured_at_ms)
                self._errors, self.failure = 0, ""
            except OperationError:
                raise
            except Exception as error:  # one frame that a library stumbles over is not the end
                self._stumbled(error)
                continue
            finally:
                frame.wipe()
            self._hand_over(sightings)

    def _see_clock(self, pipeline: CameraPipeline, origin_ms: int | None) -> None:
        """When the clock has been set, end the tracks that were stamped by what it was before."""
        if origin_ms is not None and step_between(self._origin_ms, Moment(origin_ms, 0)):
            self._hand_over(pipeline.flush())
            self._watch.begin_again()
        self._origin_ms = origin_ms

    def _see_nothing(self) -> None:
        """Note that no picture comes while the camera cannot be opened."""
        now = read_moment(self._now_ms)
        if step_between(self._origin_ms, now):
            self._watch.begin_again()
        self._origin_ms = now.origin_ms
        self._watch.silence(now.wall_ms)

    def _cover(self, view: View, from_ms: int, until_ms: int) -> None:
        self.sealer.cover(view, from_ms, until_ms, origin_ms=self._origin_ms)

    def _hand_over(self, sightings: list[Sighting]) -> None:
        time_ms = self.time_ms()
        now_ms = self._now_ms() if time_ms is None else time_ms
        stills = self._pipeline.take_stills() if self._pipeline is not None else {}
        self.sealer.add(sightings, now_ms, origin_ms=self._origin_ms, stills=stills)

    def _stumbled(self, error: Exception) -> None:
        self._errors += 1
        _log.error("frame_failed", camera=self.name, exc_info=error)
        if self._errors >= _MAX_ERRORS:
            raise OperationError(
                f"{self._errors} frames in a row could not be processed; the last: {error}"
            ) from error

    def _fail(self, reason: str, error: Exception | None = None) -> None:
        news = reason != self.failure
        self.failure = reason
        if news:
            _log.error("camera_failed", camera=self.name, reason=reason, exc_info=error)


def has_own_time(config: CameraConfig) -> bool:
    """Tell whether a camera is a recording stamped by its own time, not by this machine's clock."""
    return config.pace == "fast" and not parse_source_url(config.source).live


def origin_of(config: CameraConfig) -> str:
    """Return what is said of where a camera's pictures come from (`protocol.epoch`).

    A film that is played at its own rate stands in for the camera: its coverage says so.
    """
    return RECORDING if has_own_time(config) else CAMERA_NOW


def time_source_of(config: CameraConfig) -> str:
    """Return how a camera's times are known (`protocol.v2.header`).

    Of a recording without ``recorded_at`` nobody has said when it was made: its first frame is
    stamped by this machine's clock.
    """
    return CLOCK if config.recorded_at is None else STATED
