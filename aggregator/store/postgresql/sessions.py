"""How statements reach the server: each by itself on any connection, or all of one transaction.

Connections are shared out by `psycopg_pool`. One that broke is replaced; what only reads is asked
again once, so that a server which was restarted is noticed by nobody but who was writing.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

import psycopg
from psycopg_pool import ConnectionPool

from aggregator.store.place import StorePlace
from aggregator.store.postgresql.address import CONNECT_S, parameters
from aggregator.store.postgresql.errors import storage_errors
from runtime.database import StorageError

Row = tuple[Any, ...]
Values = Sequence[object]
Connection = psycopg.Connection[Row]
Answer = TypeVar("Answer")
_MOST_CONNECTIONS = 16
_MOST_STREAMS = _MOST_CONNECTIONS - 6
"""Long answers at a time: who reads one asks other things meanwhile, and so do all others."""
_MOST_IDLE = 4
LOCK_MS = 30_000
"""So long somebody waits for what others hold."""
_IDLE_MS = 120_000
"""A transaction in which nothing happens for so long is ended: it holds cursors back."""
_AT_ONCE = 64
"""Rows that a long answer brings at a time."""


class Session(Protocol):
    """Runs statements. Every method raises StorageError."""

    def rows(self, sql: str, values: Values = ()) -> list[Row]:
        """Return all that a statement answers."""

    def each(self, sql: str, values: Values = ()) -> Iterator[Row]:
        """Yield what a statement answers, a few rows at a time."""

    def settle(self) -> None:
        """Write what waits to be written, before something is read that it belongs to."""


class Server:
    """The database, with connections as they are needed: for who reads, and owns no threads."""

    def __init__(self, place: StorePlace, *, read_only: bool = False) -> None:
        """Prepare to connect; nothing is connected before something is asked.

        Args:
            place: where the database is.
            read_only: nothing can be written, whoever tries.

        Raises:
            StorageError: the configuration says what it must not.
        """
        self.name = place.name
        self._parameters = parameters(place)
        self._configure = _read_only if read_only else _configure
        self._idle: list[Connection] = []

    def __del__(self) -> None:
        """Close what nobody closed."""
        self.close()

    @contextmanager
    def alone(self) -> Iterator[Connection]:
        """Give a connection outside of the pool, which commits by itself.

        Raises:
            StorageError: none can be had.
        """
        with storage_errors(self.name), self._connected() as connection:
            yield connection

    def take(self) -> Connection:
        """Take a connection, which must be given back.

        Raises:
            StorageError: none can be had.
        """
        try:
            return self._idle.pop()
        except IndexError:
            with storage_errors(self.name):
                return self._connected()

    def give(self, connection: Connection) -> None:
        """Give back a connection; one that broke is not used again."""
        if connection.closed or len(self._idle) >= _MOST_IDLE:
            connection.close()
        else:
            self._idle.append(connection)

    @contextmanager
    def streaming(self) -> Iterator[None]:
        """Hold what a long answer needs besides a connection: nothing, for who reads alone."""
        yield

    def check(self) -> None:
        """Replace the connections that broke meanwhile: all of them, where the server restarted."""
        self.close()

    def close(self) -> None:
        """Close every connection."""
        while self._idle:
            self._idle.pop().close()

    def _connected(self) -> Connection:
        connection: Connection = psycopg.connect(**self._parameters, autocommit=True)
        try:
            self._configure(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def begin(self, statements: str) -> Connection:
        """Take a connection and begin a transaction on it.

        Raises:
            StorageError: the server does not answer.
        """
        connection = self.take()
        try:
            with storage_errors(self.name):
                connection.execute(statements.encode())
        except BaseException as error:
            lost = connection.closed and isinstance(error, StorageError)
            self.give(connection)
            if not lost:
                raise
        else:
            return connection
        self.check()
        connection = self.take()
        try:
            with storage_errors(self.name):
                connection.execute(statements.encode())
        except BaseException:
            self.give(connection)
            raise
        return connection

    def once_more(self, ask: Callable[[Connection], Answer]) -> Answer:
        """Ask something that may be asked twice: again where a connection turns out to be broken.

        Raises:
            StorageError: the server does not answer.
        """
        for last in (False, True):
            connection = self.take()
            try:
                with storage_errors(self.name):
                    return ask(connection)
            except StorageError:
                if last or not connection.closed:
                    raise
            finally:
                self.give(connection)
            self.check()
        raise AssertionError  # pragma: no cover - the second time returns or raises


class PooledServer(Server):
    """The database with the connections that the threads of a service share."""

    def __init__(self, place: StorePlace, *, patience_s: float = CONNECT_S) -> None:
        """Begin to connect.

        Args:
            place: where the database is.
            patience_s: how long somebody waits for a connection, while the server is away, too.

        Raises:
            StorageError: the configuration says what it must not.
        """
        super().__init__(place)
        # Who asks is told that the server is away; the pool would say it every second besides.
        logging.getLogger("psycopg.pool").setLevel(logging.ERROR)
        self._pool: ConnectionPool[Connection] = ConnectionPool(
            kwargs={**self._parameters, "autocommit": True},
            configure=self._configure,
            min_size=1,
            max_size=_MOST_CONNECTIONS,
            timeout=patience_s,
            reconnect_timeout=patience_s,
            max_idle=60.0,
            open=False,
            name="store",
        )
        self._pool.open()
        self._streams = threading.BoundedSemaphore(_MOST_STREAMS)

    @contextmanager
    def streaming(self) -> Iterator[None]:
        if not self._streams.acquire(timeout=LOCK_MS / 1000):
            raise StorageError(f"{self.name} is busy: too much is read at once; it is tried again")
        try:
            yield
        finally:
            self._streams.release()

    def take(self) -> Connection:
        with storage_errors(self.name):
            return self._pool.getconn()

    def give(self, connection: Connection) -> None:
        self._pool.putconn(connection)

    def check(self) -> None:
        self._pool.check()

    def close(self) -> None:
        if pool := getattr(self, "_pool", None):
            pool.close()


class Committed:
    """Reads what was committed when a statement begins."""

    def __init__(self, server: Server) -> None:
        self._server = server

    def rows(self, sql: str, values: Values = ()) -> list[Row]:
        asked = _sent(values)
        return self._server.once_more(
            lambda connection: connection.execute(sql.encode(), asked, binary=True).fetchall()
        )

    def each(self, sql: str, values: Values = ()) -> Iterator[Row]:
        with self._server.streaming():
            yield from self._each(sql, values)

    def _each(self, sql: str, values: Values) -> Iterator[Row]:
        asked, begun = _sent(values), False
        for last in (False, True):
            connection = self._server.take()
            try:
                with storage_errors(self._server.name), connection.cursor() as cursor:
                    for row in cursor.stream(sql.encode(), asked, binary=True, size=_AT_ONCE):
                        begun = True
                        yield row
            except StorageError:
                if begun or last or not connection.closed:
                    raise
            else:
                return
            finally:
                self._server.give(connection)
            self._server.check()

    def settle(self) -> None:
        """Nothing waits."""


class Transaction:
    """Runs the statements of one transaction, on one connection."""

    def __init__(self, connection: Connection, name: str) -> None:
        self._connection = connection
        self._name = name
        self.waiting: list[Callable[[], None]] = []
        """Called by `settle`: each writes what it holds back."""
        self.holds_tables = False
        """Whether it has locked whole tables, so that nobody else can do anything to them."""

    @property
    def connection(self) -> Connection:
        """The connection that it is on."""
        return self._connection

    def rows(self, sql: str, values: Values = ()) -> list[Row]:
        with storage_errors(self._name):
            return self._connection.execute(sql.encode(), _sent(values), binary=True).fetchall()

    def each(self, sql: str, values: Values = ()) -> Iterator[Row]:
        return iter(self.rows(sql, values))

    def change(self, sql: str, values: Values = ()) -> int:
        """Run a statement that changes rows; return how many."""
        with storage_errors(self._name):
            return self._connection.execute(sql.encode(), _sent(values)).rowcount

    def change_many(self, sql: str, rows: Iterable[Values]) -> None:
        """Run a statement once for each of some rows."""
        with storage_errors(self._name), self._connection.cursor() as cursor:
            cursor.executemany(sql.encode(), [_sent(row) for row in rows])

    def copy(self, table: str, columns: str, types: Sequence[str], rows: Iterable[Values]) -> None:
        """Add rows by ``COPY`` (table and columns are this package's own words)."""
        into = f"COPY {table} ({columns}) FROM STDIN (FORMAT BINARY)".encode()
        with storage_errors(self._name), self._connection.cursor() as cursor:  # noqa: SIM117
            with cursor.copy(into) as copy:
                copy.set_types(types)
                for row in rows:
                    copy.write_row(row)

    def settle(self) -> None:
        for write in self.waiting:
            write()


def _configure(connection: Connection) -> None:
    """Set what holds for every transaction of a connection."""
    connection.execute(
        f"SET lock_timeout = {LOCK_MS}; SET idle_in_transaction_session_timeout = {_IDLE_MS};"
        " SET client_min_messages = warning; "
        # What was committed and read must not be forgotten by a server that crashes: cursors
        # would pass over what comes under the same numbers.
        "SELECT set_config('synchronous_commit', 'local', false)"
        " WHERE current_setting('synchronous_commit') = 'off'".encode()
    )


def _read_only(connection: Connection) -> None:
    _configure(connection)
    connection.execute("SET default_transaction_read_only = on")


def _sent(values: Values) -> list[object]:
    """Return values as the server takes them: its texts have no character zero."""
    return [
        value.replace("\0", "\ufffd") if isinstance(value, str) and "\0" in value else value
        for value in values
    ]
