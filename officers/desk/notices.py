"""Notes and warnings that a use case has for the officer: called back while it goes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Notice:
    """Words for the officer; ``warning`` tells trouble from a mere note."""

    text: str
    warning: bool = False


Tell = Callable[[Notice], None]
"""Takes a notice and shows it, or keeps it for the next page."""


def unheard(_notice: Notice) -> None:
    """Let a notice pass."""


class Kept:
    """Passes notices on, and keeps them for a result that carries them."""

    def __init__(self, tell: Tell) -> None:
        self._tell = tell
        self._heard: list[Notice] = []

    def __call__(self, notice: Notice) -> None:
        """Pass a notice on and keep it."""
        self._heard.append(notice)
        self._tell(notice)

    @property
    def all(self) -> tuple[Notice, ...]:
        """What was said so far."""
        return tuple(self._heard)
