"""The custodian's time: what it goes by, and what it believes before it destroys a key.

Time decides what expires here, and whoever can set this machine's clock would decide over it. So
there are two times (docs/operations.md, "Clocks"):

- **now**, for grants and expiry: the machine's, but never before the latest time known. Set back,
  it revives nothing. A request must be dated by the aggregator's clock to within
  ``limits.clock_skew_s`` of it.
- the **believed** time, for destruction: it follows the machine's clock no faster than real time
  passes (``CLOCK_BOOTTIME``, which nobody sets), in steps of any size and over any number of
  restarts of this service. How long the machine was off no clock of its own tells: after a restart
  of the machine the believed time moves on to what **two other parties** have signed since, or to
  what a person confirms (``sealtrace custodian confirm-clock``), and never past the machine's.

What is missing between the two is ``lag_ms``; when it is large, there is an alarm.
"""

from __future__ import annotations

import json
import threading
from dataclasses import asdict, dataclass

import structlog

from custodian.store import Store
from protocol.textformats import parse_json
from runtime.clock import MachineClocks, with_drift

HOUR_MS = 3_600_000
LARGEST_LAG_MS = HOUR_MS
"""How far the machine's clock may be ahead of the believed time before there is an alarm."""
LARGEST_LEAP_MS = 48 * HOUR_MS
"""A time further ahead of the believed one is not remembered, so that setting the clock right again
is enough."""
AGREEING_PARTIES = 2
_BEHIND_MS = 60_000
_KNOWN, _LATEST, _RUN, _CONFIRMED = (
    "clock_known_ms",
    "clock_latest_ms",
    "clock_run",
    "clock_confirmed_ms",
)
_FACTS = (_KNOWN, _LATEST, _RUN, _CONFIRMED)
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Run:
    """What the clocks that nobody sets said last.

    ``ran_ms`` is how long this custodian has been running in all. ``off`` is whether the machine
    has been off for a time that nobody has vouched for yet.
    """

    boot_id: str = ""
    since_boot_ms: int = 0
    ran_ms: int = 0
    off: bool = True

    @classmethod
    def parse(cls, text: str | None) -> _Run:
        """Read what was kept; anything else than that counts as nothing."""
        try:
            value = parse_json(text or "{}")
            run = cls(
                str(value["boot_id"]),
                int(value["since_boot_ms"]),
                int(value["ran_ms"]),
                bool(value["off"]),
            )
        except (ValueError, TypeError, KeyError):
            return cls()
        return run


