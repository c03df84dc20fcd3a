"""`--dry-run` says what would be done, finds what would fail, and writes nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from demo.local_site import PASSPHRASE, plan_of
from provisioning.authority import SitePaths, create_site, site_cli
from provisioning.fleet import release_cli

RUN = CliRunner()


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SitePaths]:
    monkeypatch.setenv("SEALTRACE_PASSPHRASE", PASSPHRASE)
    plan = plan_of({"cam-1": {"source": "rtsp://camera.example/1"}}, bundle=None)
    yield create_site(plan, tmp_path / "site", PASSPHRASE.encode())


def state_of(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("command", ["backup", "passphrase", "update", "models", "restore"])
def test_a_dry_run_of_a_site_command_writes_nothing(
    site: SitePaths, tmp_path: Path, command: str, request: pytest.FixtureRequest
) -> None:
    root = str(site.root)
    archive = tmp_path / "site.backup"
    arguments = {
        "backup": [root, "--out", str(tmp_path / "new.backup")],
        "passphrase": [str(site.custodian("c1").parent / "identity.secret")],
        "update": [root],
        "models": [root],
        "restore": [str(archive), str(tmp_path / "restored")],
    }[command]
    if command == "restore":
        made = RUN.invoke(site_cli.app, ["backup", root, "--out", str(archive)])
        assert made.exit_code == 0, made.output
    if command == "models":
        arguments.append(str(request.getfixturevalue("model_bundle_path")))
    before = state_of(tmp_path)
    done = RUN.invoke(site_cli.app, [command, *arguments, "--dry-run"])
    assert done.exit_code == 0, done.output
    assert "would" in done.output
    assert state_of(tmp_path) == before


def test_a_dry_run_finds_what_would_fail(site: SitePaths, tmp_path: Path) -> None:
    (tmp_path / "there").write_bytes(b"something")
    for app, arguments in (
        (site_cli.app, ["backup", str(site.root), "--out", str(tmp_path / "there")]),
        (site_cli.app, ["restore", str(tmp_path / "there"), str(tmp_path / "restored")]),
        (site_cli.app, ["restore", str(tmp_path / "there"), str(site.root)]),
        (site_cli.app, ["models", str(site.root), str(tmp_path / "absent")]),
        (release_cli.app, ["key", "ana", str(tmp_path / "there")]),
        (release_cli.app, ["key", "Not A Name", str(tmp_path / "new.secret")]),
    ):
        assert RUN.invoke(app, [*arguments, "--dry-run"]).exit_code == 1, arguments
    made = RUN.invoke(release_cli.app, ["key", "ana", str(tmp_path / "new.secret"), "--dry-run"])
    assert made.exit_code == 0
    assert not (tmp_path / "new.secret").exists()
