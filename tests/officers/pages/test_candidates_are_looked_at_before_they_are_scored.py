"""The queue on the desk: time order, view before score, no first verdict, each verdict signed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from desk_pages import PageDesk, hidden, links_of, words_of
from httpx import Response
from opened_rows import row_name
from still_site import BoxThatAnswers, picture, with_stills
from traced_query import ONE_CONFIRMS, TWO_CONFIRM, TracedQuery, TracedSite, on_their_way, traced
from waiting import wait_for

from protocol.results import CONFIRMED, DECISION_KIND, REJECTED, Decision
from protocol.signing import Signed

SCORES = ("0.84", "0.71", "supports that this is", "×")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TracedSite]:
    made = TracedSite(tmp_path_factory.mktemp("officers"), policy=TWO_CONFIRM)
    yield made
    made.close()


@pytest.fixture(scope="module")
def seen(site: TracedSite) -> TracedQuery:
    """A query that asks for stills, with four candidates that nobody decides on."""
    return with_stills(site)


@pytest.fixture
def desk(site: TracedSite) -> Iterator[PageDesk]:
    made = PageDesk(site, "ana")
    yield made
    made.close()


@pytest.fixture
def dan(site: TracedSite) -> Iterator[PageDesk]:
    made = PageDesk(site, "dan")
    yield made
    made.close()


def path(query: TracedQuery, number: int, *rest: str) -> str:
    return "/".join([f"/queries/{query.id}/candidates/{number}", *rest])


def send(desk: PageDesk, query: TracedQuery, number: int, act: str, **data: str) -> Response:
    """Send a form of a candidate's page, as it is drawn now."""
    shown = desk.get(path(query, number))
    assert shown.status_code == 200, words_of(shown)
    return desk.post(path(query, number, act), {**hidden(shown), **data})


def said(query: TracedQuery) -> list[tuple[str, str]]:
    """Who has decided what, by the decisions that headquarters keep."""
    kept = query.site.aggregator.desk.decisions(query.site.record(query.id))
    signed = [Signed.parse(one, kind=DECISION_KIND) for one in kept]
    return [(one.signer, Decision.parse(one.payload).verdict) for one in signed]


@pytest.mark.slow
def test_the_first_that_waits_is_shown_and_the_list_is_in_order_of_time(
    site: TracedSite, desk: PageDesk
) -> None:
    query = on_their_way(site)
    query.show("cam-1", 60, 70, score=0.51, log10_lr=-1.0)
    first = desk.get(f"/queries/{query.id[:8]}/candidates")
    assert first.headers["location"] == path(query, 6)
    page = desk.get(path(query, 6))
    listed = re.findall(r'<span class="queue-number">(\d+)<', page.text)
    assert listed == ["6", "1", "2", "3", "4"]
    assert "1 that cannot be true" in words_of(page)
    assert "its times contradict each other" in words_of(page)
    assert "5 candidates, in order of time" in words_of(page)


@pytest.mark.slow
def test_of_clothes_alone_it_is_a_ranked_list_that_identifies_nobody(
    site: TracedSite, desk: PageDesk
) -> None:
    query = traced(site)
    query.show("cam-1", 60, 70, score=0.51, clothes=True)
    query.show("cam-1", 80, 90, score=0.63, clothes=True)
    first = desk.get(f"/queries/{query.id[:8]}/candidates")
    assert first.headers["location"] == path(query, 2)
    page = desk.get(path(query, 2))
    assert re.findall(r'<span class="queue-number">(\d+)<', page.text) == ["2", "1"]
    assert "2 candidates dressed alike, most alike first" in words_of(page)
    assert "a ranked list of people dressed alike. This identifies nobody." in words_of(page)


@pytest.mark.slow
def test_a_query_without_stills_shows_the_score_at_once_and_says_why(
    site: TracedSite, desk: PageDesk
) -> None:
    query = on_their_way(site)
    page = words_of(desk.get(path(query, 1)))
    assert "The query asks for no stills" in page
    assert "0.84" in page
    assert "The score very strongly supports that this is the same person." in page
    assert "×400,000" in page
    assert "because there is no still to look at first" in page


@pytest.mark.slow
def test_where_there_may_be_a_still_no_score_is_on_the_page_before_the_officers_view(
    seen: TracedQuery, desk: PageDesk
) -> None:
    for _ in range(2):
        page = desk.get(path(seen, 1))
        assert not [score for score in SCORES if score in page.text]
        assert "Sign confirmed" not in page.text
    refused = send(desk, seen, 1, "view", view="same")
    assert refused.status_code == 422
    assert "Look at the still first" in words_of(refused)
    assert "0.84" not in refused.text
    early = send(desk, seen, 1, "decide", verdict=CONFIRMED)
    assert early.status_code == 422
    assert "Say first what you see" in words_of(early)
    viewed = send(desk, seen, 1, "view", view="cannot-tell")
    assert viewed.headers["location"] == path(seen, 1)
    page = desk.get(path(seen, 1))
    assert "0.84" in page.text
    assert "Sign confirmed" in page.text
    assert "Your view was: cannot tell. Confirming goes against it." in words_of(page)
    assert "0.84" not in desk.get(path(seen, 2)).text, "each has a view of its own"


