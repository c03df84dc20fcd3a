"""Words of a report in its language, from gettext catalogues; times by the site's clocks.

The English text is the message. A catalogue is `officers/locale/LANGUAGE/LC_MESSAGES/officers.mo`,
compiled from the `.po` beside it (`python -m tools.generate.catalogues`).
"""

from __future__ import annotations

import gettext
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from functools import cached_property
from importlib import resources
from io import BytesIO
from typing import Any

from officers.desk.site_clock import by_clocks
from runtime.errors import OperationError

DOMAIN = "officers"
ENGLISH = "en"
LANGUAGES = (ENGLISH, "ko")


def marked(message: str) -> str:
    """Return a message as it is, so that catalogues have it; `Words.text` says it."""
    return message


@dataclass(frozen=True)
class Words:
    """The words of one language.

    Args:
        language: one of `LANGUAGES`.
        zone: by whose clocks times are told.
    """

    language: str = ENGLISH
    zone: tzinfo = field(default=UTC)

    def __post_init__(self) -> None:
        if self.language not in LANGUAGES:
            known = ", ".join(LANGUAGES)
            raise OperationError(f"there is no report in '{self.language}'; there are {known}")

    @cached_property
    def _catalogue(self) -> gettext.NullTranslations:
        if self.language == ENGLISH:
            return gettext.NullTranslations()
        file = resources.files("officers") / "locale" / self.language / "LC_MESSAGES"
        return gettext.GNUTranslations(BytesIO((file / f"{DOMAIN}.mo").read_bytes()))

    def text(self, message: str, **values: Any) -> str:
        """Return a message in the language, with values put in."""
        return self._catalogue.gettext(message).format(**values)

    def duration(self, seconds: float) -> str:
        """Return ``54 s``, ``3 min 05 s``, ``2 h 15 min``."""
        whole = max(0, round(seconds))
        if whole < 60:
            return self.text("{seconds} s", seconds=whole)
        minutes, rest = divmod(whole, 60)
        if minutes < 60:
            return self.text("{minutes} min {seconds:02} s", minutes=minutes, seconds=rest)
        hours, minutes = divmod(round(whole / 60), 60)
        return self.text("{hours} h {minutes:02} min", hours=hours, minutes=minutes)

    def moment(self, time_ms: int) -> str:
        """Return ``2031-05-04 10:00:00``, as clocks of the site showed it."""
        return f"{self._at(time_ms):%Y-%m-%d %H:%M:%S}"

    def day(self, time_ms: int) -> str:
        """Return ``2031-05-04``."""
        return f"{self._at(time_ms):%Y-%m-%d}"

    def month(self, time_ms: int) -> str:
        """Return ``2031-05``."""
        return f"{self._at(time_ms):%Y-%m}"

    def span(self, from_ms: int, to_ms: int) -> str:
        """Return from and to; the day once where it is the same."""
        begins, ends = self._at(from_ms), self._at(to_ms)
        if begins.date() == ends.date():
            return f"{begins:%Y-%m-%d %H:%M:%S}–{ends:%H:%M:%S}"
        return f"{begins:%Y-%m-%d %H:%M:%S} – {ends:%Y-%m-%d %H:%M:%S}"

    def zone_text(self, time_ms: int) -> str:
        """Return the zone's name and how far it is from UTC at a moment: ``Asia/Seoul, +09:00``."""
        at = self._at(time_ms)
        name = getattr(self.zone, "key", None) or at.tzname() or "UTC"
        offset = f"{at:%z}"
        return f"{name}, UTC{offset[:3]}:{offset[3:5]}"

    def _at(self, time_ms: int) -> datetime:
        return by_clocks(time_ms, self.zone)
