"""The store in a database of PostgreSQL: shared by threads, processes and machines."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import psycopg

from aggregator.store.place import StorePlace
from aggregator.store.postgresql.address import CONNECT_S
from aggregator.store.postgresql.arrivals import Arrivals
from aggregator.store.postgresql.errors import storage_errors
from aggregator.store.postgresql.intake import IntakeTables
from aggregator.store.postgresql.known import Known
from aggregator.store.postgresql.leases import LeaseTables
from aggregator.store.postgresql.packs import PackTables
from aggregator.store.postgresql.queries import QueryTables
from aggregator.store.postgresql.schema import migrate, require_whole
from aggregator.store.postgresql.segments import SegmentTables, SegmentUnit
from aggregator.store.postgresql.sessions import (
    LOCK_MS,
    Committed,
    Connection,
    PooledServer,
    Transaction,
)
from aggregator.store.postgresql.stills import StillTables
from runtime.database import StorageError

_TURN = 0x5EA1_0000
"""The advisory lock of whoever writes and does not do so beside others."""
_MY_TURN = f"SELECT pg_advisory_xact_lock({_TURN})"
_DURABLE = "SET LOCAL synchronous_commit = on"


class LedgerTables(IntakeTables, QueryTables, StillTables, PackTables, LeaseTables):
    """The whole ledger."""


@dataclass(slots=True)
class PostgresqlUnit:
    """One transaction.

    Args:
        in_turn: whether everybody else who writes in turn waits for it.
    """

    ledger: LedgerTables
    segments: SegmentUnit
    transaction: Transaction
    in_turn: bool = False


class PostgresqlStore:
    """The backend for several machines (`aggregator.store.interface.Store`)."""

    def __init__(
        self, place: StorePlace, *, patience_s: float = CONNECT_S, moving: bool = False
    ) -> None:
        """Connect, and bring the database's schema up to date.

        Args:
            place: where the database is.
            patience_s: how long somebody waits for a server that is away.
            moving: it is opened by who moves a ledger into it.

        Raises:
            SchemaTooNew: a newer version of this program has written it.
            StorageError: it cannot be reached or used.
        """
        self.place = place
        self._server = PooledServer(place, patience_s=patience_s)
        try:
            with self._server.alone() as connection:
                migrate(connection, place.name)
                if not moving:
                    require_whole(connection, place.name)
        except BaseException:
            self._server.close()
            raise
        self._known = Known(self._server)
        self._local = threading.local()
        # Of this process's threads one at a time waits for its turn at the server, or each would
        # hold a connection meanwhile, and whoever has the turn finds none left to read by.
        self._turn = threading.Lock()
        committed = Committed(self._server)
        self.ledger = LedgerTables(committed, self._known)
        self.segments = SegmentTables(committed, place)

    @contextmanager
    def writing(self, *, durable: bool = False, beside: bool = False) -> Iterator[PostgresqlUnit]:
        """Hold one transaction: see `aggregator.store.interface.Store`.

        Those that take turns hold an advisory lock, whichever process they are in. Every commit is
        on the server's disk; a durable one on that of its standbys, too, where there are any.

        Raises:
            StorageFull, StorageError: it could not be written; nothing of it was kept, unless the
                connection broke while it was being committed.
        """
        outer: PostgresqlUnit | None = getattr(self._local, "unit", None)
        if outer is not None:
            self._join(outer, durable=durable, in_turn=not beside)
            yield outer
            return
        if beside:
            with self._transaction(durable=durable, beside=True) as unit:
                yield unit
            return
        if not self._turn.acquire(timeout=LOCK_MS / 1000):
            raise StorageError(f"{self.place.name} is busy: others write it, and it is tried again")
        try:
            with self._transaction(durable=durable, beside=False) as unit:
                yield unit
        finally:
            self._turn.release()

    def close(self) -> None:
        """Close every connection."""
        self._server.close()

    # ------------------------------------------------------------------ inside

    @contextmanager
    def _transaction(self, *, durable: bool, beside: bool) -> Iterator[PostgresqlUnit]:
        begin = "; ".join(
            ["BEGIN", *([] if beside else [_MY_TURN]), *([_DURABLE] if durable else [])]
        )
        connection = self._server.begin(begin)
        try:
            unit = self._unit(connection)
            unit.in_turn = not beside
            self._local.unit = unit
            try:
                yield unit
                unit.transaction.settle()
                with storage_errors(self.place.name):
                    connection.execute("COMMIT")
            except BaseException:
                self._undo(connection)
                raise
        finally:
            self._local.unit = None
            self._server.give(connection)

    def _unit(self, connection: Connection) -> PostgresqlUnit:
        transaction = Transaction(connection, self.place.name)
        arrivals = Arrivals(transaction, self._known)
        return PostgresqlUnit(
            LedgerTables(transaction, self._known, arrivals),
            SegmentUnit(transaction, self.place, arrivals, self._known),
            transaction,
        )

    def _join(self, outer: PostgresqlUnit, *, durable: bool, in_turn: bool) -> None:
        if in_turn and not outer.in_turn:
            outer.transaction.change(_MY_TURN)
            outer.in_turn = True
        if durable:
            outer.transaction.change(_DURABLE)

    def _undo(self, connection: Connection) -> None:
        self._known.days.forget()
        with suppress(psycopg.Error):
            connection.execute("ROLLBACK")
