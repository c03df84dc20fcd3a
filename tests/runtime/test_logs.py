"""Logs are one JSON object a line, in UTC, and hold no template, key or photo."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import structlog

from runtime.config import LogConfig
from runtime.logs import configure

SECRET = b"\x13\x37secret-template"


@pytest.fixture
def stream() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield io.StringIO()
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


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
def test_what_others_wrote_cannot_steer_a_terminal(stream: io.StringIO, form: str) -> None:
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
