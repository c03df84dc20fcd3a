"""Keep the streams' positions in the store, and in memory while nothing goes wrong."""

from __future__ import annotations

import sqlite3

from aggregator.ingest.sequence import Gap, Position
from protocol.names import CameraAddress
from protocol.telemetry import MAX_MISSING

STORED, QUARANTINED, REFUSED = 1, 2, 3
STALLED_MS = 10 * 60_000
_FIND = "SELECT id, run, highest, generation FROM streams WHERE site = ? AND box = ? AND camera = ?"


class Positions:
    """The positions of all streams, loaded when first asked for.

    Every change goes to the given connection, inside its owner's transaction. When that is undone,
    call `forget`: what is in memory would be ahead of the store.
    """

    def __init__(self, started_ms: int) -> None:
        self._started_ms = started_ms
        self._by_address: dict[CameraAddress, Position] = {}
        self._changed: dict[int, tuple[Position, int]] = {}

    def forget(self) -> None:
        """Drop what is in memory; it is read again from the store."""
        self._by_address.clear()
        self._changed.clear()

    def of(self, connection: sqlite3.Connection, address: CameraAddress) -> Position:
        """Return the position of ``address``, adding the stream when it is new."""
        position = self._by_address.get(address)
        if position is None:
            where = (address.site, address.box, address.camera)
            row = connection.execute(_FIND, where).fetchone()
            if row is None:
                connection.execute(
                    "INSERT INTO streams (site, box, camera) VALUES (?, ?, ?)", where
                )
                row = connection.execute(_FIND, where).fetchone()
            gaps = [
                Gap(number, first, last, opened, reported, bool(lost))
                for number, first, last, opened, reported, lost in connection.execute(
                    "SELECT id, first, last, opened_ms, reported_ms, lost FROM gaps"
                    " WHERE stream = ? AND run = ? AND closed_ms IS NULL ORDER BY first",
                    row[:2],
                )
            ]
            stream, run, highest, generation = row
            position = Position(stream, run, highest, generation, gaps, self._started_ms)
            self._by_address[address] = position
        return position

    def load_all(self, connection: sqlite3.Connection, site: str) -> None:
        """Read every stream of ``site`` that is in the store."""
        rows = connection.execute(
            "SELECT site, box, camera FROM streams WHERE site = ?", (site,)
        ).fetchall()
        for row in rows:
            self.of(connection, CameraAddress(*row))

    def known(self, address: CameraAddress) -> Position | None:
        """Return the position of ``address`` if it is in memory."""
        return self._by_address.get(address)

    def all(self) -> list[tuple[CameraAddress, Position]]:
        """Return the positions in memory."""
        return list(self._by_address.items())

    # ------------------------------------------------------------------ changes

    def advance(
        self,
        connection: sqlite3.Connection,
        position: Position,
        *,
        sequence: int,
        generation: int,
        now_ms: int,
    ) -> None:
        """Take in a message ahead of all others; what was skipped becomes a gap."""
        if sequence > position.highest + 1:
            self._open(connection, position, position.highest + 1, sequence - 1, now_ms)
        position.highest = sequence
        position.generation = max(position.generation, generation)
        self._changed[position.stream] = (position, now_ms)

    def restart(
        self,
        connection: sqlite3.Connection,
        position: Position,
        *,
        sequence: int,
        generation: int,
        now_ms: int,
    ) -> None:
        """Begin a new run at ``sequence``; what the old one still missed is lost."""
        connection.execute(
            "UPDATE gaps SET lost = 1 WHERE stream = ? AND closed_ms IS NULL", (position.stream,)
        )
        position.run += 1
        position.highest = -1
        position.gaps.clear()
        self.advance(connection, position, sequence=sequence, generation=generation, now_ms=now_ms)

    def fill(
        self, connection: sqlite3.Connection, position: Position, *, sequence: int, now_ms: int
    ) -> Gap | None:
        """Take ``sequence`` out of its gap; return the gap when that closed one already reported.

        The caller has made sure that it lies in one.
        """
        gap = position.gap_with(sequence)
        assert gap is not None  # noqa: S101 - Place.FILLS says so
        at = position.gaps.index(gap)
        position.filled_ms = now_ms
        if len(gap) == 1:
            del position.gaps[at]
            if gap.reported_ms is None:
                connection.execute("DELETE FROM gaps WHERE id = ?", (gap.number,))
                return None
            connection.execute("UPDATE gaps SET closed_ms = ? WHERE id = ?", (now_ms, gap.number))
            return gap
        if sequence == gap.first:
            gap.first += 1
        elif sequence == gap.last:
            gap.last -= 1
        else:
            rest = Gap(0, sequence + 1, gap.last, gap.opened_ms, gap.reported_ms, gap.lost)
            gap.last = sequence - 1
            self._insert(connection, position, rest)
            position.gaps.insert(at + 1, rest)
        connection.execute(
            "UPDATE gaps SET first = ?, last = ? WHERE id = ?", (gap.first, gap.last, gap.number)
        )
        return None

    def report(self, connection: sqlite3.Connection, gap: Gap, *, now_ms: int) -> None:
        """Note that a gap has been reported."""
        gap.reported_ms = now_ms
        connection.execute("UPDATE gaps SET reported_ms = ? WHERE id = ?", (now_ms, gap.number))

    def give_up(
        self, connection: sqlite3.Connection, position: Position, *, now_ms: int
    ) -> list[Gap]:
        """Stop waiting for the oldest missing messages of a stream that no receipt could cover.

        A receipt names at most ``MAX_MISSING`` messages. When more are missing and none of them
        has come for ten minutes, the box does not have them (its outbox was full, or our store is
        new): the lowest gaps are given up, so that the box hears again what it may forget.
        """
        given_up: list[Gap] = []
        if now_ms - position.filled_ms < STALLED_MS:
            return given_up
        waited_for = position.waited_for()
        for gap in position.gaps:
            if waited_for <= MAX_MISSING:
                break
            if not gap.lost and now_ms - gap.opened_ms >= STALLED_MS:
                gap.lost = True
                waited_for -= len(gap)
                given_up.append(gap)
                connection.execute("UPDATE gaps SET lost = 1 WHERE id = ?", (gap.number,))
        return given_up

    def _open(
        self,
        connection: sqlite3.Connection,
        position: Position,
        first: int,
        last: int,
        now_ms: int,
    ) -> None:
        gap = Gap(0, first, last, now_ms)
        self._insert(connection, position, gap)
        position.gaps.append(gap)
        position.filled_ms = max(position.filled_ms, now_ms)

    @staticmethod
    def _insert(connection: sqlite3.Connection, position: Position, gap: Gap) -> None:
        row = connection.execute(
            "INSERT INTO gaps (stream, run, first, last, opened_ms, reported_ms, lost)"
            " VALUES (?, ?, ?, ?, ?, ?, ?) RETURNING id",
            (
                position.stream,
                position.run,
                gap.first,
                gap.last,
                gap.opened_ms,
                gap.reported_ms,
                gap.lost,
            ),
        ).fetchone()
        gap.number = int(row[0])

    def save(self, connection: sqlite3.Connection) -> None:
        """Write the positions that have changed; call it at the end of each transaction."""
        connection.executemany(
            "UPDATE streams SET run = ?, highest = ?, generation = ?, last_received_ms = ?"
            " WHERE id = ?",
            [
                (position.run, position.highest, position.generation, now_ms, position.stream)
                for position, now_ms in self._changed.values()
            ],
        )
        self._changed.clear()


def known_digests(connection: sqlite3.Connection, stream: int, sequence: int) -> list[bytes]:
    """Return the digests of the messages that came under this number, in any run."""
    return [
        row[0]
        for row in connection.execute(
            "SELECT digest FROM sequences WHERE stream = ? AND sequence = ?", (stream, sequence)
        )
    ]


def remember(
    connection: sqlite3.Connection,
    position: Position,
    *,
    sequence: int,
    epoch: int,
    outcome: int,
    digest: bytes,
) -> None:
    """Note that a message has come and what became of it."""
    connection.execute(
        "INSERT INTO sequences (stream, sequence, run, epoch, outcome, digest)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (position.stream, sequence, position.run, epoch, outcome, digest),
    )


def note_admitted(connection: sqlite3.Connection, position: Position, *, digest: bytes) -> None:
    """Note that a message which had been quarantined is stored after all."""
    connection.execute(
        "UPDATE sequences SET outcome = ? WHERE stream = ? AND outcome = ? AND digest = ?",
        (STORED, position.stream, QUARANTINED, digest),
    )