@pytest.mark.slow
def test_a_view_is_undone_and_that_the_score_was_seen_stays_known(
    seen: TracedQuery, desk: PageDesk
) -> None:
    send(desk, seen, 1, "view", view="different")
    send(desk, seen, 1, "undo")
    assert "0.84" not in desk.get(path(seen, 1)).text
    send(desk, seen, 1, "view", view="cannot-tell")
    page = words_of(desk.get(path(seen, 1)))
    assert "Before the score was shown it was: different person." in page


@pytest.mark.slow
def test_a_still_is_shown_from_memory_and_gone_when_one_goes_on(
    site: TracedSite, seen: TracedQuery, desk: PageDesk
) -> None:
    pictures = {seen.rows[number]: picture() for number in (1, 2)}
    box = BoxThatAnswers(site.aggregator.stills, site, pictures)
    still = path(seen, 1, "still")
    assert desk.get(still).status_code == 404
    with box.answering():
        send(desk, seen, 1, "still")
        wait_for(lambda: desk.get(still).status_code == 200, "the still")
    answer = desk.get(still)
    assert answer.headers["content-type"] == "image/jpeg"
    assert answer.headers["cache-control"] == "no-store"
    assert answer.content == pictures[seen.rows[1]]
    page = desk.get(path(seen, 1))
    assert f'src="{still}"' in page.text
    assert "of the 2 stills that this query may open are opened" in words_of(page)
    assert "0.84" not in page.text
    assert send(desk, seen, 1, "view", view="same").status_code == 303
    assert "0.84" in desk.get(path(seen, 1)).text
    desk.get(path(seen, 2))
    assert desk.get(still).status_code == 404
    desk.house.lock()
    assert desk.get(still).headers["location"].startswith("/lock")


@pytest.mark.slow
def test_a_still_that_the_box_never_made_lets_the_score_through(
    site: TracedSite, seen: TracedQuery, desk: PageDesk
) -> None:
    box = BoxThatAnswers(site.aggregator.stills, site, {})
    with box.answering():
        send(desk, seen, 3, "still")
        wait_for(
            lambda: "other people could not be covered" in desk.get(path(seen, 3)).text,
            "an answer",
        )
    page = desk.get(path(seen, 3))
    assert "0.84" in page.text
    assert send(desk, seen, 3, "view", view="same").status_code == 303


@pytest.mark.slow
def test_the_still_of_a_hit_leaves_marked_and_logged_where_the_policy_permits_and_no_other(
    tmp_path: Path,
) -> None:
    permits = ONE_CONFIRMS.replace(
        b"evidence_stills = 20\n", b"evidence_stills = 20\nevidence_export = true\n"
    )
    site = TracedSite(tmp_path, policy=permits)
    desk = PageDesk(site, "ana")
    try:
        query = with_stills(site)
        pictures = {query.rows[number]: picture() for number in (1, 2)}
        box = BoxThatAnswers(site.aggregator.stills, site, pictures)
        query.decide("ana", CONFIRMED, 1)
        with box.answering():
            for number in (1, 2):
                send(desk, query, number, "still")
                still = path(query, number, "still")
                wait_for(lambda at=still: desk.get(at).status_code == 200, "the still")  # type: ignore[misc]
                page = desk.get(path(query, number))
                assert ("Take it out as a file" in page.text) == (number == 1)
                size = site.aggregator.log.size
                asked = desk.post(path(query, number, "still-file"))
                if number == 2:
                    assert asked.status_code == 409
                    assert "no confirmed hit" in words_of(asked)
                    continue
                ready = desk.sign(asked)
                assert site.aggregator.log.size > size
                (link,) = [one for one in links_of(ready) if one.endswith(".jpg")]
                taken = desk.get(link).content
                assert taken.startswith(b"\xff\xd8")
                assert taken != pictures[query.rows[1]]
    finally:
        desk.close()
        site.close()


# -- deciding -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_verdict_is_signed_stored_and_the_next_candidate_follows(
    site: TracedSite, desk: PageDesk
) -> None:
    query = on_their_way(site)
    asked = send(desk, query, 1, "decide", verdict=CONFIRMED)
    statement = words_of(desk.get(asked.headers["location"]))
    assert f"I confirm that candidate 1 of query {query.id[:8]} (cam-1" in statement
    assert "is P-17." in statement
    assert "2 different officers must confirm it before it counts." in statement
    receipt = desk.sign(asked)
    assert "Candidate 1: confirmed. Signed and handed in." in words_of(receipt)
    assert "2: cam-2" in words_of(receipt)
    assert said(query) == [("ana", CONFIRMED)]
    again = send(desk, query, 1, "decide", verdict=CONFIRMED)
    assert "signed that already" in words_of(again)
    desk.sign(send(desk, query, 1, "decide", verdict=REJECTED))
    assert said(query)[-1] == ("ana", REJECTED), "a newer word takes the place of the older"


