"""Recognise sentences that came as mere English, so that a page can say them in a language.

Reasons travel as text: why the aggregator has a query wait, why a custodian or `authorize()`
refuses, why a peer cannot be reached. `known_sentences` lists the commonest.
"""

from __future__ import annotations

import re
from functools import lru_cache
from string import Formatter

from officers.desk.known_sentences import SENTENCES
from runtime.phrases import Phrase, phrase, together

_MOST = 600
"""Longer texts, in characters, are no sentence of ours."""
_NUMBERS = frozenset({"asked", "count", "floor", "limit", "needed", "score", "total"})
_NUMBER = r"-?\d[\d,.]*(?:e[+-]?\d+)?"


def known(text: str) -> str:
    """Return a text as a phrase, if it is a known sentence or has some in a row; else as it is."""
    if isinstance(text, Phrase) or len(text) > _MOST or " " not in text:
        return text
    whole = _recognised(text)
    if whole is not None:
        return whole
    parts = text.split("; ")
    said = [_recognised(part) for part in parts]
    if len(parts) > 1 and any(said):
        return together((one or part for one, part in zip(said, parts, strict=True)), "; ")
    return text


def _recognised(text: str) -> Phrase | None:
    for template, begins, pattern in _patterns():
        if text.startswith(begins) and (match := pattern.fullmatch(text)):
            return phrase(template, **match.groupdict())
    return None


@lru_cache(maxsize=1)
def _patterns() -> tuple[tuple[str, str, re.Pattern[str]], ...]:
    return tuple((one, *_pattern(one)) for one in SENTENCES)


def _pattern(template: str) -> tuple[str, re.Pattern[str]]:
    """Return what a sentence begins with, and what all of it looks like."""
    begins, pattern = "", ""
    for literal, name, _form, _conversion in Formatter().parse(template):
        begins = begins if pattern else literal
        pattern += re.escape(literal)
        if name is not None and f"(?P<{name}>" in pattern:
            pattern += f"(?P={name})"
        elif name is not None:
            pattern += f"(?P<{name}>{_NUMBER if name in _NUMBERS else '.+?'})"
    return begins, re.compile(pattern, re.DOTALL)
