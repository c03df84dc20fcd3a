"""Display names: what people read of places, cameras and purposes, in any script.

Names that stand in topics and certificates are another thing, and ASCII (`protocol.names`).
"""

from __future__ import annotations

import unicodedata

from protocol.errors import MalformedMessage

MAX_DISPLAY_NAME = 128
_UNSEEN = frozenset(
    "\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0"
    + "".join(map(chr, range(0xFE00, 0xFE10)))
    + "".join(map(chr, range(0xE0100, 0xE01F0)))
)
"""Characters that show nothing and are neither control nor formatting characters to Unicode."""


def display_name(text: str, *, what: str, max_length: int = MAX_DISPLAY_NAME) -> str:
    """Return ``text`` as a display name: in Unicode's normal form C, blanks drawn together.

    Args:
        text: as somebody wrote it.
        what: what the name is of, for the error.
        max_length: most characters.

    Raises:
        MalformedMessage: it is empty or too long, or has a character that nobody sees, or that
            turns around what stands beside it.
    """
    name = " ".join(unicodedata.normalize("NFC", text).split())
    if not name or len(name) > max_length:
        raise MalformedMessage(f"{what} is not a text of 1 to {max_length} characters")
    for char in name:
        if not char.isprintable() or char in _UNSEEN:
            known = unicodedata.name(char, "without a name")
            raise MalformedMessage(
                f"{what} has a character that nobody sees or that turns text around: "
                f"U+{ord(char):04X} ({known}); write it without"
            )
    return name


def require_display_name(text: object, *, what: str, max_length: int = MAX_DISPLAY_NAME) -> str:
    """Return ``text`` if it is a display name as :func:`display_name` returns it.

    Raises:
        MalformedMessage: otherwise.
    """
    if not isinstance(text, str):
        raise MalformedMessage(f"{what} is not a text")
    if display_name(text, what=what, max_length=max_length) != text:
        raise MalformedMessage(f"{what} is not in Unicode's normal form C with single blanks")
    return text
