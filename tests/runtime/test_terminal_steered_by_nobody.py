"""Whatever way a command prints what others wrote, the reader's terminal obeys none of it."""

from __future__ import annotations

import io
import json
from collections.abc import Callable

import pytest
import typer
from rich.panel import Panel
from rich.text import Text
from rich.tree import Tree

from runtime import terminal
from runtime.errors import OperationError
from runtime.terminal import Terminal, note, plain_table, progress, reported, say, show_table, warn

HOSTILE = "v1\x1b]0;owned\x07\x1b[2J\x9b31m\u202egnp.exe\r\x08end"
OBEYED = frozenset("\x1b\x07\x9b\u202e\r\x08")


@pytest.fixture
def printed(monkeypatch: pytest.MonkeyPatch) -> Callable[[], str]:
    """What has been printed on the two consoles, together."""
    stream = io.StringIO()
    for name in ("out", "err"):
        monkeypatch.setattr(terminal, name, Terminal(file=stream, width=200))
    return stream.getvalue


def fail() -> None:
    with reported():
        raise OperationError(f"box-1 says: {HOSTILE}")


def show_a_table() -> None:
    table = plain_table("box", HOSTILE)
    table.add_row("box-1", HOSTILE)
    table.add_row("box-2", Text(HOSTILE))
    show_table(table, terminal.out)


def go_on() -> None:
    with progress("at work") as tell:
        tell(HOSTILE)


WAYS: dict[str, Callable[[], None]] = {
    "a line": lambda: say(HOSTILE),
    "a note": lambda: note(HOSTILE),
    "a warning": lambda: warn(HOSTILE),
    "progress": go_on,
    "a table": show_a_table,
    "markup": lambda: terminal.out.print(f"[red]{HOSTILE}[/]"),
    "a panel": lambda: terminal.out.print(Panel(HOSTILE, title=HOSTILE)),
    "a tree": lambda: terminal.out.print(Tree(HOSTILE)),
    "json": lambda: terminal.out.print_json(json.dumps({"version": HOSTILE})),
    "a styled line": lambda: terminal.err.print(HOSTILE, style="bold", highlight=True),
}


@pytest.mark.parametrize("way", WAYS)
def test_nothing_that_is_printed_steers(way: str, printed: Callable[[], str]) -> None:
    WAYS[way]()
    assert "end" in printed()
    assert not OBEYED & set(printed())


def test_nor_does_an_error(printed: Callable[[], str]) -> None:
    with pytest.raises(typer.Exit):
        fail()
    assert "error: box-1 says: v1" in printed()
    assert not OBEYED & set(printed())


def test_styles_and_letters_of_all_scripts_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    console = Terminal(file=stream, width=80, force_terminal=True, color_system="standard")
    console.print("[red]부천시 보건소[/] Ärzte ✓ 🙂")
    assert "부천시 보건소" in stream.getvalue()
    assert "Ärzte ✓ 🙂" in stream.getvalue()
    assert "\x1b[31m" in stream.getvalue()


def test_what_a_box_says_of_itself_steers_no_list_of_boxes(printed: Callable[[], str]) -> None:
    from provisioning.authority import box_cli, boxes
    from provisioning.formats.boxstate import BoxState

    state = BoxState("box-1", ("cam-1",), {}, 20, None)
    row = {
        "last_seen_ms": 1,
        "version": HOSTILE,
        "rejects": [{"count": 1, "reason": HOSTILE}],
    }
    live = boxes.with_live(state, row)
    box_cli.show_boxes([live], live=True)
    assert "box-1" in printed()
    assert not OBEYED & set(printed())
