"""Make text fit for logs and terminals: what others wrote steers nothing, commands can be typed."""

from __future__ import annotations

import shlex
import unicodedata
from pathlib import PurePath

_KEPT = frozenset("\n\t")


def harmless(text: str) -> str:
    """Return ``text`` with control and formatting characters, but line feed and tab, escaped.

    A terminal obeys some of them (C0, C1, ESC), and others turn around what a line seems to say.
    """
    if text.replace("\n", "").replace("\t", "").isprintable():
        return text
    return "".join(_escaped(char) if _steers(char) else char for char in text)


def quoted(path: PurePath | str) -> str:
    """Return a path as it has to be typed in a command."""
    return shlex.quote(str(path))


def counted(number: int, thing: str, plural: str = "") -> str:
    """Return ``1 candidate``, ``1,200 candidates``; ``plural`` where an s does not do."""
    return f"{number:,} {thing if number == 1 else plural or thing + 's'}"


def _steers(char: str) -> bool:
    return char not in _KEPT and unicodedata.category(char) in {"Cc", "Cf", "Cs", "Zl", "Zp"}


def _escaped(char: str) -> str:
    return char.encode("unicode_escape").decode()
