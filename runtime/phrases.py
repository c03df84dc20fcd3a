"""Words that are English wherever they are printed, and can be said in a reader's language.

A `Phrase` is the English text itself, so commands, logs and JSON have it as it always was. It also
keeps the sentence that it was made of and what was put in, so that a page can say the sentence in
another language. Sentences are whole: nothing is glued to a phrase, what belongs in it is put in.
"""

from __future__ import annotations

import gettext
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol, Self

from runtime.text import harmless

_ISOLATE, _END = "\u2068", "\u2069"
"""First strong isolate and its end: what stands between does not turn around what surrounds it."""


class Times(Protocol):
    """Says times in a reader's language, by the site's clocks."""

    def moment(self, time_ms: int, /) -> str:
        """Return a moment, its zone with it."""

    def span(self, from_ms: int, to_ms: int, /) -> str:
        """Return from and to."""

    def duration(self, seconds: float, /) -> str:
        """Return how long something took."""

    def day(self, time_ms: int, /) -> str:
        """Return a date."""


@dataclass(frozen=True)
class Language:
    """What a phrase is said in.

    Args:
        translations: of the sentences; those that it lacks stay English.
        times: says times; None: as they stand in the English text.
        known: makes a phrase of a text that came as mere English, if it knows the sentence.
    """

    translations: gettext.NullTranslations
    times: Times | None = None
    known: Callable[[str], str] | None = None


class Phrase(str):
    """A text in English that knows its sentence.

    Args:
        template: the English sentence, with names in braces where something is put in.
        values: what is put in. Phrases among them are said in the same language.
        plural: the sentence for several; empty: there is but one.
        number: of how many it is said, where there is a plural.

    What string methods make of it is an ordinary string.
    """

    __slots__ = ("number", "plural", "template", "values")

    template: str
    plural: str
    number: int
    values: Mapping[str, Any]

    def __new__(
        cls, template: str, values: Mapping[str, Any], *, plural: str = "", number: int = 1
    ) -> Self:
        """Make the English text."""
        kept = {name: _kept(value) for name, value in values.items()}
        english = plural if plural and number != 1 else template
        self = super().__new__(cls, english.format(**kept))
        for name, value in (
            ("template", template), ("plural", plural), ("number", number), ("values", kept)
        ):  # fmt: skip
            object.__setattr__(self, name, value)
        return self

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a phrase does not change; its {name} stays")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a phrase does not change; its {name} stays")

    def __reduce__(self) -> tuple[Callable[..., Phrase], tuple[Any, ...]]:
        return _phrase_again, (self.template, dict(self.values), self.plural, self.number)

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, _memo: dict[int, Any]) -> Self:
        return self

    def told(self, language: Language) -> str:
        """Return it in a language."""
        words = language.translations
        if self.plural:
            sentence = words.ngettext(self.template, self.plural, self.number)
        else:
            sentence = words.gettext(self.template) if self.template else ""
        return sentence.format(
            **{name: told(value, language) for name, value in self.values.items()}
        )


class TimePhrase(Phrase):
    """A time: in English as given, in a language as its `Times` say it."""

    __slots__ = ("kind", "numbers")

    kind: str
    numbers: tuple[float, ...]

    def __new__(cls, english: str, kind: str, *numbers: float) -> Self:
        """Keep a time: what `Times` calls its kind, and the numbers that it takes."""
        self = super().__new__(cls, "{time}", {"time": english})
        object.__setattr__(self, "kind", kind)
        object.__setattr__(self, "numbers", numbers)
        return self

    def __reduce__(self) -> tuple[Callable[..., Phrase], tuple[Any, ...]]:
        return TimePhrase, (str(self), self.kind, *self.numbers)

    def told(self, language: Language) -> str:
        """Return it in a language."""
        if language.times is None:
            return str(self)
        said: str = getattr(language.times, self.kind)(*self.numbers)
        return said


class OptionPhrase(Phrase):
    """What somebody gives: in English the command's option, in a language the field's label."""

    __slots__ = ("label",)

    label: Phrase

    def __new__(cls, flag: str, label: Phrase) -> Self:
        """Keep an option of a command, and the label of the field."""
        self = super().__new__(cls, "{flag}", {"flag": flag})
        object.__setattr__(self, "label", label)
        return self

    def __reduce__(self) -> tuple[Callable[..., Phrase], tuple[Any, ...]]:
        return OptionPhrase, (str(self), self.label)

    def told(self, language: Language) -> str:
        """Return it in a language."""
        return f"“{self.label.told(language)}”"


