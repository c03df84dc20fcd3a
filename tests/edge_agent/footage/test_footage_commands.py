"""`sealtrace footage scan` as a person meets it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from films import film
from typer.testing import CliRunner

from edge_agent.footage import scan as scanning
from edge_agent.footage.cli import app

pytestmark = pytest.mark.processes


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    made = tmp_path / "films"
    made.mkdir()
    whole = film(made / "NVR_ch1_main_20260301100000_20260301110000.avi", 40)
    shutil.copy(whole, made / "NVR_ch1_main_20260301100100_20260301110000.avi")
    shutil.copy(whole, made / "NVR_ch1_main_20260301100101_20260301110000.avi")
    return made


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["scan", *map(str, arguments)])
    return result.exit_code, result.output


def test_it_shows_files_by_camera_and_what_is_between(folder: Path) -> None:
    (folder / "empty.avi").write_bytes(b"")
    code, text = run(folder, "--time-zone", "Asia/Seoul", "--camera", "ch1=cam-gate")
    assert code == 0
    for part in (
        "cam-gate: 3 files, 0:00:06 of film",
        "2026-03-01 10:00:00  0:00:02  Motion JPEG 160x96 20/s",
        "name (Hikvision or Dahua)",
        "gap of 58 s",
        "0 bytes",
        "3 of 4 files can be imported; 1 camera",
        "Asia/Seoul",
    ):
        assert part in text, part
    assert max(map(len, text.splitlines())) < 130


def test_programs_get_a_document(folder: Path) -> None:
    code, text = run(folder, "--time-zone", "+09:00", "--clock-offset", "ch1=+3m20s", "--json")
    said = json.loads(text.splitlines()[-1])
    assert (code, said["schema"], len(said["files"]), len(said["gaps"])) == (0, 1, 3, 1)
    first = said["files"][0]
    assert first["began"] == "2026-03-01T10:03:20+09:00"
    assert (first["camera"], first["usable"], first["time_source"]) == ("ch1", True, "stamped")


def test_names_steer_no_terminal_and_make_no_lines(folder: Path) -> None:
    shutil.copy(
        folder / "NVR_ch1_main_20260301100000_20260301110000.avi",
        folder / "a\x1b[31m\nNothing wrong.\u202e20260301100000.avi",
    )
    code, text = run(folder, "--time-zone", "UTC")
    assert code == 0
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "\nNothing wrong" not in text


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--time-zone", "Mars/Olympus"], "no time zone"),
        (["--clock-offset", "ch1=3m"], "CAMERA=+3m20s"),
        (["--camera", "a", "--camera", "b"], "whose is which"),
        (["--camera", "=b"], "neither CAMERA"),
        (["--pattern", "{camera}"], "no full date"),
        (["--list", "none.csv"], "none.csv cannot be read"),
        (["--config", "none.toml"], "none.toml"),
    ],
)
def test_what_does_not_fit_is_said_in_one_line(
    folder: Path, arguments: list[str], why: str
) -> None:
    code, text = run(folder, *arguments)
    assert code == 1
    assert text.startswith("error: ")
    assert why in text


def test_a_folder_of_nothing_usable_is_a_failure(tmp_path: Path) -> None:
    code, text = run(tmp_path)
    assert code == 1
    assert "0 of 0 files can be imported" in text


def test_an_interrupt_changes_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(scanning, "said_by", interrupted)
    code, text = run(folder)
    assert code == 130
    assert "a scan changes nothing" in text
