"""Take in what boxes send: check it in a fixed order, store it as it came, account for all of it.

Order of the checks: size, box (known, not revoked, speaks for the camera), form, topic, signature
(`aggregator.ingest.checks`), then `aggregator.ingest.numbered`. Before the signature nothing that a
message says is believed or stored; what needs no store is checked before there is a transaction, so
that several processes hold one another up for no longer than writing takes. Of several processes
each takes in the boxes of its own partitions (`aggregator.ingest.partitions`), and each transaction
asks whether they are its own still.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import structlog

from aggregator.config import LimitsSection
from aggregator.ingest import quarantine
from aggregator.ingest.boxes import note_health
from aggregator.ingest.checks import Checked, Rejected, check_health, may_send, topic_box
from aggregator.ingest.gaps import GapReview, tell
from aggregator.ingest.messages import Batch, Incoming
from aggregator.ingest.numbered import Numbered, OpenBatch
from aggregator.ingest.partitions import Share, partition_of
from aggregator.ingest.positions import Positions
from aggregator.ingest.rejects import UNKNOWN, Audit, Rejects
from aggregator.store import Store
from aggregator.store.leases import Lease, LeaseLost
from protocol.directory import Directory
from protocol.names import ENVELOPE, EPOCH, CameraAddress
from protocol.telemetry import Health
from runtime.clock import since_boot_ms
from runtime.database import StorageError
from runtime.errors import OperationError

_log = structlog.get_logger()
_Judged = Checked | Health | Rejected
"""A message as far as it can be judged without the store."""


class NotOurs(OperationError):
    """What was asked for is another process's to do."""


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
        share: the partitions that are ours; None: all of them, and nobody else's ever.
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
        share: Share | None = None,
    ) -> None:
        self._share = share
        self._held: Mapping[int, Lease] = {}
        self._loaded: dict[int, int] = {}  # partition to the fence under which it was read
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

        Whatever a message holds, it ends as stored, duplicate, quarantined or rejected; or as
        passed on, when its box is another process's (by now): it comes again to whoever has it.

        Raises:
            StorageError: the store cannot take it (a full disk); nothing of the batch was kept.
        """
        directory = self._directory()
        try:
            judged = [(one, self._judge(one, directory)) for one in messages]
            with self._writing(map(self._box_of, messages), directory) as batch:
                for message, verdict in judged:
                    self._take(batch, message, verdict)
        except StorageError:
            raise
        except LeaseLost as error:
            self._lose(error)
            return self.process(messages)
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
            NotOurs, LeaseLost: its box is another process's, which alone can do it.
            StorageError: the store cannot be written.
        """
        with self._writing() as batch:
            topic, payload = batch.unit.ledger.take_quarantined(number)
            box, _, _ = topic_box(topic, self._site)
            if not self._is_ours(box):
                raise NotOurs(
                    f"the messages of '{box}' are taken in by another process of the aggregator, "
                    "and none such runs at the moment: try again in a few seconds"
                )
            batch.unit.ledger.check_leases(self._leases_of([box]))
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
        try:
            with self._writing() as batch:
                batch.unit.ledger.check_leases(self._held.values())
                given_up = self._gaps.review(batch.unit.ledger, now_ms=batch.now_ms)
        except LeaseLost as error:
            self._lose(error)
            return set()
        for address, gap in given_up:
            tell("gap_given_up", address, gap)
        return {address for address, _ in given_up}

    # ------------------------------------------------------------------ one transaction

    @contextmanager
    def _writing(
        self, boxes: Iterable[str] = (), directory: Directory | None = None
    ) -> Iterator[OpenBatch]:
        """Hold the lock and a transaction; at its end store what was gathered, then tell of it.

        Args:
            boxes: of which something is to be written: the transaction holds their leases.
            directory: by which it was judged; None: the one in force.

        Raises:
            LeaseLost: one of the boxes has passed to another process; nothing was written.
        """
        with self._lock:
            self._refresh()
            try:
                with self._store.writing(beside=True) as unit:
                    unit.ledger.check_leases(self._leases_of(boxes))
                    batch = OpenBatch(unit, directory or self._directory(), self._now_ms())
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
        batch.result.replaced_live += batch.unit.segments.replaced()
        for scope in batch.slots:
            batch.result.replaced_live += batch.unit.segments.drop_replaced_live(*scope)

    def _refresh(self) -> None:
        """Read the state again after a transaction that was undone, and at the start.

        Of a partition also when it was taken: another process may have worked on it. The one that
        had it writes no more, since the lease was passed on before this is read.
        """
        held = {} if self._share is None else self._share.held()
        ledger = self._store.ledger
        if self._stale:
            self._positions.forget()
            self._loaded.clear()
            self._room.count(ledger)
            if self._share is None:
                self._positions.load(ledger, self._site)
        if held is not self._held or self._stale:
            fences = {number: lease.fence for number, lease in held.items()}
            gone = {n for n, fence in self._loaded.items() if fences.get(n) != fence}
            if gone:
                self._positions.forget_boxes(lambda box: partition_of(box) in gone)
            fresh = fences.keys() - (self._loaded.keys() - gone)
            if fresh:
                self._positions.load(ledger, self._site, lambda box: partition_of(box) in fresh)
            self._loaded, self._held = fences, held
        self._stale = False

    def _leases_of(self, boxes: Iterable[str]) -> list[Lease]:
        """Return the leases that a transaction about boxes must hold, of those that are ours."""
        if self._share is None:
            return []
        ours = {partition_of(box) for box in boxes} & self._held.keys()
        return [self._held[number] for number in ours]

    def _is_ours(self, box: str) -> bool:
        return self._share is None or partition_of(box) in self._held

    def _lose(self, lost: LeaseLost) -> None:
        _log.warning("lease_lost", kind=lost.lease.kind, number=lost.lease.number)
        if self._share is not None:
            self._share.lose(lost.lease)

    # ------------------------------------------------------------------ one message

    def _box_of(self, message: Incoming) -> str:
        try:
            return topic_box(message.topic, self._site)[0]
        except Rejected:
            return UNKNOWN

    def _judge(self, message: Incoming, directory: Directory) -> _Judged:
        """Check what needs no store."""
        try:
            box, _, leaf = topic_box(message.topic, self._site)
            if leaf in {ENVELOPE, EPOCH}:
                return self._numbered.check(message, directory)
            return check_health(message.payload, box=box, site=self._site, directory=directory)
        except Rejected as error:
            return error

    def _take(self, batch: OpenBatch, message: Incoming, judged: _Judged) -> None:
        box, camera = UNKNOWN, ""
        try:
            box, camera, _ = topic_box(message.topic, self._site)
            if not self._is_ours(box):
                batch.result.passed_on += 1
                return
            if isinstance(judged, Rejected):
                raise judged
            if isinstance(judged, Checked):
                self._numbered.take(batch, message, judged)
            else:
                self._take_health(batch, message, judged)
        except Rejected as error:
            batch.result.rejected += 1
            if box not in batch.directory.principals:
                box, camera = UNKNOWN, ""
            elif not may_send(batch.directory.principals[box], camera):
                camera = ""
            self._rejects.add(box, camera, error.reason, str(error), now_ms=batch.now_ms)

    def _take_health(self, batch: OpenBatch, message: Incoming, health: Health) -> None:
        note_health(
            batch.unit.ledger,
            health,
            received_ms=message.received_ms,
            retained=message.retained,
            cameras=batch.directory.principals[health.box].tells_of,
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
