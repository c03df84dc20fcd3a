"""The words of pages: gettext by section, phrases of the desk, times by the site's clocks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from officers.desk.languages import catalogue, language_of
from officers.desk.phrases import told
from officers.desk.report.words import Words

FRAME = "frame"


class PageWords(Words):
    """As `Words`; moments and spans name the zone, since a page stands beside others' clocks."""

    def moment(self, time_ms: int) -> str:
        """Return ``2031-05-04 10:00:00 KST``, as clocks of the site showed it."""
        return f"{super().moment(time_ms)} {self.zone_name(time_ms)}"

    def minute(self, time_ms: int) -> str:
        """Return ``2031-05-04 10:00 KST``."""
        return f"{self._at(time_ms):%Y-%m-%d %H:%M} {self.zone_name(time_ms)}"

    def hour(self, time_ms: int) -> str:
        """Return ``10:00 KST``."""
        return f"{self._at(time_ms):%H:%M} {self.zone_name(time_ms)}"

    def clock(self, time_ms: int) -> str:
        """Return ``10:00:00 KST``, for where the day stands beside."""
        return f"{self._at(time_ms):%H:%M:%S} {self.zone_name(time_ms)}"

    def span(self, from_ms: int, to_ms: int) -> str:
        """Return from and to with the zone; the day once where it is the same."""
        return f"{super().span(from_ms, to_ms)} {self.zone_name(to_ms)}"

    def zone_name(self, time_ms: int) -> str:
        """Return the zone's short name at a moment: ``KST``, ``UTC``, ``+0530``."""
        at = self._at(time_ms)
        return at.tzname() or f"{at:%z}"


def domain_of(section: str) -> str:
    """Return the gettext domain of a section's pages."""
    return f"pages-{section}"


class Translator:
    """Says messages in a language: in the section's words, else the frame's, else any section's.

    Args:
        words: the language, and times by the site's clocks.
        section: whose page it is.
        sections: all of them, for parts of one that others show (a map).
    """

    def __init__(self, words: PageWords, section: str, sections: Sequence[str] = ()) -> None:
        self.language = words.language
        names = dict.fromkeys((section, FRAME, *sections))
        self._domains = [catalogue(words.language, domain_of(name)) for name in names]
        self._desk = language_of(words)

    def text(self, message: str, **values: Any) -> str:
        """Return a message with values put in for ``{name}``; phrases among them are said too."""
        said = self.raw(message)
        return said.format(**self.values(values)) if values else said

    def ntext(self, one: str, many: str, n: int, **values: Any) -> str:
        """Return a message in singular or plural, with ``{n}`` and values put in."""
        return self.nraw(one, many, n).format(n=n, **self.values(values))

    def raw(self, message: str) -> str:
        """Return a message without values."""
        for domain in self._domains:
            said = domain.gettext(message)
            if said != message:
                return said
        return message

    def nraw(self, one: str, many: str, n: int) -> str:
        """Return a message in singular or plural without values."""
        for domain in self._domains:
            said = domain.ngettext(one, many, n)
            if said not in {one, many}:
                return said
        return one if n == 1 else many

    def say(self, words: object) -> str:
        """Say a phrase of `officers.desk`; other text stays as it is."""
        return str(told(words, self._desk))

    def values(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """Return values to put in, phrases among them said."""
        return {name: told(value, self._desk) for name, value in values.items()}
