"""What came of fetching the logs, log by log: kept in the auditor's folder, to be told offline."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from runtime.fsio import FileProblem, atomic_write, read_file

OUTCOMES_FILE = "fetched.json"
_MAX_BYTES = 1 << 20
_LAST_MS = 253_402_300_799_000  # of year 9999


@dataclass(frozen=True, slots=True)
class Fetched:
    """What came of fetching one log; ``problem`` is empty when all went well.

    ``unreachable`` tells a role that did not answer from a log that is not what it was.
    """

    actor: str
    entries: int
    new: int
    problem: str = ""
    unreachable: bool = False


@dataclass(frozen=True, slots=True)
class Outcome:
    """The same, and when that log was last fetched without a problem (ms UTC); None: never."""

    fetched: Fetched
    well_ms: int | None


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What came of the last time that all were fetched."""

    at_ms: int
    logs: tuple[Outcome, ...] = ()


class _Log(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    actor: str
    entries: Annotated[int, Field(ge=0)]
    new: Annotated[int, Field(ge=0)]
    problem: str = ""
    unreachable: bool = False
    well_ms: Annotated[int, Field(ge=0, le=_LAST_MS)] | None = None


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    v: Literal[1] = 1
    at_ms: Annotated[int, Field(ge=0, le=_LAST_MS)]
    logs: tuple[_Log, ...]


def keep_outcomes(folder: Path, fetched: Sequence[Fetched], *, now_ms: int) -> None:
    """Keep what came of fetching.

    Raises:
        FileProblem: it cannot be written.
    """
    before = {one.fetched.actor: one.well_ms for one in read_outcomes(folder).logs}
    logs = [
        {**asdict(one), "well_ms": before.get(one.actor) if one.problem else now_ms}
        for one in fetched
    ]
    text = json.dumps({"v": 1, "at_ms": now_ms, "logs": logs}, indent=2, ensure_ascii=False)
    atomic_write(folder / OUTCOMES_FILE, text.encode() + b"\n")


def read_outcomes(folder: Path) -> Outcomes:
    """Return what came of fetching last; nothing where it is not known: it is no evidence."""
    try:
        kept = _File.model_validate_json(read_file(folder / OUTCOMES_FILE, _MAX_BYTES))
    except (FileProblem, ValidationError):
        return Outcomes(0)
    return Outcomes(
        kept.at_ms,
        tuple(
            Outcome(
                Fetched(one.actor, one.entries, one.new, one.problem, one.unreachable), one.well_ms
            )
            for one in kept.logs
        ),
    )
