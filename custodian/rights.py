"""Which box might speak for which camera, and until when: what it announced is judged by its time.

The directory in force says who may speak now, and until when a revoked box might. What it no longer
says, a camera that went to another box or a key that was replaced under one name, is remembered
here with the time at which a newer directory came into force. What is not remembered does not
count.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from custodian.store import Store
from protocol.directory import BOX, Directory
from protocol.names import EPOCH_MS
from protocol.signing import VerifyKey

KEPT_MS = 90 * EPOCH_MS
"""How long a right is remembered once it has ended: longer than any policy retains sightings."""


@dataclass(frozen=True, slots=True)
class Right:
    """That a box might speak for a camera under a key.

    Args:
        recording: for recordings of it, not for what it sees.
        until_ms: to before when; None: it may still.
        version_1_until_ms: when the box last announced in version 1 of the protocol, if it did.
    """

    box: str
    key: bytes
    camera: str
    recording: bool
    until_ms: int | None = None
    version_1_until_ms: int | None = None

    @property
    def of_whom(self) -> tuple[str, bytes, str, bool]:
        """What tells it from others."""
        return (self.box, self.key, self.camera, self.recording)

    @property
    def verify_key(self) -> VerifyKey:
        """The key under which the box spoke."""
        return VerifyKey(self.key)

    def covers(self, announced_at_ms: int, version: int) -> bool:
        """Tell whether what was announced then, in that version, is covered by it."""
        if self.until_ms is not None and announced_at_ms >= self.until_ms:
            return False
        last_ms = self.version_1_until_ms
        return version > 1 or last_ms is None or announced_at_ms <= last_ms


class FormerRights:
    """The rights that have ended, of one moment."""

    def __init__(self, rights: Iterable[Right] = ()) -> None:
        self._rights: dict[tuple[str, str, bool], list[Right]] = {}
        for right in rights:
            place = (right.box, right.camera, right.recording)
            self._rights.setdefault(place, []).append(right)

    def of(self, box: str, camera: str, *, recording: bool) -> list[Right]:
        """Return the rights that a box once had to speak for a camera."""
        return list(self._rights.get((box, camera, recording), ()))


class RightsHistory:
    """Remembers every right that a directory in force has given. Its owner holds the lock."""

    def __init__(self, store: Store) -> None:
        """Read what is kept.

        Raises:
            StorageError: it cannot be read.
        """
        self._store = store
        self._rights = {right.of_whom: right for right in map(_read, store.box_rights())}
        self._changed: dict[tuple[str, bytes, str, bool], Right] = {}
        self._now_ms = 0

    def note(self, directory: Directory, *, now_ms: int) -> FormerRights:
        """Go by ``directory`` from now on; return what is over. `keep` writes it down."""
        self._now_ms = now_ms
        given = {right.of_whom: right for right in _given(directory)}
        for of_whom, right in list(self._rights.items()):
            if of_whom not in given and right.until_ms is None:
                given[of_whom] = replace(right, until_ms=now_ms)
        changed = {w: right for w, right in given.items() if self._rights.get(w) != right}
        self._rights |= changed
        self._changed |= changed
        return FormerRights(r for r in self._rights.values() if r.until_ms is not None)

    def keep(self) -> None:
        """Write down what was noted, and forget what nobody can ask for any more.

        Raises:
            StorageError: it cannot be kept; it counts all the same, and is kept the next time.
        """
        if not self._changed:
            return
        before_ms = self._now_ms - KEPT_MS
        self._store.keep_box_rights(
            [
                (r.box, r.key, r.camera, int(r.recording), r.until_ms, r.version_1_until_ms)
                for r in self._changed.values()
            ],
            forget_before_ms=before_ms,
        )
        self._changed.clear()
        self._rights = {
            of_whom: right
            for of_whom, right in self._rights.items()
            if right.until_ms is None or right.until_ms >= before_ms
        }


def _given(directory: Directory) -> Iterable[Right]:
    for box in directory.principals.values():
        if BOX not in box.duties:
            continue
        for recording, cameras in ((False, box.cameras), (True, box.recordings)):
            for camera in cameras:
                yield Right(
                    box.name,
                    box.verify_key.raw,
                    camera,
                    recording,
                    box.revoked_at_ms,
                    box.version_1_until_ms,
                )


def _read(row: tuple[str, bytes, str, int, int | None, int | None]) -> Right:
    box, key, camera, recording, until_ms, version_1_until_ms = row
    return Right(box, key, camera, bool(recording), until_ms, version_1_until_ms)
