"""Progress bars: how far, how fast, how long still; silent where nobody watches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from runtime.terminal import err

Advance = Callable[[int], None]
"""Told how many bytes further the work is."""


def unwatched(_count: int) -> None:
    """Tell nobody."""


class Bars:
    """One bar after the other on standard error, one for each stage of the work."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress

    def stage(self, what: str, total: int) -> Advance:
        """Begin a stage of ``total`` bytes; return what to call as it gets on."""
        progress = self._progress
        if progress is None:
            return unwatched
        task = progress.add_task(what, total=total)
        return lambda count: progress.advance(task, count)


@contextmanager
def bars(*, quiet: bool = False) -> Iterator[Bars]:
    """Show bars while the block lasts, if standard error is a terminal."""
    if quiet or not err.is_terminal:
        yield Bars(None)
        return
    columns = (
        TextColumn("{task.description:<22}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err) as progress:
        yield Bars(progress)
