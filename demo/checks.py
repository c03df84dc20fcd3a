"""What the demo promised and whether it held; the summary that it ends with."""

from __future__ import annotations

from dataclasses import dataclass, field

from rich.table import Table

from runtime.terminal import Terminal


@dataclass(frozen=True, slots=True)
class Check:
    """One promise, whether it held, and what was seen."""

    promise: str
    held: bool
    seen: str


@dataclass(slots=True)
class Checks:
    """All promises of one run, in order."""

    listed: list[Check] = field(default_factory=list)

    def note(self, promise: str, held: bool, seen: str) -> bool:
        """Note what was seen of a promise; return whether it held."""
        self.listed.append(Check(promise, held, seen))
        return held

    @property
    def all_held(self) -> bool:
        """Whether there was something to hold and all of it did."""
        return bool(self.listed) and all(check.held for check in self.listed)

    def show(self, console: Terminal) -> None:
        """Print them as a table."""
        table = Table(title="What was promised", show_lines=False, expand=False)
        table.add_column("", justify="center")
        table.add_column("promise", max_width=58)
        table.add_column("seen", max_width=78)
        for check in self.listed:
            mark = "[green]held[/]" if check.held else "[bold red]BROKEN[/]"
            table.add_row(mark, check.promise, check.seen)
        console.print(table)
