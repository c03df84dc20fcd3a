"""What a process does first: libraries are silent, and a crash leaves nothing on a disk."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[2]
_WAIT = "import signal; print('up', flush=True); signal.pause()"


def _crash(program: str, folder: Path) -> tuple[int, str]:
    """Start a program that prints a line, lift its limit from outside, crash it.

    Return its wait status, and its limits before that.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.chdir(folder)
        os.dup2(writer, 1)
        hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
        resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
        os.execve(sys.executable, [sys.executable, "-c", program], {"PYTHONPATH": str(_ROOT)})  # noqa: S606
    os.close(writer)
    with os.fdopen(reader) as said:
        assert said.readline()
        limits = Path(f"/proc/{child}/limits").read_text()
        if os.geteuid() == 0:
            unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
            with suppress(PermissionError):  # root in a container
                resource.prlimit(child, resource.RLIMIT_CORE, unlimited)
        os.kill(child, signal.SIGABRT)
        return os.waitpid(child, 0)[1], limits


def _soft_limit(limits: str) -> str:
    line = next(line for line in limits.splitlines() if line.startswith("Max core file size"))
    return line.split()[4]


@pytest.mark.processes
def test_a_crash_of_a_process_that_has_begun_leaves_no_core(tmp_path: Path) -> None:
    status, limits = _crash(f"from runtime.process import begin; begin(); {_WAIT}", tmp_path)
    assert os.WTERMSIG(status) == signal.SIGABRT
    assert _soft_limit(limits) == "0"
    assert not os.WCOREDUMP(status)
    assert not list(tmp_path.iterdir())


@pytest.mark.processes
def test_no_program_that_takes_cores_is_given_one_either() -> None:
    program = (
        "import ctypes; from runtime.process import begin; begin()\n"
        "print(ctypes.CDLL(None).prctl(3, 0, 0, 0, 0))"  # PR_GET_DUMPABLE
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=_ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "0"


@pytest.mark.processes
@pytest.mark.skipif(os.geteuid() != 0, reason="only root may lift another process's limits")
def test_the_crash_would_leave_one_otherwise(tmp_path: Path) -> None:
    if Path("/proc/sys/kernel/core_pattern").read_text().startswith("|"):
        pytest.skip("this kernel hands cores to a program")
    status, _ = _crash(_WAIT, tmp_path)
    assert os.WCOREDUMP(status)


@pytest.mark.processes
def test_every_command_begins_so_before_it_does_anything(tmp_path: Path) -> None:
    program = (
        "import sys, atexit, signal\n"
        "sys.argv = ['sealtrace', '--version']\n"
        "from sealtrace.command import main\n"
        "atexit.register(lambda: (print('up', flush=True), signal.pause()))\n"
        "main()\n"
    )
    status, limits = _crash(program, tmp_path)
    assert _soft_limit(limits) == "0"
    assert not os.WCOREDUMP(status)


@pytest.mark.processes
def test_what_the_environment_says_does_not_switch_a_library_on() -> None:
    program = (
        "import os, runtime.onnx\n"
        "print(os.environ['ORT_DISABLE_TELEMETRY'], os.environ['OTEL_SDK_DISABLED'],\n"
        "      os.environ['PYDANTIC_DISABLE_PLUGINS'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "ORT_DISABLE_TELEMETRY": "0", "OTEL_SDK_DISABLED": "false",
             "PYDANTIC_DISABLE_PLUGINS": ""},
        cwd=_ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.split() == ["1", "true", "__all__"]


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-tpm.lock"])
def test_the_onnxruntime_that_is_installed_has_no_telemetry(lock: str) -> None:
    lines = (_ROOT / lock).read_text().splitlines()
    [pinned] = [line for line in lines if line.startswith("onnxruntime==")]
    major, minor, _ = pinned.removeprefix("onnxruntime==").split()[0].split(".")
    assert (int(major), int(minor)) < (1, 29), "builds from 1.29 on report to their maker"
