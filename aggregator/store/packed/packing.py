"""Packs the segments of hours that are over: the body of the thread ``packer``.

One object after the other, in steps of which each is durable before the next begins: the ledger
notes the intent; the files are written; in one transaction the ledger takes them for placed and
deletes the rows. Whoever is killed between leaves an intent, and the next who packs gives it up,
deletes its files and begins anew. So two who pack at once lose and double nothing either: of one
the transaction fails, because the intent, or the rows, are gone.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace

import structlog

from aggregator.store.interface import Store
from aggregator.store.packed.format import INDEX, PARTS, NotAnObject, read_index, write
from aggregator.store.packed.place import Objects
from aggregator.store.packs import WRITING, HotSegment, Pack, PackLost, WaitingHour
from protocol.names import SLOT_MS
from runtime.clock import running_ms
from runtime.database import StorageError
from runtime.lifecycle import Stop

_log = structlog.get_logger()
MARK = "MARK"
"""A file at the place of the objects: which ledger they are of."""
_ROUND_S = 30.0
_LATE_WAIT_MS = 30 * 60 * 1000
_LATE_SEGMENTS = 256
"""Late arrivals wait for others so long, or until they are so many."""
_OBJECT_BYTES = 256 << 20
_OBJECT_SEGMENTS = 1 << 16
_TELL_EVERY = 200
MAX_MARK_BYTES = 256
_DAY_DIGITS = 9


@dataclass(frozen=True, slots=True)
class Packed:
    """What one round did; ``waiting``: hours that were over and are still in rows."""

    objects: int = 0
    segments: int = 0
    size: int = 0
    waiting: int = 0


class Packer:
    """Packs for one aggregator.

    Args:
        store: its rows and its ledger.
        objects: where the objects go.
        wait_ms: how long after its end an hour is packed, so that what is on its way is in it.
        now_ms: our clock.
        awake_ms: a clock that nobody sets.
    """

    def __init__(
        self,
        store: Store,
        objects: Objects,
        *,
        wait_ms: int,
        now_ms: Callable[[], int],
        awake_ms: Callable[[], int] = running_ms,
    ) -> None:
        self._store = store
        self._objects = objects
        self._wait_ms = wait_ms
        self._now_ms = now_ms
        self._awake_ms = awake_ms
        self._late_since: dict[tuple[int, int, int], int] = {}
        self._sure_of_place = False
        self._said = ""

    def run(self, stop: Stop) -> None:
        """Pack until ``stop``, round after round; what cannot be done is tried again."""
        while not stop.wait(_ROUND_S):
            try:
                self.round(stop)
            except StorageError as error:
                if str(error) != self._said:
                    self._said = str(error)
                    _log.warning("packing_postponed", reason=self._said)
            else:
                self._said = ""

    def round(self, stop: Stop | None = None, *, at_once: bool = False) -> Packed:
        """Finish what was left, then pack what is due.

        Args:
            at_once: late arrivals wait for no others.

        Raises:
            StorageError: ledger or place cannot be used; what was packed before stays packed.
        """
        due = self._due(at_once=at_once)
        if not due and not self._store.ledger.unsettled_packs():
            return Packed()
        self._sure_of_place = False
        self._require_place()
        self._settle()
        done = Packed(waiting=len(due))
        for hour in due:
            if stop is not None and stop.is_set():
                break
            made = self._pack(hour)
            done = Packed(
                done.objects + made.objects,
                done.segments + made.segments,
                done.size + made.size,
                done.waiting - 1,
            )
            if done.objects % _TELL_EVERY == 0:
                self._tell(done)
        self._tell(done)
        return done

    def steps(self, hour: WaitingHour) -> Iterator[Pack]:
        """Pack an hour, step by step: yields after each, so that a test can end between any two.

        Raises:
            StorageError: see `round`.
            PackLost: somebody else packed it, or gave this up.
            NotAnObject: it cannot be written in this format.
        """
        self._require_place()
        while segments := self._portion(hour):
            with self._store.writing(durable=True) as unit:
                pack = unit.ledger.begin_pack(hour, now_ms=self._now_ms())
            yield pack
            files = write(pack.name, segments)
            digest = hashlib.sha256(files[INDEX]).digest()
            read_index(pack.name, files[INDEX], digest=digest)  # as whoever reads it will
            for ending, data in files.items():
                self._objects.put(f"{pack.name.path}.{ending}", data)
                yield pack
            placed = replace(pack, digest=digest, size=sum(map(len, files.values())))
            with self._store.writing(durable=True) as unit:
                unit.ledger.place_pack(placed, [one.number for one in segments])
            yield replace(placed, segments=len(segments))

    # ------------------------------------------------------------------ inside

    def _portion(self, hour: WaitingHour) -> list[HotSegment]:
        """Return what one object holds of the segments of an hour that are still rows."""
        portion: list[HotSegment] = []
        size = 0
        with closing(self._store.ledger.hot_segments(hour)) as found:
            for one in found:
                size += len(one.header) + sum(map(len, one.blocks.values()))
                if portion and (size > _OBJECT_BYTES or len(portion) == _OBJECT_SEGMENTS):
                    break
                portion.append(one)
        return portion

    def _due(self, *, at_once: bool) -> list[WaitingHour]:
        """Return the hours to pack now, oldest first; note since when late arrivals wait."""
        over = (self._now_ms() - self._wait_ms) // SLOT_MS
        found = self._store.ledger.waiting_hours(over_slot=over)
        awake, before = self._awake_ms(), self._late_since
        self._late_since = {
            (hour.epoch, hour.shard, hour.hour): before.get(
                (hour.epoch, hour.shard, hour.hour), awake
            )
            for hour in found
            if hour.late
        }
        return [
            hour
            for hour in found
            if not hour.late
            or at_once
            or hour.segments >= _LATE_SEGMENTS
            or awake - self._late_since[hour.epoch, hour.shard, hour.hour] >= _LATE_WAIT_MS
        ]

    def _pack(self, hour: WaitingHour) -> Packed:
        objects = segments = size = 0
        try:
            for pack in self.steps(hour):
                if pack.digest:
                    objects, segments = objects + 1, segments + pack.segments
                    size += pack.size
        except (PackLost, NotAnObject) as error:
            reason = f"{hour.epoch}/{hour.shard:04}/{hour.hour:02}: {error}"
            if reason != self._said:
                _log.warning("hour_not_packed", reason=reason)
        return Packed(objects, segments, size)

    def _settle(self) -> None:
        """Delete the files of what was given up, and whole folders of days that were dropped."""
        unsettled = self._store.ledger.unsettled_packs()
        if not unsettled:
            return
        with self._store.writing(durable=True) as unit:
            for pack in unsettled:
                if pack.state == WRITING:
                    unit.ledger.give_up_pack(pack.number)
            # Another packer may have placed one since they were read: its files stay.
            dropping = {pack.number for pack in unit.ledger.unsettled_packs()}
        unsettled = [pack for pack in unsettled if pack.number in dropping]
        if not unsettled:
            return
        kept = self._store.ledger.pack_days()
        over = {pack.name.epoch for pack in unsettled if pack.digest} - kept
        if over:
            for day in self._objects.folders():
                if not day.isdecimal() or len(day) > _DAY_DIGITS:
                    continue  # not ours, whatever the place lists
                if int(day) <= max(over) and int(day) not in kept:
                    self._objects.delete_folder(day)
        for pack in unsettled:
            if pack.name.epoch not in over:
                endings = (*PARTS, INDEX)
                self._objects.delete([f"{pack.name.path}.{ending}" for ending in endings])
        with self._store.writing() as unit:
            for pack in unsettled:
                unit.ledger.forget_pack(pack.number)
        _log.info("packs_dropped", objects=len(unsettled), days=sorted(over))

    def _require_place(self) -> None:
        """Check that the place is this ledger's, and there; mark one that is new.

        Raises:
            StorageError: it is another's, or its mark is gone (a volume that is not mounted).
        """
        if self._sure_of_place:
            return
        wanted, url = self._store.ledger.pack_place(), self._objects.place.url
        data = self._objects.get(MARK, most=MAX_MARK_BYTES)
        found = None if data is None else bytes(data[:MAX_MARK_BYTES]).decode("ascii", "replace")
        if found is not None and found != wanted:
            raise StorageError(
                f"{url} holds packed segments of another ledger: give [objects] place a folder or "
                "prefix that is empty; nothing is packed until then"
            )
        if found is None and self._store.ledger.pack_days():
            raise StorageError(
                f"{url} has lost its file {MARK}, and this ledger's objects with it? Mount it or "
                "restore it from a backup; nothing is packed until then"
            )
        if wanted is None:
            wanted = secrets.token_hex(16)
            with self._store.writing(durable=True) as unit:
                unit.ledger.mark_pack_place(wanted)
        if found is None:
            self._objects.put(MARK, wanted.encode("ascii"))
        self._sure_of_place = True

    def _tell(self, done: Packed) -> None:
        if done.objects:
            _log.info(
                "segments_packed",
                objects=done.objects,
                segments=done.segments,
                bytes=done.size,
                hours_left=done.waiting,
            )
