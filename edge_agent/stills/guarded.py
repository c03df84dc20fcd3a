"""A camera's stills as its sealer sees them: there or not, and never a reason not to seal."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from edge_agent.epochs import EpochKeys
from edge_agent.stills.keeping import CameraStills
from edge_agent.stills.portraits import Still

_log = structlog.get_logger()


class GuardedStills:
    """Does with stills what it can; whatever goes wrong is counted and logged, and no more.

    Args:
        camera: its name, for the logs.
        kept: the stills; None: there are none.
        failed: told of each failure that nobody foresaw.
    """

    def __init__(self, camera: str, kept: CameraStills | None, failed: Callable[[], None]) -> None:
        self._camera = camera
        self._kept = kept
        self._failed = failed

    @property
    def first_waiting(self) -> int | None:
        """The earliest slot (number since 1970) of a still that waits for keys."""
        return None if self._kept is None else self._kept.first_waiting

    def hold(self, number: int | None, sighting_id: bytes, still: Still | None) -> None:
        """Take over the still of a sighting that is held in a slot (None: it was dropped)."""
        if still is None:
            return
        if self._kept is None or number is None:
            still.wipe()
        else:
            self._kept.hold(number, sighting_id, still)

    def seal(self, keys: EpochKeys | None, floor: int) -> None:
        """Seal what waits, while its keys are there (`CameraStills.seal`)."""
        self._do(lambda kept: kept.seal(keys, floor))

    def carry_over(self, old: EpochKeys, new: EpochKeys) -> None:
        """Seal under keys that take the place of others (`CameraStills.carry_over`)."""
        self._do(lambda kept: kept.carry_over(old, new))

    def forget(self) -> None:
        """Wipe what waits."""
        self._do(CameraStills.forget)

    def _do(self, what: Callable[[CameraStills], None]) -> None:
        if self._kept is None:
            return
        try:
            what(self._kept)
        except Exception as error:  # a key, a disk or a library
            self._failed()
            _log.error("stills_failed", camera=self._camera, exc_info=error)
