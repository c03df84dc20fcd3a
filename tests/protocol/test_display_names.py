"""Display names are in any script, and hide nothing."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.displaynames import display_name, require_display_name
from protocol.errors import MalformedMessage
from protocol.names import require_name


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Lobby", "Lobby"),
        ("  병동   3 ", "병동 3"),
        (unicodedata.normalize("NFD", "병동"), "병동"),
        ("e\u0301tage", "étage"),
        ("قسم الطوارئ", "قسم الطوارئ"),
    ],
)
def test_any_script_is_a_display_name_in_one_spelling(text: str, name: str) -> None:
    assert display_name(text, what="it") == name
    assert require_display_name(name, what="it") == name


@pytest.mark.parametrize(
    "char", ["\u202e", "\u2066", "\u200b", "\u200d", "\ufeff", "\u3164", "\u115f", "\ufe0f",
             "\x1b", "\u2800", "\U000e0101", "\ud800"]
)  # fmt: skip
def test_what_nobody_sees_or_turns_text_around_is_refused(char: str) -> None:
    with pytest.raises(MalformedMessage, match=f"the place has .*U\\+{ord(char):04X}"):
        display_name(f"Lob{char}by", what="the place")


@pytest.mark.parametrize("text", ["", "  ", "a" * 129])
def test_a_display_name_has_a_length(text: str) -> None:
    with pytest.raises(MalformedMessage, match="1 to 128"):
        display_name(text, what="the place")


@pytest.mark.parametrize("text", ["e\u0301", " a", 7, None])
def test_what_is_read_is_in_the_one_spelling(text: object) -> None:
    with pytest.raises(MalformedMessage):
        require_display_name(text, what="the place")


@given(st.text(max_size=40))
def test_a_name_once_made_stays_as_it_is(text: str) -> None:
    try:
        name = display_name(text, what="it")
    except MalformedMessage:
        return
    assert require_display_name(name, what="it") == name


def test_a_name_of_topics_says_that_it_is_ascii() -> None:
    with pytest.raises(MalformedMessage, match=r"ASCII; the register of places gives display"):
        require_name("로비-1", what="the camera")
