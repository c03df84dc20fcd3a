"""Time zones: the tz database's by name, this machine's, and local times that are one moment.

A local time that the clocks skipped, or that they showed twice, is no moment: whoever wrote it is
asked which they mean.
"""

from __future__ import annotations

import difflib
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from pydantic import AfterValidator

from runtime.errors import OperationError

_MACHINE_ZONE = Path("/etc/localtime")
_NAMED_FOLDER = "zoneinfo"


class ZoneUnknown(OperationError):
    """No time zone is called that."""


class TimeInvalid(OperationError):
    """A local time that does not exist in its zone, or exists twice."""


def zone(name: str) -> ZoneInfo:
    """Return the time zone that the tz database calls ``name``, such as ``Asia/Seoul``.

    Raises:
        ZoneUnknown: there is none of that name.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        near = difflib.get_close_matches(name[:64], available_timezones(), n=1, cutoff=0.5)
        hint = f"did you mean '{near[0]}'?" if near else "write it as Asia/Seoul or Europe/Paris"
        raise ZoneUnknown(f"there is no time zone '{name[:64]}'; {hint}") from error


def machine_zone() -> ZoneInfo:
    """Return this machine's own time zone; UTC where it has none that can be told."""
    named = os.environ.get("TZ", "").removeprefix(":")
    if named:
        try:
            return ZoneInfo(named)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            return ZoneInfo("UTC")
    try:
        target = _MACHINE_ZONE.resolve(strict=True)
        parts = target.parts
        if _NAMED_FOLDER in parts:
            return ZoneInfo("/".join(parts[parts.index(_NAMED_FOLDER) + 1 :]))
        with target.open("rb") as file:
            return ZoneInfo.from_file(file, key="local")
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return ZoneInfo("UTC")


def site_zone(name: str | None) -> ZoneInfo:
    """Return the zone that a configuration names as the site's; without a name, this machine's.

    Raises:
        ZoneUnknown: there is none of that name.
    """
    return machine_zone() if name is None else zone(name)


def aware(local: datetime, zone: ZoneInfo | None, *, what: str) -> datetime:
    """Return a naive local time as the moment that it is in ``zone``.

    Args:
        local: without a zone; its ``fold`` is not looked at.
        zone: where clocks showed it; None: on this machine.
        what: what the time is of, for the error.

    Raises:
        TimeInvalid: clocks there never showed it, or twice. Both readings are named.
    """
    if zone is None:
        first, second = (local.replace(tzinfo=None, fold=fold).astimezone() for fold in (0, 1))
    else:
        first, second = (local.replace(tzinfo=zone, fold=fold) for fold in (0, 1))
    if first.astimezone(UTC) == second.astimezone(UTC):
        return first
    where = "this machine's time zone" if zone is None else zone.key
    written = f"{what}: {local:%Y-%m-%d %H:%M:%S}"
    if _shown(first, zone) == local:
        raise TimeInvalid(
            f"{written} was twice in {where}, because clocks were put back: write "
            f"{first.isoformat()} ({first.tzname()}) or {second.isoformat()} ({second.tzname()})"
        )
    early, late = (one.astimezone(UTC).astimezone(zone) for one in (second, first))
    raise TimeInvalid(
        f"{written} was never in {where}, because clocks were put forward: write "
        f"{early.isoformat()} ({early.tzname()}) or {late.isoformat()} ({late.tzname()})"
    )


def _shown(moment: datetime, zone: ZoneInfo | None) -> datetime:
    """Return what clocks of the zone show at a moment, naive."""
    return moment.astimezone(UTC).astimezone(zone).replace(tzinfo=None, fold=0)


def _zone_name(value: str) -> str:
    try:
        zone(value)
    except ZoneUnknown as error:
        raise ValueError(str(error)) from None
    return value


ZoneName = Annotated[str, AfterValidator(_zone_name)]
"""A time zone by its name in the tz database, as a configuration gives it."""
