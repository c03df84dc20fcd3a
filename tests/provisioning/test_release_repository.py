"""The release repository: what is added stays, what is signed is published, nothing is lost."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from release_desk import AUTHORITY, Box, Desk, make_bundle, make_wheel
from tuf.api.metadata import Snapshot, Targets, Timestamp

from provisioning.fleet.releases.repository import ReleaseRepository
from provisioning.fleet.releases.verify import verify
from provisioning.formats.releases import packages
from provisioning.formats.releases.errors import ReleaseError, ReleaseUnusable
from runtime.bundle import BundleError

_START = datetime.now(UTC)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A desk whose clock the test may move."""
    return Desk(tmp_path / "desk", now=lambda: _START)


def _everything(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_new_repository_verifies_and_keeps_its_secrets_to_itself(desk: Desk) -> None:
    assert verify(desk.path).packages == 0
    keys = desk.repository.paths.keys
    assert keys.stat().st_mode & 0o777 == 0o700
    for path in keys.glob("*.secret"):
        assert path.stat().st_mode & 0o777 == 0o600
    public = b"".join(path.read_bytes() for path in desk.repository.paths.public.rglob("*.json"))
    assert b"SECRET" not in public


def test_an_existing_folder_is_not_overwritten(tmp_path: Path, desk: Desk) -> None:
    before = _everything(desk.path)
    with pytest.raises(ReleaseError, match="left as it is"):
        Desk(tmp_path / "desk")
    assert _everything(desk.path) == before


def test_adding_twice_changes_nothing_more(desk: Desk) -> None:
    package = packages.bundle_package(desk.bundle("good 1"), [AUTHORITY])
    assert desk.repository.add(package)
    before = _everything(desk.path)
    assert desk.repository.add(package) == []
    assert _everything(desk.path) == before


def test_a_released_version_never_gets_other_content(desk: Desk, tmp_path: Path) -> None:
    desk.agent("0.9.1")
    other = packages.agent_package([make_wheel(tmp_path / "other", "0.9.1", state="evil")])
    before = _everything(desk.path)
    with pytest.raises(ReleaseError, match="new version"):
        desk.repository.add(other)
    assert _everything(desk.path) == before


def test_an_unsigned_bundle_is_not_released(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path / "bundle", b"good", seed=bytes(32))
    with pytest.raises(BundleError):
        packages.bundle_package(bundle, [AUTHORITY])


def test_only_released_versions_are_rolled_out(desk: Desk) -> None:
    with pytest.raises(ReleaseError, match=r"has not been added; there are: none"):
        desk.repository.roll_out("agent", "9.9", "all")
    version = desk.models("good 1", group=None)
    assert desk.repository.rollout().version("models", "all") is None
    desk.repository.roll_out("models", version[:4], "canary")
    assert desk.repository.rollout().version("models", "canary") == version


@pytest.mark.parametrize("group", ["", "Canary", "../x", "a b"])
def test_a_group_needs_a_name(desk: Desk, group: str) -> None:
    version = desk.models("good 1", group=None)
    before = _everything(desk.path)
    with pytest.raises(ReleaseError, match="group"):
        desk.repository.roll_out("models", version, group)
    assert _everything(desk.path) == before


def test_rolling_out_the_same_again_changes_nothing(desk: Desk) -> None:
    version = desk.models("good 1")
    before = _everything(desk.path)
    desk.repository.roll_out("models", version, "all")
    assert _everything(desk.path) == before


def test_signatures_are_renewed_when_half_their_life_is_over(desk: Desk) -> None:
    assert desk.repository.publish() == []
    desk.now = lambda: _START + timedelta(hours=11)
    assert desk.repository.publish() == []
    desk.now = lambda: _START + timedelta(hours=13)
    [line] = desk.repository.publish()
    assert line.startswith("signed timestamp version 2")
    desk.now = lambda: _START + timedelta(days=4)
    assert [line.split()[1] for line in desk.repository.publish()] == ["snapshot", "timestamp"]
    assert desk.repository.snapshot().signed.expires > _START + timedelta(days=10)
    assert len(desk.repository.publish(force=True)) == 2


def test_lifetimes_are_the_plans(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "x", now=lambda: _START, lifetime_days={"timestamp": 14})
    left = desk.repository.timestamp().signed.expires - _START
    assert timedelta(days=13) < left <= timedelta(days=14)


@pytest.mark.parametrize(
    "act",
    [
        lambda repository, package: repository.add(package, dry_run=True),
        lambda repository, _: repository.publish(force=True, dry_run=True),
        lambda repository, _: repository.renew_targets(dry_run=True),
    ],
)
def test_a_dry_run_writes_nothing(
    desk: Desk, act: Callable[[ReleaseRepository, packages.Package], list[str]]
) -> None:
    package = packages.bundle_package(desk.bundle("good 1"), [AUTHORITY])
    before = _everything(desk.path)
    said = act(desk.repository, package)
    assert all(line.startswith("would ") for line in said)
    assert said
    assert _everything(desk.path) == before


@pytest.mark.processes
def test_without_online_keys_the_rest_is_left_to_the_machine_that_has_them(
    desk: Desk, tmp_path: Path
) -> None:
    box = Box(tmp_path / "box", desk, desk.trusted_root)
    away = {}
    for role in (Snapshot.type, Timestamp.type):
        [path] = desk.repository.key_files(desk.repository.root().signed, role)
        away[path] = path.rename(tmp_path / path.name)
    package = packages.bundle_package(desk.bundle("good 1"), [AUTHORITY])
    assert "still to be signed: snapshot, timestamp" in desk.repository.add(package)[-1]
    assert "still to be signed" in desk.repository.roll_out("models", package.version, "all")[-1]
    assert box.updater().run().result == "current"
    for path, where in away.items():
        where.rename(path)
    assert len(desk.repository.publish()) == 2
    assert box.updater().run().result == "updated"


def test_without_the_targets_key_nothing_is_released(desk: Desk, tmp_path: Path) -> None:
    [path] = desk.repository.key_files(desk.repository.root().signed, Targets.type)
    path.rename(tmp_path / path.name)
    package = packages.bundle_package(desk.bundle("good 1"), [AUTHORITY])
    with pytest.raises(ReleaseError, match=r"targets.* not here"):
        desk.repository.add(package)
    verify(desk.path)


def test_what_was_stopped_between_two_signatures_is_completed(desk: Desk) -> None:
    paths = desk.repository.paths
    timestamp = paths.timestamp.read_bytes()
    version = desk.models("good 1", group=None)
    newest = paths.newest(Snapshot.type)
    paths.versioned(Snapshot.type, newest).unlink()
    paths.timestamp.write_bytes(timestamp)
    verify(desk.path)
    package = packages.bundle_package(desk.folder / "bundle-1", [AUTHORITY])
    assert package.version == version
    assert [line.split()[1] for line in desk.repository.add(package)] == ["snapshot", "timestamp"]
    assert verify(desk.path).packages == 1


def test_a_timestamp_that_was_not_written_is_completed(desk: Desk) -> None:
    timestamp = desk.repository.paths.timestamp.read_bytes()
    desk.models("good 1", group=None)
    desk.repository.paths.timestamp.write_bytes(timestamp)
    assert len(desk.repository.publish()) == 1
    assert verify(desk.path).packages == 1


@pytest.mark.parametrize("damage", ["package", "rollout", "targets", "missing root"])
def test_verify_finds_what_a_box_would_refuse(desk: Desk, damage: str) -> None:
    desk.models("good 1")
    paths = desk.repository.paths
    target = {
        "package": next((paths.targets / "models").iterdir()),
        "rollout": next(paths.targets.glob("*rollout.json")),
        "targets": paths.versioned(Targets.type, paths.newest(Targets.type)),
        "missing root": paths.versioned("root", 1),
    }[damage]
    assert verify(desk.path).packages == 1
    if damage == "missing root":
        target.rename(paths.versioned("root", 3))
    else:
        target.write_bytes(target.read_bytes()[:-2] + b"x\n")
    with pytest.raises(ReleaseError):
        verify(desk.path)


def test_a_folder_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match="sealtrace release init"):
        ReleaseRepository(tmp_path)


