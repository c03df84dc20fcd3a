"""Where each of a camera's messages stands on its way to headquarters; in memory only."""

from __future__ import annotations

import heapq
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

from edge_agent.outbox_store import SlotName

_MAX_DOUBLINGS = 8


@dataclass(frozen=True, slots=True)
class Message:
    """A message on its way to the broker."""

    camera: str
    sequence: int
    kind: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class OutboxStats:
    """How many messages are kept, by state, and what has been counted since the box was set up."""

    queued: int
    sent: int
    acknowledged: int
    in_memory: int
    bytes_kept: int
    disk_full: bool
    counters: dict[str, int]


@dataclass(slots=True)
class CameraQueue:
    """Where each message of one camera stands; the outbox holds a lock around every call."""

    next_sequence: int = 0
    generation: int = 0
    queued: set[int] = field(default_factory=set)
    order: list[int] = field(default_factory=list)  # heap over `queued`, may hold stale numbers
    sent: set[int] = field(default_factory=set)
    acknowledged: dict[int, float] = field(default_factory=dict)  # when, monotonic seconds
    resent: dict[int, int] = field(default_factory=dict)  # how often, of the acknowledged
    fresh: dict[int, SlotName] = field(default_factory=dict)  # live, never handed out
    live: dict[SlotName, list[int]] = field(default_factory=dict)  # of slots without a segment yet
    receipt_ms: int = -1

    @property
    def numbers(self) -> tuple[int, int]:
        """Next sequence number and generation, as they are stored."""
        return self.next_sequence, self.generation

    def enqueue(self, sequence: int) -> None:
        """Queue a message; once."""
        if sequence not in self.queued:
            self.queued.add(sequence)
            heapq.heappush(self.order, sequence)

    def dequeue(self) -> int | None:
        """Take the lowest queued number, None if there is none."""
        while self.order:
            sequence = heapq.heappop(self.order)
            if sequence in self.queued:
                self.queued.discard(sequence)
                return sequence
        return None

    def forget(self, sequence: int) -> None:
        """Drop a message that is gone from the store."""
        self.queued.discard(sequence)
        self.sent.discard(sequence)
        self.acknowledged.pop(sequence, None)
        self.resent.pop(sequence, None)
        self.fresh.pop(sequence, None)

    def send_again(
        self, numbers: Iterable[int], *, after_s: float, soon: bool = False
    ) -> list[int]:
        """Queue those of ``numbers`` again that were acknowledged long enough ago.

        The time doubles each time, so that neither a headquarters that is away for days nor one
        that refuses a message is sent hundreds of copies; ``soon`` makes the first time at once.
        """
        now, again = time.monotonic(), []
        for sequence in numbers:
            at, times = self.acknowledged.get(sequence), self.resent.get(sequence, 0)
            pause_s = 0.0 if soon and not times else after_s * 2 ** min(times, _MAX_DOUBLINGS)
            if at is not None and now - at >= pause_s:
                del self.acknowledged[sequence]
                self.resent[sequence] = times + 1
                self.enqueue(sequence)
                again.append(sequence)
        return again

    def note_live(self, sequence: int, name: SlotName) -> None:
        """Note a live envelope of a slot; slots of generations before it get no segment any more.

        (Their keys are gone. So what is remembered stays little, whatever becomes of slots.)
        """
        self.fresh[sequence] = name
        if name not in self.live:
            self.live = {
                slot: numbers
                for slot, numbers in self.live.items()
                if slot.generation == name.generation
            }
        self.live.setdefault(name, []).append(sequence)

    def live_of(self, name: SlotName) -> tuple[int, ...]:
        """Return the numbers of the live envelopes that a slot's segment replaces, ascending."""
        return tuple(self.live.get(name, ()))

    def forget_live(self, name: SlotName) -> None:
        """Forget a slot's live envelopes: its segment is there."""
        self.live.pop(name, None)

    def unseen(self, name: SlotName) -> list[int]:
        """Return the last numbers of the sequence, as far as they are the slot's fresh ones.

        Fresh ones below a number that has been handed out stay: deleting them would leave a gap.
        """
        number = self.next_sequence
        while self.fresh.get(number - 1) == name:
            number -= 1
        return list(range(number, self.next_sequence))
