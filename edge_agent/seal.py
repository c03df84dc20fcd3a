"""Seal one camera's sightings: live envelopes within seconds, one segment when a slot has ended.

docs/protocol.md, "Envelopes". Plain sightings are held in memory until their slot's segment is
sealed, then wiped, and the slot's keys are dropped. Slots are sealed strictly one after the other:
nothing of a slot is sealed before the segment of the one before it, and nothing under a dropped
key.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from edge_agent.batch import draw_salt, moved, sealed, why_unusable, wipe
from edge_agent.config import SealingConfig
from edge_agent.cover import Cadence, LivePolicy, as_they_come
from edge_agent.epochs import BoardEpochs, EpochKeys
from edge_agent.held import HeldSightings
from edge_agent.keys_in_hand import KeysInHand
from edge_agent.outbox import Outbox, OutboxFull, SlotName
from edge_agent.steady_clock import SteadyClock
from protocol.errors import ScopeExceeded
from protocol.names import EPOCH_MS, SLOT_MS, SLOTS_PER_EPOCH, slot_start_ms
from protocol.sealing import (
    LIVE_ENVELOPE,
    SEGMENT,
    Header,
    model_dimension,
)
from protocol.sightings import Sighting
from protocol.signing import SigningKey
from runtime.clock import since_boot_ms, system_ms
from runtime.clocksteps import Moment, step_between
from runtime.database import StorageError

_log = structlog.get_logger()

MAX_SEGMENT_BYTES = 6 << 20


@dataclass(frozen=True, slots=True)
class SealerStats:
    """What a sealer holds: sightings in memory, keys' generation, and what it waits for, if so.

    ``failing_s`` is for how long sealing has failed for a reason that nobody foresaw, 0 if not.
    """

    held: int
    generation: int
    sharing: int
    waiting_for: str
    failing_s: float = 0.0


class CameraSealer:
    """Takes a camera's sightings and puts sealed envelopes into the outbox. Any thread.

    Times given to it as ``now_ms`` are the camera's: the wall clock, or a recording's own time.

    Args:
        epochs: announces the camera's epochs, and says which templates it makes.
        outbox: takes the envelopes.
        board: signs.
        config: when to seal.
        max_segment_bytes: largest segment; a slot with more gets a second generation.
        live_due: decides, by the camera's time, how live envelopes leave (`edge_agent.cover`).
        own_time: the camera is a recording whose times do not come from this machine's clock.
        wall_ms: the wall clock, for the time of sealing.
        boot_ms: the clock that nobody sets, against which steps of the first are noticed.
    """

    def __init__(
        self,
        epochs: BoardEpochs,
        *,
        outbox: Outbox,
        board: SigningKey,
        config: SealingConfig,
        max_segment_bytes: int = MAX_SEGMENT_BYTES,
        own_time: bool = False,
        live_due: LivePolicy = as_they_come,
        wall_ms: Callable[[], int] = system_ms,
        boot_ms: Callable[[], int] = since_boot_ms,
    ) -> None:
        self.address = epochs.address
        self._epochs = epochs
        self._outbox = outbox
        self._board = board
        self._models = epochs.models
        self._dimensions = {name: model_dimension(model) for name, model in epochs.models.items()}
        self._config = config
        self._own_time = own_time
        self._live_due = live_due
        self._last_live_s = -math.inf  # monotonic time of the last live envelope
        self._wall_ms = wall_ms
        self._clock = SteadyClock(wall_ms, boot_ms, self._clock_was_set)
        self._lock = threading.RLock()
        self._held = HeldSightings(
            self._dimensions, most=config.max_held, segment_bytes=max_segment_bytes
        )
        self._keys = KeysInHand(epochs, self._clock.still_ms)
        self._failure = ""
        self._failing_since_s: float | None = None

    # ------------------------------------------------------------------ in

    def add(
        self, sightings: Sequence[Sighting], now_ms: int, *, origin_ms: int | None = None
    ) -> None:
        """Take over sightings that have ended by ``now_ms``; then seal what is due.

        Args:
            sightings: to seal; wiped here once they are.
            now_ms: the camera's time.
            origin_ms: by which wall clock they were stamped (`runtime.clocksteps.Moment`): if it
                has been set since, their times are corrected. None: they need no correction.
        """
        with self._lock:
            for sighting in sightings:
                now = self._clock.look()  # anew: one may take seconds
                stamped = moved(sighting, step_between(origin_ms, now))
                self._put(stamped, min(now_ms, now.wall_ms))
            self.tick(now_ms)

    def _put(self, sighting: Sighting, now_ms: int) -> None:
        if (reason := why_unusable(sighting, self._dimensions)) is not None:
            _log.error("sighting_unusable", camera=self.address.camera, reason=reason)
            self._outbox.count("unusable_sightings")
            return
        current = now_ms // SLOT_MS
        number = min(sighting.last_seen_ms, now_ms) // SLOT_MS
        if current < self._keys.floor:
            self._begin_again(current, at_once=True)
        if number < self._keys.floor:
            if now_ms - sighting.last_seen_ms >= self._config.late_s * 1000:
                self._outbox.count("late_sightings_dropped")
                wipe([sighting])
                return
            self._outbox.count("late_sightings_restamped")
            number = current
        if not self._held.has_room(number, sighting):
            self._begin_again(number)
        self._held.put(number, sighting)
        self._outbox.count("held_sightings_dropped", self._held.drop_excess())

    def _clock_was_set(self, step_ms: int, now: Moment) -> None:
        """After the clock was set, correct the times of all that is held, and draw keys anew.

        What is sealed keeps its times; what is held would else lie in slots that are forgotten,
        have not begun, or never were (a board without a battery starts in 1970). An announcement
        by a clock that was ahead waits in quarantine at the aggregator, so that nothing sealed
        under its keys could be opened: after a step back there is a new one.
        """
        present = now.wall_ms // SLOT_MS
        if step_ms < 0:
            self._keys.go_back_to(min(self._keys.floor, present))
        for sighting in self._held.take_all():
            corrected = moved(sighting, 0 if self._own_time else step_ms)
            number = min(corrected.last_seen_ms // SLOT_MS, present)
            if number < self._keys.floor:
                self._keys.go_back_to(number)
            self._held.put(number, corrected)
        self._outbox.count("clock_steps")
        _log.warning(
            "clock_set", camera=self.address.camera, seconds=step_ms / 1000, held=len(self._held)
        )

    def _not_ahead(self, now_ms: int) -> int:
        """Return the camera's time, or the wall clock's if a fast recording has run ahead of it.

        A receiver refuses what is sealed under a slot that has not begun.
        """
        return min(now_ms, self._wall_ms())

    # ------------------------------------------------------------------ as time goes by

    def tick(self, now_ms: int) -> None:
        """Seal what is due by ``now_ms``: ended slots' segments, then live envelopes.

        Whatever goes wrong, what is held stays held (at most ``max_held``) and is tried again.
        """
        with self._lock:
            try:
                self._clock.steadily(lambda: self._seal_due(self._not_ahead(now_ms)))
            except Exception as error:  # a key, a disk or a library: no reason to end a thread
                self._stumbled(error)
            else:
                self._recovered()

    def _seal_due(self, now_ms: int) -> None:
        open_from = (now_ms - round(self._config.grace_s * 1000)) // SLOT_MS
        while (number := self._held.first) is not None:
            if number < open_from:
                if not self._try_close(number) and not self._give_up(number, now_ms):
                    return
            else:
                self._seal_live(number, self._live_due(now_ms))
                return
        if now_ms // SLOT_MS < self._keys.floor:
            self._begin_again(now_ms // SLOT_MS, at_once=True)
        self._keys.forget_before(open_from)
        self._keys_for(max(self._keys.floor, open_from))

    def _give_up(self, number: int, now_ms: int) -> bool:
        """Drop a slot of a past day that nobody has day keys for, when the present has some."""
        past, present = number // SLOTS_PER_EPOCH, now_ms // EPOCH_MS
        sharing = self._epochs.sharing(present)
        if past >= present or len(sharing.keys) < sharing.threshold:
            return False
        if len(self._epochs.sharing(past).keys) >= sharing.threshold:
            return False
        bucket = self._held.pop(number)
        _log.error("day_without_keys", camera=self.address.camera, dropped=len(bucket.sightings))
        self._outbox.count("held_sightings_dropped", bucket.waiting)
        wipe(bucket.sightings)
        return True

    def finish(self) -> bool:
        """Seal the segments of all slots now, the running one's too; tell whether it was possible.

        For the end of a recording and of the process. Call again later if it was not.
        """
        with self._lock:
            try:
                if not self._clock.steadily(self._close_all):
                    return False
            except Exception as error:  # as in `tick`
                self._stumbled(error)
                return False
            self._recovered()
            return True

    def _close_all(self) -> bool:
        while (number := self._held.first) is not None:
            if not self._try_close(number):
                return False
        return True

    def _stumbled(self, error: Exception) -> None:
        """Note that sealing failed in a way that nobody foresaw; say so once for each reason."""
        reason = f"sealing fails: {type(error).__name__}: {error}"
        self._outbox.count("sealing_failures")
        if self._failing_since_s is None:
            self._failing_since_s = time.monotonic()
        if reason != self._failure:
            _log.error("sealing_failed", camera=self.address.camera, exc_info=error)
        self._failure = reason

    def _recovered(self) -> None:
        if self._failing_since_s is not None:
            self._failing_since_s = None
            self._failure = ""
            _log.info("sealing_works_again", camera=self.address.camera)

    def discard(self) -> int:
        """Wipe what is still held and count it as dropped; return how many sightings that were."""
        with self._lock:
            lost = self._held.wipe()
            self._keys.drop()
            self._outbox.count("held_sightings_dropped", lost)
            return lost

    def stats(self) -> SealerStats:
        """Return what is held now."""
        with self._lock:
            keys = self._keys.epoch_keys
            return SealerStats(
                held=len(self._held),
                generation=keys.generation if keys else 0,
                sharing=len(keys.sharing.keys) if keys else 0,
                waiting_for=self._failure or self._keys.waiting_for,
                failing_s=time.monotonic() - self._failing_since_s
                if self._failing_since_s is not None
                else 0.0,
            )

    # ------------------------------------------------------------------ sealing

    def _keys_for(self, number: int) -> EpochKeys | None:
        begun = any(bucket.live for bucket in self._held)
        return self._keys.for_slot(number, begun=begun)

    def _begin_again(self, number: int, *, at_once: bool = False) -> None:
        """Go back to a slot that has been forgotten, under a new generation.

        When time went back (``at_once``: whether or not what is held can be sealed before), and
        when a slot has more sightings than fit a segment.
        """
        if not self.finish() and not at_once:
            return
        self._keys.go_back_to(number)
        self._outbox.count("generations_restarted")
        _log.warning("generation_restarted", camera=self.address.camera)

    def _seal_live(self, number: int, cadence: Cadence) -> None:
        bucket = self._held[number]
        while waiting := bucket.waiting:
            if not cadence.due(
                waiting=waiting,
                batch=self._config.batch,
                waited_s=time.monotonic() - bucket.oldest_s,
                live_after_s=self._config.live_after_s,
                since_s=time.monotonic() - self._last_live_s,
            ):
                return
            keys = self._keys_for(number)
            if keys is None:
                return
            batch = bucket.sightings[bucket.live : bucket.live + self._config.batch]
            name = SlotName(keys.epoch, keys.generation, number % SLOTS_PER_EPOCH)
            try:
                self._outbox.add_live(
                    self.address.camera,
                    name,
                    len(batch),
                    lambda n, b=batch, s=name: self._seal(LIVE_ENVELOPE, b, s, n),  # type: ignore[misc]
                )
            except OutboxFull:
                self._outbox.count("live_refused")  # the segment will have them
            except StorageError as error:
                self._storage_failed(error)
                return
            bucket.took_live(len(batch))
            self._last_live_s = time.monotonic()

    def _try_close(self, number: int) -> bool:
        """Seal the segment of a slot, wipe its sightings, puncture; tell whether it was possible.

        A slot that waited long for day keys may need several generations, one a segment.
        """
        bucket = self._held[number]
        while bucket.sightings:
            keys = self._keys_for(number)
            if keys is None:
                return False
            batch = self._held.first_segment(number)
            name = SlotName(keys.epoch, keys.generation, number % SLOTS_PER_EPOCH)
            try:
                self._outbox.add_segment(
                    self.address.camera,
                    name,
                    len(batch),
                    lambda n, b=batch, s=name: self._seal(SEGMENT, b, s, n),  # type: ignore[misc]
                )
            except OutboxFull as error:
                lost = len(batch) - min(bucket.live, len(batch))
                _log.error("segment_refused", camera=self.address.camera, reason=str(error))
                self._outbox.count("dropped_segment")
                self._outbox.count("dropped_segment_sightings", lost)
            except StorageError as error:
                self._storage_failed(error)
                return False
            self._outbox.count("sealed_sightings", len(batch))
            bucket.drop_first(len(batch))
            if bucket.sightings:
                self._keys.drop()
        self._held.pop(number)
        self._keys.forget_before(number + 1)
        return True

    def _seal(
        self, kind: str, sightings: Sequence[Sighting], name: SlotName, sequence: int
    ) -> bytes:
        keys = self._keys.epoch_keys
        if keys is None:
            raise ScopeExceeded("there are no keys to seal under")
        # Receivers refuse what was made before its slot: so after corrections too small for a step.
        sealed_at_ms = max(self._clock.still_ms(), slot_start_ms(name.epoch, name.slot))
        header = Header(
            kind=kind,
            address=self.address,
            epoch=name.epoch,
            generation=name.generation,
            slot=name.slot,
            sequence=sequence,
            count=len(sightings),
            models=self._models,
            sealed_at_ms=sealed_at_ms,
            salt=draw_salt(kind),
        )
        return sealed(header, sightings, keys.slot_keys(name.slot), self._board)

    def _storage_failed(self, error: StorageError) -> None:
        self._outbox.count("storage_failures")
        _log.error("outbox_failed", camera=self.address.camera, reason=str(error))
