"""A phrase is its English text for who prints it, and a sentence of a catalogue for who says it."""

from __future__ import annotations

import copy
import gettext
import json
import pickle

import pytest

from runtime.errors import OperationError
from runtime.phrases import (
    Language,
    OptionPhrase,
    Phrase,
    TimePhrase,
    linked,
    listed,
    nphrase,
    phrase,
    theirs,
    together,
    told,
    words_of,
)

_KOREAN = {
    "{name} confirms": "확인하는 사람: {name}",
    "{n:,} camera": "카메라 {n:,}대",
    "{before} and {last}": "{before} 및 {last}",
    "{who} until {when}": "{when}까지, {who}",
    "Until": "종료",
    "give a later {option}": "더 늦은 값을 입력하십시오: {option}",
    "the draft is not sound: {error}": "초안에 문제가 있습니다: {error}",
}


class Korean(gettext.NullTranslations):
    def gettext(self, message: str) -> str:
        return _KOREAN.get(message, message)

    def ngettext(self, msgid1: str, msgid2: str, n: int) -> str:
        return _KOREAN.get(msgid1) or super().ngettext(msgid1, msgid2, n)


class Clocks:
    def moment(self, time_ms: int, /) -> str:
        return f"{time_ms} 한국 표준시"

    def span(self, from_ms: int, to_ms: int, /) -> str:
        return f"{from_ms}–{to_ms}"

    def duration(self, seconds: float, /) -> str:
        return f"{seconds}초"

    def day(self, time_ms: int, /) -> str:
        return f"{time_ms}일"


def said(text: str) -> str:
    words: str = told(text, Language(Korean(), Clocks()))
    return words


def pickled(words: Phrase) -> object:
    return pickle.loads(pickle.dumps(words))  # noqa: S301


def test_it_is_its_english_text_to_everything_that_knows_only_text() -> None:
    words = phrase("{score:.3f} for {model}", score=0.25, model="face")

    assert words == "0.250 for face"
    assert json.dumps({"words": words}) == '{"words": "0.250 for face"}'
    assert {"0.250 for face": 1}[words] == 1


def test_it_is_said_in_a_language_with_its_values_in_place() -> None:
    assert said(phrase("{name} confirms", name="ana")) == "확인하는 사람: ana"


def test_what_no_catalogue_has_and_what_is_no_phrase_stays_english() -> None:
    assert said(phrase("{n} of {m}", n=1, m=2)) == "1 of 2"
    assert said("plain") == "plain"


def test_a_number_chooses_the_sentence() -> None:
    one, many = (nphrase("{n:,} camera", "{n:,} cameras", n) for n in (1, 1200))

    assert (one, many) == ("1 camera", "1,200 cameras")
    assert said(many) == "카메라 1,200대"
    assert told(many, Language(gettext.NullTranslations())) == "1,200 cameras"


def test_phrases_in_phrases_are_said_too() -> None:
    words = together([phrase("{name} confirms", name="ana"), nphrase("{n:,} camera", "x", 1)], "; ")

    assert words == "ana confirms; 1 camera"
    assert said(words) == "확인하는 사람: ana; 카메라 1대"


def test_a_list_has_its_last_word_in_the_language() -> None:
    assert listed(["a"]) == "a"
    assert listed(["a", "b", "c"]) == "a, b and c"
    assert listed(["a", "b", "c"], "or") == "a, b or c"
    assert listed(["a", "b", "c"], "") == "a, b, c"
    assert said(listed(["a", "b", "c"])) == "a, b 및 c"
    assert linked(["a", "b", "c"]) == "a and b and c"
    assert said(linked(["a", "b", "c"])) == "a 및 b 및 c"
    assert listed([]) == ""
    assert said(listed([])) == ""


def test_times_are_english_as_given_and_told_by_the_reader_s_clocks() -> None:
    words = phrase("{who} until {when}", who="ana", when=TimePhrase("Mon 10:00", "moment", 36_000))

    assert words == "ana until Mon 10:00"
    assert said(words) == "36000 한국 표준시까지, ana"
    assert told(words, Language(Korean())) == "Mon 10:00까지, ana"


def test_an_option_is_the_label_of_its_field_where_it_is_said() -> None:
    words = phrase("give a later {option}", option=OptionPhrase("--to", phrase("Until")))

    assert words == "give a later --to"
    assert said(words) == "더 늦은 값을 입력하십시오: “종료”"
    assert told(words, Language(gettext.NullTranslations())) == "give a later “Until”"


def test_what_others_wrote_is_no_sentence_and_turns_nothing_around() -> None:
    hostile = "{name} confirms\u202e {0.__class__}"
    words = phrase("{name} confirms", name=theirs(hostile))

    assert words == hostile + " confirms"
    assert said(words) == "확인하는 사람: \u2068{name} confirms\\u202e {0.__class__}\u2069"


def test_an_error_keeps_its_phrase_also_inside_another() -> None:
    error = OperationError(phrase("{name} confirms", name="ana"))
    outer = phrase("the draft is not sound: {error}", error=error)

    assert str(error) == "ana confirms"
    assert said(words_of(error)) == "확인하는 사람: ana"
    assert said(outer) == "초안에 문제가 있습니다: 확인하는 사람: ana"
    assert words_of(KeyError("a")) == "'a'"


@pytest.mark.parametrize(
    "words",
    [
        phrase("{name} confirms", name="ana"),
        nphrase("{n:,} camera", "{n:,} cameras", 1200),
        together(["a", nphrase("{n:,} camera", "{n:,} cameras", 2)]),
        TimePhrase("Mon 10:00", "moment", 36_000),
        OptionPhrase("--to", phrase("Until")),
        theirs("hello"),
    ],
)
@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, pickled])
def test_a_copy_says_the_same_and_nothing_changes_it(words: Phrase, again: object) -> None:
    assert callable(again)
    other = again(words)

    assert type(other) is type(words)
    assert (other, said(other)) == (words, said(words))
    with pytest.raises(AttributeError, match="does not change"):
        other.template = "x"
