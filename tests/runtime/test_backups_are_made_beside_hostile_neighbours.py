"""Whoever else writes where backups lie neither has files deleted nor gets a backup to alter."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from runtime.backup.taking import taking
from runtime.errors import OperationError
from runtime.fsio import FileProblem


def quiet(_text: str) -> None:
    """Tell nobody."""


def test_a_link_under_the_name_of_an_unfinished_backup_has_nothing_deleted(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.mkdir()
    (keys / "identity.secret").write_bytes(b"a key")
    backups = tmp_path / "backups"
    backups.mkdir()
    (backups / ".monday.partial").symlink_to(keys)
    with (
        pytest.raises(FileProblem, match="not a folder of this account"),
        taking(backups / "monday", quiet),
    ):
        pass
    assert [one.name for one in keys.iterdir()] == ["identity.secret"]
    assert not (backups / "monday").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder to another account")
def test_a_folder_of_another_account_gets_no_backup_even_from_root(tmp_path: Path) -> None:
    theirs = tmp_path / ".monday.partial"
    theirs.mkdir()
    os.chown(theirs, 65534, 65534)
    with (
        pytest.raises(FileProblem, match="not a folder of this account"),
        taking(tmp_path / "monday", quiet),
    ):
        pass
    assert list(theirs.iterdir()) == []


def test_no_backup_is_made_where_everybody_may_exchange_it(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with (
        pytest.raises(FileProblem, match="everybody may write"),
        taking(tmp_path / "monday", quiet),
    ):
        pass
    tmp_path.chmod(0o1777)
    with taking(tmp_path / "monday", quiet):
        pass
    assert (tmp_path / "monday").stat().st_mode & 0o777 == 0o700


def test_a_second_backup_of_the_name_never_empties_one_that_is_being_given_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.rename
    second: list[str] = []

    def rename(self: Path, target: Path) -> Path:
        if not second:
            second.append("begun")
            with (
                pytest.raises(OperationError, match="is being made; wait for it"),
                taking(tmp_path / "monday", quiet),
            ):
                pass
        return real(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    with taking(tmp_path / "monday", quiet) as one:
        one.add("directory.cbor", b"a paper")
    assert second == ["begun"]
    assert [file.name for file in (tmp_path / "monday").iterdir()] == ["directory.cbor"]
