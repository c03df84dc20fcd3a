"""Tell display names apart that look alike (Unicode's UTS 39): of a register, a policy, a case.

Names in any script are welcome; two that readers would take for one are told, and words that mix
scripts which nobody mixes are refused.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence

from protocol.displaynames import MAX_DISPLAY_NAME, display_name
from protocol.errors import MalformedMessage

_NO_SCRIPT = frozenset({"COMMON", "INHERITED", "UNKNOWN"})
_TOGETHER = (
    frozenset({"LATIN", "HAN", "HIRAGANA", "KATAKANA"}),
    frozenset({"LATIN", "HAN", "BOPOMOFO"}),
    frozenset({"LATIN", "HAN", "HANGUL"}),
)
"""Scripts that words are written in together: "highly restrictive" of UTS 39."""


def check_scripts(name: str, *, what: str) -> None:
    """Check that no word of a display name mixes scripts that nobody mixes.

    Raises:
        MalformedMessage: one does, as who wants it to be taken for another would write it.
    """
    from confusable_homoglyphs import categories  # noqa: PLC0415 - see `_likes`

    for word in name.split():
        scripts = {categories.alias(char) for char in word} - _NO_SCRIPT
        if len(scripts) > 1 and not any(scripts <= together for together in _TOGETHER):
            listed = " and ".join(sorted(script.capitalize() for script in scripts))
            raise MalformedMessage(
                f"{what} has the word '{word}', which mixes {listed} letters that look alike; "
                "write it in one script"
            )


def checked_name(text: str, *, what: str, max_length: int = MAX_DISPLAY_NAME) -> str:
    """Return a display name (`protocol.displaynames`) whose words mix no scripts that nobody mixes.

    Raises:
        MalformedMessage: it is none.
    """
    name = display_name(text, what=what, max_length=max_length)
    check_scripts(name, what=what)
    return name


def alike(names: Iterable[str]) -> list[tuple[str, str]]:
    """Return the pairs of different names that readers would take for one another.

    Of several that look alike each is paired with the first.
    """
    first: dict[str, str] = {}
    found = []
    for name in dict.fromkeys(names):
        known = first.setdefault(skeleton(name), name)
        if known != name:
            found.append((known, name))
    return found


def skeleton(name: str) -> str:
    """Return what names that look alike have in common, whatever their letters' case."""
    shown = "".join(_prototype(char) for char in unicodedata.normalize("NFD", name))
    again = "".join(_prototype(char) for char in shown.casefold())
    return " ".join(unicodedata.normalize("NFD", again).split())


def _prototype(char: str) -> str:
    """Return the character that stands for all that look like it; of a pair, the lesser."""
    likes = _likes(char)
    if not likes:
        return char
    if len(likes) > 1:
        return char  # many lead here
    (other,) = (str(one["c"]) for one in likes)
    if len(other) == 1 and len(_likes(other)) == 1:
        return min(char, other)
    return other


def _likes(char: str) -> Sequence[Mapping[str, str]]:
    # Loaded where names are compared: reading its tables takes most processes a tenth of a second.
    from confusable_homoglyphs.confusables import confusables_data  # noqa: PLC0415

    likes: Sequence[Mapping[str, str]] = confusables_data.get(char) or ()
    return likes
