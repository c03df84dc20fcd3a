"""What goes into the intake, and what a batch came to."""

from __future__ import annotations

from dataclasses import dataclass, field

from protocol.names import CameraAddress


@dataclass(frozen=True, slots=True)
class Incoming:
    """A message as it came from the broker; ``retained`` when the broker had it in store."""

    topic: str
    payload: bytes
    received_ms: int
    retained: bool = False


@dataclass(slots=True)
class Batch:
    """What became of one batch, in numbers of messages; ``changed``: cameras it brought forward."""

    stored: int = 0
    duplicates: int = 0
    quarantined: int = 0
    rejected: int = 0
    health: int = 0
    replaced_live: int = 0
    passed_on: int = 0
    """Of boxes that are another process's: not looked at; whoever has them gets them again."""
    changed: set[CameraAddress] = field(default_factory=set)

    def add(self, other: Batch) -> None:
        """Add the numbers of another batch."""
        self.stored += other.stored
        self.duplicates += other.duplicates
        self.quarantined += other.quarantined
        self.rejected += other.rejected
        self.health += other.health
        self.replaced_live += other.replaced_live
        self.passed_on += other.passed_on
        self.changed |= other.changed
