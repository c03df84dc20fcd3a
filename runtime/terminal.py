"""The one terminal of all commands: one line an error, plain lines, tables, progress.

What is printed through `out` and `err` steers nothing: control and formatting characters are
written as escapes wherever they come from, since names, versions and errors are often other
parties' words.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console, ConsoleOptions, RenderableType  # noqa: TID251 - here it is made safe
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from protocol.errors import ProtocolError
from runtime.errors import OperationError
from runtime.records import is_cut, records
from runtime.text import harmless

_PIPED_WIDTH = 160
"""Columns of a table that goes to a file or another program, where no window cuts it."""

DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]


class Terminal(Console):
    """A console on which no text that is printed can steer the reader's terminal."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Make a text of a string, escaped before anybody measures how wide it is."""
        return super().render_str(harmless(text), **options)

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterator[Segment]:
        """Render as rich does; escape what is left of what a terminal would obey."""
        for segment in super().render(renderable, options):
            text, style, control = segment
            yield segment if control else Segment(harmless(text), style)


out = Terminal()
err = Terminal(stderr=True)


@contextmanager
def reported(on_interrupt: str = "stopped; nothing was changed") -> Iterator[None]:
    """Turn failures that a person can act on into one message and exit code 1; Ctrl-C into 130."""
    try:
        yield
    except (OperationError, ProtocolError) as error:
        err.print(f"error: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(getattr(error, "exit_code", 1)) from None
    except KeyboardInterrupt:
        err.print(on_interrupt)
        raise typer.Exit(130) from None
    except typer.Abort as error:
        if not _interrupted(error):
            raise
        err.print(f"\n{on_interrupt}")
        raise typer.Exit(130) from None


def agreed(question: str) -> bool:
    """Ask on standard error; False for any answer but yes, and where nobody is there to ask.

    Raises:
        KeyboardInterrupt: that was the answer.
    """
    try:
        return typer.confirm(question, default=False, err=True)
    except typer.Abort as error:
        note("")  # nobody ended the question's line
        if _interrupted(error):
            raise KeyboardInterrupt from None
        return False


def _interrupted(abort: typer.Abort) -> bool:
    """Whether a question ended by Ctrl-C; else there was nothing to read."""
    return isinstance(abort.__context__, KeyboardInterrupt)


@contextmanager
def progress(title: str) -> Iterator[Callable[[str], None]]:
    """Show what is being done: a moving line, or plain lines where there is no terminal."""
    if not err.is_terminal:
        yield lambda text: note(f"{title}: {text}")
        return
    columns = (
        SpinnerColumn(),
        TextColumn(title),
        TimeElapsedColumn(),
        TextColumn("{task.description}", markup=False),
    )
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda text: bar.update(task, description=text)


def say(text: str = "") -> None:
    """Print a line on standard output, whole, without markup."""
    out.print(text, markup=False, highlight=False, soft_wrap=True)


def note(text: str) -> None:
    """Print a line on standard error, whole, without markup."""
    err.print(text, markup=False, highlight=False, soft_wrap=True)


def warn(text: str) -> None:
    """Print a warning on standard error."""
    err.print(f"warning: {text}", style="yellow", markup=False, highlight=False, soft_wrap=True)


def plain_table(*columns: str, whole: Collection[str] = ()) -> Table:
    """Return an empty table in the house's form; columns in ``whole`` are never folded."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column in whole)
    return table


def show_table(table: Table, console: Console | None = None) -> None:
    """Print a table; where there is no terminal, wide enough not to be folded.

    In a window that is too narrow for it each row becomes a record of its own, and stays whole.
    """
    console = console or out
    if not console.is_terminal:
        # A console prints nothing wider than itself, whatever width it is asked for.
        Terminal(file=console.file, width=max(console.width, _PIPED_WIDTH)).print(table)
    elif is_cut(table, console.width):
        for line in records(table, console.width):
            console.print(line, highlight=False)
    else:
        console.print(table)
