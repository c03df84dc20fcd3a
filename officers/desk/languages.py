"""What phrases of the desk are said in: a language's catalogue, and times by the site's clocks."""

from __future__ import annotations

import gettext
from functools import cache
from importlib import resources
from io import BytesIO

from officers.desk.phrases import DOMAIN, Language
from officers.desk.recognising import known
from officers.desk.report.words import ENGLISH, Words


@cache
def catalogue(language: str, domain: str) -> gettext.NullTranslations:
    """Return a domain's catalogue in a language; an empty one where there is none."""
    if language == ENGLISH:
        return gettext.NullTranslations()
    file = resources.files("officers") / "locale" / language / "LC_MESSAGES" / f"{domain}.mo"
    if not file.is_file():
        return gettext.NullTranslations()
    return gettext.GNUTranslations(BytesIO(file.read_bytes()))


def language_of(words: Words) -> Language:
    """Return what the desk's phrases are said in, beside other words of the same language."""
    return Language(catalogue(words.language, DOMAIN), words, known)
