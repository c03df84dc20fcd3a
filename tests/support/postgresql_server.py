"""One PostgreSQL server a session, as an ordinary user and in memory, a new database a test.

It is the machine's own (Debian's package), listens on a socket in a folder of its own alone, and
goes with the process that started it. Where none is installed, tests that want it are skipped.
"""

from __future__ import annotations

import atexit
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from waiting import wait_for

OLDEST = 15
USER = "sealtrace"
"""Owns the databases, as docs/operations.md has it, and may do nothing else."""
_PLACES = Path("/usr/lib/postgresql")
_UNPRIVILEGED = ("postgres", "nobody")
_IN_MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it
_SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "32MB",
    "max_connections": "120",
    "max_wal_size": "256MB",
    "autovacuum": "off",
    "timezone": "UTC",
}


def programs() -> Path:
    """Return the folder of the newest server's programs; skip the test where there is none."""
    found = [folder for folder in _PLACES.glob("*/bin") if (folder / "initdb").exists()]
    known = [folder for folder in found if int(folder.parent.name.split(".")[0]) >= OLDEST]
    if not known:
        pytest.skip(f"no PostgreSQL {OLDEST} or newer in {_PLACES}: apt-get install postgresql")
    return max(known, key=lambda folder: int(folder.parent.name.split(".")[0]))


class PostgresqlServer:
    """A server with an empty cluster; ``start`` and ``stop`` it as often as a test likes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._bin = programs()
        self._numbers = itertools.count(1)
        self._process: subprocess.Popen[bytes] | None = None
        self._as_user: list[str] = []
        if os.geteuid() == 0:
            account = _unprivileged()
            os.chown(folder, account.pw_uid, account.pw_gid)
            ids = f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}"
            self._as_user = [*ids, "--clear-groups"]
        made = subprocess.run(
            [
                *self._ordinary(),
                self._bin / "initdb",
                *("--pgdata", folder / "data", "--username", "postgres", "--auth", "trust"),
                *("--encoding", "UTF8", "--no-locale", "--no-sync", "--no-instructions"),
            ],
            check=False,
            cwd=folder,
            capture_output=True,
            text=True,
        )
        assert made.returncode == 0, made.stderr
        self.start()
        self.run(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(USER)))

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        settings = [f"-c{name}={value}" for name, value in _SETTINGS.items()]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                # It is to end at once with the process that started it, however that ends.
                [
                    *self._ordinary("--pdeathsig=QUIT"),
                    self._bin / "postgres",
                    *("-D", self.folder / "data", "-k", self.folder),
                    *settings,
                ],
                stdout=log,
                stderr=log,
                cwd=self.folder,
            )
        wait_for(self._answers, f"PostgreSQL; see {self.folder / 'log'}")

    def stop(self) -> None:
        """End it at once: whoever is connected loses the connection."""
        if self._process is not None:
            self._process.send_signal(signal.SIGQUIT)
            self._process.wait(30)
            self._process = None

    def url(self, database: str, user: str = USER) -> str:
        """Return where a database is, for the configuration."""
        return f"postgresql://{user}@/{database}?host={self.folder}"

    def new_database(self, template: str | None = None) -> str:
        """Make a database that nobody has used, and return its URL."""
        name = f"test_{next(self._numbers)}"
        made = sql.SQL("CREATE DATABASE {} OWNER {} TEMPLATE {}").format(
            sql.Identifier(name), sql.Identifier(USER), sql.Identifier(template or "template0")
        )
        self.run(made)
        return self.url(name)

    def drop_database(self, url: str) -> None:
        """Drop a database, whoever is still connected."""
        name = sql.Identifier(str(conninfo_to_dict(url)["dbname"]))
        self.run(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(name))

    def run(self, statement: sql.Composed) -> None:
        """Run a statement as the server's own administrator."""
        with self.administrator() as connection:
            connection.execute(statement)

    @contextmanager
    def administrator(self, database: str = "postgres") -> Iterator[psycopg.Connection]:
        """Give a connection that may do anything; it commits by itself."""
        url = self.url(database, "postgres")
        with psycopg.connect(url, autocommit=True) as connection:
            yield connection

    def _answers(self) -> bool:
        try:
            with self.administrator():
                return True
        except psycopg.OperationalError:
            return False

    def _ordinary(self, *more: str) -> list[str]:
        return ["setpriv", *self._as_user, *more, "--"] if self._as_user or more else []


@cache
def server() -> PostgresqlServer:
    """Return the session's server, which the first that asks starts."""
    programs()
    place = _IN_MEMORY if os.access(_IN_MEMORY, os.W_OK) else None
    folder = Path(tempfile.mkdtemp(prefix="sealtrace-pg-", dir=place))
    folder.chmod(0o755)
    started = PostgresqlServer(folder)
    atexit.register(_end, started, os.getpid())
    return started


def _end(started: PostgresqlServer, owner: int) -> None:
    if os.getpid() == owner:  # and not where a test has forked
        started.stop()
        shutil.rmtree(started.folder, ignore_errors=True)


def _unprivileged() -> pwd.struct_passwd:
    for name in _UNPRIVILEGED:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    pytest.skip(f"PostgreSQL does not run as root, and there is no user {_UNPRIVILEGED}")
