"""The process `ffmpeg` beside ours: what it may do, what others see of it, and when it ends."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from films import FFMPEG, INTERLACED
from http_camera import HttpCamera

from edge_agent.sources import SourceError
from edge_agent.video.ffmpeg import FfmpegProcess, installed

pytestmark = [
    pytest.mark.ffmpeg,
    pytest.mark.skipif(FFMPEG is None, reason="ffmpeg is not installed"),
]
ROOT = Path(__file__).parents[3]
_OURS = """
import sys, time
from pathlib import Path
from edge_agent.sources import SourceError
from edge_agent.video.ffmpeg import FfmpegProcess
process = FfmpegProcess(sys.argv[1], "a film", path=Path(sys.argv[2]))
process.picture()
print(process.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def process() -> Iterator[FfmpegProcess]:
    begun = FfmpegProcess(str(installed()), "a film", path=INTERLACED)
    yield begun
    begun.close()


def test_it_may_write_no_file_and_takes_bounded_memory(process: FfmpegProcess) -> None:
    assert process.picture() is not None
    assert resource.prlimit(process.pid, resource.RLIMIT_FSIZE) == (0, 0)
    assert resource.prlimit(process.pid, resource.RLIMIT_CORE) == (0, 0)
    assert resource.prlimit(process.pid, resource.RLIMIT_AS)[1] < 1 << 32


def test_it_ends_when_closed_and_may_be_closed_twice(process: FfmpegProcess) -> None:
    assert process.picture() is not None
    process.close()
    assert not Path(f"/proc/{process.pid}").exists()
    process.close()
    assert process.picture() is None
    assert [t.name for t in threading.enumerate() if t.name.startswith("ffmpeg-")] == []


def test_it_ends_with_the_process_that_began_it(
    tmp_path: Path, wait_until: Callable[[Callable[[], bool]], None]
) -> None:
    # Long enough to fill every pipe: it is waiting to write when ours is killed.
    long = tmp_path / "long.mpg"
    long.write_bytes(INTERLACED.read_bytes() * 30)
    ours = subprocess.Popen(
        [sys.executable, "-c", _OURS, str(FFMPEG), str(long)], stdout=subprocess.PIPE, cwd=ROOT
    )
    assert ours.stdout is not None
    pid = int(ours.stdout.readline())
    assert Path(f"/proc/{pid}").exists()
    ours.send_signal(signal.SIGKILL)
    ours.wait()
    ours.stdout.close()
    wait_until(lambda: not _runs(pid))


def _runs(pid: int) -> bool:
    """Whether a process is there and has not ended (nobody may have waited for it)."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] != "Z"


def test_no_address_stands_on_its_command_line() -> None:
    camera = HttpCamera(password="hunter2'#", film=INTERLACED.read_bytes())
    address = f"http://viewer:hunter2'%23@127.0.0.1:{camera.port}/film"
    process = FfmpegProcess(str(FFMPEG), "a camera", address=address)
    try:
        assert process.picture() is not None
        for name in ("cmdline", "environ"):
            seen = Path(f"/proc/{process.pid}/{name}").read_bytes()
            assert b"hunter2" not in seen
            assert str(camera.port).encode() not in seen
    finally:
        process.close()
        camera.close()


def test_a_camera_that_says_nothing_more_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_agent.video.ffmpeg.START_TIMEOUT_S", 0.3)
    camera = HttpCamera()  # /film without a byte
    process = FfmpegProcess(str(FFMPEG), "it", address=f"http://127.0.0.1:{camera.port}/film")
    try:
        with pytest.raises(SourceError, match="gave no picture of it either"):
            process.picture()
        assert not Path(f"/proc/{process.pid}").exists()
    finally:
        process.close()
        camera.close()
