"""A box takes its group's version, keeps it while it is well, and goes back by itself when not."""

from __future__ import annotations

import fcntl
import json
import os
from pathlib import Path

import pytest
from release_desk import Box, Desk, make_wheel

from provisioning.box.updates.state import StateFile, UpdateRunning
from provisioning.box.updates.update import MAX_ATTEMPTS
from provisioning.box.updates.update_config import load_updates
from provisioning.formats.releases import packages
from provisioning.formats.releases.errors import ReleaseForged
from runtime.config import ConfigError
from runtime.errors import OperationError
from runtime.fsio import FileProblem

pytestmark = pytest.mark.processes


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    """A release desk."""
    return Desk(tmp_path / "desk")


@pytest.fixture
def box(desk: Desk, tmp_path: Path) -> Box:
    """A box that reads the repository itself."""
    return Box(tmp_path / "box", desk, desk.trusted_root)


def test_a_box_without_any_release_does_nothing(box: Box) -> None:
    report = box.updater().run()
    assert report.result == "current"
    assert box.starts == []
    assert report.wanted == {"agent": None, "models": None}


def test_a_bundle_is_installed_switched_and_started(desk: Desk, box: Box) -> None:
    version = desk.models("good 1")
    report = box.updater().run()
    assert report.result == "updated"
    assert report.running["models"] == version
    assert box.starts == ["good 1 -"]
    assert (box.folder / "bundles" / "current").readlink() == Path(version)


def test_nothing_is_restarted_when_nothing_changed(desk: Desk, box: Box) -> None:
    desk.models("good 1")
    box.updater().run()
    assert box.updater().run().result == "current"
    assert box.starts == ["good 1 -"]


def test_only_the_canary_group_takes_what_is_rolled_out_to_it(desk: Desk, tmp_path: Path) -> None:
    canary = Box(tmp_path / "canary", desk, desk.trusted_root, group="canary")
    other = Box(tmp_path / "other", desk, desk.trusted_root, group="west")
    first = desk.models("good 1")
    second = desk.models("good 2", group="canary")
    canary.updater().run()
    other.updater().run()
    assert (canary.runs, other.runs) == ("good 2", "good 1")
    desk.repository.roll_out("models", second, "all")
    other.updater().run()
    assert other.runs == "good 2"
    desk.repository.roll_out("models", first, "all")
    canary.updater().run()
    assert canary.runs == "good 1"


def test_an_ill_version_is_rolled_back_and_never_tried_again(desk: Desk, box: Box) -> None:
    good = desk.models("good 1")
    box.updater().run()
    bad = desk.models("bad 2")
    report = box.updater().run()
    assert report.result == "rolled-back"
    assert "it is ill: bad 2" in report.message
    assert box.runs == "good 1"
    assert report.running["models"] == good
    again = box.updater().run()
    assert again.result == "held-back"
    assert again.wanted["models"] == bad
    assert box.starts == ["good 1 -", "bad 2 -", "good 1 -"]
    assert not (box.folder / "bundles" / bad).exists()


def test_a_newer_version_is_tried_after_one_that_failed(desk: Desk, box: Box) -> None:
    desk.models("good 1")
    box.updater().run()
    desk.models("bad 2")
    box.updater().run()
    desk.models("good 3")
    assert box.updater().run().result == "updated"
    assert box.runs == "good 3"


def test_a_failed_version_is_tried_again_when_asked(desk: Desk, box: Box) -> None:
    desk.agent("0.9.1", state="bad")
    assert box.updater().run().result == "rolled-back"
    (box.folder / "health.sh").write_text("exit 0\n")
    assert box.updater().run().result == "held-back"
    assert box.updater().run(retry=True).result == "updated"


def test_a_first_agent_that_fails_leaves_the_box_with_what_it_came_with(
    desk: Desk, box: Box
) -> None:
    desk.agent("0.9.1", state="bad")
    report = box.updater().run()
    assert report.result == "rolled-back"
    assert not (box.folder / "agents" / "current").is_symlink()


