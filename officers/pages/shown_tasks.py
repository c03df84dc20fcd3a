"""What a section has on the first page: a task of its own, beside those of queries."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ShownTask:
    """A row of the first page.

    A section's package may have ``home_tasks(here) -> list[ShownTask]``.

    Args:
        state: as the macro ``state`` of ``frame/parts.html`` takes it.
        status: the state's word.
        name: of what it is about, in short: an id, never a person's.
        words: what waits, in the officer's language.
        url: where it is done.
        action: what the link says.
    """

    state: str
    status: str
    name: str
    words: str
    url: str
    action: str
