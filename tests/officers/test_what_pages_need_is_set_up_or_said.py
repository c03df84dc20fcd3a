"""`sealtrace desk install` on a machine without npm, or without a network: said, with what next."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from officers.pages.assets import AssetsMissing, Vendor, default_folder, install, pinned
from runtime.registries import ClientMissing, RegistryUnreachable

pytestmark = pytest.mark.processes  # pip, which reaches no index


@pytest.fixture
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine that has no npm and reaches no index; return a folder for commands of its own."""
    own = tmp_path / "bin"
    own.mkdir()
    monkeypatch.setenv("PATH", str(own))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    return own


def test_without_npm_and_network_it_is_said_what_to_install_or_bring(
    tmp_path: Path, nowhere: Path
) -> None:
    told: list[str] = []
    with pytest.raises(ClientMissing) as caught:
        install(tmp_path / "pages", tmp_path / "cache", notify=told.append)
    said = str(caught.value)
    assert "this machine has no npm" in said
    assert "Debian: apt install npm" in said
    assert str(tmp_path / "cache") in said
    assert "run the same command again" in said
    assert any("no npm" in one for one in told)
    assert not (tmp_path / "pages").exists()
    left = [path.name for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    assert left == [], "nothing half is left behind"
    with pytest.raises(AssetsMissing, match="sealtrace desk install"):
        Vendor(tmp_path / "pages").check()


def test_where_npm_gets_nothing_its_own_words_are_told(tmp_path: Path, nowhere: Path) -> None:
    npm = nowhere / "npm"
    npm.write_text("#!/bin/sh\necho 'npm ERR! network connect ECONNREFUSED' >&2\nexit 1\n")
    npm.chmod(0o755)
    with pytest.raises(RegistryUnreachable) as caught:
        install(tmp_path / "pages", tmp_path / "cache")
    assert "npm could not fetch" in str(caught.value)
    assert "ECONNREFUSED" in str(caught.value)
    assert "run the same command again" in str(caught.value)


def test_what_is_there_already_takes_neither_npm_nor_network(tmp_path: Path, nowhere: Path) -> None:
    pages = tmp_path / "pages"
    shutil.copytree(default_folder(), pages)
    assert install(pages, tmp_path / "cache") == 0
    package = next(one for one in pinned() if not one.for_tests)
    path = next(iter(package.files))
    (pages / package.folder / path).write_bytes(b"altered")
    with pytest.raises(ClientMissing):
        install(pages, tmp_path / "cache")
    assert (pages / package.folder / path).read_bytes() == b"altered", "and the rest stays"
