"""The box's process: cameras watched, sightings sealed, envelopes delivered, a clean end.

Threads, by name:

- ``capture-<camera>`` decodes frames and keeps the newest (`edge_agent.capture`);
- ``camera-<camera>`` runs vision on them and hands sightings to the camera's sealer;
- ``sealer`` lets time pass: live envelopes, ended slots, clock jumps, upkeep, the end of the work;
- ``publisher`` brings the outbox to the broker and takes in receipts, day keys and directories;
- ``imports`` seals what an importer on this box saw in films (`edge_agent.footage.handover`);
- ``metrics`` tells monitoring on loopback, if the configuration says so (`edge_agent.metrics`);
- ``mqtt`` and paho's own network thread keep the connection (`runtime.mqtt`);
- ``signals`` turns SIGTERM and SIGINT into a stop, SIGHUP into reading the directory again;
- the main thread waits, feeds systemd's watchdog, and brings everything down in order.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial

import cv2
import structlog

from edge_agent.camera import CameraWorker, has_own_time, origin_of, time_source_of
from edge_agent.config import BoxConfig
from edge_agent.cover import Cover
from edge_agent.epochs import BoardEpochs, DayKeyring
from edge_agent.footage.desk import ImportDesk
from edge_agent.footage.handover import ImportDoor
from edge_agent.footage.ledger import open_ledger
from edge_agent.health import CertificateEnd, figures
from edge_agent.identity import load_installed
from edge_agent.notices import Notices
from edge_agent.opencv import quiet_opencv
from edge_agent.outbox_recovery import mark_damaged, open_outbox
from edge_agent.publisher import Publisher
from edge_agent.seal import MAX_SEGMENT_BYTES, CameraSealer
from edge_agent.stills.desk import StillDesk
from edge_agent.troubles import TroubleFile
from edge_agent.vision.models import VisionModels, load_models
from protocol.names import epoch_of
from runtime.clock import system_ms
from runtime.clocksteps import StepWatch, read_moment
from runtime.database import damaged_files
from runtime.errors import OperationError
from runtime.fsio import private_folder
from runtime.integrity import DatabaseWatch
from runtime.lifecycle import FolderLock, Stop, Threads, signals, wait_until_stopped

_log = structlog.get_logger()

OUTBOX_FILE, DAY_KEYS_FOLDER, NOTICE_FILE = "outbox.sqlite", "day-keys", "notice.cbor"
LEDGER_FILE = "imports.sqlite"
EXIT_REVOKED = 3  # the same in edge_agent.cli, which must load fast
_TICK_S = 0.2
_UPKEEP_S = 1.0
_STUCK_S = 60.0
_SEALING_FAILS_S = 600.0
_FLUSH_S = 3.0


class SealingFails(OperationError):
    """Nothing could be sealed for long, for a reason that nobody foresaw."""


class Agent:
    """Everything that runs on a box.

    Args:
        config: of the box.
        stop: ends the process; given by tests that end it themselves.
        errand: what the process does instead of waiting for importers. It is given the desk, and
            when it has returned, and headquarters has what it sealed, the process ends.

    Raises:
        FolderInUse: an agent works in its state folder already.
        OperationError: what is installed cannot be used.
    """

    def __init__(
        self,
        config: BoxConfig,
        stop: Stop | None = None,
        *,
        errand: Callable[[ImportDesk], None] | None = None,
    ) -> None:
        self._config = config
        self._stop = stop or Stop()
        self._errand = errand
        cv2.setNumThreads(config.opencv_threads)
        quiet_opencv()
        installed = load_installed(config, read_models=False)  # load_models does
        self._board, self._trust = installed.board, installed.trust
        self._lock = FolderLock(private_folder(config.state_dir))
        self._models: VisionModels = load_models(installed.bundle, num_threads=config.model_threads)
        self._keyring = DayKeyring(
            self._trust, site=config.site, folder=config.state_dir / DAY_KEYS_FOLDER
        )
        self._notices = Notices(self._trust, file=config.state_dir / NOTICE_FILE)
        films = {one.name for one in config.recordings}
        self._stills = StillDesk(
            config.box,
            config.stills,
            folder=config.state_dir,
            board=self._board,
            trust=self._trust,
            notices=self._notices,
            films=films | {one.name for one in config.cameras if has_own_time(one)},
        )
        self._cover = Cover(self._trust, self._notices.standing)
        self._outbox = open_outbox(
            config.state_dir / OUTBOX_FILE,
            max_bytes=round(config.outbox.max_mb * 1e6),
            memory_bytes=round(config.outbox.memory_mb * 1e6),
        )
        self._ledger = open_ledger(config.state_dir / LEDGER_FILE, self._board)
        self._threads = Threads(self._stop)
        self._publisher = Publisher(
            config,
            board=self._board,
            outbox=self._outbox,
            trust=self._trust,
            keyring=self._keyring,
            notices=self._notices,
            figures=self.figures,
            stills=self._stills.answers,
            on_revoked=lambda reason: self._stop.set(reason, exit_code=EXIT_REVOKED),
            on_crash=lambda error: self._stop.set(f"callback failed: {error}", exit_code=1),
        )
        # Before anything is sealed: it looks what a killed importer left half done.
        self._desk = ImportDesk(
            site=config.site,
            box=config.box,
            trust=self._trust,
            keyring=self._keyring,
            board=self._board,
            models=self._models.models,
            outbox=self._outbox,
            ledger=self._ledger,
            counting=self._notices.permits_counts,
            heard=lambda: self._publisher.heard,
            busy={camera.name for camera in config.cameras if has_own_time(camera)},
            max_segment_bytes=self._max_segment_bytes,
            elsewhere=self._publisher.hours,
        )
        self._workers = [self._worker(camera.name) for camera in config.cameras]
        self._clock = StepWatch()
        self._troubles = TroubleFile(config.state_dir)
        self._started_s = time.monotonic()
        self._certificate = CertificateEnd(config.mqtt.tls.certificate if config.mqtt.tls else None)
        self._last_tick_s = time.monotonic()
        self._ended_s: float | None = None
        self._undelivered = 0

    def _worker(self, name: str) -> CameraWorker:
        camera = next(camera for camera in self._config.cameras if camera.name == name)
        epochs = BoardEpochs(
            self._config.address(name),
            trust=self._trust,
            keyring=self._keyring,
            board=self._board,
            models=self._models.models,
            outbox=self._outbox,
            day_keys_wait_s=self._config.sealing.day_keys_wait_s,
            may_begin=lambda: self._publisher.heard,
            origin=origin_of(camera),
        )
        sealer = CameraSealer(
            epochs,
            outbox=self._outbox,
            board=self._board,
            config=self._config.sealing,
            own_time=has_own_time(camera),
            time_source=time_source_of(camera),
            live_due=self._cover.of(name),
            counting=self._notices.permits_counts,
            stills=self._stills.of(name),
            watched=partial(self._ledger.note_live, name) if not has_own_time(camera) else _noted,
            max_segment_bytes=self._max_segment_bytes,
        )
        return CameraWorker(
            camera,
            vision=self._config.vision,
            models=self._models,
            sealer=sealer,
            stills=self._stills.wanted,
        )

    @property
    def _max_segment_bytes(self) -> int:
        return min(MAX_SEGMENT_BYTES, self._config.mqtt.max_payload_bytes * 3 // 4)

    def run(self) -> int:
        """Work until a signal, the end of the work, a crash or a revocation; return the exit code.

        The exit codes: 0 stopped or done; 1 a thread crashed, or with ``exit_when_done`` a camera
        failed or not everything was delivered in time; `EXIT_REVOKED`.
        """
        with signals(self._stop, on_reload=self._reload):
            self._threads.start("publisher", self._publisher.run)
            for worker in self._workers:
                self._threads.start(f"camera-{worker.name}", worker.run, may_end=True)
            self._threads.start("sealer", self._let_time_pass)
            self._threads.start("integrity", self._watch_outbox)
            if self._config.metrics.listen:
                self._threads.start("metrics", partial(self._tell_metrics, self._stop))
            if self._errand is None:
                door = ImportDoor(self._desk, self._config.state_dir, self._stop)
                self._threads.start("imports", door.run)
            else:
                self._threads.start("import", partial(self._do, self._errand), may_end=True)
            names = [worker.name for worker in self._workers]
            _log.info("ready", box=self._config.box, cameras=names, model=self._models.model_id)
            wait_until_stopped(
                self._stop, ready=f"watching {len(names)} cameras", healthy=self._healthy
            )
            self._bring_down()
            self._troubles.end()
        return self._stop.exit_code

    def _do(self, errand: Callable[[ImportDesk], None]) -> None:
        errand(self._desk)
        ends_s = time.monotonic() + self._config.deliver_s
        while not self._outbox.idle(receipted=True) and time.monotonic() < ends_s:
            if self._stop.wait(_TICK_S):
                return
        self._stop.set("the errand is done")

    @property
    def undelivered(self) -> int:
        """How many messages were not covered by a receipt when the process ended."""
        return self._undelivered

    def figures(self) -> dict[str, float]:
        """Return the figures of a health report."""
        today = epoch_of(system_ms())
        directory = self._trust.directory
        return figures(
            outbox=self._outbox.stats(),
            cameras={worker.name: worker.figures() for worker in self._workers},
            models=self._models.models,
            state_dir=self._config.state_dir,
            others={
                "uptime_s": round(time.monotonic() - self._started_s, 1),
                "day_keys.known": len(self._keyring.for_epoch(today)),
                "day_keys.custodians": len(directory.custodians()),
                "day_keys.needed": directory.threshold,
                "directory_version": directory.version,
                "directory_form": directory.form,
                "notice": self._notices.number,
                "clock_jumps": self._clock.steps,
                "clock_jump_s": round(self._clock.last_step_ms / 1000, 1),
                "mqtt_connections": self._publisher.connections,
                **self._certificate.figures(),
                **({f"group.{group}": 1} if (group := self._config.release_group) else {}),
                **self._stills.figures(),
                **self._trouble(),
            },
        )

    def _all_troubles(self) -> dict[str, float]:
        views = ((worker.name, worker.figures().trouble) for worker in self._workers)
        return {f"trouble.view.{name}": float(view) for name, view in views if view} | (
            self._trouble()
        )

    def _trouble(self) -> dict[str, float]:
        """Return what somebody has to look at, by name, besides what cameras see."""
        found = {f"trouble.day_keys.{name}": 1.0 for name in self._keyring.unusable()}
        for worker in self._workers:
            if worker.sealer.stats().failing_s:
                found[f"trouble.camera.{worker.name}"] = 1.0
        return found

    # ------------------------------------------------------------------ the thread `sealer`

    def _let_time_pass(self) -> None:
        upkeep_s = 0.0
        while not self._stop.wait(_TICK_S):
            self._last_tick_s = time.monotonic()
            if step_ms := self._clock.step_ms(read_moment()):
                _log.warning("clock_jump", seconds=round(step_ms / 1000, 1))
            for worker in self._workers:
                if worker.ended:
                    if worker.sealer.finish():
                        worker.sealer.discard()
                elif (time_ms := worker.time_ms()) is not None:
                    worker.sealer.tick(time_ms)
                self._see_whether_it_seals(worker)
            if time.monotonic() >= upkeep_s:
                upkeep_s = time.monotonic() + _UPKEEP_S
                self._outbox.upkeep()
                self._stills.upkeep()
                self._troubles.tell(self._all_troubles(), system_ms())
            if self._config.exit_when_done:
                self._see_whether_done()

    def _tell_metrics(self, stop: Stop) -> None:
        from edge_agent.metrics import metrics_of  # noqa: PLC0415 - only where asked for

        metrics_of(self._config, self.figures).run(stop)

    def _watch_outbox(self) -> None:
        path = self._config.state_dir / OUTBOX_FILE
        DatabaseWatch([path]).run(self._stop)
        if str(path) in damaged_files():
            # The next start puts it aside, however long it would take to find out again.
            mark_damaged(path)

    @staticmethod
    def _see_whether_it_seals(worker: CameraWorker) -> None:
        """End the process when sealing has failed for so long that only a new start may help."""
        stats = worker.sealer.stats()
        if stats.failing_s > _SEALING_FAILS_S:
            raise SealingFails(f"{worker.name}: {stats.waiting_for}")

    def _see_whether_done(self) -> None:
        if not all(worker.ended for worker in self._workers):
            return
        if self._ended_s is None:
            self._ended_s = time.monotonic()
        stats = [worker.sealer.stats() for worker in self._workers]
        held = sum(one.held for one in stats)
        if not held and not any(one.slots for one in stats) and self._outbox.idle(receipted=True):
            failed = [worker.name for worker in self._workers if worker.failure]
            reason = f"cameras failed: {', '.join(failed)}" if failed else "all done"
            self._stop.set(reason, exit_code=1 if failed else 0)
        elif time.monotonic() - self._ended_s > self._config.deliver_s:
            kept = self._outbox.stats()
            _log.error(
                "not_delivered",
                waited_s=self._config.deliver_s,
                held=held,
                queued=kept.queued + kept.sent,
                without_receipt=kept.acknowledged,
            )
            self._stop.set("not everything was delivered in time", exit_code=1)

    def _healthy(self) -> bool:
        return time.monotonic() - self._last_tick_s < _STUCK_S

    def _reload(self) -> None:
        try:
            if self._trust.reload():
                self._publisher.check_self()
        except OperationError as error:
            _log.error("reload_failed", reason=str(error))

    # ------------------------------------------------------------------ the end

    def _bring_down(self) -> None:
        """Close tracks, seal the running slot, try to deliver, close; the order matters."""
        _log.info("stopping", reason=self._stop.reason)
        deadline_s = time.monotonic() + self._config.shutdown_s
        for worker in self._workers:
            worker.stop()
        ends_s = time.monotonic() + _FLUSH_S
        self._wait(lambda: all(worker.ended for worker in self._workers), ends_s)
        for worker in self._workers:
            worker.sealer.finish()
            if lost := worker.sealer.discard():
                _log.error("sightings_lost", camera=worker.name, sightings=lost)
        if not self._publisher.revoked:
            self._outbox.wake()
            self._wait(partial(self._outbox.idle, receipted=False), deadline_s)
        self._publisher.stop(max(1.0, deadline_s - time.monotonic()))
        self._threads.join(_FLUSH_S)
        self._desk.end()
        self._ledger.close()
        self._stills.close()
        kept = self._outbox.stats()
        self._undelivered = kept.queued + kept.sent + kept.in_memory + kept.acknowledged
        self._outbox.close()
        self._lock.close()
        _log.info(
            "stopped",
            reason=self._stop.reason,
            kept=kept.queued + kept.sent + kept.in_memory,
            without_receipt=kept.acknowledged,
        )

    def _wait(self, condition: Callable[[], bool], until_s: float) -> None:
        pulse = Stop()
        while not condition() and time.monotonic() < until_s:
            pulse.wait(0.02)


def _noted(_number: int, _seconds: int) -> None:
    """Stand in for the ledger: a film is not what this box watched."""
