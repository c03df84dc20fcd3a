"""Lays down databases that are new as they were made once: their migrations run once a process."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

from aggregator.store.sqlite.store import SqliteStore
from custodian.store import Store as CustodianStore
from protocol.signing import SigningKey
from runtime.auditlog import AuditLog
from runtime.witness import Witness

_KEY = SigningKey("nobody", bytes(32))


def new_store(path: Path) -> SqliteStore:
    """Open an aggregator's database; where there is none, it is what a first opening leaves."""
    if not path.exists():
        _lay(path, _made(_aggregator))
    return SqliteStore(path)


def lay_custodian(state: Path) -> None:
    """Lay down a custodian's state as if it was stopped while it began: databases without rows."""
    if state.exists():
        return
    state.mkdir(mode=0o700)
    for name, make in (("custodian", _custodian), ("audit", _audit), ("witness", _witness)):
        _lay(state / f"{name}.db", _made(make))


def _aggregator(path: Path) -> SqliteStore:
    return SqliteStore(path)


def _custodian(path: Path) -> CustodianStore:
    return CustodianStore(path)


def _audit(path: Path) -> AuditLog:
    return AuditLog(path, "nobody's", _KEY, {})


def _witness(path: Path) -> Witness:
    return Witness(path, "nobody", _KEY)


@cache
def _made(make: Callable[[Path], SqliteStore | CustodianStore | AuditLog | Witness]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "made.db"
        make(path).close()
        assert [one.name for one in path.parent.iterdir()] == [path.name]  # no log beside it
        return path.read_bytes()


def _lay(path: Path, content: bytes) -> None:
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:  # noqa: PTH123
        file.write(content)
