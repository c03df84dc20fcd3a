"""Old packages go, what may be needed stays, and a box in the middle of an update is not broken."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from release_desk import Box, Desk, make_wheel
from tuf.api.metadata import Snapshot, Targets, Timestamp

from provisioning.box.updates.client import ReleaseClient
from provisioning.fleet.releases.prune import prune, waiting
from provisioning.fleet.releases.verify import verify
from provisioning.formats.releases import packages
from provisioning.formats.releases.errors import ReleaseError

_START = datetime.now(UTC)
_LATER = _START + timedelta(days=8)
"""When every snapshot of _START has expired."""


class MovingClock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.at = _START

    def __call__(self) -> datetime:
        return self.at


@pytest.fixture
def clock() -> MovingClock:
    return MovingClock()


@pytest.fixture
def desk(tmp_path: Path, clock: MovingClock) -> Desk:
    """A desk that has released five agents to everybody, one after the other."""
    made = Desk(tmp_path / "desk", now=clock)
    for number in range(1, 6):
        made.agent(f"0.9.{number}")
    return made


def _agents(desk: Desk) -> list[str]:
    return sorted(
        name.removeprefix("agent/").removesuffix(".tar")
        for name in desk.repository.targets().signed.targets
        if name.startswith("agent/")
    )


def _files(desk: Desk) -> int:
    return len(list((desk.repository.paths.targets / "agent").iterdir()))


def _everything(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_the_last_few_and_all_that_is_rolled_out_stay(desk: Desk) -> None:
    desk.repository.roll_out("agent", "0.9.1", "canary")
    prune(desk.repository, 2, now=_START)
    assert _agents(desk) == ["0.9.1", "0.9.3", "0.9.4", "0.9.5"]
    assert verify(desk.path).packages == 4
    prune(desk.repository, 0, now=_START)
    assert _agents(desk) == ["0.9.1", "0.9.5"]
    assert verify(desk.path).packages == 2


def test_what_was_added_and_not_rolled_out_yet_is_not_old(desk: Desk) -> None:
    desk.agent("0.10.0", group=None)
    models = desk.models("good 1", group=None)
    prune(desk.repository, 0, now=_START)
    assert _agents(desk) == ["0.10.0", "0.9.5"]
    assert f"models/{models}.tar" in desk.repository.targets().signed.targets


def test_after_going_back_to_an_old_version_the_newer_ones_stay(desk: Desk) -> None:
    desk.repository.roll_out("agent", "0.9.3", "all")
    prune(desk.repository, 1, now=_START)
    assert _agents(desk) == ["0.9.2", "0.9.3", "0.9.4", "0.9.5"]


def test_files_stay_while_a_box_may_go_by_the_list_before(desk: Desk, clock: MovingClock) -> None:
    prune(desk.repository, 0, now=_START)
    assert _files(desk) == 5
    assert "run this again after" in waiting(desk.repository, _START)
    clock.at = _LATER
    done = prune(desk.repository, 0, now=_LATER)
    assert _files(desk) == 1
    assert len([line for line in done if line.startswith("deleted ")]) > 4, "old rollouts, too"
    assert waiting(desk.repository, _LATER) == ""
    assert verify(desk.path).packages == 1


@pytest.mark.processes
def test_a_box_in_the_middle_of_an_update_finishes_it(desk: Desk, tmp_path: Path) -> None:
    repository = desk.repository
    url = repository.paths.public.as_uri()
    client = ReleaseClient(url, desk.trusted_root, tmp_path / "state")
    client.refresh(None, _START)
    offer = client.offer("agent", "0.9.2")
    prune(repository, 0, now=_START)
    prune(desk.repository, 0, now=_START)
    assert client.download(offer).stat().st_size == offer.target.length
    client.close()
    box = Box(tmp_path / "box", desk, desk.trusted_root)
    assert box.updater().run().result == "updated", "and one that begins afterwards updates as well"


def test_pruning_again_changes_nothing(desk: Desk, clock: MovingClock) -> None:
    for moment in (_START, _LATER):
        clock.at = moment
        assert prune(desk.repository, 1, now=moment)
        before = _everything(desk.path)
        assert prune(desk.repository, 1, now=moment) == []
        assert _everything(desk.path) == before


def test_a_dry_run_says_what_would_go_and_writes_nothing(desk: Desk, clock: MovingClock) -> None:
    before = _everything(desk.path)
    said = prune(desk.repository, 1, now=_START, dry_run=True)
    assert [line.split()[2] for line in said] == [f"agent/0.9.{n}.tar" for n in (1, 2, 3)]
    assert _everything(desk.path) == before
    prune(desk.repository, 1, now=_START)
    clock.at = _LATER
    before = _everything(desk.path)
    said = prune(desk.repository, 1, now=_LATER, dry_run=True)
    assert any(line.startswith("would delete") for line in said)
    assert _everything(desk.path) == before


def test_without_the_online_keys_no_file_goes(
    desk: Desk, clock: MovingClock, tmp_path: Path
) -> None:
    for role in (Snapshot.type, Timestamp.type):
        [path] = desk.repository.key_files(desk.repository.root().signed, role)
        path.rename(tmp_path / path.name)
    clock.at = _LATER
    done = prune(desk.repository, 0, now=_LATER)
    assert any(line.startswith("still to be signed") for line in done)
    assert _files(desk) == 5, "the newest snapshot still leads to the list that names them"


def test_without_the_targets_key_nothing_goes(desk: Desk, tmp_path: Path) -> None:
    [path] = desk.repository.key_files(desk.repository.root().signed, Targets.type)
    path.rename(tmp_path / path.name)
    before = _everything(desk.repository.paths.public)
    with pytest.raises(ReleaseError, match=r"targets.* not here"):
        prune(desk.repository, 0, now=_START)
    assert _everything(desk.repository.paths.public) == before


def test_a_file_that_no_list_names_yet_is_not_ours_to_delete(
    desk: Desk, clock: MovingClock
) -> None:
    unfinished = desk.repository.paths.targets / "agent" / f"{'0' * 64}.0.9.9.tar"
    unfinished.write_bytes(b"somebody is just adding it")
    prune(desk.repository, 0, now=_START)
    clock.at = _LATER
    prune(desk.repository, 0, now=_LATER)
    assert unfinished.exists()


@pytest.mark.parametrize("content", ["good", "evil"])
def test_a_version_that_was_taken_out_comes_back_as_it_was_or_not_at_all(
    desk: Desk, clock: MovingClock, tmp_path: Path, content: str
) -> None:
    prune(desk.repository, 0, now=_START)
    clock.at = _LATER
    prune(desk.repository, 0, now=_LATER)
    package = packages.agent_package([make_wheel(tmp_path / "again", "0.9.1", state=content)])
    if content == "evil":
        with pytest.raises(ReleaseError, match="new version"):
            desk.repository.add(package)
    else:
        desk.repository.add(package)
        assert verify(desk.path).packages == 2
