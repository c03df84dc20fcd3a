"""Camera addresses are shown to people without what gives access, wherever a password stands."""

from __future__ import annotations

import io
import json

import pytest
import typer

from provisioning.authority import box_cli
from provisioning.formats.boxstate import BoxState
from provisioning.formats.options import cameras_of
from runtime import terminal
from runtime.terminal import Terminal

ADDRESSES = [
    "rtsp://admin:hunter2@10.0.0.7/ch1",
    "rtsp://10.0.0.7/ch1?user=admin&password=hunter2",
    "rtsp://admin:hun/hunter2@host/",
    "rtsp://admin:hunter2#@host/",
    "rtsp://admin:p@hunter2@host/",
]


@pytest.mark.parametrize("address", ADDRESSES)
def test_neither_the_list_of_boxes_nor_its_json_shows_a_password(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = io.StringIO()
    monkeypatch.setattr(terminal, "out", Terminal(file=stream, width=200))
    state = BoxState("box-1", ("door",), {"door": address}, 20, None)
    box_cli.show_boxes([state], live=False)
    shown = stream.getvalue() + json.dumps(state.to_json())
    assert "rtsp://" in shown
    assert "hunter2" not in shown


@pytest.mark.parametrize("address", ADDRESSES)
def test_no_complaint_about_an_option_repeats_it(address: str) -> None:
    with pytest.raises(typer.BadParameter) as refused:
        cameras_of([address])
    assert "hunter2" not in str(refused.value)
