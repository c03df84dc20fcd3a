"""What others wrote is shown at the terminal, and steers nothing there."""

from __future__ import annotations

import io
from collections.abc import Callable

import pytest
import typer
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import OperationError
from runtime.terminal import agreed, note, reported, say, warn
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


class CtrlC:
    """Somebody who is asked and presses Ctrl-C."""

    encoding = "utf-8"
    errors = "strict"

    def readline(self, _size: int = -1) -> str:
        raise KeyboardInterrupt


@pytest.mark.parametrize("ask", [lambda: agreed("Sure?"), lambda: typer.prompt("Name")])
def test_ctrl_c_at_a_question_says_that_nothing_changed_and_gives_130(
    ask: Callable[[], object], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", CtrlC())
    with pytest.raises(typer.Exit) as ended, reported():
        ask()
    assert ended.value.exit_code == 130
    assert capfd.readouterr().err.endswith("\nstopped; nothing was changed\n")


@pytest.mark.parametrize(("answer", "means"), [("y\n", True), ("n\n", False), ("", False)])
def test_nothing_but_yes_is_a_yes(
    answer: str, means: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(answer))
    with reported():
        assert agreed("Sure?") is means