class TheirsPhrase(Phrase):
    """What somebody else wrote: it is in no catalogue, and steers nothing where a page shows it."""

    __slots__ = ()

    def __new__(cls, text: str) -> Self:
        """Keep others' text."""
        return super().__new__(cls, "{text}", {"text": str(text)})

    def __reduce__(self) -> tuple[Callable[..., Phrase], tuple[Any, ...]]:
        return TheirsPhrase, (str(self),)

    def told(self, language: Language) -> str:
        """Return it as it is, set apart from what stands around it."""
        return f"{_ISOLATE}{harmless(str(self))}{_END}"


def phrase(template: str, /, **values: Any) -> Phrase:
    """Return a sentence with values put in: ``phrase("{name} confirms", name=requester)``."""
    return Phrase(template, values)


def nphrase(one: str, many: str, n: int, /, **values: Any) -> Phrase:
    """Return a sentence about a number, which is its value ``n``."""
    return Phrase(one, {"n": n, **values}, plural=many, number=n)


def marked(message: str) -> str:
    """Return a message as it is, so that catalogues have it; `phrase` takes it later."""
    return message


def theirs(text: str) -> Phrase:
    """Return what another party wrote, as a value to put into a sentence."""
    return TheirsPhrase(text)


def option(flag: str, label: str) -> Phrase:
    """Return what somebody gives, for words on it.

    Args:
        flag: the option of the command, such as ``--from``.
        label: of the field on a page.
    """
    return OptionPhrase(flag, phrase(label))


def together(parts: Iterable[str], between: str = "\n") -> Phrase:
    """Return sentences, or a row of equals, one after the other; each is said by itself."""
    values = {f"part{at}": part for at, part in enumerate(parts)}
    braces = between.replace("{", "{{").replace("}", "}}")
    return Phrase(braces.join(f"{{{name}}}" for name in values), values)


def listed(parts: Iterable[str], last: str = "and") -> Phrase:
    """Return ``a``, ``a and b``, ``a, b and c``.

    Args:
        parts: what is listed.
        last: before the last: ``and``, ``or``, or empty where commas do.
    """
    items = list(parts)
    if len(items) < 2 or not last:
        return together(items, ", ")
    before, end = together(items[:-1], ", "), items[-1]
    if last == "or":
        return phrase("{before} or {last}", before=before, last=end)
    return phrase("{before} and {last}", before=before, last=end)


def either(parts: Iterable[str]) -> str:
    """Return ``a``, ``a or b``, ``a or b or c``."""
    items = list(parts)
    if len(items) < 2:
        return items[0] if items else ""
    return phrase("{before} or {last}", before=either(items[:-1]), last=items[-1])


def linked(parts: Iterable[str]) -> str:
    """Return ``a``, ``a and b``, ``a and b and c``."""
    items = list(parts)
    if len(items) < 2:
        return items[0] if items else ""
    return phrase("{before} and {last}", before=linked(items[:-1]), last=items[-1])


def words_of(error: BaseException) -> str:
    """Return an error's words: the phrase that it was raised with, or its text."""
    if error.args and isinstance(error.args[0], Phrase) and str(error) == error.args[0]:
        return error.args[0]
    return str(error)


def told(value: Any, language: Language) -> Any:
    """Return a text in a language; what is no text, and what it does not know, as it is."""
    if not isinstance(value, str):
        return value
    if not isinstance(value, Phrase) and language.known is not None:
        value = language.known(value)
    return value.told(language) if isinstance(value, Phrase) else value


def _kept(value: Any) -> Any:
    """Return a value as a phrase keeps it: numbers for their format, all else as words."""
    if isinstance(value, BaseException):
        return words_of(value)
    return value if isinstance(value, str | int | float) else str(value)


def _phrase_again(template: str, values: dict[str, Any], plural: str, number: int) -> Phrase:
    return Phrase(template, values, plural=plural, number=number)
