"""Monitoring on a board is told what its health reports tell, and nothing besides."""

from __future__ import annotations

from edge_agent.config import BoxConfig, CameraConfig
from edge_agent.metrics import FAMILIES, metrics_of
from runtime.metrics import COMMON

REPORT = {
    "outbox.queued": 3,
    "outbox.bytes": 4096,
    "outbox.disk_full": 0,
    "count.dropped_live": 2,
    "camera.cam-1.state": 2,
    "camera.cam-1.fps": 5.0,
    "camera.cam-1.read": 100,
    "trouble.view.cam-1": 2,
    "trouble.day_keys.c1": 1,
    "model.face.sface-1": 1,
    "group.first": 1,
    "clock_jumps": 1,
}


def told(report: dict[str, float]) -> dict[str, float]:
    config = BoxConfig(
        site="demo",
        box="box-1",
        authority="58" + "66" * 31,
        cameras=(CameraConfig(name="cam-1", source="rtsp://admin:hunter2@camera.example/1"),),
    )
    lines = metrics_of(config, lambda: report).text().decode().splitlines()
    rows = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return {name: float(value) for name, value in rows}


def test_each_figure_of_the_report_has_its_place() -> None:
    found = told(dict(REPORT))
    assert found['sealtrace_edge_outbox_messages{state="queued"}'] == 3
    assert found['sealtrace_edge_counted{what="dropped_live"}'] == 2
    assert found['sealtrace_edge_camera_state{camera="cam-1"}'] == 2
    assert found['sealtrace_edge_camera_frames_total{camera="cam-1"}'] == 100
    assert found['sealtrace_edge_trouble{kind="view",of="cam-1"}'] == 2
    assert found['sealtrace_edge_trouble{kind="day_keys",of="c1"}'] == 1
    assert found['sealtrace_edge_figure{name="clock_jumps"}'] == 1


def test_nothing_is_told_that_is_in_no_report_and_names_that_change_are_left_out() -> None:
    found = told(dict(REPORT))
    ours = {key for key in found if key.startswith("sealtrace_")}
    assert {key.partition("{")[0] for key in ours} <= {one.name for one in (*COMMON, *FAMILIES)}
    assert not [key for key in ours if "sface" in key or "hunter2" in key or "first" in key]


def test_processor_time_and_memory_which_rise_with_who_passes_are_not_told() -> None:
    assert not [key for key in told(dict(REPORT)) if key.startswith("process_")]


def test_a_report_with_ever_more_names_makes_no_more_series() -> None:
    found = told({f"count.made_up_{n}": 1 for n in range(5_000)})
    assert len([key for key in found if key.startswith("sealtrace_edge_counted")]) <= 512
