"""`sealtrace footage import` as a process: killed, stopped, run again; each second once."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from agent_process import ENVIRONMENT, Field
from edge_site import is_announcement, wait_until
from waiting import wait_for

from demo.processes import sealtrace
from protocol.epoch import RECORDING
from protocol.names import EPOCH_MS, HOURS, SLOT_MS, CameraAddress, epoch_of
from protocol.v2.hours import CameraHours

pytestmark = [pytest.mark.processes, pytest.mark.models]
STEP_S, PICTURES = 5, 400
RUN = sealtrace("footage", "import")
BEGIN_MS = (time.time_ns() // 1_000_000 // EPOCH_MS) * EPOCH_MS - 6 * SLOT_MS
"""Late yesterday: the film goes on until today."""


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one film of 33 minutes, a picture every five seconds; nobody is in it."""
    folder = tmp_path_factory.mktemp("films")
    start = datetime.fromtimestamp(BEGIN_MS / 1000, UTC)
    path = folder / f"cam-1_{start:%Y%m%d_%H%M%S}.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 1 / STEP_S, (160, 120))
    noise = np.random.default_rng(1).integers(40, 220, (120, 160, 3), np.uint8)
    for number in range(PICTURES):
        writer.write(np.roll(noise, number, axis=1))
    writer.release()
    return folder


@pytest.fixture
def begin(field: Field, film: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    today = epoch_of(time.time_ns() // 1_000_000)
    field.headquarters.publish_day_keys(epochs=[today - 1, today, today + 1])
    address = CameraAddress("demo", "box-1", "cam-1")
    told = CameraHours(address, time.time_ns() // 1_000_000).sign(field.site.aggregator)
    field.headquarters.publish(address.topic(HOURS), told.to_bytes())
    small = (
        "[vision]\ndetect_width = 160\ndetect_height = 120\nperson_width = 160\nperson_height = 96"
    )
    config = field.config(more=f'[[recordings]]\nname = "cam-1"\n{small}')
    running = []

    def start(*options: str) -> subprocess.Popen[str]:
        arguments = [
            *RUN, str(film), "--config", str(config), "--pattern", "{camera}_%Y%m%d_%H%M%S",
            "--time-zone", "UTC", "--workers", "2", "--json", *options,
        ]  # fmt: skip
        running.append(
            subprocess.Popen(
                arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                env=ENVIRONMENT, start_new_session=True,
            )
        )  # fmt: skip
        return running[-1]

    yield start
    for process in running:
        if process.poll() is None:
            process.kill()
        process.communicate()


def end(process: subprocess.Popen[str], code: int = 0) -> Any:
    out, err = process.communicate(timeout=120)
    assert process.returncode == code, err
    return json.loads(out)


def sealed(field: Field) -> int:
    """How many segments have reached headquarters so far."""
    return sum(not is_announcement(one) for one in field.headquarters.payloads("cam-1"))


def children(pid: int) -> list[int]:
    found = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(one) for one in found.read_text().split()] if found.exists() else []


def watched(field: Field) -> list[tuple[int, int]]:
    """Of each quarter hour the seconds that segments tell were watched, all together."""
    found: dict[int, int] = {}
    for one in field.opened("cam-1"):
        assert one.origin == RECORDING
        assert one.coverage is not None
        number = one.epoch * (EPOCH_MS // SLOT_MS) + one.slot - BEGIN_MS // SLOT_MS
        found[number] = found.get(number, 0) + one.coverage.watched_s
    return sorted(found.items())


WHOLE = [(0, 900), (1, 900), (2, PICTURES * STEP_S - 1800)]


def test_a_killed_import_goes_on_and_each_second_is_told_once(
    begin: Callable[..., subprocess.Popen[str]], field: Field
) -> None:
    first = begin()
    wait_for(lambda: sealed(field) >= 1 or first.poll() is not None, "a quarter hour", timeout_s=90)
    workers = children(first.pid)
    os.kill(first.pid, signal.SIGKILL)
    first.communicate()
    wait_until(lambda: not any(Path(f"/proc/{one}").exists() for one in workers), "their end")
    told = end(begin())
    assert [one["fate"] for one in told["files"]] in (["import in part"], ["import"])
    assert told["undelivered"] == 0
    assert watched(field) == WHOLE
    again = end(begin())
    assert [one["fate"] for one in again["files"]] == ["nothing new"]
    assert again["quarter_hours"] == 0
    assert watched(field) == WHOLE


def test_an_import_that_is_interrupted_says_so_and_goes_on(
    begin: Callable[..., subprocess.Popen[str]], field: Field
) -> None:
    told = end(begin("--dry-run"))
    assert [one["fate"] for one in told["files"]] == ["import"]
    assert told["quarter_hours"] == 0
    assert field.headquarters.payloads("cam-1") == [], "a dry run imports nothing"
    first = begin()
    wait_for(lambda: sealed(field) >= 1 or first.poll() is not None, "a quarter hour", timeout_s=90)
    first.send_signal(signal.SIGINT)
    told = end(first, 130)
    assert told["stopped"]
    assert not end(begin())["stopped"]
    assert watched(field) == WHOLE
