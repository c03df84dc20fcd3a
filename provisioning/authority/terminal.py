"""What the authority's commands say at the terminal besides plain lines and tables."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from provisioning.authority.consequences import Consequence, Weight
from runtime.peers import Told
from runtime.terminal import note, say, warn


def say_consequences(effects: Sequence[Consequence]) -> None:
    """Say what a change will mean, before it is done."""
    for one in effects:
        if one.weight is Weight.SAID:
            note(f"note: {one.text}")
        else:
            warn(one.text)


def days(left: int | None) -> str:
    """Return days left as a coloured cell."""
    if left is None:
        return ""
    colour = "red" if left <= 0 else "yellow" if left <= 7 else "green"
    return f"[{colour}]{left} d[/]"


def ago(moment: datetime | None, now: datetime | None = None) -> str:
    """Return how long ago a moment was, in one unit."""
    if moment is None:
        return "never"
    seconds = max(0, round(((now or datetime.now(UTC)) - moment).total_seconds()))
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit} ago"
    return f"{seconds} s ago"


def show_pushed(results: list[Told], version: int, folder: Path) -> bool:
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
