"""What is forked from a process that has all loaded is what would have been started for itself."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from waiting import wait_for
from warm_start import WarmPopen, spent_s

from demo.ports import free_port
from demo.processes import ending_with_us, sealtrace

pytestmark = pytest.mark.processes
_SUPPORT = Path(__file__).resolve().parents[1] / "support"


def started(*arguments: str, **options: Any) -> WarmPopen:
    return WarmPopen(
        ending_with_us(sealtrace(*arguments)),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[WarmPopen]:
    """A command that runs until it is told to end."""
    process = started(
        "broker", "serve", "--port", str(free_port()), "--data", "data",
        cwd=tmp_path, start_new_session=True,
    )  # fmt: skip
    assert process.stdout.readline().startswith("ready:")
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize(
    "arguments", [["--version"], ["nothing"], ["aggregator", "serve"], ["query", "--help"]]
)
def test_it_says_and_returns_what_a_command_does_that_is_started_cold(
    arguments: list[str], tmp_path: Path
) -> None:
    told = []
    for environment in ({}, {"PYTHONNODEBUGRANGES": "1"}):
        process = started(*arguments, cwd=tmp_path, env={**os.environ, **environment})
        told.append((*process.communicate(), process.returncode))
        assert process.is_warm == (not environment)
    assert told[0] == told[1]


def test_it_is_a_process_with_a_session_and_a_folder_of_its_own(
    broker: WarmPopen, tmp_path: Path
) -> None:
    assert broker.is_warm
    assert os.getsid(broker.pid) == broker.pid
    assert (tmp_path / "data").is_dir()
    assert (Path.cwd() / "data").exists() is False


def test_it_ends_by_the_signal_that_it_is_sent_and_what_it_has_spent_is_counted(
    broker: WarmPopen,
) -> None:
    before = spent_s()
    assert broker.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        broker.wait(0)
    os.killpg(broker.pid, signal.SIGKILL)
    assert broker.wait(60) == -signal.SIGKILL
    assert broker.poll() == -signal.SIGKILL
    assert spent_s() > before


def test_it_ends_cleanly_where_it_is_told_to_stop(broker: WarmPopen) -> None:
    broker.terminate()
    assert broker.wait(60) == 0


def test_it_has_the_limits_of_who_started_it(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, hard))
    try:
        process = started(
            "broker", "serve", "--port", str(free_port()), "--data", "data", cwd=tmp_path
        )
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert process.stdout.readline().startswith("ready:")
    limits = Path(f"/proc/{process.pid}/limits").read_text()
    process.terminate()
    assert process.wait(60) == 0
    assert [line.split()[3] for line in limits.splitlines() if "open files" in line] == ["200"]


def test_it_ends_with_who_started_it_however_that_ends(tmp_path: Path) -> None:
    program = (
        f"import sys; sys.path.insert(0, {str(_SUPPORT)!r})\n"
        "from warm_start import WarmPopen\n"
        "from demo.processes import ending_with_us, sealtrace\n"
        f"serve = sealtrace('broker', 'serve', '--port', '{free_port()}', '--data', 'data')\n"
        "process = WarmPopen(ending_with_us(serve), start_new_session=True)\n"
        "assert process.is_warm\n"
        "print(process.pid, flush=True)\n"
        "process.wait()\n"
    )
    starter = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=tmp_path
    )
    assert starter.stdout is not None
    pid = int(starter.stdout.readline())
    assert starter.stdout.readline().startswith("ready:")
    starter.kill()
    starter.wait()
    wait_for(lambda: not Path(f"/proc/{pid}").exists(), "the end of the command", every_s=0.02)
    starter.stdout.close()
