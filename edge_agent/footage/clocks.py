"""Recorders' clocks: their zone, by how much they were wrong, and what no clock can have shown."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from zoneinfo import ZoneInfo

from edge_agent.video.url import SourceError
from runtime.zones import TimeInvalid, aware, zone

EARLIEST_MS = 631_152_000_000
"""1990: a recorder that says it is earlier has never been told the time."""
AHEAD_MS = 5 * 60_000
"""So far ahead of this machine's clock a recording may end."""
MAX_OFFSET_S = 50 * 366 * 86_400.0
_NEAR_S = 120.0
_HALF_HOUR_S = 1800.0
_FIXED = re.compile(r"(?:UTC|GMT)?([+-])(\d{1,2})(?::?(\d{2}))?", re.IGNORECASE)
_OFFSET = re.compile(
    r"([+-])(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d{1,3})?)s)?", re.IGNORECASE
)


def zone_of(text: str) -> tzinfo:
    """Return a zone: of the tz database by name, or always so far from UTC: +09:00, UTC-5.

    Raises:
        OperationError: there is no such zone.
    """
    fixed = _FIXED.fullmatch(text.strip())
    if fixed is None:
        return UTC if text.strip().upper() in {"UTC", "GMT", "Z"} else zone(text.strip())
    sign, hours, minutes = fixed.groups()
    shift = timedelta(hours=int(hours), minutes=int(minutes or 0))
    if shift > timedelta(hours=14):
        raise SourceError(f"--time-zone {text}: no clock is more than 14 hours from UTC.")
    return timezone(-shift if sign == "-" else shift)


def offset_of(text: str) -> tuple[str, float]:
    """Read CAMERA=+3m20s: what is to be added to the times of a camera, in seconds.

    Raises:
        SourceError: it has another form.
    """
    camera, equals, given = text.rpartition("=")
    found = _OFFSET.fullmatch(given.strip())
    if not equals or not camera.strip() or found is None or not any(found.groups()[1:]):
        raise SourceError(
            f"--clock-offset {text!r} is not CAMERA=+3m20s. Say what to add to the recorder's "
            "times: + if its clock was slow, - if it was fast; with d, h, m and s."
        )
    sign, days, hours, minutes, seconds = found.groups()
    offset_s = (86_400 * int(days or 0) + 3600 * int(hours or 0) + 60 * int(minutes or 0)) + float(
        seconds or 0
    )
    if offset_s > MAX_OFFSET_S:
        raise SourceError(f"--clock-offset {text!r} is more than 50 years.")
    return camera.strip(), -offset_s if sign == "-" else offset_s


def moment_of(
    said: datetime, where: tzinfo, *, what: str, hint: datetime | None = None
) -> datetime:
    """Return the moment that a date is, which may lack its zone.

    Args:
        said: the date.
        where: the recorder's zone, for a date without one.
        what: what said it, for the error.
        hint: another moment known of the same recording, which chooses between two readings of
            an hour that clocks showed twice.

    Raises:
        TimeInvalid: clocks never showed it, or twice.
        OverflowError: it is beyond the calendar there.
    """
    if said.tzinfo is not None:
        return said
    if not isinstance(where, ZoneInfo):
        return said.replace(tzinfo=where)
    try:
        return aware(said, where, what=what)
    except TimeInvalid:
        readings = [said.replace(tzinfo=where, fold=fold) for fold in (0, 1)]
        for reading in readings:
            if hint is not None and abs((hint - reading).total_seconds()) <= _NEAR_S:
                return reading
        raise


def why_wrong(began_ms: int, ends_ms: int, now_ms: int) -> str:
    """Say why a recording cannot have been made then, and what to do; "" if it can."""
    if began_ms < EARLIEST_MS:
        return (
            f"It says it began on {_day(began_ms)}: its recorder was never told the time. Name "
            "the true start in a list (--list), or the clock's error (--clock-offset)."
        )
    if ends_ms > now_ms + AHEAD_MS:
        return (
            f"It says it ends {_long((ends_ms - now_ms) / 1000)} from now: its recorder's clock, "
            "the time zone or this machine's clock is wrong. Correct it with --clock-offset, "
            "--time-zone or --list."
        )
    return ""


def differs(named: datetime, stated: datetime, seconds: float) -> str:
    """Say that a container states another start than its name, and by how much; "" if it agrees.

    Args:
        named: the start by its name.
        stated: by its header, which many recorders write when they close a file.
        seconds: how long it is.
    """
    apart_s = (stated - named).total_seconds()
    if -_NEAR_S <= apart_s <= seconds + _NEAR_S:
        return ""
    way = "later" if apart_s > 0 else "earlier"
    text = f"Its header says {_long(abs(apart_s))} {way} than its name, which is believed"
    beyond_s = apart_s % _HALF_HOUR_S
    if abs(apart_s) <= 14 * 3600 + _NEAR_S and min(beyond_s, _HALF_HOUR_S - beyond_s) <= _NEAR_S:
        return f"{text}: is the time zone right?"
    return f"{text}; exports carry the time of the export there."


def _day(at_ms: int) -> str:
    try:
        return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%d}"
    except (ValueError, OverflowError, OSError):
        return "no day of this calendar"


def _long(seconds: float) -> str:
    """A length in its two largest units: 3 h 20 min."""
    parts = []
    rest = round(seconds)
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1)):
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2]) or "0 s"


in_words = _long
