"""Logs are one JSON object a line, in UTC, and hold no template, key or photo."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import structlog

from runtime.config import LogConfig
from runtime.logs import configure

SECRET = b"\x13\x37secret-template"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level, before = root.handlers[:], root.level, structlog.get_config()
    yield io.StringIO()
    root.handlers[:], root.level = handlers, level
    structlog.configure(**before)


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


@dataclass
class Sighting:
    template: bytes = SECRET


def test_a_line_is_json_with_time_level_event_and_role(stream: io.StringIO) -> None:
    configure(LogConfig(), role="edge", stream=stream)
    structlog.get_logger().info("frame_dropped", camera="north", count=3, path=Path("/x"))
    (line,) = lines(stream)
    assert line["event"] == "frame_dropped"
    assert line["level"] == "info"
    assert line["role"] == "edge"
    assert (line["camera"], line["count"], line["path"]) == ("north", 3, "/x")
    stamp = datetime.fromisoformat(line["timestamp"])
    assert stamp.utcoffset() == timedelta(0)


@pytest.mark.parametrize("form", ["json", "console"])
def test_what_others_wrote_cannot_steer_a_terminal(
    stream: io.StringIO, form: Literal["json", "console"]
) -> None:
    configure(LogConfig(format=form), role="edge", stream=stream)
    structlog.get_logger().info("refused", reason="\x1b[2Jgone \x9b31m \u202e", names=["a\x1b]0;b"])
    written = stream.getvalue()
    assert "gone" in written
    assert written.rstrip("\n").isprintable()


def test_lower_levels_are_left_out(stream: io.StringIO) -> None:
    configure(LogConfig(level="warning"), role="edge", stream=stream)
    structlog.get_logger().info("quiet")
    structlog.get_logger().warning("loud")
    assert [line["event"] for line in lines(stream)] == ["loud"]


@pytest.mark.parametrize("form", ["json", "console"])
def test_buffers_arrays_and_objects_are_replaced_by_type_and_length(
    stream: io.StringIO, form: Any
) -> None:
    configure(LogConfig(format=form), role="edge", stream=stream)
    template = np.full(192, 77, dtype=np.int8)
    structlog.get_logger().info(
        "sealed",
        key=SECRET,
        buffer=bytearray(SECRET),
        view=memoryview(SECRET),
        template=template,
        nested={"list": [SECRET, {"deep": template}], SECRET: 1},
        sighting=Sighting(),
        score=np.float32(0.5),
        error=ValueError("plain words"),
    )
    text = stream.getvalue()
    assert "secret-template" not in text
    assert "77 77" not in text
    assert "77, 77" not in text
    assert f"<bytes {len(SECRET)}>" in text
    assert f"<bytearray {len(SECRET)}>" in text
    assert "<ndarray 192>" in text
    assert "<Sighting>" in text
    assert "0.5" in text
    assert "ValueError: plain words" in text


@pytest.mark.parametrize("form", ["json", "console"])
def test_a_traceback_shows_no_local_variables(stream: io.StringIO, form: Any) -> None:
    configure(LogConfig(format=form), role="edge", stream=stream)
    log = structlog.get_logger()

    def crash() -> None:
        secret_local = "deadbeef" * 4
        raise RuntimeError(f"broke after {len(secret_local)} characters")

    try:
        crash()
    except RuntimeError:
        log.exception("crashed")
    assert "broke after 32 characters" in stream.getvalue()
    assert "Traceback" in stream.getvalue()
    assert "deadbeefdeadbeef" not in stream.getvalue()


def test_libraries_that_use_logging_come_out_the_same(stream: io.StringIO) -> None:
    configure(LogConfig(), role="aggregator", stream=stream)
    logging.getLogger("some.library").warning("took %d ms", 12)
    logging.getLogger("httpx").info("GET /secret")
    (line,) = lines(stream)
    assert line["event"] == "took 12 ms"
    assert line["logger"] == "some.library"
    assert line["role"] == "aggregator"


def test_overlong_text_is_cut(stream: io.StringIO) -> None:
    configure(LogConfig(), role="edge", stream=stream)
    structlog.get_logger().info("odd", text="x" * 100_000)
    assert len(stream.getvalue()) < 3000


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def folding(stream: io.StringIO, clock: Clock) -> None:
    """Configure as a service does, with a clock in the hands of the test."""
    configure(LogConfig(), role="edge", stream=stream)
    (handler,) = logging.getLogger().handlers
    vars(handler)["_now_s"] = clock


def test_a_line_that_repeats_is_written_at_once_and_then_counted(stream: io.StringIO) -> None:
    clock = Clock()
    folding(stream, clock)
    log = structlog.get_logger()
    for _ in range(1000):
        log.warning("refused", reason="too many")
    assert 1 <= len(lines(stream)) <= 5
    clock.now_s += 61
    log.info("another")
    told = [line for line in lines(stream) if line["event"] == "lines_folded"]
    assert [(line["of"], line["role"], line["level"]) for line in told] == [
        ("refused", "edge", "warning")
    ]
    written = sum(line["event"] == "refused" for line in lines(stream))
    assert told[0]["lines"] + written == 1000
    log.warning("refused", reason="too many")
    assert lines(stream)[-1]["event"] == "refused"


@pytest.mark.slow
def test_an_event_that_differs_each_time_cannot_fill_a_disk(stream: io.StringIO) -> None:
    clock = Clock()
    folding(stream, clock)
    for number in range(5_000):
        clock.now_s += 0.004
        structlog.get_logger().warning("refused", address=f"127.0.0.{number}")
        logging.getLogger("uvicorn.error").warning("Invalid HTTP request %d", number)
    assert len(stream.getvalue()) < 50_000
    logging.getLogger().handlers[0].close()
    told = [line for line in lines(stream) if line["event"] == "lines_folded"]
    written = [line for line in lines(stream) if line["event"] != "lines_folded"]
    assert sum(line["lines"] for line in told) + len(written) == 10_000


def test_different_critical_lines_are_all_written(stream: io.StringIO) -> None:
    folding(stream, Clock())
    for number in range(500):
        structlog.get_logger().critical("log_not_append_only", origin=f"c{number}")
    assert [line["origin"] for line in lines(stream)] == [f"c{number}" for number in range(500)]


def test_tracebacks_that_repeat_are_counted_too(stream: io.StringIO) -> None:
    folding(stream, Clock())
    for _ in range(300):
        try:
            open("/nowhere/at/all").close()  # noqa: PTH123 - it fails
        except OSError:
            logging.getLogger("asyncio").exception("socket.accept() out of system resource")
    assert len(lines(stream)) <= 5
