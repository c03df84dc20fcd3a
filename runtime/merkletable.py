"""The entries of an append-only log and the nodes of its Merkle tree, in two tables of SQLite.

The caller opens the database (`SCHEMA` makes its tables), holds the lock around each call, and
turns SQLite's errors into its own (`runtime.database.storage_errors`).
"""

from __future__ import annotations

from sqlite_utils import Database

from protocol.merkle import MerkleTree, completed_by, leaf_hash, node_hash, root
from runtime.database import Migration, StorageError, write_transaction


def _fill(database: Database) -> None:
    """Make the nodes over leaves that an earlier version stored without them."""
    connection = database.conn
    for (number,) in connection.execute("SELECT id FROM leaf ORDER BY id").fetchall():
        _complete(database, int(number) - 1)


SCHEMA = Migration(
    "entries and the nodes over them",
    """
    CREATE TABLE IF NOT EXISTS leaf (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        entry BLOB,
        hash BLOB
    );
    CREATE TRIGGER IF NOT EXISTS leaf_no_delete BEFORE DELETE ON leaf
    BEGIN SELECT RAISE(ABORT, 'leaf table is append-only'); END;
    CREATE TRIGGER IF NOT EXISTS leaf_no_update BEFORE UPDATE ON leaf
    BEGIN SELECT RAISE(ABORT, 'leaf table is append-only'); END;
    CREATE TABLE node (
        level INTEGER NOT NULL,
        number INTEGER NOT NULL,
        hash BLOB NOT NULL,
        PRIMARY KEY (level, number)
    ) STRICT, WITHOUT ROWID;
    """,
    _fill,
)
"""Leaf ``id`` counts from 1; node ``(level, number)`` is `protocol.merkle`'s, levels above 0."""


class MerkleTable:
    """The tables of one log.

    Raises:
        StorageError: entries are missing in the middle.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        count, last = database.conn.execute(
            "SELECT count(*), coalesce(max(id), 0) FROM leaf"
        ).fetchone()
        if count != last:
            raise StorageError(f"{last - count} of {last} entries are missing")

    @property
    def size(self) -> int:
        """How many entries there are."""
        row = self._database.conn.execute("SELECT coalesce(max(id), 0) FROM leaf").fetchone()
        return int(row[0])

    def append(self, entry: bytes) -> int:
        """Append an entry in a transaction of its own; return its number, from 0."""
        with write_transaction(self._database) as database:
            number = self.size
            database.conn.execute(
                "INSERT INTO leaf (id, entry, hash) VALUES (?, ?, ?)",
                (number + 1, entry, leaf_hash(entry)),
            )
            _complete(database, number)
        return number

    def entries(self, start: int, stop: int) -> list[bytes]:
        """Return the entries from number ``start`` up to, not including, ``stop``."""
        rows = self._database.conn.execute(
            "SELECT entry FROM leaf WHERE id > ? AND id <= ? ORDER BY id", (start, stop)
        )
        return [bytes(row[0]) for row in rows]

    def holds(self, entry: bytes, since: int) -> bool:
        """Tell whether an entry is among those from number ``since`` on."""
        row = self._database.conn.execute(
            "SELECT 1 FROM leaf WHERE id > ? AND entry = ?", (since, entry)
        ).fetchone()
        return row is not None

    def root(self, size: int) -> bytes:
        """Return the root over the first ``size`` entries, 32 bytes."""
        return root(size, self.subtree)

    def recomputed_root(self, size: int) -> bytes:
        """Return the same from the leaves alone, and so whatever the nodes over them say."""
        rows = self._database.conn.execute(
            "SELECT hash FROM leaf WHERE id <= ? ORDER BY id", (size,)
        )
        return MerkleTree(bytes(row[0]) for row in rows).root()

    def subtree(self, level: int, number: int) -> bytes:
        """Return the hash of a perfect subtree (`protocol.merkle.Subtrees`).

        Raises:
            StorageError: it is not there.
        """
        return _subtree(self._database, level, number)


def _subtree(database: Database, level: int, number: int) -> bytes:
    if level == 0:
        row = database.conn.execute("SELECT hash FROM leaf WHERE id = ?", (number + 1,)).fetchone()
    else:
        row = database.conn.execute(
            "SELECT hash FROM node WHERE level = ? AND number = ?", (level, number)
        ).fetchone()
    if row is None:
        raise StorageError(f"node {number} of level {level} of the log's tree is missing")
    return bytes(row[0])


def _complete(database: Database, leaf: int) -> None:
    """Store the nodes that leaf number ``leaf`` completes."""
    for level in completed_by(leaf):
        number = leaf >> level
        hashed = node_hash(
            _subtree(database, level - 1, 2 * number), _subtree(database, level - 1, 2 * number + 1)
        )
        database.conn.execute("INSERT INTO node VALUES (?, ?, ?)", (level, number, hashed))
