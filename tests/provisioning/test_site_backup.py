"""What was backed up comes back whole, to whoever has the passphrase, and not over anything."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from provisioning.authority import SiteError, SitePaths, changes, open_site
from provisioning.authority.backup import backup_site, restore_site
from runtime.fsio import FileProblem
from runtime.keyfiles import KeyFileError, WrongPassphrase


@pytest.fixture
def archive(made_site: SitePaths, tmp_path: Path, passphrase: bytes) -> Path:
    out = tmp_path / "site.backup"
    backup_site(open_site(made_site.root), out, passphrase)
    return out


def test_a_backup_holds_all_of_a_site(
    archive: Path, made_site: SitePaths, tmp_path: Path, passphrase: bytes
) -> None:
    restored = restore_site(archive, tmp_path / "again", passphrase)
    assert _files(restored.root) == _files(made_site.root)
    changes.revoke(restored.root, "bo", passphrase)
    assert open_site(restored.root).directory.version == 2


def test_models_and_state_stay_out(site: SitePaths, tmp_path: Path, passphrase: bytes) -> None:
    for folder in (site.models, site.box("box-1").parent / "models"):
        folder.mkdir()
        (folder / "large.onnx").write_bytes(bytes(1000))
    state = site.custodian("c1").parent / "state"
    state.mkdir()
    (state / "custodian.db").write_bytes(b"x")
    backup_site(open_site(site.root), tmp_path / "b", passphrase)
    restored = restore_site(tmp_path / "b", tmp_path / "again", passphrase)
    names = {path.name for path in restored.root.rglob("*")}
    assert not names & {"models", "large.onnx", "custodian.db"}
    assert (restored.broker / "data").is_dir()


def test_a_backup_is_private_and_says_nothing(archive: Path) -> None:
    assert archive.stat().st_mode & 0o777 == 0o600
    data = archive.read_bytes()
    for word in (b"site.toml", b"custodian", b"box-1", b"PRIVATE KEY"):
        assert word not in data


def test_only_the_passphrase_opens_it(archive: Path, tmp_path: Path) -> None:
    with pytest.raises(WrongPassphrase, match=f"does not open {re.escape(str(archive))} "):
        restore_site(archive, tmp_path / "again", b"wrong")
    assert not (tmp_path / "again").exists()


@pytest.mark.parametrize("position", [0.0, 0.3, 0.7, 0.999])
def test_damage_is_found(archive: Path, tmp_path: Path, passphrase: bytes, position: float) -> None:
    data = bytearray(archive.read_bytes())
    data[int(len(data) * position)] ^= 1
    archive.write_bytes(data)
    with pytest.raises((SiteError, KeyFileError)):
        restore_site(archive, tmp_path / "again", passphrase)
    assert {path.name for path in tmp_path.iterdir()} == {"site.backup"}


def test_nothing_is_overwritten(
    archive: Path, made_site: SitePaths, tmp_path: Path, passphrase: bytes
) -> None:
    with pytest.raises(FileProblem, match="exists already"):
        backup_site(open_site(made_site.root), archive, passphrase)
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "mine").write_text("keep")
    with pytest.raises(SiteError, match="exists already"):
        restore_site(archive, tmp_path / "again", passphrase)
    (tmp_path / "other").write_text("not a backup")
    with pytest.raises(SiteError, match="not a site backup"):
        restore_site(tmp_path / "other", tmp_path / "new", passphrase)


def _files(root: Path) -> dict[str, tuple[bytes, int]]:
    return {
        str(path.relative_to(root)): (path.read_bytes(), path.stat().st_mode & 0o777)
        for path in root.rglob("*")
        if path.is_file() and path.name != ".lock"
    }
