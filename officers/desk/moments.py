"""Moments as officers write and read them: with a zone, in the site's, or relative; shown in it."""

from __future__ import annotations

import re
from contextvars import ContextVar
from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

from officers.desk.site_clock import by_clocks
from protocol.names import SLOT_MS
from runtime.errors import OperationError
from runtime.zones import aware

_RELATIVE = re.compile(r"(?P<sign>[+-])(?P<parts>(?:\d{1,5}[dhms])+)")
_PART = re.compile(r"(\d+)([dhms])")
_DAY = re.compile(
    r"(?P<day>today|yesterday|tomorrow)(?:\s+(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2}))?)?"
)
_SECONDS = {"d": 86_400, "h": 3600, "m": 60, "s": 1}
_DAYS = {"yesterday": -1, "today": 0, "tomorrow": 1}
_FORMS = (
    "write it as '2031-05-04 10:00' (in the site's time zone), as 2031-05-04T10:00+02:00 (with a "
    "time zone, or Z for UTC), as 'today 10:00' or 'yesterday 22:15', as now, or relative to now: "
    "-2h, +30m, -1d12h"
)
_WITHOUT_ZONE = re.compile(r"\d{4}-?\d\d-?\d\d[ t]\d\d(?::?\d\d(?::?\d\d)?)?")
_zone: ContextVar[ZoneInfo | None] = ContextVar("zone", default=None)


class MomentInvalid(OperationError):
    """A text is not a moment, or leaves open which one it is."""


def show_in(zone: ZoneInfo | None) -> None:
    """Have times shown in a zone from now on (in this context); None: in this machine's."""
    _zone.set(zone)


def shown_in() -> ZoneInfo | None:
    """Return the zone that times are shown in (in this context); None: this machine's."""
    return _zone.get()


def is_now(text: str) -> bool:
    """Tell whether a text means the present."""
    return text.strip().lower() == "now"


def names_no_zone(text: str) -> bool:
    """Tell whether a text is a date and a time of day without a time zone."""
    return _WITHOUT_ZONE.fullmatch(" ".join(text.split()).lower()) is not None


def parse_moment(
    text: str, *, now: datetime, zone: ZoneInfo | None = None, what: str = "the time"
) -> datetime:
    """Return the moment that ``text`` names, aware.

    Args:
        text: ISO 8601, ``now``, ``-2h``, ``+1d30m``, ``today 10:00``.
        now: the present, aware.
        zone: of days and times that name none; None: this machine's.
        what: what the moment is of, for an error.

    Raises:
        MomentInvalid: it is none of these.
        TimeInvalid: it is a local time that does not exist, or exists twice.
    """
    words = " ".join(text.split()).lower()
    try:
        if words == "now":
            return now
        if match := _RELATIVE.fullmatch(words):
            seconds = sum(int(n) * _SECONDS[unit] for n, unit in _PART.findall(match["parts"]))
            return now + timedelta(seconds=seconds if match["sign"] == "+" else -seconds)
        if match := _DAY.fullmatch(words):
            hour, minute, second = (int(match[part] or 0) for part in ("hour", "minute", "second"))
            clock = time(hour, minute, second)
            day = now.astimezone(zone).date() + timedelta(days=_DAYS[match["day"]])
            return aware(datetime.combine(day, clock), zone, what=what)
        moment = datetime.fromisoformat(words.upper())
        if moment.tzinfo is not None:
            return moment
        if names_no_zone(words):
            return aware(moment, zone, what=what)
    except (ValueError, OverflowError) as error:
        raise MomentInvalid(f"{text!r} is not a moment; {_FORMS}") from error
    raise MomentInvalid(f"{text!r} has no time of day; {_FORMS}")


def whole_slots(start: datetime, end: datetime) -> tuple[int, int]:
    """Return the window, in ms UTC, widened to whole quarter hours.

    Raises:
        MomentInvalid: it ends before it begins, or before 1970.
    """
    from_ms, to_ms = to_milliseconds(start), to_milliseconds(end)
    if to_ms <= from_ms:
        raise MomentInvalid(
            f"the window ends ({local_text(to_ms)}) before it has begun ({local_text(from_ms)}); "
            "give a --to that is later than --from"
        )
    if from_ms < 0:
        raise MomentInvalid("the window begins before 1970; check --from")
    return from_ms // SLOT_MS * SLOT_MS, -(-to_ms // SLOT_MS) * SLOT_MS


def to_milliseconds(moment: datetime) -> int:
    """Return an aware moment in integer milliseconds since 1970 UTC, rounded down."""
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)


def local_text(time_ms: int, *, zone: bool = True) -> str:
    """Return ``Mon 2031-05-04 10:00:00 CEST``: local time, as `show_in` says."""
    form = "%a %Y-%m-%d %H:%M:%S %Z" if zone else "%a %Y-%m-%d %H:%M:%S"
    return _local(time_ms).strftime(form).rstrip()


def local_clock(time_ms: int) -> str:
    """Return ``10:00:00`` in local time."""
    return f"{_local(time_ms):%H:%M:%S}"


def local_day(time_ms: int) -> str:
    """Return ``2031-05-04``, the local date."""
    return f"{_local(time_ms):%Y-%m-%d}"


def span_text(from_ms: int, to_ms: int) -> str:
    """Return from and to in local time, the date once when it is the same."""
    if local_day(from_ms) == local_day(to_ms):
        return f"{local_day(from_ms)} {local_clock(from_ms)}-{local_clock(to_ms)}"
    return f"{local_day(from_ms)} {local_clock(from_ms)} - {local_day(to_ms)} {local_clock(to_ms)}"


def duration_text(seconds: float) -> str:
    """Return ``54 s``, ``3 min 05 s``, ``2 h 15 min`` or ``3 d 4 h``."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02} s" if whole % 60 else f"{whole // 60} min"
    if whole < 48 * 3600:
        minutes = whole % 3600 // 60
        return f"{whole // 3600} h {minutes:02} min" if minutes else f"{whole // 3600} h"
    hours = whole % 86_400 // 3600
    return f"{whole // 86_400} d {hours} h" if hours else f"{whole // 86_400} d"


def iso_utc(time_ms: int) -> str:
    """Return ``2031-05-04T08:00:00.000Z``; the calendar's last moment for what lies beyond it."""
    try:
        moment = datetime.fromtimestamp(time_ms // 1000, UTC)
    except (ValueError, OverflowError, OSError):  # a box may claim any time
        return "9999-12-31T23:59:59.999Z"
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{time_ms % 1000:03}Z"


def _local(time_ms: int) -> datetime:
    return by_clocks(time_ms, _zone.get())