def test_the_agents_own_wheel_is_needed_once(tmp_path: Path) -> None:
    own = make_wheel(tmp_path / "a", "0.9.1")
    other = own.with_name("library-1.0-py3-none-any.whl")
    other.write_bytes(own.read_bytes())
    assert packages.agent_package([own, other]).version == "0.9.1"
    newer = make_wheel(tmp_path / "b", "0.9.2")
    for wheels in ([other], [own, newer], [own, own], []):
        with pytest.raises(ReleaseError):
            packages.agent_package(wheels)
    fake = tmp_path / "sealtrace-1.0-py3-none-any.whl"
    fake.write_bytes(b"not a zip")
    with pytest.raises(ReleaseError, match="not a wheel"):
        packages.agent_package([fake])


def test_a_rollout_without_its_package_is_said_on_the_box(desk: Desk, tmp_path: Path) -> None:
    version = desk.models("good 1")
    repository = desk.repository
    targets = repository.targets()
    del targets.signed.targets[f"models/{version}.tar"]
    targets.signed.version += 1
    repository.sign(repository.root().signed, Targets.type, targets)
    repository.write(Targets.type, targets)
    repository.publish()
    box = Box(tmp_path / "box", desk, desk.trusted_root)
    report = box.updater().run()
    assert report.result == ReleaseUnusable.code
    assert "add-models" in report.message
