"""Take in what boxes send: check it in a fixed order, store it as it came, account for all of it.

Order of the checks: size, box (known, not revoked, speaks for the camera), form, topic, signature
(`aggregator.ingest.checks`), then `aggregator.ingest.numbered`. Before the signature nothing that a
message says is believed or stored.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import structlog

from aggregator.config import LimitsSection
from aggregator.ingest import quarantine
from aggregator.ingest.boxes import note_health
from aggregator.ingest.checks import Rejected, check_health, may_send, topic_box
from aggregator.ingest.gaps import GapReview, tell
from aggregator.ingest.messages import Batch, Incoming
from aggregator.ingest.numbered import Numbered, OpenBatch
from aggregator.ingest.positions import Positions
from aggregator.ingest.rejects import UNKNOWN, Audit, Rejects
from aggregator.store import Store
from protocol.directory import Directory
from protocol.names import ENVELOPE, EPOCH, CameraAddress
from runtime.clock import since_boot_ms
from runtime.database import StorageError

_log = structlog.get_logger()


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
        self._now_ms = now_ms
        self._lock = threading.RLock()
        self._positions = Positions(now_ms())
        self._rejects = Rejects(audit)
        self._room = quarantine.Room(limits.quarantine_mb)
        self._numbered = Numbered(
            site=site,
            limits=limits,
            retention_days=retention_days,
            positions=self._positions,
            room=self._room,
        )
        self._gaps = GapReview(
            self._positions,
            grace_s=limits.gap_grace_s,
            now_ms=now_ms,
            boot_ms=boot_ms,
            audit=audit,
        )
        self._stale = True

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
            topic, payload = batch.unit.ledger.take_quarantined(number)
            self._room.take(-len(payload))
            self._numbered.admit(batch, Incoming(topic, payload, batch.now_ms))
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
        with self._writing() as batch:
            given_up = self._gaps.review(batch.unit.ledger, now_ms=batch.now_ms)
        for address, gap in given_up:
            tell("gap_given_up", address, gap)
        return {address for address, _ in given_up}

    # ------------------------------------------------------------------ one transaction

    @contextmanager
    def _writing(self) -> Iterator[OpenBatch]:
        """Hold the lock and a transaction; at its end store what was gathered, then tell of it."""
        with self._lock:
            self._refresh()
            try:
                with self._store.writing() as unit:
                    batch = OpenBatch(unit, self._directory(), self._now_ms())
                    self._room.begin()
                    yield batch
                    self._finish(batch)
            except BaseException:
                self._stale = True
                self._rejects.undo()
                raise
            self._rejects.tell()
            for address, gap in batch.closed:
                tell("gap_closed", address, gap)
            for address in batch.restarted:
                _log.warning("sequence_restarted", box=address.box, camera=address.camera)

    def _finish(self, batch: OpenBatch) -> None:
        ledger = batch.unit.ledger
        self._positions.save(ledger)
        ledger.note_heard(batch.heard_ms)
        self._rejects.save(ledger)
        for scope in batch.slots:
            batch.result.replaced_live += batch.unit.segments.drop_replaced_live(*scope)

    def _refresh(self) -> None:
        """Read the state again after a transaction that was undone, and at the start."""
        if not self._stale:
            return
        ledger = self._store.ledger
        self._positions.forget()
        self._room.count(ledger)
        self._positions.load_all(ledger, self._site)
        self._stale = False

    # ------------------------------------------------------------------ one message

    def _take(self, batch: OpenBatch, message: Incoming) -> None:
        box, camera = UNKNOWN, ""
        try:
            box, camera, leaf = topic_box(message.topic, self._site)
            if leaf in {ENVELOPE, EPOCH}:
                self._numbered.take(batch, message)
            else:
                self._take_health(batch, message, box)
        except Rejected as error:
            batch.result.rejected += 1
            if box not in batch.directory.principals:
                box, camera = UNKNOWN, ""
            elif not may_send(batch.directory.principals[box], camera):
                camera = ""
            self._rejects.add(box, camera, error.reason, str(error), now_ms=batch.now_ms)

    def _take_health(self, batch: OpenBatch, message: Incoming, box: str) -> None:
        health = check_health(message.payload, box=box, site=self._site, directory=batch.directory)
        note_health(
            batch.unit.ledger, health, received_ms=message.received_ms, retained=message.retained
        )
        batch.result.health += 1

    def _set_aside(self, message: Incoming, bug: Exception) -> Batch:
        """Quarantine a message that our own code failed on, so that it stops nobody and is kept."""
        with self._writing() as batch:
            if not self._room.has(batch.unit.ledger, len(message.payload)):
                batch.result.rejected += 1
                why = f"no room in quarantine for what failed with {type(bug).__name__}"
                self._rejects.add(UNKNOWN, "", "quarantine-full", why, now_ms=batch.now_ms)
                return batch.result
            batch.unit.ledger.quarantine(
                stream=None,
                topic=message.topic,
                payload=message.payload,
                reason=quarantine.INTERNAL_ERROR,
                detail=f"{type(bug).__name__}: {bug}",
                received_ms=message.received_ms,
            )
            self._room.take(len(message.payload))
            batch.result.quarantined += 1
        return batch.result
