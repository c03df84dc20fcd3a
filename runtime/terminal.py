"""What every role's commands share at the terminal: one line an error, plain lines, tables."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console
from rich.table import Table

from protocol.errors import ProtocolError
from runtime.errors import OperationError
from runtime.text import harmless

_PIPED_WIDTH = 160
"""Columns of a table that goes to a file or another program, where no window cuts it."""

out = Console()
err = Console(stderr=True)


@contextmanager
def reported(on_interrupt: str = "stopped; nothing was changed") -> Iterator[None]:
    """Turn failures that a person can act on into one message and exit code 1."""
    try:
        yield
    except (OperationError, ProtocolError) as error:
        text = harmless(f"error: {error}")
        err.print(text, style="red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(getattr(error, "exit_code", 1)) from None
    except KeyboardInterrupt:
        err.print(on_interrupt)
        raise typer.Exit(130) from None


def say(text: str = "") -> None:
    """Print a line on standard output, whole, without markup."""
    out.print(harmless(text), markup=False, highlight=False, soft_wrap=True)


def note(text: str) -> None:
    """Print a line on standard error, whole, without markup."""
    err.print(harmless(text), markup=False, highlight=False, soft_wrap=True)


def warn(text: str) -> None:
    """Print a warning on standard error."""
    text = harmless(f"warning: {text}")
    err.print(text, style="yellow", markup=False, highlight=False, soft_wrap=True)


def plain_table(*columns: str) -> Table:
    """Return an empty table in the house's form."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def show_table(table: Table, console: Console | None = None) -> None:
    """Print a table; where there is no terminal, wide enough not to be folded."""
    console = console or out
    if console.is_terminal:
        console.print(table)
    else:
        # A console prints nothing wider than itself, whatever width it is asked for.
        Console(file=console.file, width=max(console.width, _PIPED_WIDTH)).print(table)
