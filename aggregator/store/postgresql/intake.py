"""The ledger's half of what came in (`aggregator.store.ledger.IntakeWriting`)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from aggregator.store.postgresql.arrivals import Arrivals
from aggregator.store.postgresql.cursors import ANNOUNCEMENTS
from aggregator.store.postgresql.days import BY_EPOCH, DIGESTS
from aggregator.store.postgresql.health import HealthTables
from aggregator.store.postgresql.known import Known
from aggregator.store.postgresql.scopes import ScopeTables
from aggregator.store.postgresql.sessions import Session
from aggregator.store.postgresql.streams import StreamTables
from aggregator.store.rows import (
    AnnouncedVersions,
    Generation,
    Quarantined,
    RejectRow,
    StoredAnnouncement,
)
from protocol.epoch import Announcement
from protocol.names import EPOCH_MS


class IntakeTables(ScopeTables, StreamTables, HealthTables):
    """Streams, gaps, announcements, the index of envelopes, boxes, quarantine, rejects."""

    def __init__(self, session: Session, known: Known, arrivals: Arrivals | None = None) -> None:
        super().__init__(session)
        self._known = known
        self._arrivals = arrivals
        self._announced = False

    # ------------------------------------------------------------------ messages

    def remember(
        self,
        stream: int,
        run: int,
        *,
        sequence: int,
        epoch: int,
        outcome: int,
        digest: bytes,
        now_ms: int,
    ) -> None:
        assert self._arrivals is not None  # noqa: S101 - only a unit writes
        self._arrivals.add_digest(
            stream,
            run,
            sequence=sequence,
            epoch=epoch,
            outcome=outcome,
            digest=digest,
            now_ms=now_ms,
        )

    def forget_messages(self, *, before_day: int, after: int) -> int | None:
        self._session.settle()
        self._known.days.drop(DIGESTS, before_day, self._transaction, counted=False)
        return None

    # ------------------------------------------------------------------ announcements

    def add_announcement(self, stream: int, announcement: Announcement, signed: bytes) -> bool:
        self._known.days.ensure(BY_EPOCH, [announcement.epoch], self._transaction)
        if not self._announced:
            ANNOUNCEMENTS.publish(self._transaction)
            self._announced = True
        added = self._run(
            "INSERT INTO announcements"
            " (stream, epoch, generation, sequence, announced_ms, signed, version, origin)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT DO NOTHING",
            (
                stream,
                announcement.epoch,
                announcement.generation,
                announcement.sequence,
                announcement.announced_at_ms,
                signed,
                announcement.version,
                announcement.origin,
            ),
        )
        return added > 0

    def generation(self, stream: int, epoch: int, generation: int) -> Generation | None:
        name = (stream, epoch, generation)
        if (known := self._known.generation(name)) is not None:
            return known
        row = self._one(
            "SELECT version, origin FROM announcements"
            " WHERE stream = %s AND epoch = %s AND generation = %s",
            name,
        )
        if row is None:
            return None
        fixed = Generation(*row)
        if not self._announced:  # what this transaction has written may yet be undone
            self._known.note_generation(name, fixed)
        return fixed

    def announced_versions(self) -> dict[tuple[str, str], AnnouncedVersions]:
        rows = self._peek(
            "SELECT s.box, s.camera, n.version, o.announced_ms FROM"
            " (SELECT DISTINCT ON (stream) stream, version FROM announcements"
            " ORDER BY stream, epoch DESC, generation DESC) AS n"
            " JOIN streams s ON s.id = n.stream LEFT JOIN"
            " (SELECT stream, max(announced_ms) AS announced_ms FROM announcements"
            " WHERE version = 1 GROUP BY stream) AS o ON o.stream = n.stream"
        )
        return {(box, camera): AnnouncedVersions(*told) for box, camera, *told in rows}

    def announcements(
        self, cameras: Collection[str], *, from_ms: int, to_ms: int, after: int = 0
    ) -> list[StoredAnnouncement]:
        streams = self._streams(cameras)
        rows = self._peek(
            "SELECT stream, epoch, generation, signed FROM announcements"
            " WHERE stream = ANY (%s) AND epoch BETWEEN %s AND %s AND id > %s"
            " ORDER BY stream, epoch, generation",
            (sorted(streams), from_ms // EPOCH_MS, (to_ms - 1) // EPOCH_MS, after),
        )
        return [StoredAnnouncement(streams[row[0]], *row[1:]) for row in rows]

    def drop_announcements(self, *, before_epoch: int, most: int) -> int:
        return self._known.days.drop("announcements", before_epoch, self._transaction)

    # ------------------------------------------------------------------ quarantine and rejects

    def quarantine(
        self,
        *,
        stream: int | None,
        topic: str,
        payload: bytes,
        reason: str,
        detail: str,
        received_ms: int,
    ) -> None:
        self._run(
            "INSERT INTO quarantine (stream, topic, payload, reason, detail, received_ms)"
            " VALUES (%s, %s, %s, %s, %s, %s)",
            (stream, topic, payload, reason, detail, received_ms),
        )

    def take_quarantined(self, number: int) -> tuple[str, bytes]:
        row = self._one("DELETE FROM quarantine WHERE id = %s RETURNING topic, payload", (number,))
        if row is None:
            raise KeyError(number)
        return str(row[0]), bytes(row[1])

    def quarantined(self, *, limit: int = 100, after: int = 0) -> list[Quarantined]:
        rows = self._peek(
            "SELECT id, topic, reason, detail, received_ms, length(payload) FROM quarantine"
            " WHERE id > %s ORDER BY id LIMIT %s",
            (after, limit),
        )
        return [Quarantined(*row) for row in rows]

    def quarantined_by_box(self) -> dict[str, Mapping[str, int]]:
        found: dict[str, dict[str, int]] = {}
        for box, reason, count in self._peek(
            "SELECT box, reason, count(*) FROM quarantine"
            " JOIN streams ON streams.id = quarantine.stream GROUP BY box, reason"
        ):
            found.setdefault(box, {})[reason] = count
        return dict(found)

    def quarantine_bytes(self) -> int:
        return self._number("SELECT sum(length(payload))::bigint FROM quarantine")

    def drop_quarantined(self, *, before_ms: int, most: int) -> int:
        return self._drop("quarantine", "received_ms < %s", before_ms, most)

    def rejects(self) -> list[RejectRow]:
        rows = self._peek("SELECT box, camera, reason, count, last_ms, detail FROM rejects")
        return [RejectRow(*row) for row in rows]

    def add_rejects(self, counted: Iterable[RejectRow]) -> None:
        rows = sorted(counted, key=_of)
        if rows:
            self._run_many(
                "INSERT INTO rejects AS r (box, camera, reason, count, first_ms, last_ms, detail)"
                " VALUES (%s, %s, %s, %s, %s, %s, %s) ON CONFLICT (box, camera, reason) DO UPDATE"
                " SET count = r.count + excluded.count, last_ms = excluded.last_ms,"
                " detail = excluded.detail",
                [(*_of(one), one.count, one.last_ms, one.last_ms, one.detail) for one in rows],
            )

    def drop_rejects(self, *, before_ms: int) -> None:
        self._run("DELETE FROM rejects WHERE last_ms < %s", [before_ms])


def _of(row: RejectRow) -> tuple[str, str, str]:
    return row.box, row.camera, row.reason
