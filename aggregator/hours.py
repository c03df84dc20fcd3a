"""Tell boxes that may import films which quarter hours of their cameras are in store already.

Read from headers alone (`protocol.v2.hours`). What has come since is added once a minute; all of it
is read again every hour, and signed again, so that a box sees that it is of now.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping

from aggregator.store import Store
from aggregator.store.rows import ToldSlot
from protocol.directory import BOX, Directory
from protocol.epoch import RECORDING
from protocol.names import HOURS, CameraAddress, epoch_of
from protocol.signing import SigningKey
from protocol.v2.hours import MAX_DAYS, CameraHours, DayHours
from runtime.clock import system_ms

LOOK_S = 60.0
ANEW_S = 3600.0
_Told = dict[tuple[str, str, int], set[int]]
"""The slots of which segments are in store, by box, origin and epoch."""


class HourTeller:
    """Makes what is to be retained for each box and camera.

    Args:
        store: the segments.
        site: the site's name.
        directory: gives the newest directory: which box may import films of which camera.
        key: the aggregator's.
        retention_days: gives the policy's retention; older days are not told of.
        now_ms: the wall clock.
        now_s: a clock that nobody sets.
    """

    def __init__(
        self,
        store: Store,
        *,
        site: str,
        directory: Callable[[], Directory],
        key: SigningKey,
        retention_days: Callable[[], int],
        now_ms: Callable[[], int] = system_ms,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = store
        self._site = site
        self._directory = directory
        self._key = key
        self._retention_days = retention_days
        self._now_ms = now_ms
        self._now_s = now_s
        self._asked: frozenset[CameraAddress] = frozenset()
        self._told: dict[str, _Told] = {}
        self._cursor = 0
        self._look_s = self._anew_s = 0.0
        self._of: Directory | None = None
        self._messages: dict[str, bytes] = {}
        self._said: dict[CameraAddress, Mapping[int, DayHours]] = {}

    @property
    def due(self) -> bool:
        """Whether it is time to look again: a minute has passed, or there is a new directory."""
        return self._now_s() >= self._look_s or self._of is not self._directory()

    def messages(self) -> Mapping[str, bytes]:
        """Return by topic what boxes are to be told now, signed.

        Raises:
            StorageError: the store cannot be read.
        """
        if self.due:
            self._look()
        return self._messages

    def _look(self) -> None:
        directory, now_s = self._directory(), self._now_s()
        self._of, self._look_s = directory, now_s + LOOK_S
        asked = frozenset(
            CameraAddress(self._site, box.name, camera)
            for box in directory.with_duty(BOX)
            for camera in box.recordings
        )
        anew = now_s >= self._anew_s or asked != self._asked
        first = epoch_of(self._now_ms()) - self._retention_days()
        cameras = sorted({address.camera for address in asked})
        cursor = self._store.ledger.newest_envelope()
        if anew:
            self._told = {}
        if cameras and (anew or cursor > self._cursor):
            after = 0 if anew else self._cursor
            self._add(self._store.ledger.told_slots(cameras, first_epoch=first, after=after))
        if anew:
            self._anew_s, self._said, self._messages = now_s + ANEW_S, {}, {}
        for address in sorted(asked, key=lambda one: (one.box, one.camera)):
            self._say(address, first)
        self._asked, self._cursor = asked, cursor

    def _add(self, listed: Iterable[ToldSlot]) -> None:
        for one in listed:
            told = self._told.setdefault(one.camera, {})
            told.setdefault((one.box, one.origin, one.epoch), set()).add(one.slot)

    def _say(self, address: CameraAddress, first_epoch: int) -> None:
        """Sign what a box is to be told of a camera, unless it has been told just that."""
        days = _days(self._told.get(address.camera, {}), address.box, first_epoch)
        if self._said.get(address) == days:
            return
        hours = CameraHours(address, self._now_ms(), days)
        self._messages[address.topic(HOURS)] = hours.sign(self._key).to_bytes()
        self._said[address] = days


def _days(told: _Told, box: str, first_epoch: int) -> dict[int, DayHours]:
    """Return what is told of a camera's days as one box is to hear it."""
    live: dict[int, set[int]] = {}
    elsewhere: dict[int, set[int]] = {}
    own: dict[int, set[int]] = {}
    for (teller, origin, epoch), slots in told.items():
        if epoch < first_epoch:
            continue
        kind = live if origin != RECORDING else own if teller == box else elsewhere
        kind.setdefault(epoch, set()).update(slots)
    epochs = sorted({*live, *elsewhere, *own})[-MAX_DAYS:]
    return {
        epoch: DayHours(*(frozenset(kind.get(epoch, ())) for kind in (live, elsewhere, own)))
        for epoch in epochs
    }
