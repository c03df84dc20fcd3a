"""What a box has to do with stills, put together for its agent: whether, where, and to whom."""

from __future__ import annotations

import time
from collections.abc import Collection
from pathlib import Path

import structlog

from edge_agent.config import StillsConfig
from edge_agent.notices import Notices
from edge_agent.stills.answering import StillAnswers
from edge_agent.stills.keeping import CameraStills
from edge_agent.stills.ring import StillRing
from protocol.signing import SigningKey
from runtime.clock import system_ms
from runtime.database import StorageError
from runtime.trust import Trust

_log = structlog.get_logger()

STILLS_FILE = "stills.sqlite"
_PURGE_S = 300.0


class StillDesk:
    """The stills of one box.

    Args:
        box: its name.
        config: how many are kept, and for how long.
        folder: where they are.
        board: signs answers.
        trust: whose directory is in force.
        notices: by which policy they are permitted, and which queries ask for them.
        films: cameras of which this box imports films alone.
    """

    def __init__(
        self,
        box: str,
        config: StillsConfig,
        *,
        folder: Path,
        board: SigningKey,
        trust: Trust,
        notices: Notices,
        films: Collection[str] = (),
    ) -> None:
        self._config = config
        self._notices = notices
        self._ring = StillRing(
            folder / STILLS_FILE, max_bytes=round(config.max_mb * 1e6), hours=config.hours
        )
        self._cameras: list[CameraStills] = []
        self._purged_s = float("-inf")
        self.answers = StillAnswers(
            box,
            board=board,
            trust=trust,
            standing=notices.standing,
            ring=self._ring,
            films=films,
        )

    def wanted(self) -> bool:
        """Tell whether stills are made now: the policy permits them and this box keeps them."""
        return self._config.hours > 0 and self._notices.permits_stills()

    def of(self, camera: str) -> CameraStills:
        """Return what keeps the stills of one camera."""
        self._cameras.append(CameraStills(camera, self._ring))
        return self._cameras[-1]

    def upkeep(self) -> None:
        """Delete, every few minutes, what is kept no longer, or is no longer permitted."""
        if time.monotonic() - self._purged_s < _PURGE_S:
            return
        self._purged_s = time.monotonic()
        hours = self._notices.stills_hours()
        if not self._ring.path.exists():  # never permitted here, so far
            return
        try:
            if hours == 0:
                self._ring.clear()
            self._ring.purge(system_ms(), hours=hours)
        except StorageError as error:
            _log.warning("stills_not_purged", reason=str(error))

    def figures(self) -> dict[str, float]:
        """Return the figures of a health report; none that rises with each person who passes."""
        return {"stills.disk_refuses": int(self._ring.refused), **self.answers.figures()}

    def close(self) -> None:
        """Close the file."""
        self._ring.close()
