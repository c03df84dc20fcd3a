"""What others wrote is shown at the terminal, and steers nothing there."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import OperationError
from runtime.terminal import note, reported, say, warn
from runtime.text import harmless

HOSTILE = "gone\x1b[2J\x9b31m\u202e\nnext line"


@pytest.mark.parametrize("show", [say, note, warn])
def test_lines_steer_nothing(
    show: Callable[[str], None], capfd: pytest.CaptureFixture[str]
) -> None:
    show(HOSTILE)
    shown = "".join(capfd.readouterr())
    assert "gone" in shown
    assert shown.replace("\n", "").isprintable()


def test_errors_steer_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit), reported():
        raise OperationError(HOSTILE)
    assert capfd.readouterr().err.replace("\n", "").isprintable()


@given(st.text())
def test_printable_text_stays_as_it_is(text: str) -> None:
    assert "\x1b" not in harmless(text)
    if text.isprintable():
        assert harmless(text) == text
