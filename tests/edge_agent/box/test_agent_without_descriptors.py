"""A box without descriptors (camera, broker, files) goes on by itself when it has some again."""

from __future__ import annotations

import resource
import signal
import time
from collections.abc import Callable, Iterator

import pytest
from agent_process import Field, Process
from edge_site import wait_until
from rtsp_camera import RtspCamera

from edge_agent.health import WORKING

pytestmark = [pytest.mark.processes, pytest.mark.models]

Start = Callable[..., Process]
HELD_S = 4.0
MAX_LOG_LINES = 400


@pytest.fixture
def rtsp_camera() -> Iterator[RtspCamera]:
    camera = RtspCamera()
    yield camera
    camera.close()


def figure(field: Field, name: str) -> float:
    reports = field.headquarters.reports
    return reports[-1].figures.get(name, -1.0) if reports else -1.0


def test_camera_and_broker_are_back_once_there_are_descriptors(
    start: Start, field: Field, rtsp_camera: RtspCamera
) -> None:
    source = f'name = "cam-1"\nsource = "rtsp://127.0.0.1:{rtsp_camera.port}/ch1"'
    process = start("run", "--config", field.config(source, field.looping("cam-2")))
    wait_until(lambda: figure(field, "camera.cam-1.state") == WORKING, "the camera to work")
    wait_until(lambda: len(field.headquarters.sequences("cam-2")) >= 2, "an envelope")
    seen = figure(field, "mqtt_connections")
    limit = resource.prlimit(process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (3, limit[1]))
    field.broker.stop()
    field.broker.start()
    rtsp_camera.drop_clients()
    time.sleep(HELD_S)  # long enough for every loop to have found none
    assert process.runs, "".join(process.lines[-20:])
    resource.prlimit(process.pid, resource.RLIMIT_NOFILE, limit)
    field.headquarters.publish_day_keys()
    read = figure(field, "camera.cam-1.read")
    wait_until(lambda: figure(field, "mqtt_connections") > seen, "the box to be heard again")
    wait_until(
        lambda: (
            figure(field, "camera.cam-1.state") == WORKING
            and figure(field, "camera.cam-1.read") > read
        ),
        "the camera to work again",
    )
    assert len(process.lines) < MAX_LOG_LINES
    process.send(signal.SIGTERM)
    assert process.end() == 0, "".join(process.lines[-20:])
