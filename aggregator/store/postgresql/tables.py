"""What every part of this backend stands on: a session, and short ways to use it."""

from __future__ import annotations

from collections.abc import Iterable

from aggregator.store.postgresql.sessions import Row, Session, Transaction, Values


class Tables:
    """Tables behind a session: of what was committed, or of one transaction."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def _rows(self, sql: str, values: Values = ()) -> list[Row]:
        """Return all that a statement answers, with what this transaction holds back."""
        self._session.settle()
        return self._session.rows(sql, values)

    def _peek(self, sql: str, values: Values = ()) -> list[Row]:
        """Return all that a statement answers about tables of which nothing is held back."""
        return self._session.rows(sql, values)

    def _one(self, sql: str, values: Values = ()) -> Row | None:
        """Return the first row of tables of which nothing is held back; None when there is none."""
        return next(iter(self._session.rows(sql, values)), None)

    def _number(self, sql: str, values: Values = ()) -> int:
        """Return the one number that a statement asks for; 0 for NULL."""
        return int(self._session.rows(sql, values)[0][0] or 0)

    def _run(self, sql: str, values: Values = ()) -> int:
        """Change rows; return how many."""
        return self._transaction.change(sql, values)

    def _run_many(self, sql: str, rows: Iterable[Values]) -> None:
        self._transaction.change_many(sql, rows)

    def _drop(self, table: str, condition: str, limit: int, most: int) -> int:
        """Delete a few rows of ``table`` (both texts are this package's own); return how many."""
        return self._run(
            f"DELETE FROM {table} WHERE id IN"  # noqa: S608 - our own words
            f" (SELECT id FROM {table} WHERE {condition} LIMIT {int(most)})",
            (limit,),
        )

    @property
    def _transaction(self) -> Transaction:
        assert isinstance(self._session, Transaction)  # noqa: S101 - only a unit writes
        return self._session
