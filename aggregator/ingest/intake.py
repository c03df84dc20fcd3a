"""Take in what boxes send: check it in a fixed order, store it as it came, account for all of it.

Order of the checks: size, box (known, not revoked, speaks for the camera), form, topic, signature
(`aggregator.ingest.checks`); sequence (duplicate, equivocation, replay), clock, slot, retention,
form of the blocks. Before the signature nothing that a message says is believed or stored; after it
every number that a box used is accounted for as stored, quarantined or refused, so that a receipt
can cover it.
"""

from __future__ import annotations

import hashlib
import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import structlog

from aggregator.config import LimitsSection
from aggregator.ingest import quarantine
from aggregator.ingest.boxes import note_health, note_heard
from aggregator.ingest.checks import (
    Checked,
    Rejected,
    check_announcement,
    check_clock,
    check_envelope,
    check_health,
    check_times,
    rejected_for,
    topic_box,
)
from aggregator.ingest.messages import Batch, Incoming
from aggregator.ingest.positions import (
    QUARANTINED,
    REFUSED,
    STALLED_MS,
    STORED,
    Positions,
    known_digests,
    note_admitted,
    remember,
)
from aggregator.ingest.rejects import UNKNOWN, Audit, Rejects
from aggregator.ingest.sequence import Gap, Place, Position
from aggregator.store import (
    ModelNumbers,
    Store,
    drop_replaced_live,
    insert_announcement,
    insert_envelope,
    segment_blocks,
)
from protocol.directory import Directory
from protocol.errors import ClockSkew, MalformedMessage, ModelMismatch
from protocol.names import ENVELOPE, EPOCH, CameraAddress
from protocol.sealing import Envelope
from runtime.clock import since_boot_ms
from runtime.clocksteps import StepWatch, read_moment
from runtime.database import StorageError

_log = structlog.get_logger()
_DIGEST_BYTES = 16
_MOST_GAPS_TOLD = 8


@dataclass(slots=True)
class _Open:
    """A batch whose transaction is open."""

    connection: sqlite3.Connection
    directory: Directory
    now_ms: int
    result: Batch
    heard_ms: dict[str, int] = field(default_factory=dict)
    slots: set[tuple[int, int, int, int]] = field(default_factory=set)
    closed: list[tuple[CameraAddress, Gap]] = field(default_factory=list)
    restarted: list[CameraAddress] = field(default_factory=list)
    quarantine_counted: bool = False