def test_first_models_stay_even_if_the_box_is_not_well_yet(desk: Desk, box: Box) -> None:
    version = desk.models("bad 1")
    report = box.updater().run()
    assert report.result == "unhealthy"
    assert report.running["models"] == version
    assert box.updater().run().result == "current"
    desk.models("good 2")
    assert box.updater().run().result == "updated"


def test_a_version_is_not_blamed_when_the_one_before_is_not_well_either(
    desk: Desk, box: Box
) -> None:
    desk.models("good 1")
    box.updater().run()
    desk.models("good 2")
    health = box.folder / "health.sh"
    healthy = health.read_text()
    health.write_text("echo no camera; exit 1\n")
    report = box.updater().run()
    assert report.result == "unhealthy"
    assert "no camera" in report.message
    assert box.runs == "good 1"
    health.write_text(healthy)
    assert box.updater().run().result == "updated"
    assert box.runs == "good 2"


def test_a_restart_that_fails_is_a_failure_of_the_version(desk: Desk, box: Box) -> None:
    desk.models("good 1")
    (box.folder / "restart.sh").write_text("echo unit is masked; exit 5\n")
    report = box.updater().run()
    assert report.result == "unhealthy"
    assert "unit is masked" in report.message


def test_a_status_file_that_stands_still_is_no_health(desk: Desk, tmp_path: Path) -> None:
    status = tmp_path / "status.json"
    status.write_text("{}")
    box = Box(tmp_path / "box", desk, desk.trusted_root, service={"status_file": status})
    desk.agent("0.9.1")
    report = box.updater().run()
    assert report.result == "unhealthy"
    assert "was not written again" in report.message
    (box.folder / "health.sh").write_text(f"date +%N > {status}")
    assert box.updater().run().result == "updated"


def test_a_bundle_that_the_site_does_not_vouch_for_is_refused(desk: Desk, box: Box) -> None:
    version = desk.models("good 1", seed=bytes(32))
    report = box.updater().run()
    assert report.result == "unusable"
    assert "no key trusted here" in report.message
    assert box.starts == []
    assert version in StateFile(box.config.state_dir).read().bad["models"]


def test_an_agent_is_installed_from_its_wheels(desk: Desk, box: Box) -> None:
    desk.agent("0.9.1")
    report = box.updater().run()
    assert report.result == "updated", report.message
    assert box.starts == ["- good"]
    current = box.folder / "agents" / "current"
    assert (current / "sealtrace" / "command.py").is_file()
    mode = (current / "agent_state.txt").stat().st_mode
    assert mode & 0o444 == 0o444


def test_an_agent_for_another_machine_is_refused(desk: Desk, box: Box, tmp_path: Path) -> None:
    own = make_wheel(tmp_path / "dist", "0.9.1")
    library = own.with_name("lib-1.0-cp311-cp311-manylinux_2_17_s390.whl")
    library.write_bytes(own.read_bytes())
    desk.repository.add(packages.agent_package([own, library]))
    desk.repository.roll_out("agent", "0.9.1", "all")
    report = box.updater().run()
    assert report.result == "unusable"
    assert "no wheel of lib for this machine" in report.message


def test_an_agent_that_does_not_start_never_becomes_current(desk: Desk, box: Box) -> None:
    desk.agent("0.9.2", starts=False)
    report = box.updater().run()
    assert report.result == "unusable"
    assert "broken wheel" in report.message
    assert box.starts == []


def test_an_ill_agent_goes_and_good_models_come(desk: Desk, box: Box) -> None:
    desk.agent("0.9.3", state="bad")
    desk.models("good 1")
    report = box.updater().run()
    assert report.result == "rolled-back"
    assert report.running == {
        "agent": None,
        "models": desk.repository.rollout().version("models", "all"),
    }
    assert box.starts == ["- bad", "- -", "good 1 -"]


