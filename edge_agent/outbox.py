"""Keep sealed messages, in sequence, until the aggregator's receipt says that it has them.

Only sealed bytes, and what an envelope's header says in the clear, ever come here. Each camera's
announcements and envelopes share one sequence without gaps; a number is assigned in the transaction
that stores the message. A message is *queued* until the publisher takes it, *sent* until the broker
answers, *acknowledged* until a receipt covers it; then it is deleted. The last two are kept in
memory only: after a restart what is here is queued again, and the receiver drops duplicates.

While the disk is full, new messages wait in memory and are not published before they are stored,
so that a crash cannot give a sequence number two meanings.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import structlog

from edge_agent.outbox_memory import WaitingRows
from edge_agent.outbox_queue import CameraQueue, Message, OutboxStats
from edge_agent.outbox_store import EPOCH, LIVE, SEGMENT, OutboxFull, Row, SlotName, Store
from runtime.database import StorageFull

__all__ = [
    "EPOCH",
    "LIVE",
    "SEGMENT",
    "Message",
    "Outbox",
    "OutboxFull",
    "OutboxStats",
    "SlotName",
]

_log = structlog.get_logger()

_MISSING_PAUSE_S = 10.0


class Outbox:
    """The sealed messages of all cameras of a box. Safe to use from any thread.

    Args:
        path: the SQLite file; its folder must exist.
        max_bytes: most bytes of messages on disk.
        memory_bytes: most bytes of messages in memory while the disk is full.
        max_pages: refuse to let the file grow beyond so many pages, as a full disk would.

    Raises:
        StorageError: the file cannot be opened.
    """

    def __init__(
        self, path: Path, *, max_bytes: int, memory_bytes: int, max_pages: int | None = None
    ) -> None:
        self._store = Store(path, max_bytes=max_bytes, max_pages=max_pages)
        self._lock = threading.RLock()
        self._arrived = threading.Event()
        self._waiting = WaitingRows(memory_bytes)
        self._disk_full = False
        self._closed = False
        self._turn = 0
        self._counters = self._store.counters()
        self._unsaved: set[str] = set()
        self._cameras = {
            name: CameraQueue(sequence, generation)
            for name, (sequence, generation) in self._store.cameras().items()
        }
        for camera, sequence in self._store.sequences():
            self._cameras[camera].enqueue(sequence)

    # ------------------------------------------------------------------ what sealing needs

    def begin_camera(self, camera: str) -> None:
        """Make ``camera`` known; its sequence begins at 0 or goes on where it was.

        Raises:
            StorageError: it cannot be stored.
        """
        with self._lock:
            state = self._cameras.setdefault(camera, CameraQueue())
            self._store.save(cameras={camera: state.numbers}, counters={})

    def knows(self, camera: str) -> bool:
        """Tell whether ``camera`` has been begun here, or a receipt for it has come."""
        with self._lock:
            return camera in self._cameras

    def announce(
        self, camera: str, epoch: int, *, now_ms: int, build: Callable[[int, int], bytes]
    ) -> int:
        """Store an epoch announcement and return its generation.

        Args:
            camera: whose.
            epoch: of which UTC day.
            now_ms: the wall clock; a generation is at least its seconds, so that it still rises
                after the box has lost its state.
            build: makes the signed announcement from (generation, sequence).
        """
        with self._lock:
            state = self._cameras[camera]
            before = state.generation
            state.generation = max(before + 1, now_ms // 1000)
            name = SlotName(epoch, state.generation, -1)
            try:
                self._append(camera, EPOCH, name, 0, lambda n: build(name.generation, n))
            except BaseException:
                state.generation = before
                raise
            return name.generation

    def add_live(
        self, camera: str, name: SlotName, sightings: int, build: Callable[[int], bytes]
    ) -> None:
        """Store a live envelope; ``build`` makes it from its sequence number.

        Raises:
            OutboxFull: no room; its sightings are still to come in the slot's segment.
        """
        with self._lock:
            sequence = self._append(camera, LIVE, name, sightings, build)
            self._cameras[camera].note_live(sequence, name)

    def add_segment(
        self,
        camera: str,
        name: SlotName,
        sightings: int,
        build: Callable[[int, Sequence[int]], bytes],
    ) -> None:
        """Store the segment of a slot.

        It takes the place, and the sequence numbers, of those of the slot's live envelopes that
        were never handed to the publisher: nobody has seen them, and the segment has all of them.

        Args:
            camera: whose.
            name: of which slot.
            sightings: how many are in it.
            build: makes it from its sequence number and those of the slot's live envelopes before
                it, ascending: headquarters may have them, and the segment replaces them.

        Raises:
            OutboxFull: no room, even without any live envelope.
        """
        with self._lock:
            live = self._cameras[camera].live_of(name)
            self._append(
                camera,
                SEGMENT,
                name,
                sightings,
                lambda number: build(number, [one for one in live if one < number]),
            )
            self._cameras[camera].forget_live(name)

    def _append(
        self,
        camera: str,
        kind: str,
        name: SlotName,
        sightings: int,
        build: Callable[[int], bytes],
    ) -> int:
        """Give the message its number and store it, on disk or, while that is full, in memory."""
        self._store_waiting()
        state = self._cameras[camera]
        before = state.next_sequence
        unseen = state.unseen(name) if kind == SEGMENT else []
        sequence = unseen[0] if unseen else before
        row = Row(camera, sequence, kind, name, sightings, build(sequence))
        state.next_sequence = sequence + 1
        stored = False
        try:
            if not self._waiting:
                self._insert(row, replaced=unseen)
                stored = True
        except StorageFull:
            _log.warning("disk_full", camera=camera, in_memory=len(self._waiting) + 1)
        except BaseException:
            state.next_sequence = before
            raise
        if not stored:
            self._keep_in_memory(row, replaced=unseen)
        return sequence

    def _insert(self, row: Row, *, replaced: Sequence[int] = ()) -> None:
        state = self._cameras[row.camera]
        sent = {(name, n) for name, camera in self._cameras.items() for n in camera.sent}
        removed = self._store.insert(row, camera=state.numbers, counters=self._counters, spare=sent)
        for name, amount in removed.counts.items():
            self._counters[name] = self._counters.get(name, 0) + amount
        for camera, sequence in removed.messages:
            self._cameras[camera].forget(sequence)
        for sequence in replaced:
            state.forget(sequence)
        state.enqueue(row.sequence)
        self._arrived.set()

    def _keep_in_memory(self, row: Row, *, replaced: Sequence[int]) -> None:
        self._disk_full = True
        self.count("disk_full")
        state = self._cameras[row.camera]
        for sequence in replaced:  # on disk they stay until the segment is: a crash may need them
            state.forget(sequence)
        for victim in self._waiting.add(row, replaced=replaced):
            self._cameras[victim.camera].forget(victim.sequence)
            self._count_drop(victim)

    def _store_waiting(self) -> None:
        waited = bool(self._waiting)
        while (row := self._waiting.first) is not None:
            try:
                self._insert(row)
            except StorageFull:
                return
            except OutboxFull:
                self._count_drop(row)
            self._waiting.drop_first()
        if waited:
            self._note_room()

    def _note_room(self) -> None:
        """Note that a writing has succeeded and nothing waits: the disk is not full any more."""
        if self._disk_full and not self._waiting:
            self._disk_full = False
            _log.info("disk_has_room_again")

    def _count_drop(self, row: Row) -> None:
        self.count(f"dropped_{row.kind}")
        self.count(f"dropped_{row.kind}_sightings", row.sightings)

    # ------------------------------------------------------------------ what publishing needs

    def wait(self, timeout_s: float) -> None:
        """Wait until there may be something new to take, or `wake` is called."""
        self._arrived.wait(timeout_s)
        self._arrived.clear()

    def wake(self) -> None:
        """End a `wait`."""
        self._arrived.set()

    def take(self, limit: int) -> list[Message]:
        """Hand out up to ``limit`` queued messages, each camera's in sequence, cameras in turn.

        They are *sent* until `acknowledged` or `give_back` is called for each.
        """
        taken: list[Message] = []
        with self._lock:
            names = sorted(self._cameras)
            self._turn += 1
            for place in range(len(names)):
                camera = names[(place + self._turn) % len(names)]
                state = self._cameras[camera]
                share = -(-(limit - len(taken)) // (len(names) - place))
                while share > 0 and (sequence := state.dequeue()) is not None:
                    state.fresh.pop(sequence, None)
                    found = self._store.read(camera, sequence)
                    if found is not None:
                        state.sent.add(sequence)
                        taken.append(Message(camera, sequence, *found))
                        share -= 1
        return taken

    def acknowledged(self, camera: str, sequence: int) -> None:
        """Note that the broker has a message; it is kept until a receipt covers it."""
        with self._lock:
            state = self._cameras[camera]
            if sequence in state.sent:
                state.sent.discard(sequence)
                state.acknowledged[sequence] = time.monotonic()

    def give_back(self, camera: str, sequence: int) -> None:
        """Queue a message again that was not delivered."""
        with self._lock:
            state = self._cameras[camera]
            if sequence in state.sent:
                state.sent.discard(sequence)
                state.enqueue(sequence)
        self._arrived.set()

    def give_up(self, camera: str, sequence: int) -> None:
        """Leave a message out for this run: it is larger than the broker takes.

        It stays on disk, in case the limit is raised.
        """
        with self._lock:
            self._cameras[camera].sent.discard(sequence)
            self.count("too_large_for_broker")

    def requeue_unreceipted(self, *, older_than_s: float = 0.0) -> int:
        """Queue again what the broker took so long ago and no receipt covers; return how many.

        The time doubles with each time that a message is queued again.
        """
        count = 0
        with self._lock:
            for state in self._cameras.values():
                count += len(state.send_again(list(state.acknowledged), after_s=older_than_s))
            self.count("resent_messages", count)
        if count:
            self._arrived.set()
        return count

    def receipt(
        self, camera: str, *, stored_through: int, missing: Sequence[int], issued_at_ms: int
    ) -> int:
        """Delete what a verified receipt covers, queue again what it misses; return the former.

        A receipt that covers numbers never given out here shows that this box has lost its state:
        the sequence goes on after it, and what was kept under its old numbers counts as lost.

        Raises:
            StorageError: nothing has changed; try again.
        """
        with self._lock:
            state = self._cameras.setdefault(camera, CameraQueue())
            if issued_at_ms < state.receipt_ms:
                return 0
            reset = stored_through >= state.next_sequence
            if reset:
                _log.warning("sequence_was_lost", camera=camera, goes_on_at=stored_through + 1)
                state.next_sequence = stored_through + 1
                state.fresh.clear()
                state.live.clear()
                self._store.save(cameras={camera: state.numbers}, counters={})
                self.count("sequence_resets")
            gone = self._store.delete_through(camera, stored_through, but=missing)
            state.receipt_ms = issued_at_ms
            for sequence in gone:
                state.forget(sequence)
            if reset:
                self.count("lost_to_reset", len(gone))
            again = state.send_again(missing, after_s=_MISSING_PAUSE_S, soon=True)
            self.count("resent_messages", len(again))
        if again:
            _log.info("resending_missing", camera=camera, messages=len(again))
            self._arrived.set()
        return len(gone)

    # ------------------------------------------------------------------ upkeep

    def count(self, name: str, amount: int = 1) -> None:
        """Add to a counter that outlives the process (saved by `upkeep` and `close`)."""
        with self._lock:
            if amount:
                self._counters[name] = self._counters.get(name, 0) + amount
                self._unsaved.add(name)

    def upkeep(self) -> None:
        """Store what waits in memory, save counters, give freed pages back to the disk."""
        with self._lock:
            try:
                self._store_waiting()
                if self._unsaved:
                    changed = {name: self._counters[name] for name in self._unsaved}
                    self._store.save(cameras={}, counters=changed)
                    self._unsaved.clear()
                    self._note_room()
                self._store.shrink()
            except StorageFull:
                self._disk_full = True

    def stats(self) -> OutboxStats:
        """Return what is kept and counted."""
        with self._lock:
            states = list(self._cameras.values())
            return OutboxStats(
                queued=sum(len(state.queued) for state in states),
                sent=sum(len(state.sent) for state in states),
                acknowledged=sum(len(state.acknowledged) for state in states),
                in_memory=len(self._waiting),
                bytes_kept=self._store.kept_bytes,
                disk_full=self._disk_full,
                counters=dict(self._counters),
            )

    def next_sequence(self, camera: str) -> int:
        """Return the sequence number that the next message of ``camera`` will have."""
        with self._lock:
            return self._cameras[camera].next_sequence

    def generation(self, camera: str) -> int:
        """Return the generation last announced for ``camera``; 0 before the first."""
        with self._lock:
            return self._cameras[camera].generation if camera in self._cameras else 0

    def idle(self, *, receipted: bool) -> bool:
        """Tell whether the broker (or with ``receipted`` the aggregator) has every message."""
        with self._lock:
            return not self._waiting and not any(
                state.queued or state.sent or (receipted and state.acknowledged)
                for state in self._cameras.values()
            )

    def close(self) -> None:
        """Save what can be saved and close the file; a second call does nothing."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self.upkeep()
                self._store.close()