class Intake:
    """Checks and stores batches of messages, for one site; safe to call from several threads.

    Args:
        store: where to.
        site: the site's name.
        directory: gives the newest directory.
        limits: sizes, clock skew, room in quarantine, gap grace.
        retention_days: gives the policy's retention; older epochs are refused.
        now_ms: our clock.
        boot_ms: the clock that nobody sets, against which steps of the first are noticed.
        audit: appends to the audit log; called after the batch is committed.
    """

    def __init__(
        self,
        store: Store,
        *,
        site: str,
        directory: Callable[[], Directory],
        limits: LimitsSection,
        retention_days: Callable[[], int],
        now_ms: Callable[[], int],
        boot_ms: Callable[[], int] = since_boot_ms,
        audit: Audit,
    ) -> None:
        self._store = store
        self._site = site
        self._directory = directory
        self._limits = limits
        self._retention_days = retention_days
        self._now_ms = now_ms
        self._boot_ms = boot_ms
        self._steps = StepWatch()
        self._ages_hold_from_ms = 0  # by `boot_ms`
        self._audit = audit
        self._lock = threading.RLock()
        self._positions = Positions(now_ms())
        self._rejects = Rejects(audit)
        self._models = ModelNumbers()
        self._quarantine_full = False
        self._stale = True
        self._quarantine_bytes = 0

    # ------------------------------------------------------------------ batches

    def process(self, messages: Sequence[Incoming]) -> Batch:
        """Store a batch in one transaction; only when this returns may it be acknowledged.

        Whatever a message holds, it ends as stored, duplicate, quarantined or rejected.

        Raises:
            StorageError: the store cannot take it (a full disk); nothing of the batch was kept.
        """
        try:
            with self._writing() as batch:
                for message in messages:
                    self._take(batch, message)
        except StorageError:
            raise
        except Exception as bug:
            if len(messages) > 1:
                _log.exception("batch_failed", messages=len(messages))
                total = Batch()
                for message in messages:
                    total.add(self.process([message]))
                return total
            _log.exception("message_failed", topic=messages[0].topic)
            return self._set_aside(messages[0], bug)
        return batch.result

    def admit(self, number: int) -> None:
        """Take a message out of quarantine and store it, checked again but for the clock.

        Raises:
            KeyError: there is none of that number.
            Rejected: it does not pass the other checks (any more); it stays in quarantine.
            StorageError: the store cannot be written.
        """
        with self._writing() as batch:
            topic, payload = quarantine.take(batch.connection, number)
            self._quarantine_bytes -= len(payload)
            message = Incoming(topic, payload, batch.now_ms)
            checked = self._checked(batch, message)
            position = self._positions.of(batch.connection, checked.address)
            if self._is_duplicate(batch, position, checked, message):
                note_admitted(batch.connection, position, digest=_digest(payload))
            else:
                self._advance(batch, position, checked)
                self._remember(batch, position, checked, STORED, payload)
            self._store_body(batch, position, checked, payload)
            batch.result.changed.add(checked.address)
        _log.info("quarantined_message_admitted", number=number, topic=topic)

    def report(self, box: str, reason: str, detail: str) -> None:
        """Count and audit something against a box that no single message shows.

        Raises:
            StorageError: the store cannot be written.
        """
        with self._writing() as batch:
            known = box if box in batch.directory.principals else UNKNOWN
            self._rejects.add(known, "", reason, detail, now_ms=batch.now_ms)

    def positions(self) -> list[tuple[CameraAddress, int, tuple[int, ...]]]:
        """Return, for every camera stream: stored through, and what is missing (for receipts)."""
        with self._lock:
            self._refresh()
            return [(address, *p.receipt()) for address, p in self._positions.all()]

    def position(self, address: CameraAddress) -> tuple[int, tuple[int, ...]] | None:
        """Return what a receipt for one camera may say; None when nothing of it has come."""
        with self._lock:
            self._refresh()
            found = self._positions.known(address)
            return None if found is None else found.receipt()

    def review_gaps(self) -> set[CameraAddress]:
        """Report gaps that re-ordering no longer explains; call it every few seconds.

        Returns the cameras whose receipt may now say more (see `Positions.give_up`).

        Raises:
            StorageError: the store cannot be written; try again later.
        """
        grace_ms = self._limits.gap_grace_s * 1000
        now = read_moment(self._now_ms, self._boot_ms)
        if self._steps.step_ms(now) > 0:  # what is a second old looks as old as the step is long
            self._ages_hold_from_ms = now.since_boot_ms + STALLED_MS
        patient = now.since_boot_ms < self._ages_hold_from_ms
        due: list[tuple[CameraAddress, Gap]] = []
        given_up: list[tuple[CameraAddress, Gap]] = []
        with self._writing() as batch:
            for address, position in self._positions.all():
                for gap in position.gaps:
                    if gap.reported_ms is None and batch.now_ms - gap.opened_ms >= grace_ms:
                        self._positions.report(batch.connection, gap, now_ms=batch.now_ms)
                        due.append((address, gap))
                if patient:
                    continue
                lost = self._positions.give_up(batch.connection, position, now_ms=batch.now_ms)
                given_up.extend((address, gap) for gap in lost)
            for address, first, last in _summed(due):
                named = {"box": address.box, "camera": address.camera}
                _log.warning("gap_reported", **named, first=first, last=last)
                self._audit("gap", {**named, "first": first, "last": last})
        for address, gap in given_up:
            _tell("gap_given_up", address, gap)
        return {address for address, _ in given_up}

    # ------------------------------------------------------------------ one transaction

    @contextmanager
    def _writing(self) -> Iterator[_Open]:
        """Hold the lock and a transaction; at its end store what was gathered, then tell of it."""
        with self._lock:
            self._refresh()
            try:
                with self._store.writing() as database:
                    batch = _Open(database.conn, self._directory(), self._now_ms(), Batch())
                    yield batch
                    self._finish(batch)
            except BaseException:
                self._stale = True
                self._rejects.undo()
                raise
            self._rejects.tell()
            for address, gap in batch.closed:
                _tell("gap_closed", address, gap)
            for address in batch.restarted:
                _log.warning("sequence_restarted", box=address.box, camera=address.camera)

    def _finish(self, batch: _Open) -> None:
        connection = batch.connection
        self._positions.save(connection)
        note_heard(connection, batch.heard_ms)
        self._rejects.save(connection)
        for scope in batch.slots:
            batch.result.replaced_live += drop_replaced_live(connection, *scope)

    def _refresh(self) -> None:
        """Read the state again after a transaction that was undone, and at the start."""
        if not self._stale:
            return
        connection = self._store.reading().conn
        self._positions.forget()
        self._models.forget()
        self._quarantine_bytes = quarantine.size_bytes(connection)
        self._positions.load_all(connection, self._site)
        self._stale = False

    # ------------------------------------------------------------------ one message

    def _take(self, batch: _Open, message: Incoming) -> None:
        box, camera = UNKNOWN, ""
        try:
            box, camera, leaf = topic_box(message.topic, self._site)
            if leaf in {ENVELOPE, EPOCH}:
                self._take_numbered(batch, message)
            else:
                self._take_health(batch, message, box)
        except Rejected as error:
            batch.result.rejected += 1
            if box not in batch.directory.principals:
                box, camera = UNKNOWN, ""
            elif camera not in batch.directory.principals[box].cameras:
                camera = ""
            self._rejects.add(box, camera, error.reason, str(error), now_ms=batch.now_ms)

    def _take_health(self, batch: _Open, message: Incoming, box: str) -> None:
        health = check_health(message.payload, box=box, site=self._site, directory=batch.directory)
        note_health(
            batch.connection, health, received_ms=message.received_ms, retained=message.retained
        )
        batch.result.health += 1

    def _checked(self, batch: _Open, message: Incoming) -> Checked:
        box, camera, leaf = topic_box(message.topic, self._site)
        if leaf == EPOCH:
            return check_announcement(
                message.payload,
                box=box,
                camera=camera,
                site=self._site,
                directory=batch.directory,
            )
        return check_envelope(
            message.payload,
            box=box,
            camera=camera,
            site=self._site,
            directory=batch.directory,
            max_bytes=self._limits.max_envelope_bytes,
        )

    def _take_numbered(self, batch: _Open, message: Incoming) -> None:
        checked = self._checked(batch, message)
        position = self._positions.of(batch.connection, checked.address)
        if self._is_duplicate(batch, position, checked, message):
            batch.result.duplicates += 1
            return
        if not message.retained:
            batch.heard_ms[checked.address.box] = message.received_ms
        try:
            check_clock(checked, now_ms=batch.now_ms, skew_ms=self._limits.clock_skew_s * 1000)
        except ClockSkew as error:
            self._quarantine(batch, position, checked, message, str(error))
            return
        self._advance(batch, position, checked)
        batch.result.changed.add(checked.address)
        try:
            check_times(checked, now_ms=batch.now_ms, retention_days=self._retention_days())
            self._store_body(batch, position, checked, message.payload)
        except Rejected:
            self._remember(batch, position, checked, REFUSED, message.payload)
            raise
        self._remember(batch, position, checked, STORED, message.payload)
        batch.result.stored += 1

    def _is_duplicate(
        self, batch: _Open, position: Position, checked: Checked, message: Incoming
    ) -> bool:
        """Tell whether this very message has come before.

        Raises:
            Rejected: equivocation or replay.
        """
        place = position.place(checked.sequence, checked.generation)
        if place in {Place.AHEAD, Place.FILLS}:
            return False
        known = known_digests(batch.connection, position.stream, checked.sequence)
        if _digest(message.payload) in known:
            return True
        if place is Place.RESTARTED:
            return False
        if place is Place.REPLAYED:
            raise Rejected(
                "replay",
                f"sequence {checked.sequence} is new, but generation {checked.generation} is over "
                f"({position.generation} has begun)",
            )
        if not known:  # older than what is kept for comparison
            return True
        raise Rejected(
            "equivocation",
            f"sequence {checked.sequence} came before, with another content: the box, or whoever "
            "holds its key, tells two stories",
        )

    def _advance(self, batch: _Open, position: Position, checked: Checked) -> None:
        place = position.place(checked.sequence, checked.generation)
        sequence, generation, now_ms = checked.sequence, checked.generation, batch.now_ms
        if place is Place.FILLS:
            gap = self._positions.fill(batch.connection, position, sequence=sequence, now_ms=now_ms)
            if gap is not None:
                batch.closed.append((checked.address, gap))
            return
        if place is Place.RESTARTED:
            batch.restarted.append(checked.address)
        move = self._positions.restart if place is Place.RESTARTED else self._positions.advance
        move(batch.connection, position, sequence=sequence, generation=generation, now_ms=now_ms)

    def _quarantine(
        self, batch: _Open, position: Position, checked: Checked, message: Incoming, why: str
    ) -> None:
        """Keep a message aside; when there is no room the box has to keep it."""
        size = len(message.payload)
        if not self._has_room(batch, size):
            raise Rejected("quarantine-full", f"no room in quarantine for a message {why}")
        self._advance(batch, position, checked)
        self._remember(batch, position, checked, QUARANTINED, message.payload)
        quarantine.put(
            batch.connection,
            stream=position.stream,
            topic=message.topic,
            payload=message.payload,
            reason=quarantine.CLOCK_AHEAD,
            detail=why,
            received_ms=message.received_ms,
        )
        self._quarantine_bytes += size
        batch.result.quarantined += 1
        batch.result.changed.add(checked.address)

    def _has_room(self, batch: _Open, size: int) -> bool:
        """Tell whether quarantine has room for ``size`` bytes; say so once when it has not."""
        limit = self._limits.quarantine_mb * 2**20
        full = self._quarantine_bytes + size > limit
        if full and not batch.quarantine_counted:  # an operator may have dropped messages since
            batch.quarantine_counted = True
            self._quarantine_bytes = quarantine.size_bytes(batch.connection)
            full = self._quarantine_bytes + size > limit
        if full and not self._quarantine_full:
            _log.error("quarantine_full", limit_mb=self._limits.quarantine_mb)
        self._quarantine_full = full
        return not full

    def _remember(
        self, batch: _Open, position: Position, checked: Checked, outcome: int, payload: bytes
    ) -> None:
        remember(
            batch.connection,
            position,
            sequence=checked.sequence,
            epoch=checked.epoch,
            outcome=outcome,
            digest=_digest(payload),
        )

    def _store_body(
        self, batch: _Open, position: Position, checked: Checked, payload: bytes
    ) -> None:
        """Store an envelope or announcement.

        Raises:
            Rejected: malformed blocks, or a second announcement of one generation.
        """
        body = checked.body
        if not isinstance(body, Envelope):
            if not insert_announcement(batch.connection, position.stream, body, payload):
                raise Rejected("equivocation", "a second announcement of one epoch and generation")
            return
        try:
            blocks = segment_blocks(body)
        except (MalformedMessage, ModelMismatch) as error:
            raise rejected_for(error) from error
        insert_envelope(
            batch.connection,
            position.stream,
            body,
            blocks,
            models=self._models,
            received_ms=batch.now_ms,
        )
        batch.slots.add((position.stream, checked.epoch, checked.generation, checked.slot))

    def _set_aside(self, message: Incoming, bug: Exception) -> Batch:
        """Quarantine a message that our own code failed on, so that it stops nobody and is kept."""
        with self._writing() as batch:
            if not self._has_room(batch, len(message.payload)):
                batch.result.rejected += 1
                why = f"no room in quarantine for what failed with {type(bug).__name__}"
                self._rejects.add(UNKNOWN, "", "quarantine-full", why, now_ms=batch.now_ms)
                return batch.result
            quarantine.put(
                batch.connection,
                stream=None,
                topic=message.topic,
                payload=message.payload,
                reason=quarantine.INTERNAL_ERROR,
                detail=f"{type(bug).__name__}: {bug}",
                received_ms=message.received_ms,
            )
            self._quarantine_bytes += len(message.payload)
            batch.result.quarantined += 1
        return batch.result


def _digest(payload: bytes) -> bytes:
    return hashlib.sha256(payload).digest()[:_DIGEST_BYTES]


def _summed(gaps: Sequence[tuple[CameraAddress, Gap]]) -> list[tuple[CameraAddress, int, int]]:
    """Return the gaps to report: one for all of a camera that has many, lest it flood the log."""
    by_camera: dict[CameraAddress, list[Gap]] = {}
    for address, gap in gaps:
        by_camera.setdefault(address, []).append(gap)
    told = []
    for address, found in by_camera.items():
        if len(found) > _MOST_GAPS_TOLD:
            told.append((address, found[0].first, found[-1].last))
        else:
            told.extend((address, gap.first, gap.last) for gap in found)
    return told


def _tell(event: str, address: CameraAddress, gap: Gap) -> None:
    _log.warning(event, box=address.box, camera=address.camera, first=gap.first, last=gap.last)
