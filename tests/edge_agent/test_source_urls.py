"""What a camera's url may be, and that its password never shows."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_agent.sources import SourceError, SourceKind, parse_source_url
from runtime.redaction import redact


@pytest.mark.parametrize(
    ("url", "kind", "target"),
    [
        ("walk.mp4", SourceKind.FILE, "walk.mp4"),
        ("/data/a b.mp4", SourceKind.FILE, "/data/a b.mp4"),
        ("file:/data/walk.mp4", SourceKind.FILE, "/data/walk.mp4"),
        ("folder:/data/frames", SourceKind.FOLDER, "/data/frames"),
        ("rtsp://cam/1", SourceKind.RTSP, "rtsp://cam/1"),
        ("RTSPS://cam:322/1", SourceKind.RTSP, "RTSPS://cam:322/1"),
        ("http://cam:8080/mjpg", SourceKind.HTTP, "http://cam:8080/mjpg"),
        ("HTTPS://cam/mjpg", SourceKind.HTTP, "HTTPS://cam/mjpg"),
        ("v4l2:/dev/video0", SourceKind.V4L2, "/dev/video0"),
    ],
)
def test_the_forms_of_a_url(url: str, kind: SourceKind, target: str) -> None:
    source = parse_source_url(url)
    assert (source.kind, source.target) == (kind, target)
    assert source.live == (kind not in {SourceKind.FILE, SourceKind.FOLDER})


def test_a_plain_path_to_a_folder_is_a_folder(tmp_path: Path) -> None:
    assert parse_source_url(str(tmp_path)).kind is SourceKind.FOLDER


def test_a_folder_may_give_its_rate() -> None:
    assert parse_source_url("folder:/x?fps=2.5").fps == 2.5
    assert parse_source_url("folder:/x").fps is None


@pytest.mark.parametrize(
    "url",
    [
        "",
        "   ",
        "a\0b",
        "rtsp://",
        "rtsp://user:pw@/x",
        "rtsp://host:notaport/",
        "rtsp://[::1/x",
        "v4l2:video0",
        "v4l2:",
        "http:///stream",
        "ftp://cam/stream",
        "folder:/x?fps=0",
        "folder:/x?fps=nan",
        "folder:/x?fps=fast",
        "folder:/x?rate=5",
    ],
)
def test_other_urls_are_refused_with_a_reason(url: str) -> None:
    with pytest.raises(SourceError) as caught:
        parse_source_url(url)
    assert len(str(caught.value)) > 20
    assert "pw" not in str(caught.value)


_SECRET = "hunter2SECRET"


@given(
    user=st.text("abcXYZ09._-", max_size=8),
    before=st.text("abc@:%/?#[]", max_size=6),
    after=st.text("abc@:%", max_size=6),
    host=st.sampled_from(["10.0.0.7:554", "cam.example", "[::1]:554"]),
)
def test_no_form_of_address_shows_its_password(
    user: str, before: str, after: str, host: str
) -> None:
    url = f"rtsp://{user}:{before}{_SECRET}{after}@{host}/ch1?token={_SECRET}"
    shown = [redact(url)]
    try:
        source = parse_source_url(url)
        shown += [str(source), repr(source), source.redacted]
    except SourceError as error:
        shown.append(str(error))
    assert not [text for text in shown if _SECRET in text]


def test_what_is_too_long_for_a_name_is_a_file_that_is_not_there() -> None:
    assert parse_source_url("é" * 200).kind == "file"


@given(st.text())
def test_any_text_is_parsed_or_refused(url: str) -> None:
    try:
        parse_source_url(url)
    except SourceError as error:
        assert str(error)
