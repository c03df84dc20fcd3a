"""One camera's thread: frames in, sightings out to its sealer, whatever one camera does."""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog

from edge_agent.capture import CaptureStats, FrameSource
from edge_agent.config import CameraConfig, start_ms
from edge_agent.health import ENDED, FAILED, SILENT, WORKING, CameraFigures
from edge_agent.seal import CameraSealer
from edge_agent.sources import wall_clock_ms
from edge_agent.vision.config import VisionConfig
from edge_agent.vision.models import VisionModels
from edge_agent.vision.pipeline import CameraPipeline
from runtime.errors import OperationError

_log = structlog.get_logger()

_WAIT_S = 0.5
_MAX_ERRORS = 50


class CameraWorker:
    """Watches one camera until its source ends or `stop` is called.

    Args:
        config: of the camera.
        vision: of the box; the camera's own settings are put in here.
        models: shared by all cameras.
        sealer: takes the sightings.
        now_ms: the wall clock.

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
        now_ms: Callable[[], int] = wall_clock_ms,
    ) -> None:
        self.name = config.name
        self.sealer = sealer
        self._vision = config.vision(vision)
        self._models = models
        self._now_ms = now_ms
        self._source = FrameSource(
            config.source,
            pace=config.pace,
            loop=config.loop,
            start_ms=start_ms(config.recorded_at),
            name=config.name,
        )
        self._own_time = config.pace == "fast" and not self._source.source.live
        self._time_ms: int | None = None  # of the last frame
        self._pipeline: CameraPipeline | None = None
        self._stopping = False
        self._starting = threading.Lock()
        self._errors = 0
        self.failure = ""
        """Why this camera cannot work; empty while it can."""
        self.ended = False
        """Whether no more sightings will come."""

    def run(self) -> None:
        """Work until the end; the target of the thread ``camera-<name>``."""
        try:
            self._pipeline = CameraPipeline(self._vision, self._models, camera=self.name)
            with self._starting:
                if not self._stopping:
                    self._source.start()
            self._watch(self._pipeline)
        except OperationError as error:
            self._fail(str(error))
        finally:
            self._source.stop()
            self.ended = True

    def stop(self) -> None:
        """Ask the thread to end; it closes its tracks and hands over their sightings first."""
        self._stopping = True
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
            held=held.held,
            waiting=bool(held.waiting_for),
            generation=held.generation,
        )

    def _watch(self, pipeline: CameraPipeline) -> None:
        while not self._stopping:
            frame = self._source.next_frame(_WAIT_S)
            if frame is None:
                if self._source.ended:
                    break
                if not self._own_time:
                    now_ms = self._now_ms()
                    self.sealer.add(pipeline.expire(now_ms), now_ms)
                continue
            self._time_ms = frame.captured_at_ms
            try:
                sightings = pipeline.process(frame)
                self._errors = 0
            except OperationError:
                raise
            except Exception as error:  # one frame that a library stumbles over is not the end
                self._stumbled(error)
                continue
            finally:
                frame.wipe()
            self.sealer.add(sightings, self._now())
        self.sealer.add(pipeline.flush(), self._now())
        if not self._stopping:
            _log.info("source_ended", camera=self.name, sightings=pipeline.stats.sightings)

    def _now(self) -> int:
        time_ms = self.time_ms()
        return self._now_ms() if time_ms is None else time_ms

    def _stumbled(self, error: Exception) -> None:
        self._errors += 1
        _log.error("frame_failed", camera=self.name, exc_info=error)
        if self._errors >= _MAX_ERRORS:
            raise OperationError(
                f"{self._errors} frames in a row could not be processed; the last: {error}"
            ) from error

    def _fail(self, reason: str) -> None:
        self.failure = reason
        _log.error("camera_failed", camera=self.name, reason=reason)
