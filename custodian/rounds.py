"""The rounds: look at the clock, make the day keys, destroy those whose retention ended.

Keys are made for the days ahead, and for past days within retention that never had one: films of
those days are sealed to them. A day whose key was destroyed gets none again: the key file says so
(`custodian.keystore`), and so does the database, for a key file that was lost.

Order of a making or destruction: the epochs are noted in the database, then the key file is written
anew with or without them, then the log says so. A crash in between is made good at the next round,
so the log neither misses a key nor tells of what did not happen. What is due, and when, is
`custodian.destruction`'s.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence

import structlog

from custodian.clock import Clock
from custodian.destruction import Destruction
from custodian.errors import KeyStoreError
from custodian.journal import Journal
from custodian.keystore import KeyRing
from custodian.store import Store
from custodian.trust import Trust
from custodian.verification import first_retained
from protocol.daykeys import MAX_DAYS_OF, DayKeys
from protocol.names import epoch_of
from protocol.signing import SigningKey

TICK_S = 60.0
MANY_DAYS = 1024
_MAKING = "making"
_DESTROYING = "destroying"
_DESTROYED_BEFORE = "destroyed_before"
_log = structlog.get_logger()


class Rounds:
    """Keeps the day keys in step with time. Any thread may go round, or read `day_keys`."""

    def __init__(
        self,
        *,
        clock: Clock,
        ring: KeyRing,
        journal: Journal,
        store: Store,
        trust: Trust,
        key: SigningKey,
        days_ahead: int,
    ) -> None:
        self._clock = clock
        self._ring = ring
        self._journal = journal
        self._store = store
        self._trust = trust
        self._key = key
        self._days_ahead = days_ahead
        self._destruction = Destruction(store, clock)
        self._waiting: dict[int, int] = {}
        self._published: dict[int, bytes] = {}
        self._listed: dict[int, list[int]] = {}
        self._lock = threading.Lock()

    @property
    def day_keys(self) -> bytes:
        """The signed public day keys in the first form; the same bytes until the keys change."""
        return self._published[1]

    @property
    def day_keys_2(self) -> bytes:
        """The same in the second form, which lists the past days within retention too."""
        return self._published[2]

    @property
    def waiting(self) -> dict[int, int]:
        """The day keys destined for destruction: epoch to ms of running that are left at least."""
        return dict(self._waiting)

    def go(self) -> None:
        """Go round once.

        Raises:
            OperationError: keys or log cannot be written; tried again at the next round.
        """
        with self._lock:
            self._go()

    def _go(self) -> None:
        self._clock.tick()
        self._destroy_again()
        self._log_made()
        self._log_destroyed()
        today = epoch_of(self._clock.now_ms())
        if not self._clock.in_doubt and len(self._ring.epochs()) > MANY_DAYS:
            self._ring.forget_after(today + MANY_DAYS)  # made when the clock had leapt
        made = self._make(range(self._first_to_make(today), today + self._days_ahead + 1))
        gone = self._destroy(made)
        if made or gone or self._listed != self._to_list():
            self._publish()

    def _first_to_make(self, today: int) -> int:
        """Return the first day that is to have a key: no past one while the time is in doubt.

        Every key goes on the date of its day, those made within their last day as well.
        """
        first = today - 1
        if not self._clock.in_doubt:
            retention_days = self._trust.site.policy.retention_days
            now_ms = self._clock.now_ms()
            first = min(first, first_retained(retention_days=retention_days, now_ms=now_ms))
        return max(first, int(self._store.fact(_DESTROYED_BEFORE) or 0))

    def _make(self, epochs: range) -> list[int]:
        missing = self._ring.missing(epochs)
        if not missing:
            return []
        self._store.set_fact(_MAKING, json.dumps(missing))
        try:
            made = self._ring.make(missing)
        except KeyStoreError as error:  # destruction goes on, and so do the keys held
            _log.critical("day_keys_not_made", reason=str(error))
            return []
        self._log_made()
        _log.info("day_keys_made", first=made[0], last=made[-1])
        return made

    def _log_made(self) -> None:
        """Log the keys that were to be made and are held."""
        noted = self._store.fact(_MAKING)
        if not noted:
            return
        held = set(self._ring.epochs())
        if made := [epoch for epoch in json.loads(noted) if epoch in held]:
            self._journal.write("day-keys-issued", {"epochs": made})
        self._store.set_fact(_MAKING, "")

    def _destroy_again(self) -> None:
        """Destroy what was destroyed before and has come back, with a key file of then.

        Or what was only going to be, when the process was killed.
        """
        before = int(self._store.fact(_DESTROYED_BEFORE) or 0)
        gone = self._ring.destroy_before(before)
        if set(gone) - set(json.loads(self._store.fact(_DESTROYING) or "[]")):
            _log.critical(
                "destroyed_day_keys_came_back",
                first=gone[0],
                last=gone[-1],
                effect="destroyed again; whoever put the key file back may have copies",
                remedy="delete every copy of day-keys.secret: it belongs in no backup",
            )

    def _destroy(self, made: Sequence[int]) -> tuple[int, ...]:
        due = self._destruction.review(
            self._ring.epochs(),
            retention_days=self._trust.site.policy.retention_days,
            made=() if self._clock.in_doubt else made,
        )
        self._waiting = due.waiting
        if due.now:
            self._store.set_fact(_DESTROYING, json.dumps(due.now))
            before = max(due.now[-1] + 1, self._ring.destroyed_before)
            self._store.set_fact(_DESTROYED_BEFORE, str(before))
            self._ring.destroy_before(due.now[-1] + 1)
            self._log_destroyed()
            _log.info("day_keys_destroyed", first=due.now[0], last=due.now[-1])
        return due.now

    def _log_destroyed(self) -> None:
        """Log the destructions that were noted and have happened."""
        noted = self._store.fact(_DESTROYING)
        if not noted:
            return
        held = set(self._ring.epochs())
        for epoch in json.loads(noted):
            if epoch not in held:
                self._journal.write("day-key-destroyed", {"epoch": epoch})
        self._store.set_fact(_DESTROYING, "")

    def _to_list(self) -> dict[int, list[int]]:
        """Return the days whose keys are published, by form.

        Not those that a leap of the clock had made, nor those whose retention has ended.
        """
        now_ms = self._clock.now_ms()
        today = epoch_of(now_ms)
        retention_days = self._trust.site.policy.retention_days
        first = min(today - 1, first_retained(retention_days=retention_days, now_ms=now_ms))
        held = [
            epoch for epoch in self._ring.epochs() if first <= epoch <= today + self._days_ahead
        ]
        present = [epoch for epoch in held if epoch >= today - 1]
        return {1: present[-MAX_DAYS_OF[1] :], 2: held[-MAX_DAYS_OF[2] :]}

    def _publish(self) -> None:
        keys = self._ring.public_keys()
        self._listed = self._to_list()
        site, now_ms = self._trust.site.directory.site, self._clock.now_ms()
        self._published = {
            form: DayKeys(
                site, self._key.signer, now_ms, {epoch: keys[epoch] for epoch in listed}, form
            )
            .sign(self._key)
            .to_bytes()
            for form, listed in self._listed.items()
        }
