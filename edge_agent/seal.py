"""Seal one camera's sightings: live envelopes within seconds, one segment when a slot has ended.

docs/protocol.md, "Envelopes". Plain sightings are held in memory until their slot's segment is
sealed, then wiped, and the slot's keys are dropped. Slots are sealed strictly one after the other:
nothing of a slot is sealed before the segment of the one before it, and nothing under a dropped
key. In version 2 every slot has a segment, which tells what was watched, also when nobody came; a
city's are spread over a minute, and one is sealed earlier only if a live envelope of the next slot
is due, which shows by itself that somebody came.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

import structlog

from edge_agent.batch import moved, why_unusable, wipe
from edge_agent.config import SealingConfig
from edge_agent.cover import AS_THEY_COME, LivePolicy, as_they_come
from edge_agent.coverage import CoverageBook, View, spread_ms
from edge_agent.envelopes import Contents, EnvelopeMaker
from edge_agent.epochs import BoardEpochs, EpochKeys
from edge_agent.held import Bucket, HeldSightings
from edge_agent.keys_in_hand import KeysInHand
from edge_agent.outbox import Outbox, OutboxFull, SlotName
from edge_agent.steady_clock import SteadyClock
from edge_agent.stills.guarded import GuardedStills
from edge_agent.stills.keeping import CameraStills
from edge_agent.stills.portraits import Still
from protocol.names import EPOCH_MS, SLOT_MS, SLOTS_PER_EPOCH, slot_start_ms
from protocol.sealing import (
    LIVE_ENVELOPE,
    SEGMENT,
    model_dimension,
)
from protocol.signing import SigningKey
from protocol.v2 import VERSION
from protocol.v2.counts import Counts
from protocol.v2.header import CLOCK
from protocol.v2.sightings import Sighting
from runtime.clock import since_boot_ms, system_ms
from runtime.clocksteps import Moment, step_between
from runtime.database import StorageError

_log = structlog.get_logger()

MAX_SEGMENT_BYTES = 6 << 20
_NEVER = 1 << 62


@dataclass(frozen=True, slots=True)
class SealerStats:
    """What a sealer holds: sightings in memory, keys' generation, and what it waits for, if so.

    ``slots`` are those whose coverage is to be sealed yet, the running one too;
    ``failing_s`` is for how long sealing has failed for a reason that nobody foresaw, 0 if not.
    """

    held: int
    generation: int
    sharing: int
    waiting_for: str
    failing_s: float = 0.0
    slots: int = 0


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
        counting: tells, as a segment is sealed, whether the policy permits same-place counts.
        watched: told of each slot that is sealed, by its number since 1970, and of the seconds in
            which pictures were looked at, as bits.
        stills: keeps the pictures of its sightings; None: there are none.
        own_time: the camera is a recording whose times do not come from this machine's clock; its
            segments are not spread either.
        time_source: how the times of its sightings are known.
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
        live_due: LivePolicy = as_they_come,
        counting: Callable[[], bool] = lambda: False,
        watched: Callable[[int, int], None] = lambda _number, _seconds: None,
        stills: CameraStills | None = None,
        own_time: bool = False,
        time_source: str = CLOCK,
        wall_ms: Callable[[], int] = system_ms,
        boot_ms: Callable[[], int] = since_boot_ms,
    ) -> None:
        self.address = epochs.address
        self._epochs = epochs
        self._outbox = outbox
        self._maker = EnvelopeMaker(epochs.models, board, epochs.origin, time_source)
        self._dimensions = {name: model_dimension(model) for name, model in epochs.models.items()}
        self._config = config
        self._own_time = own_time
        self._live_due = live_due
        self._counting = counting
        self._watched = watched
        self._cadence = AS_THEY_COME
        self._last_live_s = -math.inf  # monotonic time of the last live envelope
        self._wall_ms = wall_ms
        self._clock = SteadyClock(wall_ms, boot_ms, self._clock_was_set)
        self._lock = threading.RLock()
        self._held = HeldSightings(
            self._dimensions, most=config.max_held, segment_bytes=max_segment_bytes
        )
        self._coverage = CoverageBook()
        self._spread_ms = 0 if own_time else spread_ms(epochs.address)
        self._stills = GuardedStills(
            self.address.camera, stills, lambda: outbox.count("still_failures")
        )
        self._keys = KeysInHand(epochs, self._clock.still_ms, replacing=self._stills.carry_over)
        self._failure = ""
        self._failing_since_s: float | None = None

    # ------------------------------------------------------------------ in

    def add(
        self,
        sightings: Sequence[Sighting],
        now_ms: int,
        *,
        origin_ms: int | None = None,
        stills: Mapping[bytes, Still] = MappingProxyType({}),
    ) -> None:
        """Take over sightings that have ended by ``now_ms``; then seal what is due.

        Args:
            sightings: to seal; wiped here once they are.
            now_ms: the camera's time.
            origin_ms: by which wall clock they were stamped (`runtime.clocksteps.Moment`): if it
                has been set since, their times are corrected. None: they need no correction.
            stills: of some of them, by the sighting's id; wiped here, too.
        """
        with self._lock:
            for sighting in sightings:
                now = self._clock.look()  # anew: one may take seconds
                stamped = moved(sighting, step_between(origin_ms, now))
                number = self._put(stamped, min(now_ms, now.wall_ms), now.origin_ms)
                self._stills.hold(number, sighting.sighting_id, stills.get(sighting.sighting_id))
            self.tick(now_ms)

    def _draw_keys_for_stills(self) -> None:
        """Announce the day of a still that waits, once nothing of the day before is to be sealed.

        A sighting can wait for its segment, and is why no keys are in hand; a picture should not.
        """
        waits, first = self._stills.first_waiting, self._first_before(_NEVER)
        if waits is None or first is None or waits // SLOTS_PER_EPOCH != first // SLOTS_PER_EPOCH:
            return
        keys = self._keys.epoch_keys
        if keys is None or keys.epoch != first // SLOTS_PER_EPOCH:
            self._keys_for(first)

    def cover(
        self, view: View, from_ms: int, until_ms: int, *, origin_ms: int | None = None
    ) -> None:
        """Note what the camera saw from one moment until before another.

        Of slots that are sealed already, or have not begun, nothing is noted.

        Args:
            view: what.
            from_ms: from when, by the camera's time.
            until_ms: until when.
            origin_ms: as for :meth:`add`.
        """
        with self._lock:
            now = self._clock.look()
            step_ms = step_between(origin_ms, now)
            self._coverage.tell(
                view,
                from_ms + step_ms,
                until_ms + step_ms,
                floor=self._keys.floor,
                end=now.wall_ms // SLOT_MS + 1,
            )

    def _put(self, sighting: Sighting, now_ms: int, origin_ms: int) -> int | None:
        """Hold a sighting that was stamped by the wall clock of ``origin_ms``.

        Returns:
            the number of the slot that it is held in; None if it was dropped.
        """
        if (reason := why_unusable(sighting, self._dimensions)) is not None:
            _log.error("sighting_unusable", camera=self.address.camera, reason=reason)
            self._outbox.count("unusable_sightings")
            return None
        current = now_ms // SLOT_MS
        number = min(sighting.row.last_ms, now_ms) // SLOT_MS
        if current < self._keys.floor:
            self._begin_again(current, at_once=True)
        if number < self._keys.floor:
            if now_ms - sighting.row.last_ms >= self._config.late_s * 1000:
                self._outbox.count("late_sightings_dropped")
                wipe([sighting])
                return None
            self._outbox.count("late_sightings_restamped")
            number = current
        if not self._held.has_room(number, sighting):
            self._begin_again(number)
            now = self._clock.look()
            if (step_ms := step_between(origin_ms, now)) and not self._own_time:
                sighting = moved(sighting, step_ms)  # set while what was held was sealed
                number = min(sighting.row.last_ms, now.wall_ms) // SLOT_MS
                self._keys.go_back_to(number)
        self._held.put(number, sighting)
        self._outbox.count("held_sightings_dropped", self._held.drop_excess())
        return number

    def _clock_was_set(self, step_ms: int, now: Moment) -> None:
        """After the clock was set, correct the times of all that is held, and draw keys anew.

        What is sealed keeps its times; what is held would else lie in slots that are forgotten,
        have not begun, or never were (a board without a battery starts in 1970). An announcement
        by a clock that was ahead waits in quarantine at the aggregator, so that nothing sealed
        under its keys could be opened: after a step back there is a new one.
        """
        present = now.wall_ms // SLOT_MS
        self._stills.forget()
        if step_ms < 0:
            self._keys.go_back_to(min(self._keys.floor, present))
        if not self._own_time:
            self._coverage.move(step_ms, end=present + 1)
            self._keys.go_back_if(self._coverage.first_before(self._keys.floor))
        for sighting in self._held.take_all():
            corrected = moved(sighting, 0 if self._own_time else step_ms)
            number = min(corrected.row.last_ms // SLOT_MS, present)
            self._keys.go_back_if(number)
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
            self._stills.seal(self._keys.epoch_keys, self._keys.floor)
            try:
                self._clock.steadily(lambda: self._seal_due(self._not_ahead(now_ms)))
                self._clock.steadily(self._draw_keys_for_stills)
            except Exception as error:  # a key, a disk or a library: no reason to end a thread
                self._stumbled(error)
            else:
                self._recovered()
            self._stills.seal(self._keys.epoch_keys, self._keys.floor)

    def _seal_due(self, now_ms: int) -> None:
        open_from = (now_ms - round(self._config.grace_s * 1000)) // SLOT_MS
        self._cadence = self._live_due(now_ms)
        while (number := self._first_before(open_from)) is not None:
            if not self._is_time_for(number, now_ms):
                self._seal_live(number)
                return
            if not self._try_close(number) and not self._give_up(number, now_ms):
                return
        if (number := self._held.first) is not None and not self._cadence.every_s:
            self._seal_live(number)
            return
        if now_ms // SLOT_MS < self._keys.floor:
            self._begin_again(now_ms // SLOT_MS, at_once=True)
        self._keys.forget_before(open_from)
        self._coverage.forget_before(open_from)
        number = max(self._keys.floor, open_from)
        if self._keys_for(number) is not None:
            self._seal_live(number)

    def _first_before(self, number: int) -> int | None:
        """Return the earliest slot before ``number`` that has something to be sealed."""
        covered = self._coverage.first_before(number) if self._every_slot else None
        held = self._held.first
        found = [one for one in (held, covered) if one is not None and one < number]
        return min(found, default=None)

    @property
    def _every_slot(self) -> bool:
        """Whether slots in which nobody came have a segment, too."""
        keys = self._keys.epoch_keys
        return max(self._epochs.version, keys.version if keys else 1) >= VERSION

    def _is_time_for(self, number: int, now_ms: int) -> bool:
        """Tell whether an ended slot's segment is to be sealed, and not only so that all can be."""
        if not self._every_slot:
            return True
        ended_ms = (number + 1) * SLOT_MS + round(self._config.grace_s * 1000)
        if now_ms >= ended_ms + self._spread_ms:
            return True
        if self._cadence.every_s:  # else the segment's time would tell that somebody came
            return False
        return any(self._is_live_due(later) for later in self._held.after(number))

    def _is_live_due(self, bucket: Bucket) -> bool:
        """Tell whether a live envelope is to leave now; under a steady cover, an empty one too."""
        return self._cadence.due(
            waiting=bucket.waiting,
            batch=self._config.batch,
            waited_s=time.monotonic() - bucket.oldest_s,
            live_after_s=self._config.live_after_s,
            since_s=time.monotonic() - self._last_live_s,
        )

    def _give_up(self, number: int, now_ms: int) -> bool:
        """Drop a slot of a past day that nobody has day keys for, when the present has some."""
        past, present = number // SLOTS_PER_EPOCH, now_ms // EPOCH_MS
        sharing = self._epochs.sharing(present)
        if past >= present or len(sharing.keys) < sharing.threshold:
            return False
        if len(self._epochs.sharing(past).keys) >= sharing.threshold:
            return False
        bucket = self._held.pop(number)
        self._coverage.drop(number)
        if bucket.sightings:
            dropped = len(bucket.sightings)
            _log.error("day_without_keys", camera=self.address.camera, dropped=dropped)
        self._outbox.count("held_sightings_dropped", bucket.waiting)
        wipe(bucket.sightings)
        return True

    def finish(self) -> bool:
        """Seal the segments of all slots now, the running one's too; tell whether it was possible.

        For the end of a recording and of the process. Call again later if it was not.
        """
        with self._lock:
            self._stills.seal(self._keys.epoch_keys, self._keys.floor)
            try:
                if not self._clock.steadily(self._close_all):
                    return False
            except Exception as error:  # as in `tick`
                self._stumbled(error)
                return False
            self._recovered()
            return True

    def _close_all(self) -> bool:
        while (number := self._first_before(_NEVER)) is not None:
            if not self._try_close(number):
                return False
        self._coverage.clear()
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
            self._stills.forget()
            self._keys.drop()
            self._coverage.clear()
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
                slots=len(self._coverage) if self._every_slot else 0,
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

    def _seal_live(self, number: int) -> None:
        bucket = self._held[number]
        while self._is_live_due(bucket):
            keys = self._keys_for(number)
            if keys is None:
                return
            most = min(self._config.batch, self._cadence.most)
            batch = self._held.fitting(number, bucket.live, most)
            if not batch and keys.version < VERSION:
                return  # version 1 has no empty ones
            name = SlotName(keys.epoch, keys.generation, number % SLOTS_PER_EPOCH)
            seal = partial(self._seal, Contents(LIVE_ENVELOPE, batch, name.slot), keys)
            try:
                self._outbox.add_live(self.address.camera, name, len(batch), seal)
            except OutboxFull:
                self._outbox.count("live_refused")  # the segment will have them
            except StorageError as error:
                self._storage_failed(error)
                return
            bucket.took_live(len(batch))
            self._last_live_s = time.monotonic()

    def _try_close(self, number: int) -> bool:
        """Seal the segment of a slot, wipe its sightings, puncture; tell whether it was possible.

        A slot that waited long for day keys may need several generations, one a segment; the first
        tells coverage and counts, so that those of one slot add up.
        """
        bucket = self._held[number]
        counts = self._count(number)
        covered = self._every_slot and self._coverage.has(number)
        while bucket.sightings or covered:
            keys = self._keys_for(number)
            if keys is None:
                return False
            if not bucket.sightings and keys.version < VERSION:
                break  # keys of before the site read version 2 are still good
            batch = self._held.fitting(number)
            name = SlotName(keys.epoch, keys.generation, number % SLOTS_PER_EPOCH)
            coverage = self._coverage.of(number)
            contents = Contents(SEGMENT, batch, name.slot, coverage, counts)
            seal = partial(self._seal, contents, keys)
            try:
                self._outbox.add_segment(self.address.camera, name, len(batch), seal)
            except OutboxFull as error:
                lost = len(batch) - min(bucket.live, len(batch))
                _log.error("segment_refused", camera=self.address.camera, reason=str(error))
                self._outbox.count("dropped_segment")
                self._outbox.count("dropped_segment_sightings", lost)
            except StorageError as error:
                self._storage_failed(error)
                return False
            self._outbox.count("sealed_sightings", len(batch))
            if covered:
                self._tell_watched(number)
            self._coverage.drop(number)
            covered = False
            counts = None if counts is None else Counts()
            bucket.drop_first(len(batch))
            if bucket.sightings:
                self._keys.drop()
        self._coverage.drop(number)
        self._held.pop(number)
        self._keys.forget_before(number + 1)
        return True

    def _tell_watched(self, number: int) -> None:
        try:
            self._watched(number, self._coverage.seen(number))
        except StorageError as error:  # a film of that hour may be counted once more: no more
            self._storage_failed(error)

    def _count(self, number: int) -> Counts | None:
        """Count who came in a slot, where the policy permits that."""
        if not self._counting():
            return None
        return Counts.of(self._held[number].sightings, from_ms=number * SLOT_MS)

    def _seal(
        self, contents: Contents, keys: EpochKeys, sequence: int, replaces: Sequence[int] = ()
    ) -> bytes:
        # Receivers refuse what was made before its slot: so after corrections too small for a step.
        sealed_at_ms = max(self._clock.still_ms(), slot_start_ms(keys.epoch, contents.slot))
        return self._maker.make(
            contents, keys, sequence, sealed_at_ms=sealed_at_ms, replaces=replaces
        )

    def _storage_failed(self, error: StorageError) -> None:
        self._outbox.count("storage_failures")
        _log.error("outbox_failed", camera=self.address.camera, reason=str(error))
