"""The account of a grade in a report's language: its lines are English sentences of known parts."""

from __future__ import annotations

import re

from officers.desk.report.wordings import disease_text
from officers.desk.report.words import ENGLISH, Words, marked

_FACTOR = re.compile(r"(?P<part>.+) \(x (?P<weight>[\d.]+)\)")
_PARTS = (
    (re.compile(r"patient's mask not sure \((?P<sure>\d+%)\), taken as none"),
     marked("mask of the case not sure ({sure}), taken as none")),
    (re.compile(r"contact's mask not sure \((?P<sure>\d+%)\), taken as none"),
     marked("mask of the contact not sure ({sure}), taken as none")),
    (re.compile(r"patient's mask not known, taken as none"),
     marked("mask of the case not known, taken as none")),
    (re.compile(r"contact's mask not known, taken as none"),
     marked("mask of the contact not known, taken as none")),
    (re.compile(r"patient without mask"), marked("case without mask")),
    (re.compile(r"contact without mask"), marked("contact without mask")),
    (re.compile(r"patient masked"), marked("case masked")),
    (re.compile(r"contact masked"), marked("contact masked")),
    (re.compile(r"distance not known, taken as the nearest"),
     marked("distance not known, taken as the nearest")),
    (re.compile(r"in or outdoors not known, taken as indoors"),
     marked("in or outdoors not known, taken as indoors")),
    (re.compile(r"indoors"), marked("indoors")),
    (re.compile(r"outdoors"), marked("outdoors")),
    (re.compile(r"before the infectious window, not counted"),
     marked("before the infectious window, not counted")),
    (re.compile(r"after the infectious window, not counted"),
     marked("after the infectious window, not counted")),
    (re.compile(r"the part within the infectious window alone"),
     marked("the part within the infectious window alone")),
    (re.compile(r"no infectious window is known, so all is counted"),
     marked("no infectious window is known, so all is counted")),
    (re.compile(r"nothing that counts within the infectious window"),
     marked("nothing that counts within the infectious window")),
    (re.compile(r"(?P<points>[\d.]+) weighted minutes"), marked("{points} weighted minutes")),
    (re.compile(r"(?P<disease>.+), together"), marked("{disease}, together")),
    (re.compile(r"(?P<disease>.+), most within (?P<hours>\d+) hours"),
     marked("{disease}, most within {hours} hours")),
    (re.compile(r"high"), marked("high")),
    (re.compile(r"medium"), marked("medium")),
    (re.compile(r"low"), marked("low")),
    (re.compile(r"none"), marked("none")),
    (re.compile(r"(?P<level>high|medium|low) \(from (?P<least>[\d.]+)\)"),
     marked("{level} (from {least})")),
)  # fmt: skip
WITHIN_REACH = " within reach"
"""So the head of an exposure's line ends, which says where, when and how long."""
_BETWEEN = re.compile(r"(; |: | and then )")
_COMMAS = re.compile(r"(, (?!taken ))")


def account_text(line: str, words: Words) -> str:
    """Return a line of a grade's account; parts that no catalogue knows stay as they are."""
    if words.language == ENGLISH:
        return line
    then = words.text("and then")
    pieces = [
        piece.replace("and then", then) if at % 2 else _part(piece, words)
        for at, piece in enumerate(_BETWEEN.split(line))
    ]
    return "".join(pieces)


def _part(text: str, words: Words) -> str:
    known = _known(text, words)
    if known is not None:
        return known
    pieces = _COMMAS.split(text)
    said = [
        piece if at % 2 else _known(piece, words) or disease_text(piece, words)
        for at, piece in enumerate(pieces)
    ]
    return "".join(said)


def _known(text: str, words: Words) -> str | None:
    weighed = _FACTOR.fullmatch(text)
    if weighed is not None:
        inner = _known(weighed["part"], words)
        return None if inner is None else f"{inner} (x {weighed['weight']})"
    for pattern, message in _PARTS:
        match = pattern.fullmatch(text)
        if match is not None:
            values = match.groupdict()
            if "level" in values:
                values["level"] = words.text(values["level"])
            if "disease" in values:
                values["disease"] = disease_text(values["disease"], words)
            return words.text(message, **values)
    return None
