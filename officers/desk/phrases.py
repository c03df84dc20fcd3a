"""Words of the desk that a page can say in the officer's language, and commands print in English.

    DraftInvalid(phrase("the box '{box}' is at no place", box=name))
    nphrase("{n:,} sighting", "{n:,} sightings", count)

Catalogues have what stands as a literal in `phrase`, `nphrase`, `marked` and as label of `option`
(domain ``desk``).
Values may be phrases themselves, errors, times (`moment`, `span`, `duration`, `day`), options of
commands (`option`), and what others wrote (`theirs`).
"""

from __future__ import annotations

import gettext

from officers.desk.moments import duration_text, local_day, local_text, span_text
from officers.desk.recognising import known
from runtime.phrases import (
    Language,
    Phrase,
    TimePhrase,
    Times,
    either,
    linked,
    listed,
    marked,
    nphrase,
    option,
    phrase,
    theirs,
    together,
    told,
    words_of,
)

__all__ = [
    "DOMAIN",
    "Language",
    "Phrase",
    "Times",
    "day",
    "duration",
    "either",
    "linked",
    "listed",
    "marked",
    "moment",
    "nphrase",
    "option",
    "phrase",
    "span",
    "theirs",
    "together",
    "told",
    "translate",
    "words_of",
]

DOMAIN = "desk"
"""The catalogue of these words."""


def translate(text: str, translations: gettext.NullTranslations, times: Times | None = None) -> str:
    """Return a text in a language: a phrase, or one that is `known`; any other as it is.

    Args:
        text: what is to be said.
        translations: of the domain ``desk``; `gettext.NullTranslations` for English.
        times: says times; None: as they stand in the English text.
    """
    said: str = told(text, Language(translations, times, known))
    return said


def moment(time_ms: int) -> Phrase:
    """Return a moment, in English as `local_text`."""
    return TimePhrase(local_text(time_ms), "moment", time_ms)


def span(from_ms: int, to_ms: int) -> Phrase:
    """Return from and to, in English as `span_text`."""
    return TimePhrase(span_text(from_ms, to_ms), "span", from_ms, to_ms)


def duration(seconds: float) -> Phrase:
    """Return how long something takes, in English as `duration_text`."""
    return TimePhrase(duration_text(seconds), "duration", seconds)


def day(time_ms: int) -> Phrase:
    """Return a date, in English as `local_day`."""
    return TimePhrase(local_day(time_ms), "day", time_ms)
