"""What this package's commands share at the terminal: errors, progress, passphrases, tables."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from protocol.errors import ProtocolError
from provisioning.authority.consequences import Consequence, Weight
from provisioning.authority.push import Pushed
from runtime.errors import OperationError
from runtime.officer import OFFICER_ENVIRONMENT

out = Console()
err = Console(stderr=True)

SiteFolder = Annotated[Path, typer.Argument(metavar="DIR", help="The site's folder.")]
PassphraseFile = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file",
        help="File with the site's passphrase. Default: SEALTRACE_PASSPHRASE, else it is asked.",
    ),
]
OfficerFile = Annotated[
    Path | None,
    typer.Option(
        "--officer",
        metavar="FILE",
        help="officer.toml whose certificate is shown to custodians and aggregator. Default:"
        f" {OFFICER_ENVIRONMENT}, else an officer's folder of the site.",
    ),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]


@contextmanager
def reported() -> Iterator[None]:
    """Turn failures that a person can act on into one message and exit code 1."""
    try:
        yield
    except (OperationError, ProtocolError) as error:
        err.print(f"error: {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(getattr(error, "exit_code", 1)) from None
    except KeyboardInterrupt:
        err.print("stopped; run the same command again to go on")
        raise typer.Exit(130) from None


@contextmanager
def progress(title: str) -> Iterator[Callable[[str], None]]:
    """Show what is being done: a moving line, or plain lines where there is no terminal."""
    if not err.is_terminal:
        yield lambda text: err.print(f"{title}: {text}", highlight=False, soft_wrap=True)
        return
    columns = (
        SpinnerColumn(),
        TextColumn(title),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task("", total=None)
        yield lambda text: bar.update(task, description=text)


def say(text: str) -> None:
    """Print a line, whole, without markup."""
    out.print(text, markup=False, highlight=False, soft_wrap=True)


def warn(text: str) -> None:
    """Print a warning on standard error."""
    err.print(f"warning: {text}", style="yellow", markup=False, highlight=False, soft_wrap=True)


def note(text: str) -> None:
    """Print something good to know on standard error."""
    err.print(f"note: {text}", markup=False, highlight=False, soft_wrap=True)


def say_consequences(effects: Sequence[Consequence]) -> None:
    """Say what a change will mean, before it is done."""
    for one in effects:
        (note if one.weight is Weight.SAID else warn)(one.text)


def days(left: int | None) -> str:
    """Return days left as a coloured cell."""
    if left is None:
        return ""
    colour = "red" if left <= 0 else "yellow" if left <= 7 else "green"
    return f"[{colour}]{left} d[/]"


def plain_table(*columns: str, folded: Collection[str] = ()) -> Table:
    """Return an empty table in the house's form; ``folded`` names the columns that may wrap."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column not in folded)
    return table


def ago(moment: datetime | None, now: datetime | None = None) -> str:
    """Return how long ago a moment was, in one unit."""
    if moment is None:
        return "never"
    seconds = max(0, round(((now or datetime.now(UTC)) - moment).total_seconds()))
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit} ago"
    return f"{seconds} s ago"


def show_pushed(results: list[Pushed], version: int, folder: Path) -> bool:
    """Say who has the directory now, and what to do about the rest; tell whether all have it."""
    missed = [result for result in results if result.problem]
    for result in results:
        mark, text = ("✗", result.problem) if result.problem else ("✓", f"has version {version}")
        say(f"  {mark} {result.name}: {text}")
    if missed:
        say(
            f"{len(missed)} of {len(results)} could not be told. When they are up, run"
            f" `sealtrace site update {folder} --push`, or copy directory.cbor to each and send it"
            " SIGHUP."
        )
    return not missed
