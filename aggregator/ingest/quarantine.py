"""Messages that are genuine but cannot be believed yet, such as those dated ahead of our clock.

They are kept as they came, and count as received: the box may forget them. An operator admits them
(they are checked again, all but what put them here) or drops them.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from aggregator.store import Store

CLOCK_AHEAD, INTERNAL_ERROR = "clock-ahead", "internal-error"


@dataclass(frozen=True, slots=True)
class Quarantined:
    """One message in quarantine. ``reason`` is a word, ``detail`` says it for people."""

    number: int
    topic: str
    reason: str
    detail: str
    received_ms: int
    size_bytes: int


def listed(store: Store, *, limit: int = 100, after: int = 0) -> list[Quarantined]:
    """Return what is in quarantine, oldest first, from behind number ``after``."""
    rows = store.reading().conn.execute(
        "SELECT id, topic, reason, detail, received_ms, length(payload) FROM quarantine"
        " WHERE id > ? ORDER BY id LIMIT ?",
        (after, limit),
    )
    return [Quarantined(*row) for row in rows]


def put(
    connection: sqlite3.Connection,
    *,
    stream: int | None,
    topic: str,
    payload: bytes,
    reason: str,
    detail: str,
    received_ms: int,
) -> None:
    """Add a message, inside the caller's transaction."""
    connection.execute(
        "INSERT INTO quarantine (stream, topic, reason, detail, received_ms, payload)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (stream, topic, reason, detail, received_ms, payload),
    )


def take(connection: sqlite3.Connection, number: int) -> tuple[str, bytes]:
    """Remove a message and return its topic and payload.

    Raises:
        KeyError: there is none of that number.
    """
    row = connection.execute(
        "DELETE FROM quarantine WHERE id = ? RETURNING topic, payload", (number,)
    ).fetchone()
    if row is None:
        raise KeyError(number)
    return str(row[0]), bytes(row[1])


def drop(store: Store, number: int) -> None:
    """Delete a message for good. Its box has been told that it was received.

    Raises:
        KeyError: there is none of that number.
    """
    with store.writing() as database:
        take(database.conn, number)


def size_bytes(connection: sqlite3.Connection) -> int:
    """Return how many bytes of messages are in quarantine."""
    row = connection.execute("SELECT coalesce(sum(length(payload)), 0) FROM quarantine").fetchone()
    return int(row[0])
