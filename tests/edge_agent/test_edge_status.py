"""`sealtrace edge status` says what is wrong with the cameras, as the running agent told last."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from edge_agent.cli import app
from edge_agent.config import CameraConfig
from edge_agent.outbox_recovery import open_outbox
from edge_agent.troubles import TROUBLES_FILE, TroubleFile, read_troubles
from runtime.errors import OperationError

WRONG = {
    "trouble.view.gate": 1.0,
    "trouble.camera.door": 1.0,
    "trouble.day_keys.c2": 1.0,
    "camera.gate.fps": 5.0,
}
BOX = """
site = "north"
box = "box-1"
authority = "{authority}"
state_dir = "."
[[cameras]]
name = "gate"
source = "rtsp://10.0.0.2/live"
moves = true
[[cameras]]
name = "door"
source = "rtsp://10.0.0.3/live"
"""


@pytest.fixture
def state(tmp_path: Path) -> Path:
    (tmp_path / "box.toml").write_text(BOX.format(authority="58" + "66" * 31))
    open_outbox(tmp_path / "outbox.sqlite", max_bytes=1 << 20, memory_bytes=1 << 16).close()
    return tmp_path


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def status(state: Path, *more: str) -> Result:
    return CliRunner().invoke(app, ["status", "--config", str(state / "box.toml"), *more])


def test_troubles_are_shown_in_words(state: Path) -> None:
    TroubleFile(state).tell(WRONG, now_ms())
    shown = " ".join(status(state).output.split())
    assert (
        "troubles: camera gate is too dark; camera door: sealing fails (see the agent's log); "
        "custodian c2: its day keys cannot be used" in shown
    )
    values = json.loads(status(state, "--json").stdout)
    assert values["troubles"][0] == "camera gate is too dark"
    assert "fps" not in (state / TROUBLES_FILE).read_text()


def test_without_trouble_it_says_none_and_without_an_agent_that_nobody_knows(state: Path) -> None:
    file = TroubleFile(state)
    file.tell({}, now_ms())
    assert "troubles: none" in status(state).output
    file.end()
    assert "not known, since no agent runs" in status(state).output
    assert json.loads(status(state, "--json").stdout)["troubles_at_ms"] is None


def test_what_an_agent_said_that_ended_since_is_said_with_its_time(state: Path) -> None:
    TroubleFile(state).tell(WRONG, now_ms() - 600_000)
    assert "when it said last" in " ".join(status(state).output.split())


def test_it_is_written_when_it_changes_and_once_a_minute(state: Path) -> None:
    file = TroubleFile(state)
    told = []
    for at_ms, figures in ((1000, {}), (2000, {}), (3000, WRONG), (4000, WRONG), (63_000, WRONG)):
        file.tell(figures, at_ms)
        kept = read_troubles(state)
        assert kept is not None
        told.append(kept.at_ms)
    assert told == [1000, 1000, 3000, 3000, 63_000]


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"v": 2}', '{"v": 1, "at_ms": 1, "troubles": 3}']
)
def test_a_file_that_is_none_is_named(state: Path, text: str) -> None:
    (state / TROUBLES_FILE).write_text(text)
    with pytest.raises(OperationError, match="written anew"):
        read_troubles(state)


def test_a_camera_that_moves_has_no_ground_to_measure_on() -> None:
    ground = {"matrix": [[1, 0, 0], [0, 1, 0], [0, 0, 1]]}
    with pytest.raises(ValueError, match="leave one of them out"):
        CameraConfig.model_validate(
            {"name": "gate", "source": "rtsp://10.0.0.2/live", "moves": True, "homography": ground}
        )
