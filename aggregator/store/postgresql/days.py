"""The days of partitioned tables: each is made when something of it comes, and dropped whole.

A day is made on a connection of its own, so that it is there for everybody at once and no
transaction that waits for something else holds the table. It is made beside the table and then
attached, which stops neither readers nor writers.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable

from aggregator.store.postgresql.errors import storage_errors
from aggregator.store.postgresql.sessions import Connection, Row, Server, Transaction

BY_EPOCH = ("envelopes", "replaced_numbers", "announcements")
DIGESTS = "digests"
_TURN = 0x5EA1_0002
"""The advisory lock of whoever makes a day."""
_MOST_WAITED_MS = 5_000
"""To take a day away nobody may be reading: rather than hold up others, it is left for later."""
_LAST_DAY = (1 << 31) - 2


class Days:
    """Which days there are, as far as this process has seen."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._known: set[tuple[str, int]] = set()
        self._lock = threading.Lock()

    def ensure(self, tables: Iterable[str], days: Iterable[int], unit: Transaction) -> None:
        """Make sure that tables have days; ``unit`` is the transaction that wants to write them.

        Raises:
            StorageError: they cannot be made.
        """
        wanted = {(table, day) for day in set(days) for table in tables}
        with self._lock:
            missing = sorted(wanted - self._known)
        if not missing:
            return
        if unit.holds_tables:
            # It has dropped days itself: anybody else would wait for it.
            with storage_errors(self._server.name):
                _make(unit.connection, missing)
            return
        with self._server.alone() as connection, connection.transaction():
            _make(connection, missing)
        # A server looks at what others have changed when it locks something that it did not hold:
        # else a transaction which has written the table before would not see its new day.
        for table, day in missing:
            unit.change(f"LOCK TABLE {table}_d{day} IN ACCESS SHARE MODE")
        with self._lock:
            self._known.update(missing)

    def drop(self, table: str, before: int, unit: Transaction, *, counted: bool = True) -> int:
        """Take away all days of a table before one; return how many rows they had.

        Args:
            table: whose days.
            before: days before this one.
            unit: the transaction that does it.
            counted: count them; of tens of millions that takes longer than all else: else 0.

        Raises:
            StorageError: somebody has been reading them for too long; nothing was dropped.
        """
        gone = 0
        for day in existing_days(unit.rows(_CHILDREN, [table]), table):
            if day >= before:
                continue
            name = f"{table}_d{day}"
            if counted:
                gone += int(unit.rows(f"SELECT count(*) FROM {name}")[0][0])  # noqa: S608 - our own words
            unit.holds_tables = True
            unit.change(
                f"SET LOCAL lock_timeout = {_MOST_WAITED_MS};"
                f" ALTER TABLE {table} DETACH PARTITION {name}; DROP TABLE {name}"
            )
            with self._lock:
                self._known.discard((table, day))
        return gone

    def forget(self) -> None:
        """Look again which days there are: something went wrong, or was undone."""
        with self._lock:
            self._known.clear()


_CHILDREN = (
    "SELECT c.relname::text FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
    " WHERE i.inhparent = %s::regclass ORDER BY 1"
)


def existing_days(names: Iterable[Row], table: str) -> list[int]:
    """Return the days of a table, by the names of its parts."""
    return sorted(int(str(row[0]).removeprefix(f"{table}_d")) for row in names)


def _make(connection: Connection, missing: Iterable[tuple[str, int]]) -> None:
    """Make days, each once whoever else does, inside a transaction."""
    connection.execute("SELECT pg_advisory_xact_lock(%s)", [_TURN])
    for table, day in missing:
        if not 0 <= day <= _LAST_DAY:
            raise ValueError(f"no day is numbered {day}")
        name = f"{table}_d{day}"
        there = connection.execute("SELECT to_regclass(%s)", [name]).fetchone()
        if there is not None and there[0] is not None:
            continue
        connection.execute(
            f"CREATE TABLE {name} (LIKE {table} INCLUDING ALL); ALTER TABLE {table}"
            f" ATTACH PARTITION {name} FOR VALUES FROM ({day}) TO ({day + 1})".encode()
        )
