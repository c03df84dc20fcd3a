"""What a site of several machines stands on, for minutes: Debian's PostgreSQL, and moto's S3.

Both run as ordinary users on loopback, hold what they have in folders that go at the end, and are
not how either is run for good (docs/operations.md says that).
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import httpx
import psycopg
from psycopg import sql

from demo.processes import ProcessFailed, Service

_PLACES = Path("/usr/lib/postgresql")
_UNPRIVILEGED = ("postgres", "nobody")
_USER, _DATABASE, _BUCKET = "sealtrace", "sealtrace", "sealtrace-segments"
_ACCESS, _SECRET = "demo", "of a bucket that lives for minutes"
_SETTINGS = {"listen_addresses": "", "shared_buffers": "64MB", "timezone": "UTC"}
_STARTING_S = 60.0


class Postgresql:
    """A server of its own, which listens on a socket in its folder alone."""

    def __init__(self, log: Path, environment: Mapping[str, str]) -> None:
        """Make an empty server; nothing runs yet.

        Raises:
            ProcessFailed: PostgreSQL is not installed, or cannot be set up.
        """
        self._programs = _newest()
        self.folder = Path(tempfile.mkdtemp(prefix="sealtrace-demo-pg-"))
        self.folder.chmod(0o755)
        self._as_user: list[str] = []
        if os.geteuid() == 0:  # it refuses to run as root
            account = _unprivileged()
            os.chown(self.folder, account.pw_uid, account.pw_gid)
            ids = (f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups")
            self._as_user = ["setpriv", *ids, "--"]
        made = self._initdb()
        if made.returncode:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise ProcessFailed(f"PostgreSQL was not set up: {made.stderr.strip()}")
        data = str(self.folder / "data")
        settings = [f"-c{name}={value}" for name, value in _SETTINGS.items()]
        serve = [str(self._programs / "postgres"), "-D", data, "-k", str(self.folder), *settings]
        self.service = Service(
            "postgresql", [*self._as_user, *serve], self.folder, log, environment
        )

    def _initdb(self) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(
                [
                    *self._as_user, str(self._programs / "initdb"),
                    "--pgdata", str(self.folder / "data"), "--auth", "trust",
                    "--username", "postgres", "--encoding", "UTF8", "--no-locale",
                    "--no-instructions",
                ],
                cwd=self.folder, capture_output=True, text=True, check=False,
            )  # fmt: skip
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise

    @property
    def url(self) -> str:
        """Where the site's database is."""
        return f"postgresql://{_USER}@/{_DATABASE}?host={self.folder}"

    def start(self) -> None:
        """Start it, and make the site's user and database.

        Raises:
            ProcessFailed: it does not start.
        """
        self.service.start()
        deadline = time.monotonic() + _STARTING_S
        while not self._made():
            if time.monotonic() > deadline or not self.service.running:
                raise ProcessFailed(f"PostgreSQL does not answer:\n{self.service.tail()}")
            time.sleep(0.1)

    def _made(self) -> bool:
        """Make user and database; tell whether the server took that."""
        url = f"postgresql://postgres@/postgres?host={self.folder}"
        user, database = sql.Identifier(_USER), sql.Identifier(_DATABASE)
        try:
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(user))
                connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(database, user))
        except psycopg.OperationalError:
            return False
        return True

    def stop(self) -> None:
        """Stop it and remove all that it had."""
        self.service.stop()
        shutil.rmtree(self.folder, ignore_errors=True)


class Bucket:
    """An S3 of moto's with one bucket, all of it in memory."""

    def __init__(
        self, port: int, credentials: Path, log: Path, environment: Mapping[str, str]
    ) -> None:
        """Say how it is reached; nothing runs yet.

        Raises:
            ProcessFailed: moto is not installed.
        """
        if importlib.util.find_spec("moto") is None:
            raise ProcessFailed("moto is not installed: run `make setup`")
        credentials.write_text(
            f'access_key_id = "{_ACCESS}"\nsecret_access_key = "{_SECRET}"\n', encoding="ascii"
        )
        credentials.chmod(0o600)
        serve = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        self.service = Service("s3", serve, log.parent, log, environment, port=port)
        self.settings = {
            "place": f"s3://{_BUCKET}/demo",
            "endpoint": f"http://127.0.0.1:{port}",
            "credentials": str(credentials),
            "wait_minutes": 1,
        }
        """For the section ``[objects]``."""

    def start(self) -> None:
        """Start it, and make the bucket.

        Raises:
            ProcessFailed: it does not start.
        """
        self.service.start()
        self.service.wait_ready()
        made = httpx.put(f"{self.settings['endpoint']}/{_BUCKET}", trust_env=False)
        if made.is_error:
            raise ProcessFailed(f"the S3 made no bucket: {made.text[:200]}")

    def stop(self) -> None:
        """Stop it; what it had is gone."""
        self.service.stop()


def _newest() -> Path:
    found = [folder for folder in _PLACES.glob("*/bin") if (folder / "initdb").exists()]
    if not found:
        raise ProcessFailed("PostgreSQL is not installed here: apt-get install postgresql")
    return max(found, key=lambda folder: float(folder.parent.name))


def _unprivileged() -> pwd.struct_passwd:
    for name in _UNPRIVILEGED:
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise ProcessFailed("PostgreSQL does not run as root, and there is no other user to run it as")
