"""A site's processes do not outlive the demo or the test that started them, however that ends."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest
from brokers import listens
from waiting import wait_for

from demo.ports import free_port
from demo.processes import Service

pytestmark = pytest.mark.processes
STARTS = """
import os, sys, time
from pathlib import Path
from demo.processes import Service, sealtrace
folder, port = Path(sys.argv[1]), sys.argv[2]
data = ("--port", port, "--data", str(folder / "broker"))
commands = {"broker": sealtrace("broker", "serve", *data), "other": ["sleep", "600"]}
for name, command in commands.items():
    service = Service(name, command, folder, folder / f"{name}.log", dict(os.environ))
    service.start()
    if name == "broker":
        service.wait_ready()
    print(service.process.pid, flush=True)
time.sleep(600)
"""
MOSQUITTO = """
import os, sys, time
from pathlib import Path
from demo.processes import Service
from provisioning.registrar import mosquitto
folder, port = Path(sys.argv[1], "broker"), int(sys.argv[2])
folder.mkdir()
(folder / mosquitto.CONFIG_FILE).write_text(f"listener {port} 127.0.0.1\\nallow_anonymous true\\n")
mosquitto.give_to_mosquitto(folder)
command, log, environment = mosquitto.mosquitto_command(), folder.parent / "log", dict(os.environ)
service = Service("broker", command, folder, log, environment, port, mosquitto.ACCOUNT)
service.start()
service.wait_ready()
print(service.process.pid, flush=True)
time.sleep(600)
"""


def runs(pid: int) -> bool:
    """Tell whether a process has not ended, though nobody may have asked how it did."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_all_end_when_who_started_them_is_killed(tmp_path: Path) -> None:
    ends_with_its_parent(STARTS, 2, tmp_path)


@pytest.mark.mosquitto
def test_mosquitto_ends_though_it_would_have_changed_its_user(tmp_path: Path) -> None:
    ends_with_its_parent(MOSQUITTO, 1, tmp_path)


def ends_with_its_parent(starts: str, count: int, folder: Path) -> None:
    port = free_port()
    parent = subprocess.Popen(
        [sys.executable, "-c", starts, str(folder), str(port)], stdout=subprocess.PIPE
    )
    assert parent.stdout is not None
    started = [int(parent.stdout.readline()) for _ in range(count)]
    assert listens(port)
    assert all(runs(pid) for pid in started)
    parent.kill()
    parent.communicate()
    wait_for(lambda: not any(runs(pid) for pid in started), "the end of all", every_s=0.02)
    assert not listens(port)


def test_a_process_lasts_though_the_thread_that_asked_for_it_ends(tmp_path: Path) -> None:
    service = Service("service", ["sleep", "600"], tmp_path, tmp_path / "log", {})
    asks = threading.Thread(target=service.start)
    asks.start()
    asks.join()
    with pytest.raises(subprocess.TimeoutExpired):
        assert service.process is not None
        service.process.wait(0.2)
    service.stop()
