"""What a running agent says is wrong, kept beside its state for `sealtrace edge status`.

Only the figures of a health report that begin with ``trouble.``: nothing of who was seen.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from runtime.camera_troubles import camera_troubles
from runtime.errors import OperationError
from runtime.fsio import FileProblem, atomic_write, read_file

TROUBLES_FILE = "troubles.json"
AGAIN_AFTER_MS = 60_000
"""Without news it is said anew after so long, so that a reader can tell whether it still holds."""
_VERSION: Literal[1] = 1
_LAST_MS = 253_402_300_799_000  # of year 9999
_MAX_BYTES = 1 << 16
_PREFIX = "trouble."
_CAMERA, _DAY_KEYS = "trouble.camera.", "trouble.day_keys."


@dataclass(frozen=True, slots=True)
class Troubles:
    """What was wrong at a moment (ms UTC): names and codes as in `edge_agent.health`."""

    at_ms: int
    figures: Mapping[str, float]

    def lines(self, cameras: Iterable[str]) -> list[str]:
        """Return it in words, a line each."""
        cameras = list(cameras)
        found: list[str] = [*camera_troubles(cameras, self.figures)]
        found += [
            f"camera {camera}: sealing fails (see the agent's log)"
            for camera in cameras
            if self.figures.get(_CAMERA + camera)
        ]
        return found + [
            f"custodian {name.removeprefix(_DAY_KEYS)}: its day keys cannot be used"
            for name, value in sorted(self.figures.items())
            if name.startswith(_DAY_KEYS) and value
        ]

    def holds(self, now_ms: int) -> bool:
        """Tell whether an agent that is still running said so."""
        return abs(now_ms - self.at_ms) <= 3 * AGAIN_AFTER_MS


class _Kept(BaseModel):
    """The file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    v: Literal[1] = _VERSION
    at_ms: Annotated[int, Field(ge=0, le=_LAST_MS)]
    troubles: dict[str, float]


class TroubleFile:
    """Keeps what is wrong, written anew when it changes. For one thread."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / TROUBLES_FILE
        self._told: Troubles | None = None

    def tell(self, figures: Mapping[str, float], now_ms: int) -> None:
        """Keep the troubles among these figures; a full disk loses them and nothing else."""
        wrong = {name: value for name, value in figures.items() if name.startswith(_PREFIX)}
        told = self._told
        if told and wrong == told.figures and 0 <= now_ms - told.at_ms < AGAIN_AFTER_MS:
            return
        self._told = Troubles(now_ms, wrong)
        try:
            text = _Kept(at_ms=now_ms, troubles=wrong).model_dump_json()
            atomic_write(self._path, text.encode(), 0o600)
        except FileProblem:
            pass  # the outbox reports a disk that is full

    def end(self) -> None:
        """Forget it: nobody watches any more."""
        with suppress(OSError):
            self._path.unlink(missing_ok=True)


def read_troubles(folder: Path) -> Troubles | None:
    """Read what the agent of a state folder said last; None if no agent runs.

    Raises:
        OperationError: the file is not one.
    """
    path = folder / TROUBLES_FILE
    if not path.exists():
        return None
    try:
        kept = _Kept.model_validate_json(read_file(path, _MAX_BYTES))
    except ValidationError as error:
        raise OperationError(
            f"{path} is not what this version of the agent writes; it is written anew within a "
            "minute while the agent runs"
        ) from error
    return Troubles(kept.at_ms, kept.troubles)
