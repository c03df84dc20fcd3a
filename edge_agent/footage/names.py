"""Reads camera and start out of a recording's name, in the forms that recorders give them.

A pattern is a name as people would write it: `{camera}`, `{channel}` (such as ch01), `*` for
anything within a name, and the date as `strftime` has it: %Y %m %d %H %M %S %f %y %I %p %b %z %s.
One without `/` is of the file's name without its ending; with it, of the folders above as well.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from functools import cache
from pathlib import PurePosixPath

from edge_agent.video.url import SourceError

MAX_PATTERN = 300
_MAX_NAME = 512
_MAX_STARS = 4
_CAMERA = r"(?P<camera>[^/]{1,200}?)"
_FIELDS = {
    "Y": r"\d{4}",
    "y": r"\d{2}",
    "m": r"\d{1,2}",
    "d": r"\d{1,2}",
    "H": r"\d{1,2}",
    "I": r"\d{1,2}",
    "M": r"\d{2}",
    "S": r"\d{2}",
    "f": r"\d{1,6}",
    "p": r"[AaPp]\.?[Mm]\.?",
    "b": r"[A-Za-z]{3}",
    "z": r"Z|[+-]\d{2}[:-]?\d{2}",
    "s": r"\d{9,11}",
}
_PACKED = r"\d{2}"
_TWO_DIGITS = frozenset("mdHI")
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_PLACEHOLDERS = {
    "camera": _CAMERA,
    "channel": r"(?P<camera>(?:ch|chan|channel|cam|camera|d|c)[ _-]?\d{1,4})",
    "mac": r"(?P<camera>[0-9A-Fa-f]{12})",
}
_TOKEN = re.compile(r"\{(\w+)\}|%(.)|(\*)")

RECORDERS: Sequence[tuple[str, str]] = (
    ("Dahua", "{camera}/%Y-%m-%d/*/dav/*/%H.%M.%S-*"),
    ("Dahua", "%Y-%m-%d/{camera}/dav/*/%H.%M.%S-*"),
    ("Hikvision or Dahua", "*_{channel}_*_%Y%m%d%H%M%S_%Y%m%d%H%M%S*"),
    ("Hikvision", "{channel}_%Y%m%d%H%M%S"),
    ("Hikvision", "{channel}_%Y%m%d%H%M%S_*"),
    ("Hikvision", "{camera}_%Y%m%d%H%M%S%f_*"),
    ("Uniview", "%Y-%m-%d/*_{channel}_S%H-%M-%S*E*"),
    ("Uniview", "%Y-%m-%d/{camera}_S%H-%M-%S*E*"),
    ("Uniview", "*_{channel}_S%Y%m%d%H%M%S*E*"),
    ("Uniview", "{camera}_S%Y%m%d%H%M%S*E*"),
    ("Hanwha", "%Y%m%d_%H%M%S_{channel}*"),
    ("Hanwha", "{channel}_%Y%m%d_%H%M%S*"),
    ("Hanwha", "{camera}_%Y-%m-%d_%Hh%Mm%Ss*"),
    ("Axis", "*_{mac}/*/%Y%m%d_%H%M%S_*"),
    ("Axis", "%Y%m%d_%H%M%S_*_{mac}"),
    ("Axis", "{camera} %Y-%m-%d %H_%M_%S*"),
    ("Milestone", "{camera} %Y-%m-%d %H.%M.%S*"),
    ("Milestone", "{camera} - %m-%d-%Y %I-%M-%S %p"),
    ("Milestone", "{camera} %m-%d-%Y %I.%M.%S %p"),
    ("Genetec", "{camera} (%Y-%m-%d_%Hh%Mmin%Ss%fms)*"),
    ("Genetec", "{camera}_%Y-%m-%d_%Hh%Mmin%Ss%fms*"),
    ("Genetec", "{camera}_%Y-%m-%d_%Hh%Mmin%Ss*"),
)
"""Patterns of recorders and their exports as they come, in the order in which they are tried."""

_ANY_DATE = re.compile(
    r"(?<!\d)(?P<Y>(?:19|20)\d{2})(?P<a>[-._]?)(?P<m>\d{2})(?P=a)(?P<d>\d{2})"
    r"(?:[T _.-]{0,3}|_at_)"
    r"(?P<H>\d{2})(?P<c>[-._:h]?)(?P<M>\d{2})(?:[-._:m]?)(?P<S>\d{2})"
    r"(?:[.,](?P<f>\d{1,6}))?(?P<z>Z|[+-]\d{2}:?\d{2}(?!\d))?(?!\d)"
)
"""ISO 8601 and what looks like it: dates from the year down, with any marks between."""
_MARKS = " _-."
_DATED = re.compile(r"[\d_.:T-]+")
_OF_ALL = frozenset({"video", "videos", "record", "records", "recordings", "export", "dav", "mp4"})


@dataclass(frozen=True, slots=True)
class Said:
    """What a name says.

    Attributes:
        form: whose form of name it is.
        camera: as the recorder calls it; None where the name does not say.
        began: the start; without a zone by the recorder's clock.
    """

    form: str
    camera: str | None
    began: datetime


def said_by(path: PurePosixPath, pattern: str | None = None) -> Said | None:
    """Return what a file's path, from the folder that is looked through, says; None if nothing.

    Args:
        path: of the file.
        pattern: to be tried before those of the recorders.

    Raises:
        SourceError: the pattern is none.
    """
    name = str(path.with_suffix("")) if path.suffix else str(path)
    if len(name) > _MAX_NAME:
        return None
    own = [("your pattern", pattern)] if pattern is not None else []
    for form, text in (*own, *RECORDERS):
        found = compiled(text).fullmatch(name if "/" in text else _last(name))
        if found is not None and (began := _date_of(found)) is not None:
            camera = found.groupdict().get("camera")
            return Said(form, _tidy(camera) or _folder_of(path), began)
    return _plain(path, name)


def _last(name: str) -> str:
    return name.rpartition("/")[2]


@cache
def compiled(pattern: str) -> re.Pattern[str]:
    """Return a pattern as a regular expression.

    Raises:
        SourceError: it is none, or says no full date.
    """
    if not pattern or len(pattern) > MAX_PATTERN:
        raise SourceError(f"A name's pattern has 1 to {MAX_PATTERN} characters.")
    seen: set[str] = set()
    made = "".join(_parts(pattern, seen))
    day = {"Y", "m", "d"} <= seen or {"y", "m", "d"} <= seen or {"Y", "b", "d"} <= seen
    moment = day and ({"H", "M"} <= seen or {"I", "M", "p"} <= seen)
    if not moment and "s" not in seen:
        raise SourceError(
            f"The pattern {pattern!r} says no full date. It needs %Y %m %d %H %M (or %s, seconds "
            "since 1970), as in '{camera}_%Y%m%d_%H%M%S'."
        )
    return re.compile(f"(?:.*/)?{made}" if "/" in pattern else made, re.IGNORECASE)


def _parts(pattern: str, seen: set[str]) -> Iterator[str]:
    at = 0
    stars = 0
    for token in _TOKEN.finditer(pattern):
        yield re.escape(pattern[at : token.start()])
        at = token.end()
        name, code, star = token.groups()
        if star:
            stars += 1
            yield "[^/]*?"
        elif name is not None:
            if name not in _PLACEHOLDERS or "camera" in seen:
                raise SourceError(
                    f"The pattern {pattern!r} has {{{name}}}, which is unknown or there twice. "
                    "Write {camera} or {channel} once, * for anything, and a date as %Y%m%d."
                )
            seen.add("camera")
            yield _PLACEHOLDERS[name]
        elif code == "%":
            yield "%"
        elif code not in _FIELDS:
            raise SourceError(
                f"The pattern {pattern!r} has %{code}, which is no part of a date here. There are "
                f"{' '.join('%' + known for known in _FIELDS)}."
            )
        elif code in seen:
            yield f"(?:{_FIELDS[code]})"  # of the end, mostly: the first is the start
        else:
            seen.add(code)
            # Digits that follow each other without a mark have their full width.
            packed = code in _TWO_DIGITS and _touches(pattern, token)
            yield f"(?P<{code}>{_PACKED if packed else _FIELDS[code]})"
    if stars > _MAX_STARS:  # the time that a name takes to match is that power of its length
        raise SourceError(f"The pattern {pattern!r} has more than {_MAX_STARS} *.")
    yield re.escape(pattern[at:])


def _touches(pattern: str, token: re.Match[str]) -> bool:
    """Whether another part of a date follows or goes before without a mark between."""
    after = pattern[token.end() : token.end() + 1]
    before = pattern[max(0, token.start() - 2) : token.start()]
    return after == "%" or (len(before) == 2 and before[0] == "%")


def _date_of(found: re.Match[str]) -> datetime | None:
    """The date in a match; None where it is no date."""
    said = {key: value for key, value in found.groupdict().items() if value is not None}
    try:
        if "s" in said:
            return datetime.fromtimestamp(int(said["s"]), UTC)
        year = int(said["Y"]) if "Y" in said else 2000 + int(said["y"])
        month = int(said["m"]) if "m" in said else 1 + _MONTHS.index(said["b"].lower())
        hour = int(said["H"]) if "H" in said else _of_half(int(said["I"]), said["p"])
        second = int(said.get("S", "0"))
        fraction = int(said.get("f", "0").ljust(6, "0"))
        minute, day = int(said["M"]), int(said["d"])
        zone = _zone(said.get("z"))
        # A leap second is the next one.
        date = datetime(year, month, day, hour, minute, min(second, 59), fraction, tzinfo=zone)
        return date + timedelta(seconds=1) if second == 60 else date
    except (ValueError, OverflowError, KeyError, OSError):
        return None


def _of_half(hour: int, half: str) -> int:
    if not 1 <= hour <= 12:
        raise ValueError("no hour of twelve")
    return hour % 12 + (12 if half[0] in "pP" else 0)


def _zone(text: str | None) -> timezone | None:
    if text is None:
        return None
    if text in "Zz":
        return UTC
    digits = text[1:].replace(":", "").replace("-", "")
    shift = timedelta(hours=int(digits[:2]), minutes=int(digits[2:]))
    return timezone(-shift if text[0] == "-" else shift)


def _plain(path: PurePosixPath, name: str) -> Said | None:
    """What a name without a recorder's form says: a date somewhere in it, the camera before it."""
    last = _last(name)
    for found in _ANY_DATE.finditer(last):
        began = _date_of(found)
        if began is None:
            continue
        before = _tidy(last[: found.start()])
        after = _tidy(_ANY_DATE.sub("", last[found.end() :]))
        camera = before or _folder_of(path)
        if camera is None and after and not after.isdigit():
            camera = after
        return Said("date in it", camera, began)
    return None


def _tidy(camera: str | None) -> str | None:
    kept = (camera or "").strip(_MARKS)
    for opening, closing in ("()", "[]"):
        if kept.count(opening) > kept.count(closing):
            kept = kept.rstrip(opening).strip(_MARKS)
        elif kept.count(closing) > kept.count(opening):
            kept = kept.lstrip(closing).strip(_MARKS)
    return kept or None


def _folder_of(path: PurePosixPath) -> str | None:
    """The nearest folder above whose name is no date and no kind of file."""
    for part in reversed(path.parent.parts):
        if part not in {".", "/"} and not _DATED.fullmatch(part) and part.lower() not in _OF_ALL:
            return part
    return None


def folder_camera(path: PurePosixPath) -> str | None:
    """Return the camera that the folders above a file name; None if they name none."""
    return _folder_of(path)
