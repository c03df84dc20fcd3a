"""A file that harms whoever reads it ends the process that looked into it, and no scan."""

from __future__ import annotations

import os
import resource
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from films import film

from edge_agent.footage.apart import MAX_MEMORY_BYTES, Apart
from edge_agent.footage.found import ScanOptions
from edge_agent.footage.looking import Content, Look
from edge_agent.footage.scan import scan_folder

pytestmark = pytest.mark.processes


def harmed(path: Path, *, quick: bool = False) -> Content:
    """Stands for a decoder: what the file's name says happens to it."""
    del quick
    match path.stem:
        case "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        case "memory":
            return Content(notes=(str(len(bytearray(MAX_MEMORY_BYTES))),))
        case "endless":
            signal.pause()
        case "limits":
            limits = (resource.RLIMIT_FSIZE, resource.RLIMIT_CORE, resource.RLIMIT_AS)
            return Content(notes=tuple(str(resource.getrlimit(one)[1]) for one in limits))
    return Content(codec="fine")


@pytest.fixture
def apart() -> Iterator[Callable[[Look], Apart]]:
    made: list[Apart] = []

    def make(look: Look) -> Apart:
        made.append(Apart(look, least_s=10.0))
        return made[-1]

    yield make
    for one in made:
        one.close()
        one.close()


def test_what_ends_a_decoder_is_told_and_the_next_file_is_read(
    apart: Callable[[Look], Apart],
) -> None:
    looker = apart(harmed)
    assert "decoder ended" in looker.look(Path("crash.mp4")).trouble
    assert "too much memory" in looker.look(Path("memory.mp4")).trouble
    assert looker.look(Path("fine.mp4")).codec == "fine"
    limits = looker.look(Path("limits.mp4")).notes
    assert limits == ("0", "0", str(MAX_MEMORY_BYTES))


def test_what_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    looker = Apart(harmed, least_s=10.0)
    assert looker.look(Path("fine.mp4")).codec == "fine"
    monkeypatch.setattr(looker, "_least_s", 0.05)
    assert "too long" in looker.look(Path("endless.mp4")).trouble
    looker.close()


def test_a_scan_apart_finds_the_same(tmp_path: Path, apart: Callable[[Look], Apart]) -> None:
    whole = film(tmp_path / "gate_20260101_000000.avi", 20)
    shutil.copy(whole, tmp_path / "gate_20260101_000100.avi")
    (tmp_path / "cut.mp4").write_bytes(b"\0\0\0\x14ftypisom" + bytes(20))
    from edge_agent.footage.looking import look_into

    options = ScanOptions()
    found = scan_folder(tmp_path, options=options, look=apart(look_into).look)
    assert found == scan_folder(tmp_path, options=options)
    assert sum(file.usable for file in found.files) == 2
