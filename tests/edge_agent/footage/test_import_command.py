"""`sealtrace footage import` before it looks at anything: wrong commands, and what is said."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from typer.testing import CliRunner

from edge_agent.config import BoxConfig, load_box
from edge_agent.footage import station
from edge_agent.footage.commands import app
from edge_agent.footage.found import FoundFile, Scan
from edge_agent.footage.import_cli import _Errand, _report, _say_verdicts
from edge_agent.footage.planning import Fate, Plan, Verdict
from runtime.config import ConfigError
from runtime.lifecycle import Stop

BOX = f'site = "demo"\nbox = "box-1"\nauthority = "{"ab" * 32}"\n[[recordings]]\nname = "hall"\n'


@pytest.fixture(autouse=True)
def _left_as_it_was() -> Iterator[None]:
    """Undo what the command does to its process: how it logs."""
    root = logging.getLogger()
    handlers, level, before = root.handlers[:], root.level, structlog.get_config()
    yield
    root.handlers[:], root.level = handlers, level
    structlog.configure(**before)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "box.toml"
    path.write_text(BOX)
    return path


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--quality", "best"], 2, "full or fast"),
        (["--workers", "0"], 2, "workers"),
        (["--time-zone", "Mars/Olympus"], 1, "Mars/Olympus"),
        ([], 1, "there are no recordings in"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is_looked_at(
    config: Path, tmp_path: Path, options: list[str], code: int, said: str
) -> None:
    films = tmp_path / "films"
    films.mkdir()
    told = CliRunner().invoke(app, ["import", str(films), "--config", str(config), *options])
    assert told.exit_code == code
    assert said in told.output
    assert not (tmp_path / "state").exists()


def test_a_box_without_a_configuration_is_told_which_was_looked_for(tmp_path: Path) -> None:
    told = CliRunner().invoke(app, ["import", str(tmp_path), "-c", str(tmp_path / "none.toml")])
    assert told.exit_code == 1
    assert "none.toml" in told.output


def test_a_name_makes_no_line_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = FoundFile(tmp_path / "a\nimport   b.mp4")
    _say_verdicts(Plan((), (Verdict(file, Fate.REFUSED, "why"),)), tmp_path)
    assert capsys.readouterr().out.count("\n") == 1


def test_what_waits_says_what_may_hold_it_up(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    errand = _Errand(
        load_box(config),
        Scan(()),
        workers=1,
        quality="full",
        anyway=False,
        dry_run=False,
        plan=Plan((), ()),
    )
    _report(errand, 2, folder=tmp_path, as_json=False, dry_run=False)
    told = " ".join(capsys.readouterr().out.split())
    assert "Waiting for headquarters: 2 messages" in told
    assert "whether this box was revoked" in told
    assert "`sealtrace site update DIR --push`" in told


def test_the_broker_keeps_no_session_of_an_import(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[BoxConfig] = []
    monkeypatch.setattr(station, "Agent", lambda config, *_, **__: made.append(config))
    station._agent(load_box(config), Stop(), lambda _desk: None)
    assert [one.mqtt.session_expiry_s for one in made] == [0]


def test_a_box_that_names_no_cameras_is_an_import_station(config: Path) -> None:
    text = config.read_text().replace('[[recordings]]\nname = "hall"\n', "")
    config.write_text(f"{text}cameras = []\n")
    assert load_box(config).cameras == ()
    config.write_text(text)
    with pytest.raises(ConfigError, match="cameras: is required and missing"):
        load_box(config)
