"""What a box remembers of its updates across power cuts: the file ``state.json``.

Health reporting reads it too: ``report`` says when the box last looked, what came of it, and what
runs. It is written whole, atomically, before and after each step that changes what runs.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import structlog
from pydantic import AwareDatetime, BaseModel, ConfigDict, ValidationError

from protocol.releases import Kind
from provisioning.box.updates.client import Seen
from provisioning.formats.releases.errors import Result, UpdateError
from runtime.fsio import atomic_write, private_folder, read_file

STATE_NAME = "state.json"
MAX_BAD = 32
_MAX_BYTES = 1 << 20
_log = structlog.get_logger()


class _Part(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class SeenRecord(_Part):
    """`provisioning.box.updates.client.Seen`, on disk."""

    versions: dict[str, int]
    at: AwareDatetime

    def to_seen(self) -> Seen:
        """Return it for the client."""
        return Seen(self.versions, self.at)


class Step(_Part):
    """The one change under way: what to go on with, or undo, after a power cut."""

    kind: Kind
    version: str
    previous: str | None
    phase: Literal["fetching", "switching", "rolling-back"]
    attempts: int = 0
    """How often the new version has been started."""
    reason: str = ""
    """Why it is rolled back."""


class Report(_Part):
    """What came of the last look, for people and for health reporting."""

    result: Result = "never"
    message: str = ""
    at: AwareDatetime | None = None
    running: dict[Kind, str | None] = {}
    wanted: dict[Kind, str | None] = {}


class State(_Part):
    """All of the file."""

    format: Literal["sealtrace-updates/1"] = "sealtrace-updates/1"
    seen: SeenRecord | None = None
    step: Step | None = None
    previous: dict[Kind, str | None] = {}
    bad: dict[Kind, dict[str, str]] = {}
    """Kind to version to why it failed here: not tried again."""
    report: Report = Report()

    def with_bad(self, kind: Kind, version: str, reason: str) -> State:
        """Return the state in which ``version`` is not tried again."""
        known = {v: why for v, why in self.bad.get(kind, {}).items() if v != version}
        kept = dict(list(known.items())[-(MAX_BAD - 1) :])
        return self.model_copy(update={"bad": self.bad | {kind: kept | {version: reason[:500]}}})

    def with_seen(self, seen: Seen) -> State:
        """Return the state that remembers what was seen."""
        record = SeenRecord(versions=dict(seen.versions), at=seen.at)
        return self.model_copy(update={"seen": record})


class UpdateRunning(UpdateError):
    """Another update runs on this box."""


class StateFile:
    """Reads and writes the state of one box; one process at a time."""

    def __init__(self, state_dir: Path) -> None:
        self.folder = state_dir
        self.path = state_dir / STATE_NAME

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other updates out.

        Raises:
            UpdateRunning: one runs.
        """
        if not self.folder.is_dir():
            private_folder(self.folder).chmod(0o755)  # the report is for everybody
        descriptor = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise UpdateRunning(
                    f"another update runs on this box ({self.folder}); wait until it has ended"
                ) from None
            yield
        finally:
            os.close(descriptor)

    def read(self) -> State:
        """Return the state; a new one when there is none or it is damaged.

        Raises:
            FileProblem: it cannot be read.
        """
        if not self.path.exists():
            return State()
        data = read_file(self.path, _MAX_BYTES)
        try:
            return State.model_validate_json(data)
        except ValidationError as error:
            _log.warning("update_state_damaged", path=str(self.path), problems=error.error_count())
            return State()

    def write(self, state: State) -> None:
        """Write the state durably.

        Raises:
            FileProblem: it cannot be written.
        """
        atomic_write(self.path, state.model_dump_json(indent=1).encode() + b"\n", 0o644)