def test_only_the_running_and_the_last_version_are_kept(desk: Desk, box: Box) -> None:
    versions = []
    for number in (1, 2, 3):
        versions.append(desk.models(f"good {number}"))
        box.updater().run()
    kept = {path.name for path in (box.folder / "bundles").iterdir()}
    assert kept == {"current", *versions[1:]}


def test_two_updates_at_once_are_refused(box: Box) -> None:
    box.config.state_dir.mkdir()
    descriptor = os.open(box.config.state_dir / "lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    with pytest.raises(UpdateRunning):
        box.updater().run()
    os.close(descriptor)


def test_check_says_what_would_be_done_and_installs_nothing(desk: Desk, box: Box) -> None:
    version = desk.models("good 1")
    lines = box.updater().check()
    assert any(f"would install models {version}" in line for line in lines)
    assert not (box.folder / "bundles").exists()
    assert box.starts == []


def test_a_damaged_state_file_does_not_stop_updates(desk: Desk, box: Box) -> None:
    desk.models("good 1")
    box.updater().run()
    (box.config.state_dir / "state.json").write_text("{not json")
    assert box.updater().run().result == "current"


def test_a_version_larger_than_the_box_takes_is_refused(desk: Desk, tmp_path: Path) -> None:
    box = Box(tmp_path / "box", desk, desk.trusted_root, max_package_mb=1)
    desk.models("good " * 300_000)
    report = box.updater().run()
    assert report.result == "unusable"
    assert "max_package_mb" in report.message


def test_what_the_state_file_says_can_be_read_by_others(desk: Desk, box: Box) -> None:
    desk.agent("0.9.1", state="bad")
    box.updater().run()
    path = box.config.state_dir / "state.json"
    assert path.stat().st_mode & 0o777 == 0o644
    assert path.parent.stat().st_mode & 0o055 == 0o055
    state = json.loads(path.read_text())
    assert state["report"]["result"] == "rolled-back"
    assert state["step"] is None


def test_a_version_that_takes_the_box_down_again_and_again_is_rolled_back(
    desk: Desk, box: Box
) -> None:
    desk.models("good 1")
    box.updater().run()
    desk.models("good 2")

    class PowerCut(BaseException):
        pass

    def cut(step: str) -> None:
        if step == "switched models":
            raise PowerCut

    for _ in range(MAX_ATTEMPTS):
        with pytest.raises(PowerCut):
            box.updater(cut).run()
    report = box.updater().run()
    assert report.result == "rolled-back"
    assert "went down 3 times" in report.message
    assert box.runs == "good 1"


def test_current_that_is_a_folder_is_left_alone(desk: Desk, box: Box) -> None:
    (box.folder / "bundles" / "current").mkdir(parents=True)
    desk.models("good 1")
    with pytest.raises(FileProblem, match="not a symbolic link"):
        box.updater().run()


def test_a_root_of_another_site_installs_nothing(desk: Desk, box: Box, tmp_path: Path) -> None:
    desk.models("good 1")
    other = Desk(tmp_path / "other")
    box.config.root.write_bytes(other.trusted_root)
    with pytest.raises(ReleaseForged):
        box.updater().run()
    assert box.runs is None


@pytest.mark.parametrize("content", [b"", b"{}", b"\xff\xfe"])
def test_a_trusted_root_that_is_none_is_explained(box: Box, content: bytes) -> None:
    box.config.root.write_bytes(content)
    with pytest.raises(OperationError, match="trusted root"):
        box.updater().run()


@pytest.mark.parametrize(
    "address", ["http://mirror.example/", "ftp://x/", "releases", "https://", "file:relative"]
)
def test_a_repository_must_be_reached_safely(tmp_path: Path, address: str) -> None:
    path = tmp_path / "updates.toml"
    path.write_text(f'repository = "{address}"\nauthority = "{"0" * 64}"\n')
    with pytest.raises(ConfigError, match="repository"):
        load_updates(path)
