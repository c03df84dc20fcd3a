"""One camera's stills: sealed as soon as their slot has keys, and named as their sightings are.

A still is sealed under the label `evidence` of the generation and slot that its sighting is held
in. Until there are keys it waits in memory, a few and not for long. When a better generation takes
the place of one before the slot's segment is sealed, the stills go with it: opened once more while
the board still can, and sealed under the new keys. When the slot is over its keys are punctured,
and the board can open nothing of it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog

from edge_agent.epochs import EpochKeys
from edge_agent.stills.portraits import Still
from edge_agent.stills.ring import StillRing
from protocol.errors import ProtocolError
from protocol.names import SLOTS_PER_EPOCH, SightingName
from protocol.v2 import VERSION
from protocol.v2.evidence import NONCE_BYTES, SealedStill
from runtime.database import StorageError

_log = structlog.get_logger()

MOST_WAITING = 64
WAITS_S = 120.0
"""So long a still waits for keys: at midnight until the last segment of the day is sealed."""


@dataclass(frozen=True, slots=True)
class _Waiting:
    number: int
    sighting_id: bytes
    still: Still
    since_s: float


class CameraStills:
    """The stills of one camera; its sealer calls all of this under its lock.

    Args:
        camera: its name, for the logs.
        ring: where they are kept.
        now_s: a clock that nobody sets.
    """

    def __init__(
        self, camera: str, ring: StillRing, *, now_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._camera = camera
        self._ring = ring
        self._now_s = now_s
        self._waiting: list[_Waiting] = []
        self._sealed: dict[int, list[SightingName]] = {}  # by slot number, while it is open
        self._refused = ""
        self.lost = 0
        """How many were not kept: no keys came, or the disk took none."""

    def hold(self, number: int, sighting_id: bytes, still: Still) -> None:
        """Take over the still of a sighting that is held in a slot (number since 1970)."""
        self._waiting.append(_Waiting(number, sighting_id, still, self._now_s()))
        while len(self._waiting) > MOST_WAITING:
            self._lose(self._waiting.pop(0))

    @property
    def first_waiting(self) -> int | None:
        """The earliest slot (number since 1970) of a still that waits for keys."""
        return min((one.number for one in self._waiting), default=None)

    def seal(self, keys: EpochKeys | None, floor: int) -> None:
        """Seal what waits and has keys now.

        Args:
            keys: in hand, None if there are none.
            floor: the first slot (number since 1970) whose keys are not forgotten.
        """
        for number in [one for one in self._sealed if one < floor]:
            del self._sealed[number]
        waiting, self._waiting = self._waiting, []
        for one in waiting:
            epoch, slot = divmod(one.number, SLOTS_PER_EPOCH)
            if one.number < floor or self._now_s() - one.since_s > WAITS_S:
                self._lose(one)
            elif keys is None or keys.epoch != epoch:
                self._waiting.append(one)
            elif keys.version < VERSION:
                self._lose(one)
            else:
                self._seal(one, keys, slot)

    def _seal(self, one: _Waiting, keys: EpochKeys, slot: int) -> None:
        name = SightingName.of(keys.slot_name(slot), one.sighting_id)
        try:
            if one.still.jpeg:
                self._ring.put(name, _sealed(one.still.jpeg, keys, name))
                self._sealed.setdefault(one.number, []).append(name)
            else:
                self._ring.put(name, b"", reason=one.still.reason)
        except (StorageError, ProtocolError) as error:
            self._lose(one, str(error))
        else:
            self._refused = ""
        finally:
            one.still.wipe()

    def carry_over(self, old: EpochKeys, new: EpochKeys) -> None:
        """Seal the stills of slots that are open under the keys that take the place of others.

        Called while the old ones can still open; what the new ones cannot seal is left as it is.
        """
        if old.epoch != new.epoch or new.version < VERSION:
            return
        for number, names in self._sealed.items():
            kept: list[SightingName] = []
            for name in names:
                moved = SightingName.of(new.slot_name(name.slot), name.sighting_id)
                try:
                    self._move(name, moved, old, new)
                except (StorageError, ProtocolError) as error:
                    _log.warning("still_left_behind", camera=self._camera, reason=str(error))
                    self.lost += 1
                else:
                    kept.append(moved)
            self._sealed[number] = kept

    def _move(
        self, name: SightingName, moved: SightingName, old: EpochKeys, new: EpochKeys
    ) -> None:
        found = self._ring.find(name)
        if found is None or not found.sealed:
            return
        still = SealedStill.parse(found.sealed)
        picture = still.open(old.still_key(name.slot, name.sighting_id))
        try:
            self._ring.move(name, moved, _sealed(picture, new, moved))
        finally:
            picture[:] = bytes(len(picture))

    def forget(self) -> None:
        """Wipe what waits: the clock was set, or the process ends."""
        for one in self._waiting:
            self._lose(one)
        self._waiting.clear()
        self._sealed.clear()

    def _lose(self, one: _Waiting, reason: str = "") -> None:
        one.still.wipe()
        self.lost += 1
        if reason and reason != self._refused:  # once, not for everybody who passes
            self._refused = reason
            _log.error("still_not_kept", camera=self._camera, reason=reason)


def _sealed(picture: bytearray, keys: EpochKeys, name: SightingName) -> bytes:
    still = SealedStill.seal(
        picture,
        keys.still_key(name.slot, name.sighting_id),
        site=keys.address.site,
        name=name,
        nonce=os.urandom(NONCE_BYTES),
    )
    return still.to_bytes()
