"""Dump the database of this backend into a file, and put it back, by PostgreSQL's own programs.

Both begin where one moment is held: a snapshot is exported, counted and dumped, so that the dump
is what was counted while others wrote on.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from psycopg.conninfo import make_conninfo

from aggregator.store.place import StorePlace
from aggregator.store.postgresql.address import parameters
from aggregator.store.postgresql.sessions import Connection, Row, Server
from runtime.database import StorageDamaged, StorageError

_DEBIAN = Path("/usr/lib/postgresql")
_MAGIC = b"PGDMP"
_TABLES = """
SELECT c.relname::text FROM pg_class c
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
ORDER BY c.relname
"""
Tell = Callable[[str], None]
_NOT_TO_LIBPQ = frozenset({"password"})


def dump(place: StorePlace, target: Path, tell: Tell) -> dict[str, int]:
    """Dump the database into the new file ``target``; return how many rows each table has in it.

    Raises:
        StorageError: it cannot be read, or PostgreSQL's own program is missing or fails.
    """
    program = _program("pg_dump")
    with closing(Server(place)) as server, server.alone() as connection:
        connection.execute(b"BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        connection.execute(b"SET LOCAL idle_in_transaction_session_timeout = 0")
        (snapshot,) = _first(connection, "SELECT pg_export_snapshot()")
        tell("dumping the database")
        _run(
            place,
            [
                program,
                *("--format", "custom", "--no-owner", "--no-privileges"),
                *("--snapshot", str(snapshot), "--file", str(target)),
            ],
        )
        tell("counting")
        rows = _counted(connection)
        connection.execute(b"COMMIT")
    target.chmod(0o600)
    require_dump(target)
    return rows


def require_dump(path: Path) -> None:
    """Check that a file is a dump that can be listed to its end.

    Raises:
        StorageDamaged: it is not.
    """
    with path.open("rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            raise StorageDamaged(f"{path} is no dump of PostgreSQL: use another backup")


def is_empty(place: StorePlace) -> bool:
    """Tell whether the database has no table.

    Raises:
        StorageError: it cannot be reached.
    """
    with closing(Server(place)) as server, server.alone() as connection:
        return not connection.execute(_TABLES.encode()).fetchall()


def put_back(place: StorePlace, source: Path, rows: dict[str, int], tell: Tell) -> None:
    """Put a dump into the database, which is empty; all of it or nothing.

    Raises:
        StorageError: it cannot be, or what came out is not what was counted.
    """
    program = _program("pg_restore")
    tell("putting the dump into the database")
    _run(
        place,
        [
            program,
            *("--no-owner", "--no-privileges", "--exit-on-error", "--single-transaction"),
            *("--dbname", _told(place), str(source)),
        ],
        database_is_told=True,
    )
    tell("counting")
    with closing(Server(place)) as server, server.alone() as connection:
        found = _counted(connection)
    if found != rows:
        wrong = sorted(name for name in found.keys() | rows if found.get(name) != rows.get(name))
        raise StorageError(
            f"{place.name} has other numbers of rows than the dump ({', '.join(wrong)}): make a new"
            " database, name that as [store] url, and run this again"
        )


def _counted(connection: Connection) -> dict[str, int]:
    names = [str(name) for (name,) in connection.execute(_TABLES.encode()).fetchall()]
    return {
        name: int(_first(connection, f'SELECT count(*) FROM "{name}"')[0])  # noqa: S608 - names of tables that are there
        for name in names
    }


def _first(connection: Connection, statement: str) -> Row:
    row = connection.execute(statement.encode()).fetchone()
    if row is None:
        raise StorageError(f"the server has no answer to {statement}")
    return row


def _told(place: StorePlace) -> str:
    if "sslpassword" in parameters(place):
        raise StorageError(
            "[store] url has an sslpassword, which PostgreSQL's programs take in their arguments"
            " alone, where all accounts read it: use a key file without one, or --without-ledger"
        )
    told = {key: value for key, value in parameters(place).items() if key not in _NOT_TO_LIBPQ}
    return make_conninfo("", **told)


def _run(place: StorePlace, command: list[str], *, database_is_told: bool = False) -> None:
    if not database_is_told:
        command = [*command, "--dbname", _told(place)]
    environment = dict(os.environ)
    password = parameters(place).get("password")
    if password is not None:
        environment["PGPASSWORD"] = str(password)  # in no argument, which all accounts read
    done = subprocess.run(
        [*command, "--no-password"],
        check=False,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=environment,
    )
    if done.returncode != 0:
        said = " ".join(done.stderr.decode(errors="replace").split())
        raise StorageError(
            f"{Path(command[0]).name} failed for {place.name}: {said[:600]}; it must be of the"
            " server's version or newer"
        )


def _program(name: str) -> str:
    """Return the newest of PostgreSQL's programs of that name on this machine.

    Raises:
        StorageError: there is none.
    """
    found = [path for path in _DEBIAN.glob(f"*/bin/{name}") if os.access(path, os.X_OK)]
    newest = max(found, key=lambda path: _version(path.parent.parent.name), default=None)
    where = str(newest) if newest is not None else shutil.which(name)
    if where is None:
        raise StorageError(
            f"{name} is not installed here: apt-get install postgresql-client, or back the database"
            " up with the server's own means and say --without-ledger"
        )
    return where


def _version(text: str) -> int:
    match = re.match(r"\d+", text)
    return int(match[0]) if match else 0
