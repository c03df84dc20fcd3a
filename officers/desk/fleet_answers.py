"""What the aggregator says of boxes, as it says it: its word, bounded, nothing of it signed here.

Every field that an older aggregator or box does not tell is optional.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from protocol.names import NAME_PATTERN

_LAST_MS = 253_370_764_800_000  # the year 9999 begins: until then a moment is a date anywhere
_Moment = Annotated[int, Field(ge=0, le=_LAST_MS)]
_Name = Annotated[str, Field(pattern=NAME_PATTERN)]
_Figures = Annotated[Mapping[str, float], Field(max_length=4096)]


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


class GapSaid(_Answer):
    """Messages of a camera that have not come."""

    camera: str
    first: int
    last: int
    opened_ms: _Moment
    lost: bool = False


class RejectsSaid(_Answer):
    """How often messages of a box were refused for one reason."""

    camera: str = ""
    reason: str = ""
    count: int = 0
    last_ms: int = 0


class BoxSaid(_Answer):
    """One box, as of now."""

    box: _Name
    cameras: tuple[_Name, ...] = ()
    revoked: bool = False
    last_seen_ms: _Moment | None = None
    state: str | None = None
    version: str | None = None
    reported_ms: int | None = None
    clock_offset_ms: int | None = None
    clock_wrong: bool = False
    figures: _Figures = {}
    gaps: tuple[GapSaid, ...] = ()
    rejects: tuple[RejectsSaid, ...] = ()
    quarantined: int = 0
    protocol: int | None = None
    silent_day_ms: Annotated[int, Field(ge=0)] | None = None


class SlotSaid(_Answer):
    """One quarter hour of a box's history: ``worst`` is of each figure the worst value."""

    from_ms: _Moment
    reports: Annotated[int, Field(ge=0)]
    last_ms: _Moment
    silent_ms: Annotated[int, Field(ge=0)] = 0
    version: str = ""
    worst: _Figures = {}


class HistorySaid(_Answer):
    """How a box was in ``[from_ms, to_ms)``; quarter hours without a report are left out."""

    box: _Name
    from_ms: _Moment
    to_ms: _Moment
    told_ms: _Moment
    slots: Annotated[tuple[SlotSaid, ...], Field(max_length=4096)] = ()
