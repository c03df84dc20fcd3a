"""Seal one camera's sightings: live envelopes within seconds, one segment when a slot has ended.

docs/protocol.md, "Envelopes". Plain sightings are held in memory until their slot's segment is
sealed, then wiped, and the slot's keys are dropped. Slots are sealed strictly one after the other:
nothing of a slot is sealed before the segment of the one before it, and nothing under a dropped
key.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import structlog

from edge_agent.batch import moved, sealed, sealed_size, why_unusable, wipe
from edge_agent.config import SealingConfig
from edge_agent.epochs import BoardEpochs, CannotAnnounce, EpochKeys
from edge_agent.outbox import Outbox, OutboxFull, SlotName
from protocol.errors import ScopeExceeded
from protocol.names import EPOCH_MS, SLOT_MS, SLOTS_PER_EPOCH, slot_start_ms
from protocol.sealing import (
    LIVE_ENVELOPE,
    SALT_BYTES,
    SEGMENT,
    Header,
    model_dimension,
)
from protocol.sightings import (
    MAX_BATCH,
    Sighting,
)
from protocol.signing import SigningKey
from runtime.clock import since_boot_ms, system_ms
from runtime.clocksteps import Moment, StepWatch, read_moment, step_between
from runtime.database import StorageError

_log = structlog.get_logger()
_T = TypeVar("_T")

MAX_SEGMENT_BYTES = 6 << 20
_MOST_STEPS = 8


class ClockWasSet(Exception):
    """The clock has been set since the slots and keys at hand were chosen by it."""


def _salt(kind: str) -> bytes:
    """Draw a salt whose first bit tells the kind.

    A segment takes the numbers of live envelopes that nobody was handed, under the same keys. What
    was deleted may still be found on a stolen disk, so the two must not share a nonce by chance
    either.
    """
    drawn = bytearray(os.urandom(SALT_BYTES))
    drawn[0] = drawn[0] & 0x7F | (0x80 if kind == SEGMENT else 0)
    return bytes(drawn)


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


@dataclass(slots=True)
class _Bucket:
    """The plain sightings of one slot; the first ``live`` of them are in live envelopes."""

    sightings: list[Sighting] = field(default_factory=list)
    size: int = 0
    live: int = 0
    oldest_s: float = 0.0  # monotonic arrival of the first that is in no live envelope


class CameraSealer:
    """Takes a camera's sightings and puts sealed envelopes into the outbox. Any thread.

    Times given to it as ``now_ms`` are the camera's: the wall clock, or a recording's own time.

    Args:
        epochs: announces the camera's epochs.
        outbox: takes the envelopes.
        board: signs.
        model_id: of the face templates.
        config: when to seal.
        max_segment_bytes: largest segment; a slot with more gets a second generation.
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
        model_id: str,
        config: SealingConfig,
        max_segment_bytes: int = MAX_SEGMENT_BYTES,
        own_time: bool = False,
        wall_ms: Callable[[], int] = system_ms,
        boot_ms: Callable[[], int] = since_boot_ms,
    ) -> None:
        self.address = epochs.address
        self._epochs = epochs
        self._outbox = outbox
        self._board = board
        self._models = {"face": model_id}
        self._dimension = model_dimension(model_id)
        self._config = config
        self._max_bytes = max_segment_bytes
        self._own_time = own_time
        self._wall_ms = wall_ms
        self._boot_ms = boot_ms
        self._steps = StepWatch()
        self._lock = threading.RLock()
        self._buckets: dict[int, _Bucket] = {}  # by slot number since 1970
        self._keys: EpochKeys | None = None
        self._floor = 0  # slots before this number are sealed and forgotten
        self._waiting_for = ""
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
                now = read_moment(self._wall_ms, self._boot_ms)  # anew: one may take seconds
                self._look_at_clock(now)
                stamped = moved(sighting, step_between(origin_ms, now))
                self._put(stamped, min(now_ms, now.wall_ms))
            self.tick(now_ms)

    def _put(self, sighting: Sighting, now_ms: int) -> None:
        if (reason := why_unusable(sighting, self._dimension)) is not None:
            _log.error("sighting_unusable", camera=self.address.camera, reason=reason)
            self._outbox.count("unusable_sightings")
            return
        current = now_ms // SLOT_MS
        number = min(sighting.last_seen_ms, now_ms) // SLOT_MS
        if current < self._floor:
            self._begin_again(current, at_once=True)
        if number < self._floor:
            if now_ms - sighting.last_seen_ms >= self._config.late_s * 1000:
                self._outbox.count("late_sightings_dropped")
                wipe([sighting])
                return
            self._outbox.count("late_sightings_restamped")
            number = current
        if self._is_over(number, sealed_size(sighting, self._dimension)):
            self._begin_again(number)
        self._append(number, sighting)
        self._drop_excess()

    def _append(self, number: int, sighting: Sighting) -> None:
        """Put a sighting into the bucket of its slot, which it must not outlast.

        Whoever opens it takes a sighting that ends after its slot for a lie.
        """
        last_ms = (number + 1) * SLOT_MS - 1
        sighting = moved(sighting, min(0, last_ms - sighting.last_seen_ms))
        bucket = self._buckets.setdefault(number, _Bucket())
        if len(bucket.sightings) == bucket.live:
            bucket.oldest_s = time.monotonic()
        bucket.sightings.append(sighting)
        bucket.size += sealed_size(sighting, self._dimension)

    def _look_at_clock(self, now: Moment) -> None:
        """After the clock was set, correct the times of all that is held, and draw keys anew.

        What is sealed keeps its times; what is held would else lie in slots that are forgotten,
        have not begun, or never were (a board without a battery starts in 1970). An announcement
        by a clock that was ahead waits in quarantine at the aggregator, so that nothing sealed
        under its keys could be opened: after a step back there is a new one.
        """
        step_ms = self._steps.step_ms(now)
        if not step_ms:
            return
        held, self._buckets = self._buckets, {}
        present = now.wall_ms // SLOT_MS
        if step_ms < 0:
            self._drop_keys()
            self._floor = min(self._floor, present)
        for bucket in held.values():
            for sighting in bucket.sightings:
                corrected = moved(sighting, 0 if self._own_time else step_ms)
                number = min(corrected.last_seen_ms // SLOT_MS, present)
                if number < self._floor:
                    self._drop_keys()
                    self._floor = number
                self._append(number, corrected)
        self._outbox.count("clock_steps")
        _log.warning(
            "clock_set", camera=self.address.camera, seconds=step_ms / 1000, held=self._held()
        )

    def _not_ahead(self, now_ms: int) -> int:
        """Return the camera's time, or the wall clock's if a fast recording has run ahead of it.

        A receiver refuses what is sealed under a slot that has not begun.
        """
        return min(now_ms, self._wall_ms())

    def _held(self) -> int:
        return sum(len(bucket.sightings) for bucket in self._buckets.values())

    def _is_over(self, number: int, more: int) -> bool:
        bucket = self._buckets.get(number)
        size = bucket.size if bucket is not None else 0
        return self._held() >= self._config.max_held or size + more > self._max_bytes

    def _drop_excess(self) -> None:
        """Drop the oldest sightings when too many wait (no day keys, or the storage is broken)."""
        while self._held() > self._config.max_held:
            number = min(self._buckets)
            bucket = self._buckets[number]
            gone = bucket.sightings.pop(0)
            bucket.size -= sealed_size(gone, self._dimension)
            bucket.live = max(0, bucket.live - 1)
            if not bucket.sightings:
                del self._buckets[number]
            wipe([gone])
            self._outbox.count("held_sightings_dropped")

    # ------------------------------------------------------------------ as time goes by

    def tick(self, now_ms: int) -> None:
        """Seal what is due by ``now_ms``: ended slots' segments, then live envelopes.

        Whatever goes wrong, what is held stays held (at most ``max_held``) and is tried again.
        """
        with self._lock:
            try:
                self._by_one_clock(lambda: self._seal_due(self._not_ahead(now_ms)))
            except Exception as error:  # a key, a disk or a library: no reason to end a thread
                self._stumbled(error)
            else:
                self._recovered()

    def _seal_due(self, now_ms: int) -> None:
        open_from = (now_ms - round(self._config.grace_s * 1000)) // SLOT_MS
        while self._buckets:
            number = min(self._buckets)
            if number < open_from:
                if not self._try_close(number) and not self._give_up(number, now_ms):
                    return
            else:
                self._seal_live(number)
                return
        if now_ms // SLOT_MS < self._floor:
            self._begin_again(now_ms // SLOT_MS, at_once=True)
        self._forget_before(open_from)
        self._keys_for(max(self._floor, open_from))

    def _give_up(self, number: int, now_ms: int) -> bool:
        """Drop a slot of a past day that nobody has day keys for, when the present has some."""
        past, present = number // SLOTS_PER_EPOCH, now_ms // EPOCH_MS
        sharing = self._epochs.sharing(present)
        if past >= present or len(sharing.keys) < sharing.threshold:
            return False
        if len(self._epochs.sharing(past).keys) >= sharing.threshold:
            return False
        bucket = self._buckets.pop(number)
        _log.error("day_without_keys", camera=self.address.camera, dropped=len(bucket.sightings))
        self._outbox.count("held_sightings_dropped", len(bucket.sightings) - bucket.live)
        wipe(bucket.sightings)
        return True

    def finish(self) -> bool:
        """Seal the segments of all slots now, the running one's too; tell whether it was possible.

        For the end of a recording and of the process. Call again later if it was not.
        """
        with self._lock:
            try:
                if not self._by_one_clock(self._close_all):
                    return False
            except Exception as error:  # as in `tick`
                self._stumbled(error)
                return False
            self._recovered()
            return True

    def _close_all(self) -> bool:
        while self._buckets:
            if not self._try_close(min(self._buckets)):
                return False
        return True

    def _by_one_clock(self, work: Callable[[], _T]) -> _T:
        """Do something by the clock as it is; when it is set meanwhile, begin again by the new one.

        What has been sealed before the step stays; what is held is corrected (`_look_at_clock`).

        Raises:
            ClockWasSet: again and again; nothing that was held is gone.
        """
        for _ in range(_MOST_STEPS):
            self._look_at_clock(read_moment(self._wall_ms, self._boot_ms))
            try:
                return work()
            except ClockWasSet:
                continue
        raise ClockWasSet("the clock is set all the time")

    def _still_ms(self) -> int:
        """Return the wall clock, by which what is at hand has been put into slots.

        Raises:
            ClockWasSet: it is another clock by now.
        """
        now = read_moment(self._wall_ms, self._boot_ms)
        if step_between(self._steps.origin_ms, now):
            raise ClockWasSet
        return now.wall_ms

    def _stumbled(self, error: Exception) -> None:
        """Note that sealing failed in a way that nobody foresaw; say so once for each reason."""
        reason = f"sealing fails: {type(error).__name__}: {error}"
        self._outbox.count("sealing_failures")
        if self._failing_since_s is None:
            self._failing_since_s = time.monotonic()
        if reason != self._waiting_for:
            _log.error("sealing_failed", camera=self.address.camera, exc_info=error)
        self._waiting_for = reason

    def _recovered(self) -> None:
        if self._failing_since_s is not None:
            self._failing_since_s = None
            self._waiting_for = ""
            _log.info("sealing_works_again", camera=self.address.camera)

    def discard(self) -> int:
        """Wipe what is still held and count it as dropped; return how many sightings that were."""
        with self._lock:
            lost = 0
            for bucket in self._buckets.values():
                lost += len(bucket.sightings) - bucket.live
                wipe(bucket.sightings)
            self._buckets.clear()
            self._drop_keys()
            self._outbox.count("held_sightings_dropped", lost)
            return lost

    def stats(self) -> SealerStats:
        """Return what is held now."""
        with self._lock:
            return SealerStats(
                held=self._held(),
                generation=self._keys.generation if self._keys else 0,
                sharing=len(self._keys.sharing.keys) if self._keys else 0,
                waiting_for=self._waiting_for,
                failing_s=time.monotonic() - self._failing_since_s
                if self._failing_since_s is not None
                else 0.0,
            )

    # ------------------------------------------------------------------ keys

    def _keys_for(self, number: int) -> EpochKeys | None:
        """Return keys good for slot ``number``, announcing anew if need be; None if impossible."""
        epoch, slot = divmod(number, SLOTS_PER_EPOCH)
        keys = self._keys
        if keys is not None and keys.epoch == epoch:
            begun = any(bucket.live for bucket in self._buckets.values())
            if begun or not self._epochs.sharing(epoch).improves(keys.sharing):
                return keys
        try:
            self._keys = self._epochs.announce(epoch, first_slot=slot, now_ms=self._still_ms())
        except (CannotAnnounce, StorageError) as error:
            if str(error) != self._waiting_for:
                _log.warning("cannot_seal", camera=self.address.camera, reason=str(error))
            self._waiting_for = str(error)
            return keys if keys is not None and keys.epoch == epoch else None
        if keys is not None:
            keys.forget_before(SLOTS_PER_EPOCH)
        self._waiting_for = ""
        return self._keys

    def _forget_before(self, number: int) -> None:
        """Puncture: from now on no slot before ``number`` can be sealed under, or opened."""
        if number <= self._floor:
            return
        self._floor = number
        keys = self._keys
        if keys is not None:
            epoch, slot = divmod(number, SLOTS_PER_EPOCH)
            if epoch == keys.epoch:
                keys.forget_before(slot)
            elif epoch > keys.epoch:
                self._drop_keys()

    def _drop_keys(self) -> None:
        if self._keys is not None:
            self._keys.forget_before(SLOTS_PER_EPOCH)
            self._keys = None

    def _begin_again(self, number: int, *, at_once: bool = False) -> None:
        """Go back to a slot that has been forgotten, under a new generation.

        When time went back (``at_once``: whether or not what is held can be sealed before), and
        when a slot has more sightings than fit a segment.
        """
        if not self.finish() and not at_once:
            return
        self._drop_keys()
        self._floor = number
        self._outbox.count("generations_restarted")
        _log.warning("generation_restarted", camera=self.address.camera)

    # ------------------------------------------------------------------ sealing

    def _seal_live(self, number: int) -> None:
        bucket = self._buckets[number]
        while waiting := len(bucket.sightings) - bucket.live:
            due = time.monotonic() - bucket.oldest_s >= self._config.live_after_s
            if waiting < self._config.batch and not due:
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
            bucket.live += len(batch)
            bucket.oldest_s = time.monotonic()

    def _try_close(self, number: int) -> bool:
        """Seal the segment of a slot, wipe its sightings, puncture; tell whether it was possible.

        A slot that waited long for day keys may need several generations, one a segment.
        """
        bucket = self._buckets[number]
        while bucket.sightings:
            keys = self._keys_for(number)
            if keys is None:
                return False
            batch = self._first_segment(bucket.sightings)
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
            wipe(batch)
            del bucket.sightings[: len(batch)]
            bucket.live = 0
            if bucket.sightings:
                self._drop_keys()
        del self._buckets[number]
        self._forget_before(number + 1)
        return True

    def _first_segment(self, sightings: Sequence[Sighting]) -> list[Sighting]:
        size, count = 0, 0
        for sighting in sightings[:MAX_BATCH]:
            size += sealed_size(sighting, self._dimension)
            if size > self._max_bytes and count:
                break
            count += 1
        return list(sightings[:count])

    def _seal(
        self, kind: str, sightings: Sequence[Sighting], name: SlotName, sequence: int
    ) -> bytes:
        if self._keys is None:
            raise ScopeExceeded("there are no keys to seal under")
        # Receivers refuse what was made before its slot: so after corrections too small for a step.
        sealed_at_ms = max(self._still_ms(), slot_start_ms(name.epoch, name.slot))
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
            salt=_salt(kind),
        )
        return sealed(header, sightings, self._keys.slot_keys(name.slot), self._board)

    def _storage_failed(self, error: StorageError) -> None:
        self._outbox.count("storage_failures")
        _log.error("outbox_failed", camera=self.address.camera, reason=str(error))
