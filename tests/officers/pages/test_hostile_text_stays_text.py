"""What others wrote is text on a page, whatever it says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import pytest
from desk_pages import PageDesk, words_of
from fastapi import Depends
from hostile_text import ALL_AT_ONCE, HOSTILE, MARK, tampered
from officer_site import OfficerSite
from starlette.responses import Response

from officers.desk import Fact
from officers.desk.phrases import phrase, theirs
from officers.pages.at import At, Wrong, at
from officers.pages.signatures import Signing
from protocol.errors import MalformedMessage
from protocol.signing import Unsigned
from runtime.errors import OperationError

Here = Annotated[At, Depends(at)]
PARTS = """
{% extends "frame/base.html" %}
{% from "frame/parts.html" import facts, state, notices, field, button, live_bar %}
{% block main %}
{{ facts(rows, text) }}{{ state("waiting", text) }}{{ button(text, "plain", text, text) }}
{% for kind in ("text", "textarea", "password", "checkbox") %}
{{ field("a" ~ kind, text, text, text, text, kind=kind) }}
{% endfor %}
{{ field("c", text, text, text, text, kind="select", options=[(text, text)]) }}
{{ field("d", text, text, text, text, kind="radio", options=[(text, text)]) }}
{{ live_bar(text, text) }}{{ text|theirs }}
{{ _("of {whom}", whom=text) }}{{ ngettext("{n} {what}", "{n} {what}", 2, what=text) }}
{% trans whom=text %}said by {{ whom }}{% endtrans %}
{{ said|say }}
{% endblock %}
"""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OfficerSite]:
    made = OfficerSite(tmp_path_factory.mktemp("officers"))
    yield made
    made.close()


@pytest.fixture
def desk(site: OfficerSite) -> Iterator[PageDesk]:
    made = PageDesk(site, "ana")
    yield made
    made.close()


def test_the_harness_finds_each_text_that_is_not_escaped() -> None:
    for text in HOSTILE[:6]:
        assert tampered(f'<p title="{text}">{text}</p>') or tampered(f"<p title='{text}'>"), text
    assert tampered(f'<a href="{HOSTILE[8]}">x</a>')
    assert tampered("<p>nothing</p>") == []


@pytest.mark.slow
def test_hostile_text_stays_text_on_every_page(desk: PageDesk) -> None:
    def parts(here: Here) -> Response:
        here.notice(ALL_AT_ONCE, warning=True)
        rows = [Fact(ALL_AT_ONCE, ALL_AT_ONCE), Fact("x", ALL_AT_ONCE, headquarters=True)]
        said = phrase("{whom} says {what}", whom=theirs(ALL_AT_ONCE), what=ALL_AT_ONCE)
        return here.page(
            "hostile/parts.html", errors=[Wrong("atext", ALL_AT_ONCE), Wrong("", ALL_AT_ONCE)],
            text=ALL_AT_ONCE, rows=rows, said=said, title=ALL_AT_ONCE,
        )  # fmt: skip

    def explained(kind: str) -> Response:
        raise (OperationError if kind == "operation" else MalformedMessage)(ALL_AT_ONCE)

    desk.serve("/hostile", parts, {"parts.html": PARTS})
    desk.serve("/hostile/{kind}", explained)
    page = desk.get("/hostile")
    assert page.status_code == 422
    assert page.text.count(MARK) > 20
    assert tampered(page.text) == []
    for kind in ("operation", "protocol"):
        told = desk.get(f"/hostile/{kind}")
        assert told.status_code == 409
        assert MARK in words_of(told)
        assert tampered(told.text) == []


@pytest.mark.slow
@pytest.mark.parametrize("text", HOSTILE)
def test_what_is_to_be_signed_is_text(desk: PageDesk, text: str) -> None:
    act = Unsigned("sample", "ana", b"x")
    number = desk.house.signatures.add(Signing((act,), (text,), lambda _: "/", "/"))
    page = desk.get(f"/sign/{number}")
    assert MARK in words_of(page)
    assert tampered(page.text) == []


@pytest.mark.slow
def test_addresses_with_hostile_text_lead_nowhere_and_show_nothing(desk: PageDesk) -> None:
    for text in HOSTILE:
        for answer in (
            desk.client.get("/nowhere", params={"x": text}),
            desk.client.get("/start", params={"token": text}),
            desk.client.get("/lock", params={"back": text}),
        ):
            assert answer.headers.get("location", "/") == "/"
            assert tampered(answer.text) == []
            assert MARK not in answer.text
