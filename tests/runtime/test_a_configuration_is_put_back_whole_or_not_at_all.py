"""A configuration that is put back is there with all that it names, however often it is begun."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from runtime.backup.configuration import FILE, Configuration, put_back
from runtime.backup.restoring import NotRestored
from runtime.backup.terminal import configured_from
from runtime.fsio import FileProblem
from runtime.keyfiles import Cost

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


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can write in another account's folder")
def test_root_leaves_no_keys_of_its_own_in_the_accounts_folder_nor_follows_its_links(
    tmp_path: Path,
) -> None:
    backup, etc, elsewhere = tmp_path / "backup", tmp_path / "etc", tmp_path / "elsewhere"
    for one in (backup, etc, elsewhere):
        one.mkdir()
    sealed = TAKEN.seal(b"a passphrase", "custodian backup", cost=Cost(memory_kib=64, passes=1))
    (backup / FILE).write_bytes(sealed)
    (etc / "tls").symlink_to(elsewhere)
    os.chown(etc, 65534, 65534)
    with (
        pytest.raises(NotRestored, match=f"{etc} is another account's: run this as that account"),
        configured_from(backup, etc / NAMES[0], b"a passphrase", "custodian backup", check=False),
    ):
        pass
    assert there(etc) == there(elsewhere) == []
