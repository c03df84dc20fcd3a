"""Which day keys are to be destroyed, and when: first destined, then destroyed a day later.

A key is **destined** a day of believed time before its retention ends, so in a custodian that runs
on, it is destroyed when its retention ends. When time has moved on at once (the machine was off, a
policy keeps less), it is destroyed all the same only after this custodian has been running for a
day since, and its operator has had that long to see the alarm. Only a time that a person has
confirmed needs no waiting (docs/operations.md, "Clocks").

A key that is made within the last day of its retention is waited for only as long as that day had
left when it was made: by then it has run through what is left of it, whatever the clock said.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import structlog

from custodian.clock import HOUR_MS, Clock
from custodian.store import Store
from custodian.verification import first_retained
from protocol.names import EPOCH_MS

GRACE_MS = 24 * HOUR_MS
_DESTINED = "destined"
_USUAL = 2
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Due:
    """What is to become of the keys held: epochs to destroy now, and ms until the others are."""

    now: tuple[int, ...]
    waiting: dict[int, int]


class Destruction:
    """Remembers since when each key has been destined, in running time."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    def review(
        self, held: Sequence[int], *, retention_days: int, made: Collection[int] = ()
    ) -> Due:
        """Destine what is to be destroyed within a day; return what is due of ``held``.

        Args:
            held: the epochs whose keys are held.
            retention_days: how long a day is kept.
            made: those of ``held`` whose keys have just been made, by a clock not in doubt.

        Raises:
            StorageError: it cannot be remembered; then nothing is due.
        """
        clock = self._clock
        ran_ms = clock.ran_ms
        before = self._destined()
        soon = first_retained(retention_days=retention_days, now_ms=clock.believed_ms + GRACE_MS)
        destined = {epoch: before.get(epoch, ran_ms) for epoch in held if epoch < soon}
        for epoch in destined.keys() & set(made):
            ends_ms = (epoch + retention_days + 1) * EPOCH_MS
            left_ms = min(GRACE_MS, max(0, ends_ms - clock.believed_ms))
            destined[epoch] = ran_ms - GRACE_MS + left_ms
        if destined != before:
            kept = {str(epoch): since_ms for epoch, since_ms in destined.items()}
            self._store.set_fact(_DESTINED, json.dumps(kept))
            self._tell(sorted(set(destined) - set(before)))
        ended = first_retained(retention_days=retention_days, now_ms=clock.believed_ms)
        sure = first_retained(retention_days=retention_days, now_ms=clock.confirmed_ms)
        now: list[int] = []
        for epoch in sorted(destined):
            if epoch >= ended or (epoch >= sure and _left_ms(destined[epoch], ran_ms) > 0):
                break
            now.append(epoch)
        waiting = {e: _left_ms(destined[e], ran_ms) for e in sorted(destined) if e not in now}
        return Due(tuple(now), waiting)

    def _destined(self) -> dict[int, int]:
        kept = self._store.fact(_DESTINED)
        return {int(epoch): int(since) for epoch, since in json.loads(kept or "{}").items()}

    def _tell(self, new: Sequence[int]) -> None:
        if not new:
            return
        tell = _log.info if len(new) < _USUAL else _log.critical
        tell(
            "day_keys_destined",
            first=new[0],
            last=new[-1],
            count=len(new),
            effect=f"destroyed after {GRACE_MS // HOUR_MS} h of running at most",
            remedy="if that is not right, set the clock right or stop this custodian",
        )


def _left_ms(since_ms: int, ran_ms: int) -> int:
    return max(0, since_ms + GRACE_MS - ran_ms)
