"""A configuration that is put back is there with all that it names, however often it is begun."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from runtime.backup.configuration import Configuration, put_back
from runtime.fsio import FileProblem

NAMES = ["custodian.toml", "identity.secret", "tls/key.pem"]
TAKEN = Configuration(NAMES[0], {name: (name.encode(), 0o600) for name in NAMES})


def there(folder: Path) -> list[str]:
    return sorted(str(one.relative_to(folder)) for one in folder.rglob("*") if one.is_file())


def test_where_one_file_cannot_be_written_none_is_left(tmp_path: Path) -> None:
    (tmp_path / "tls").write_bytes(b"in the way")
    with pytest.raises(FileProblem, match="cannot create the folder"):
        put_back(TAKEN, tmp_path)
    assert there(tmp_path) == ["tls"]
    (tmp_path / "tls").unlink()
    assert put_back(TAKEN, tmp_path)[1] == []
    assert there(tmp_path) == NAMES


def test_who_is_killed_in_the_middle_finds_no_configuration_and_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, given = os.link, []

    def link(temporary: Path, target: Path) -> None:
        given.append(str(Path(target).relative_to(tmp_path)))
        real(temporary, target)

    monkeypatch.setattr(os, "link", link)
    put_back(TAKEN, tmp_path)
    assert given[-1] == NAMES[0]  # by which it is known that there is one
