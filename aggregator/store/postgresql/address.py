"""How to reach the server that the configuration names: TLS elsewhere, the password from a file."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict

from aggregator.store.place import StorePlace
from aggregator.store.postgresql.errors import first_line
from runtime.database import StorageError
from runtime.fsio import FileProblem, read_file

CONNECT_S = 5
_MAX_PASSWORD_BYTES = 4096
_SOCKETS = "/var/run/postgresql"
"""Where Debian's server listens; libraries of other makers look elsewhere."""
_HERE = frozenset({"localhost", "127.0.0.1", "::1"})
_OTHERS_MAY = stat.S_IRWXG | stat.S_IRWXO
_DEFAULTS: dict[str, Any] = {
    "application_name": "sealtrace",
    "connect_timeout": CONNECT_S,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}
"""A server that vanishes without a word is noticed within half a minute."""


def parameters(place: StorePlace) -> dict[str, Any]:
    """Return what libpq is told to connect.

    Raises:
        StorageError: the URL says what it must not, or the password cannot be read.
    """
    try:
        told = dict(conninfo_to_dict(place.url))
    except psycopg.Error as error:
        raise StorageError(f"[store] url cannot be used: {first_line(error)}") from error
    if told.get("service"):
        raise StorageError("[store] url names a service: say server, user and database in it")
    told.setdefault("host", _SOCKETS)
    if not _is_here(told):
        mode = told.setdefault("sslmode", "verify-full")
        if mode != "verify-full":
            raise StorageError(
                f"[store] url has sslmode={mode} for a server on another machine: whoever stands "
                "between could be it; use sslmode=verify-full and name the server's authority as "
                "sslrootcert"
            )
    if place.password_file is not None:
        told["password"] = _password(place.password_file)
    return {**_DEFAULTS, **told}


def _is_here(told: dict[str, Any]) -> bool:
    hosts = f"{told['host']},{told.get('hostaddr') or 'localhost'}".split(",")
    return all(host.startswith(("/", "@")) or host in _HERE for host in hosts)


def _password(path: Path) -> str:
    try:
        mode = path.stat().st_mode
        text = read_file(path, _MAX_PASSWORD_BYTES).decode()
    except (FileProblem, OSError, UnicodeDecodeError) as error:
        raise StorageError(f"cannot read [store] password_file: {error}") from error
    if mode & _OTHERS_MAY:
        raise StorageError(
            f"{path} holds the store's password and others may read it: chmod 600 {path}"
        )
    return text.strip("\r\n")