class Clock:
    """The custodian's time. Safe in several threads; one process at a time, but for `confirm`."""

    def __init__(
        self,
        store: Store,
        *,
        machine: MachineClocks | None = None,
        unknown_ms: int | None = None,
    ) -> None:
        """Go on from what ``store`` holds.

        Args:
            store: where the times are kept.
            machine: the machine's clocks.
            unknown_ms: what to believe when nothing is kept although there are keys already (the
                database was lost); None: there are none, so the machine's clock is believed.
        """
        self._store = store
        self._machine = MachineClocks() if machine is None else machine
        self._lock = threading.Lock()
        self._running_ms = self._machine.running_ms()
        self._heard: dict[str, int] = {}  # party: when this machine was started, by its word
        self._in_doubt = False
        self._behind = False
        self._going = False  # no restart of the machine happens within one process
        now_ms = self._machine.wall_ms()
        fresh = now_ms if unknown_ms is None else min(now_ms, unknown_ms)
        self._known_ms = self._latest_ms = fresh
        self._ran_ms = 0
        self._confirmed_ms = 0
        self._move_on(fresh)

    def now_ms(self) -> int:
        """Return the time: the machine's, but never before the latest time known."""
        return max(self._machine.wall_ms(), self._latest_ms)

    @property
    def believed_ms(self) -> int:
        """The time by which keys are destroyed; never ahead of the machine's clock as it was."""
        return self._known_ms

    @property
    def confirmed_ms(self) -> int:
        """The time that a person confirmed last; 0 if nobody ever has."""
        return self._confirmed_ms

    @property
    def ran_ms(self) -> int:
        """How long this custodian has been running, over all its starts."""
        return self._ran_ms

    @property
    def lag_ms(self) -> int:
        """How far the machine's clock is ahead of the believed time."""
        return max(0, self._machine.wall_ms() - self._known_ms)

    @property
    def in_doubt(self) -> bool:
        """Whether the machine's clock is ahead of what can be believed."""
        return self._in_doubt

    def heard(self, party: str, time_ms: int) -> None:
        """Note that ``party`` (not we) has just signed the time ``time_ms``; verified already.

        It counts while the machine's time off is not accounted for, and moves no time by itself.
        """
        started_ms = time_ms - self._machine.since_boot_ms()
        with self._lock:
            self._heard[party] = max(started_ms, self._heard.get(party, started_ms))

    def tick(self) -> None:
        """Let time pass, and raise an alarm in the log when the machine's clock has leapt.

        Raises:
            StorageError: it cannot be kept.
        """
        with self._lock:
            self._move_on(self._known_ms)
            wall_ms = self._machine.wall_ms()
            lag_ms = wall_ms - self._known_ms
            if lag_ms > LARGEST_LAG_MS and not self._in_doubt:
                _log.critical(
                    "clock_leapt_ahead",
                    leap_s=lag_ms // 1000,
                    effect="no day key is destroyed by that time until it is vouched for",
                    remedy="set the clock right, or run: sealtrace custodian confirm-clock",
                )
            self._in_doubt = lag_ms > LARGEST_LAG_MS
            behind_ms = self._latest_ms - wall_ms
            if behind_ms > _BEHIND_MS and not self._behind:
                _log.error("clock_went_back", by_s=behind_ms // 1000)
            self._behind = behind_ms > _BEHIND_MS

    def _move_on(self, fresh_ms: int) -> None:
        """Move the believed time on as far as may be, and keep it, in one transaction."""
        wall_ms = self._machine.wall_ms()
        since_boot_ms, boot_id = self._machine.since_boot_ms(), self._machine.boot_id()
        running_ms = self._machine.running_ms()
        ran_ms = max(0, running_ms - self._running_ms)

        def change(kept: dict[str, str | None]) -> dict[str, str]:
            run = _Run.parse(kept[_RUN])
            known_ms = _number(kept[_KNOWN], fresh_ms)
            latest_ms = _number(kept[_LATEST], known_ms)
            same = since_boot_ms >= run.since_boot_ms and (
                self._going or (bool(boot_id) and boot_id == run.boot_id)
            )
            off = run.off or not same
            may_be_ms = known_ms + (with_drift(since_boot_ms - run.since_boot_ms) if same else 0)
            if off:
                may_be_ms = max(may_be_ms, self._agreed_ms(since_boot_ms))
            known_ms = max(known_ms, min(wall_ms, may_be_ms))
            remembered_ms = wall_ms if wall_ms <= known_ms + LARGEST_LEAP_MS else 0
            self._known_ms = known_ms
            self._latest_ms = max(latest_ms, known_ms, remembered_ms)
            self._ran_ms = run.ran_ms + ran_ms
            self._confirmed_ms = _number(kept[_CONFIRMED], 0)
            off = off and wall_ms - known_ms > _BEHIND_MS
            kept_run = _Run(boot_id, since_boot_ms, self._ran_ms, off)
            return {
                _KNOWN: str(self._known_ms),
                _LATEST: str(self._latest_ms),
                _RUN: json.dumps(asdict(kept_run)),
            }

        self._store.change_facts(_FACTS, change)
        self._running_ms = running_ms
        self._going = True

    def _agreed_ms(self, since_boot_ms: int) -> int:
        """Return what time it is by the word of so many parties; 0 when too few said any."""
        started = sorted(self._heard.values(), reverse=True)
        enough = len(started) >= AGREEING_PARTIES
        return started[AGREEING_PARTIES - 1] + since_boot_ms if enough else 0


def confirm(store: Store, *, now_ms: int) -> int | None:
    """Take the machine's time as true from now on; return the time believed before."""
    before: list[int] = []

    def change(kept: dict[str, str | None]) -> dict[str, str]:
        if kept[_KNOWN] is not None:
            before.append(_number(kept[_KNOWN], 0))
        return dict.fromkeys((_KNOWN, _LATEST, _CONFIRMED), str(now_ms))

    store.change_facts(_FACTS, change)
    return before[0] if before else None


def _number(text: str | None, otherwise: int) -> int:
    return otherwise if text is None else int(text)