@pytest.mark.slow
def test_a_stay_of_several_sightings_is_signed_with_one_passphrase(
    site: TracedSite, desk: PageDesk
) -> None:
    query = traced(site)
    for minute in range(3):
        query.show("cam-1", 60 * minute, 60 * minute + 60, episode=b"sits....")
    page = words_of(desk.get(path(query, 1)))
    assert "3 sightings in a row" in page
    desk.sign(send(desk, query, 1, "decide", verdict=REJECTED))
    assert said(query) == [("ana", REJECTED)] * 3


@pytest.mark.slow
def test_the_second_confirmer_reads_no_first_verdict_before_their_own(
    site: TracedSite, dan: PageDesk
) -> None:
    query = on_their_way(site)
    query.decide("ana", REJECTED, 1)
    page = dan.get(path(query, 1))
    assert "ana" not in words_of(page)
    assert "rejected" not in words_of(page).replace("Sign rejected", "")
    dan.sign(send(dan, query, 1, "decide", verdict=CONFIRMED))
    after = words_of(dan.get(path(query, 1)))
    assert "ana: rejected" in after
    assert "You do not agree" in after


@pytest.mark.slow
def test_what_cannot_be_true_is_not_among_those_to_decide(site: TracedSite, desk: PageDesk) -> None:
    query = on_their_way(site)
    answer = desk.get(path(query, 5))
    assert answer.status_code == 409
    assert "no candidate 5 to decide on" in words_of(answer)


# -- what goes wrong ------------------------------------------------------------------------------


@pytest.mark.slow
def test_two_tabs_sign_nothing_that_one_of_them_has_decided_since(
    site: TracedSite, desk: PageDesk
) -> None:
    query = on_their_way(site)
    old = hidden(desk.get(path(query, 1)))
    desk.sign(send(desk, query, 1, "decide", verdict=CONFIRMED))
    stale = desk.post(path(query, 1, "decide"), {**old, "verdict": REJECTED})
    assert stale.status_code == 409
    assert "has changed since the page was drawn" in words_of(stale)
    assert said(query) == [("ana", CONFIRMED)]
    viewed = desk.post(path(query, 1, "view"), {**old, "view": "same"})
    assert viewed.status_code == 409


@pytest.mark.slow
def test_an_aggregator_that_hides_what_was_opened_is_told_of_and_nothing_can_be_signed(
    site: TracedSite, desk: PageDesk
) -> None:
    query = on_their_way(site)
    for custodian in query.custodians:
        custodian.open([row_name(99, at_ms=query.begins_ms)])
        query.keep_receipt(custodian)
    page = desk.get(path(query, 1))
    assert "Do not sign" in words_of(page)
    assert "<form" not in page.text.partition("<main")[2]


@pytest.mark.slow
def test_a_locked_desk_asks_for_the_passphrase_and_forgets_views(
    seen: TracedQuery, desk: PageDesk
) -> None:
    send(desk, seen, 1, "view", view="different")
    desk.house.lock()
    answer = desk.get(path(seen, 1))
    assert answer.headers["location"] == f"/lock?back={quote(path(seen, 1), safe='')}"
    desk.house.unlock(b"four words make one")
    assert "0.84" not in desk.get(path(seen, 1)).text


@pytest.mark.slow
def test_a_query_of_other_officers_opens_for_nobody_else(site: TracedSite) -> None:
    query = on_their_way(site)
    bo = PageDesk(site, "bo")
    try:
        answer = bo.get(path(query, 1))
        assert answer.status_code == 409
        assert "0.84" not in answer.text
    finally:
        bo.close()


@pytest.mark.slow
def test_ten_subjects_stand_side_by_side_and_no_pseudonym_is_in_an_address(
    site: TracedSite, desk: PageDesk
) -> None:
    names = [f"P-{number}" for number in range(10, 20)]
    query = traced(site, subjects=names)
    empty = desk.get(f"/queries/{query.id}/candidates?of=3")
    assert "Nothing was found of this patient so far" in words_of(empty)
    assert all(name in words_of(empty) for name in names)
    assert not [link for link in links_of(empty) if "P-1" in link]
    assert desk.get(f"/queries/{query.id}/candidates?of=11").status_code == 409


HOSTILE = "<script>alert(1)</script>\"'"


@pytest.mark.slow
def test_what_others_wrote_is_text_and_never_markup(tmp_path: Path) -> None:
    class Hostile(TracedSite):
        hostile = " <b onclick=x>"

    site = Hostile(tmp_path, policy=ONE_CONFIRMS)
    try:
        query = traced(site, purpose=f"tracing {HOSTILE}")
        query.show("cam-1", 10, 20)
        query.show("cam-2", 30, 40, impossible=HOSTILE)
        desk = PageDesk(site, "ana")
        try:
            page = desk.get(path(query, 1))
            assert page.status_code == 200
            assert "<script>alert" not in page.text
            assert "<b onclick" not in page.text
            assert "&lt;b onclick" in page.text
            assert "&lt;script&gt;alert" in page.text
        finally:
            desk.close()
    finally:
        site.close()
