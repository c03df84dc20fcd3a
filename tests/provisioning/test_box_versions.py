"""What the second form says of boxes is written by commands, and refused where it cannot be."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from protocol.directory import open_directory
from provisioning.authority import SiteError, SitePaths, boxes, changes, open_site
from provisioning.authority.box_cli import app as box_app
from provisioning.authority.box_versions import seal_versions, sealable, set_recordings
from provisioning.authority.site_cli import app as site_app
from provisioning.formats.secretfiles import open_authority

NOW = datetime(2027, 1, 1, tzinfo=UTC)
NOW_MS = int(NOW.timestamp() * 1000)
Run = Callable[..., Result]


@pytest.fixture
def run(passphrase: bytes, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("SEALTRACE_OFFICER", raising=False)
    monkeypatch.setenv("SEALTRACE_PASSPHRASE", passphrase.decode())

    def ran(app: Any, *arguments: object) -> Result:
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return ran


def row(box: str, protocol: int | None, version_1_ms: int | None = None) -> dict[str, Any]:
    """As ``GET /v1/boxes`` tells it."""
    return {"box": box, "protocol": protocol, "version_1_ms": version_1_ms}


def test_a_box_that_went_on_is_held_to_it_from_its_last_word_in_version_1(
    site: SitePaths, passphrase: bytes
) -> None:
    found = sealable(open_site(site.root), (), [row("box-1", 2, 777), row("box-2", 2)], now=NOW)
    assert found.until_ms == {"box-1": 777, "box-2": NOW_MS}
    assert not found.refused
    assert seal_versions(site.root, found.until_ms, passphrase).changed
    principals = open_site(site.root).directory.principals
    assert {name: principals[name].version_1_until_ms for name in ("box-1", "box-2")} == (
        found.until_ms
    )
    again = sealable(open_site(site.root), (), [row("box-1", 2, 999)], now=NOW)
    assert (again.until_ms, dict(again.refused)) == ({}, {}), "what is said stays said"
    assert not seal_versions(site.root, {"box-1": 999}, b"").changed


@pytest.mark.parametrize(
    ("rows", "why"),
    [
        ([row("box-1", 1, 777)], "seals in version 1 still"),
        ([row("box-1", None)], "had nothing of it"),
        ([], "had nothing of it"),
        ([{"box": "box-1"}], "had nothing of it"),
        ([{"box": "box-1", "protocol": "2"}], "seals in version 1 still"),
    ],
)
def test_a_box_that_speaks_version_1_or_of_which_nothing_is_known_is_refused(
    site: SitePaths, rows: list[dict[str, Any]], why: str
) -> None:
    found = sealable(open_site(site.root), ["box-1"], rows, now=NOW)
    assert not found.until_ms
    assert why in found.refused["box-1"]


def test_only_boxes_in_force_are_held_to_a_version(site: SitePaths, passphrase: bytes) -> None:
    with pytest.raises(SiteError, match="no box 'ana'"):
        sealable(open_site(site.root), ["ana"], [], now=NOW)
    changes.revoke(site.root, "box-1", passphrase)
    with pytest.raises(SiteError, match="revoked"):
        sealable(open_site(site.root), ["box-1"], [row("box-1", 2)], now=NOW)


def test_recordings_are_listed_granted_at_the_broker_and_taken_over(
    run: Run, site: SitePaths, passphrase: bytes
) -> None:
    done = run(box_app, "recordings", site.root, "box-1", "--camera", "film-1", "--camera", "cam-2")
    assert done.exit_code == 0, done.output
    assert "may import films of film-1, cam-2: directory version 2" in done.stdout
    again = run(
        box_app, "recordings", site.root, "box-1", "--camera", "film-1", "--camera", "cam-2"
    )
    assert "nothing had to be changed" in again.stdout
    listed = json.loads(run(box_app, "list", site.root, "--json").stdout)
    assert listed[0]["recordings"] == ["film-1", "cam-2"]
    assert "films of film-1, cam-2" in run(box_app, "list", site.root).stdout
    rights = (site.broker / "acl-boxes").read_text()
    assert "topic write st/v1/demo/box-1/film-1/envelope\n" in rights
    plan = boxes.swap_plan(open_site(site.root), "box-1", "box-1b")
    boxes.swap_box(site.root, "box-1", "box-1b", passphrase, cameras=plan.cameras)
    principals = open_site(site.root).directory.principals
    assert principals["box-1b"].recordings == ("film-1", "cam-2")
    assert set_recordings(site.root, "box-1b", (), passphrase).changed
    assert open_site(site.root).directory.principals["box-1b"].recordings == ()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["recordings", "SITE", "box-1"], 2, "or give --none"),
        (["recordings", "SITE", "box-1", "--none", "--camera", "a"], 2, "or give --none"),
        (["recordings", "SITE", "box-1", "--camera", "No Name"], 1, "cannot be a camera"),
        (["recordings", "SITE", "box-1", "--camera", "a", "--camera", "a"], 1, "named twice"),
        (["recordings", "SITE", "ana", "--camera", "a"], 1, "no box 'ana'"),
        (["seal-version", "SITE"], 2, "or give --all"),
        (["seal-version", "SITE", "box-1", "--all"], 2, "or give --all"),
    ],
)
def test_wrong_use_is_explained(
    run: Run, site: SitePaths, arguments: list[str], code: int, message: str
) -> None:
    done = run(box_app, *[site.root if argument == "SITE" else argument for argument in arguments])
    assert done.exit_code == code, done.output
    assert message in done.stderr
    assert open_site(site.root).directory.version == 1


def test_without_the_aggregator_no_box_is_held_to_anything(run: Run, site: SitePaths) -> None:
    done = run(box_app, "seal-version", site.root, "--all")
    assert done.exit_code == 1
    assert open_site(site.root).directory.version == 1


def as_made_by_version_1(site: SitePaths, passphrase: bytes) -> None:
    """Leave the directory in the first form alone, everywhere."""
    directory = open_site(site.root).directory
    signed = directory.sign(open_authority(site, passphrase)).to_bytes()
    for folder in (site.authority, *site.role_folders()):
        (folder / "directory.cbor").write_bytes(signed)
        (folder / "directory-1.cbor").unlink()


def test_a_site_of_version_1_is_signed_in_both_forms_when_its_services_are_ready(
    run: Run, site: SitePaths, passphrase: bytes
) -> None:
    as_made_by_version_1(site, passphrase)
    opened = open_site(site.root)
    assert opened.directory.form == 1
    told = run(site_app, "update", site.root)
    assert told.exit_code == 0, told.output
    assert "--sign" in told.stderr
    assert run(site_app, "update", site.root, "--sign", "--dry-run").exit_code == 0
    assert open_site(site.root).directory.version == 1
    done = run(site_app, "update", site.root, "--sign")
    assert done.exit_code == 0, done.output
    after = open_site(site.root).directory
    assert (after.version, after.form) == (2, 2)
    assert after.principals == opened.directory.principals
    for folder in site.role_folders():
        first = Path(folder / "directory-1.cbor").read_bytes()
        assert open_directory(first, opened.authority).version == 2
    assert "--sign" not in run(site_app, "update", site.root).stderr
