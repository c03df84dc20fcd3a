"""Who is killed while a database is put aside loses nothing of it that was written last."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from runtime.backup.manifest import LogNote, Manifest
from runtime.backup.restoring import restoring
from runtime.backup.taking import Taking


class KilledError(BaseException):
    """The process ends here."""


def quiet(_text: str) -> None:
    """Tell nobody."""


def rows(path: Path) -> list[int]:
    with closing(sqlite3.connect(path)) as database:
        return [row[0] for row in database.execute("SELECT n FROM t ORDER BY n")]


def manifest_of(taken: Taking) -> Manifest:
    log = LogNote(origin="o", size_before=0, size=0, root="0" * 64)
    return Manifest(
        role="custodian", site="s", name="c1", version="1", taken_ms=0, files=taken.files, log=log
    )


@pytest.mark.parametrize("moves", range(4))
def test_what_stands_in_its_log_alone_is_never_parted_from_a_database_that_stays(
    moves: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, backup = tmp_path / "state", tmp_path / "backup"
    state.mkdir()
    backup.mkdir()
    database = state / "custodian.db"
    with closing(sqlite3.connect(database, isolation_level=None)) as old:
        old.execute("PRAGMA journal_mode = WAL")
        old.execute("CREATE TABLE t (n INTEGER)")
        old.execute("INSERT INTO t VALUES (1)")
        taken = Taking(backup, quiet)
        taken.add_database(database)
        old.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        old.execute("INSERT INTO t VALUES (2)")  # a withdrawal, and then the power went
        kept = {one.name: one.read_bytes() for one in state.iterdir()}
    for name, data in kept.items():
        (state / name).write_bytes(data)
    assert rows_of_a_copy(state, tmp_path / "copy") == [1, 2]
    real, left = Path.rename, [moves]

    def rename(self: Path, target: Path) -> Path:
        if left[0] == 0:
            raise KilledError
        left[0] -= 1
        return real(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    manifest = manifest_of(taken)
    with (
        pytest.raises(KilledError),
        restoring(backup, manifest, state, replace=True, tell=quiet) as one,
    ):
        one.place(one.stage(database.name))
        raise KilledError
    monkeypatch.undo()
    with restoring(backup, manifest, state, replace=False, tell=quiet) as one:
        one.place(one.stage(database.name))
    was_put_back = "put back" in one.done[database.name]
    assert rows(database) == ([1] if was_put_back else [1, 2])


def rows_of_a_copy(state: Path, copy: Path) -> list[int]:
    copy.mkdir()
    for one in state.iterdir():
        if one.is_file() and one.name != "lock":
            (copy / one.name).write_bytes(one.read_bytes())
    return rows(copy / "custodian.db")
