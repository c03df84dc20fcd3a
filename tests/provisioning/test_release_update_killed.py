"""A kill or a power cut at any step of an update leaves a box that the next run brings to order."""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
from release_desk import Box, Desk

from provisioning.box.updates.state import StateFile

pytestmark = pytest.mark.processes

_FORWARD = ("refreshed", "fetching", "downloaded", "installed", "switching", "switched", "started")
_BACK = ("rolling-back", "rolled-back", "restarted")


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """A desk with a good and a bad bundle, and two agents, rolled out to groups."""
    desk = Desk(tmp_path_factory.mktemp("desk"))
    desk.models("good 1", group="first")
    desk.models("good 2", group="second")
    desk.models("bad 3", group="ill")
    desk.agent("0.9.1", group="agents")
    return desk


@pytest.fixture
def make_box(desk: Desk, tmp_path: Path) -> Callable[[str], Box]:
    """Makes a box at good 1 whose group is then another one."""

    def make(group: str) -> Box:
        box = Box(tmp_path / "box", desk, desk.trusted_root, group="first")
        assert box.updater().run().result == "updated"
        box.config = box.config.model_copy(update={"group": group})
        return box

    return make


def _killed_at(box: Box, wanted: str) -> None:
    """Run an update in a process that is killed, as by a power cut, once it reaches a step."""
    child = os.fork()
    if child == 0:
        try:
            box.updater(lambda step: os.kill(os.getpid(), 9) if step == wanted else None).run()
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), f"the step {wanted!r} never came"
    assert os.WTERMSIG(status) == signal.SIGKILL


def _in_order(box: Box) -> None:
    """Nothing half-made is left, and nothing is under way."""
    assert StateFile(box.config.state_dir).read().step is None
    for folder in (box.folder / "bundles", box.folder / "agents"):
        assert [path.name for path in folder.glob(".*")] == []
    assert list((box.config.state_dir / "downloads").iterdir()) == []


@pytest.mark.parametrize("step", [*_FORWARD, "kept"])
def test_an_update_goes_on_after_a_kill(make_box: Callable[[str], Box], step: str) -> None:
    box = make_box("second")
    _killed_at(box, step if step == "refreshed" else f"{step} models")
    assert box.runs in {"good 1", "good 2"}
    report = box.updater().run()
    assert report.result == ("current" if step == "kept" else "updated")
    assert box.runs == "good 2"
    assert box.starts[-1] == "good 2 -"
    _in_order(box)


@pytest.mark.parametrize("step", ["installed", "switching", "switched", "started", *_BACK])
def test_an_ill_version_is_gone_after_a_kill(make_box: Callable[[str], Box], step: str) -> None:
    box = make_box("ill")
    _killed_at(box, step if step == "refreshed" else f"{step} models")
    report = box.updater().run()
    assert report.result == "rolled-back"
    assert box.runs == "good 1"
    assert box.starts[-1] == "good 1 -"
    assert box.updater().run().result == "held-back"
    _in_order(box)


def test_a_version_once_undone_stays_undone_after_a_kill(make_box: Callable[[str], Box]) -> None:
    box = make_box("ill")
    _killed_at(box, "undone models")
    assert box.updater().run().result == "held-back"
    assert box.runs == "good 1"
    _in_order(box)


@pytest.mark.parametrize("step", ["downloaded", "installed", "switched"])
def test_an_agent_goes_on_after_a_kill(make_box: Callable[[str], Box], step: str) -> None:
    box = make_box("agents")
    _killed_at(box, f"{step} agent")
    assert box.updater().run().running["agent"] == "0.9.1"
    assert box.starts[-1] == "good 1 good"
    _in_order(box)


def test_an_interrupted_switch_is_finished_without_the_repository(
    make_box: Callable[[str], Box],
) -> None:
    box = make_box("second")
    _killed_at(box, "switching models")
    box.config = box.config.model_copy(update={"repository": "file:///nowhere/at/all"})
    with pytest.raises(Exception, match="nowhere"):
        box.updater().run()
    state = StateFile(box.config.state_dir).read()
    assert state.report.result == "unreachable"
    assert "good" in box.starts[-1]
    assert box.runs == "good 2"
    _in_order(box)


def test_two_kills_in_a_row_are_survived(make_box: Callable[[str], Box]) -> None:
    box = make_box("ill")
    _killed_at(box, "switched models")
    _killed_at(box, "rolled-back models")
    assert box.updater().run().result == "rolled-back"
    assert box.runs == "good 1"
    _in_order(box)
