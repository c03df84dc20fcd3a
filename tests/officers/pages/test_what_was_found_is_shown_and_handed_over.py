"""Trace, contacts and files on the desk: whose word it is, what is missing, nothing on a disk."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from desk_pages import PageDesk, hidden, links_of, words_of
from hostile_text import HOSTILE, MARK, tampered
from traced_query import ONE_CONFIRMS, TWO_CONFIRM, TracedQuery, TracedSite, on_their_way, traced

from officers.desk.case_files import read_case
from protocol.query import Asked
from protocol.results import CONFIRMED

TODAY = datetime.now(UTC).date()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TracedSite]:
    made = TracedSite(tmp_path_factory.mktemp("officers"), policy=TWO_CONFIRM)
    yield made
    made.close()


@pytest.fixture(scope="module")
def query(site: TracedSite) -> TracedQuery:
    """Two hits of four candidates; of a third ana has said yes and dan nothing."""
    made = on_their_way(site)
    made.decide("ana", CONFIRMED, 1, 2, 4)
    made.decide("dan", CONFIRMED, 1, 4)
    return made


@pytest.fixture
def desk(site: TracedSite) -> Iterator[PageDesk]:
    made = PageDesk(site, "ana")
    yield made
    made.close()


def path(query: TracedQuery, *rest: str) -> str:
    return "/".join([f"/queries/{query.id}", *rest])


def data_of(text: str) -> dict[str, object]:
    """What the slider goes by."""
    found = re.search(r'id="trace-data">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    data = json.loads(found[1])
    assert isinstance(data, dict)
    return data


# -- the trace ------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_trace_lists_stops_and_what_waits_for_whom(query: TracedQuery, desk: PageDesk) -> None:
    page = desk.get(path(query, "trace"))
    words = words_of(page)
    assert "2 hits" in words
    assert "1 waits for your decision" in words
    assert "1 waits for another officer" in words
    assert "stop 1" in html.unescape(page.text)
    stops = data_of(page.text)["stops"]
    assert isinstance(stops, list)
    assert [stop["camera"] for stop in stops] == ["cam-1", "cam-4"]


@pytest.mark.slow
def test_what_was_not_watched_is_told_worst_first_and_as_no_proof_of_absence(
    query: TracedQuery, desk: PageDesk
) -> None:
    words = words_of(desk.get(path(query, "trace")))
    assert "8 % of the cameras' time. Nothing found there is no proof of absence." in words
    assert words.index("cam-2, Station, line 2 77 %") < words.index("cam-3, Market 81 %")
    listed = words.partition("What was not watched, worst first")[2]
    assert "headquarters says" in listed
    assert "nothing came from it" in listed
    assert "running, but blind" in listed


@pytest.mark.slow
def test_a_custodian_that_is_down_is_named(query: TracedQuery, desk: PageDesk) -> None:
    words = words_of(desk.get(path(query, "trace")))
    assert "c3 : does not answer" in words
    assert "verified here" in words.partition("What custodians opened")[2]


@pytest.mark.slow
def test_who_came_afterwards_is_told_by_numbers_and_none_below_five(site: TracedSite) -> None:
    query = traced(site, asks=Asked(same_place_counts=True, afterwards_min=30))
    query.show("cam-1", 0, 60)
    query.watch(counts=[(0, 0, 20, 12, 3, 0, 5, 4, 0, 2)])
    query.decide("ana", CONFIRMED, 1)
    query.decide("dan", CONFIRMED, 1)
    desk = PageDesk(site, "ana")
    try:
        words = words_of(desk.get(path(query, "trace")))
    finally:
        desk.close()
    told = words.partition("Who came afterwards")[2].partition("What was not watched")[0]
    assert "City Hall, lobby" in told
    assert "12" in told
    assert "<5" in told
    assert " 3 " not in told


@pytest.mark.slow
def test_a_trace_that_contradicts_itself_says_which_and_why(site: TracedSite) -> None:
    query = on_their_way(site)
    for officer in ("ana", "dan"):
        query.decide(officer, CONFIRMED, 2, 3)
    desk = PageDesk(site, "ana")
    try:
        words = words_of(desk.get(path(query, "trace")))
    finally:
        desk.close()
    assert "This trace cannot be true as it stands" in words
    assert "2 and 3" in words


# -- contacts -------------------------------------------------------------------------------------


@pytest.mark.slow
def test_contacts_are_graded_by_the_case_file_with_an_account_and_a_filter_says_what_it_hides(
    site: TracedSite, query: TracedQuery, desk: PageDesk
) -> None:
    before = words_of(desk.get(path(query, "contacts")))
    assert "3 persons within reach of P-17 during hits" in before
    assert "2 candidates are not decided" in before
    form = hidden(desk.get(path(query, "contacts")))
    kept = desk.post(
        path(query, "contacts", "case"),
        {**form, "preset": "covid-19", "onset": str(TODAY), "name": "김 환자"},
    )
    assert kept.status_code == 303, words_of(kept)
    officer, keys = site.person("ana")
    case = read_case(officer, "P-17", keys.sealing)
    assert case is not None
    assert (case.preset, case.onset, case.name) == ("covid-19", TODAY, "김 환자")
    page = words_of(desk.get(path(query, "contacts")))
    assert "P-17 (김 환자)" in page
    assert "high 1" in page
    assert "Clinic, ward 3" in page
    assert "within reach: 0.6 m" in page
    assert "weighted minutes: high" in page
    filtered = words_of(desk.get(f"{path(query, 'contacts')}?level=high"))
    assert "2 hidden by the filter" in filtered
    assert "contact 1" not in filtered


@pytest.mark.slow
def test_a_day_that_is_none_and_one_that_lies_ahead_are_told_at_their_fields(
    query: TracedQuery, desk: PageDesk
) -> None:
    form = hidden(desk.get(path(query, "contacts")))
    wrong = desk.post(
        path(query, "contacts", "case"), {**form, "onset": "yesterday", "name": "mine"}
    )
    assert wrong.status_code == 422
    assert 'id="e-onset"' in wrong.text
    assert 'value="mine"' in wrong.text, "what was typed stays"
    ahead = str(TODAY + timedelta(days=30))
    wrong = desk.post(path(query, "contacts", "case"), {**form, "tested": ahead})
    assert 'id="e-tested"' in wrong.text


@pytest.mark.slow
def test_a_case_file_is_deleted_on_request(
    site: TracedSite, query: TracedQuery, desk: PageDesk
) -> None:
    form = hidden(desk.get(path(query, "contacts")))
    desk.post(path(query, "contacts", "case"), {**form, "preset": "measles"})
    desk.post(path(query, "contacts", "forget"), form)
    officer, keys = site.person("ana")
    assert read_case(officer, "P-17", keys.sealing) is None
    assert desk.get(path(query, "contacts")).status_code == 200


# -- files ----------------------------------------------------------------------------------------


def disk(site: TracedSite) -> set[Path]:
    return {one for one in site.officer("ana").parent.rglob("*") if one.is_file()}


@pytest.mark.slow
def test_a_report_is_signed_logged_and_given_to_the_browser_and_to_no_disk(
    site: TracedSite, query: TracedQuery, desk: PageDesk
) -> None:
    page = desk.get(path(query, "report"))
    assert "2 different officers must confirm a hit" in words_of(page)
    before, size = disk(site), site.aggregator.log.size
    asked = desk.post(path(query, "report", "make"), {"form": "report", "language": "ko"})
    statement = words_of(desk.get(asked.headers["location"]))
    assert f"I take the report of query {query.id[:8]} out of the desk." in statement
    assert "It holds 2 hits." in statement
    ready = desk.sign(asked)
    assert "Signed by you and logged." in words_of(ready)
    assert site.aggregator.log.size > size
    links = sorted(link for link in links_of(ready) if "/ready/" in link)
    assert [link.rpartition(".")[2] for link in links] == ["html", "pdf", "sig"]
    assert not [link for link in links if "P-17" in link]
    files = {}
    for link in links:
        got = desk.get(link)
        assert got.headers["content-disposition"].startswith("attachment; ")
        assert got.headers["cache-control"] == "no-store"
        files[link.rpartition(".")[2]] = got.content
    assert files["pdf"].startswith(b"%PDF")
    assert disk(site) == before
    genuine = desk.post(
        "/reports/verify",
        files={"file": ("r.pdf", files["pdf"]), "signature": ("r.sig", files["sig"])},
    )
    assert "Genuine" in words_of(genuine)
    altered = desk.post(
        "/reports/verify",
        files={"file": ("r.pdf", files["pdf"] + b" "), "signature": ("r.sig", files["sig"])},
    )
    assert altered.status_code == 422
    assert "it was altered" in words_of(altered)
    desk.house.lock()
    desk.house.unlock(b"four words make one")
    gone = desk.get(links[0])
    assert gone.status_code == 409
    assert "no longer kept" in words_of(gone)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("form", "ending", "within"),
    [
        ("json", "json", '"P-17"'),
        ("csv-line-list", "csv", "cam-4"),
        ("csv-persons", "csv", "cam-4"),
        ("fhir", "json", "Bundle"),
        ("geojson", "geojson", "FeatureCollection"),
    ],
)
def test_what_too_few_have_confirmed_is_in_no_export(
    query: TracedQuery, desk: PageDesk, form: str, ending: str, within: str
) -> None:
    ready = desk.sign(desk.post(path(query, "report", "make"), {"form": form}))
    (link,) = [link for link in links_of(ready) if "/ready/" in link]
    assert link.endswith(f".{ending}")
    content = desk.get(link).text
    assert within in content
    assert query.rows[2].sighting_id.hex() not in content
    if form != "json":  # which says what was asked for
        assert "cam-2" not in content


@pytest.mark.slow
def test_a_form_that_there_is_not_is_told_at_its_field(query: TracedQuery, desk: PageDesk) -> None:
    wrong = desk.post(path(query, "report", "make"), {"form": "xlsx"})
    assert wrong.status_code == 422
    assert "Choose a form." in words_of(wrong)
    nothing = desk.post("/reports/verify")
    assert nothing.status_code == 422
    assert "Choose the PDF or the HTML." in words_of(nothing)


# -- what others wrote, and in Korean -------------------------------------------------------------


class HostileSite(TracedSite):
    hostile = f" {HOSTILE[0]}{HOSTILE[6]}"


@pytest.mark.slow
def test_what_others_wrote_is_text_on_every_page(tmp_path: Path) -> None:
    site = HostileSite(tmp_path, policy=ONE_CONFIRMS)
    desk = PageDesk(site, "ana")
    try:
        query = traced(site, purpose=f"tracing {HOSTILE[1]}")
        query.show("cam-1", 10, 20, query.met("A", 11, 19))
        query.show("cam-4", 3000, 3020)
        query.show("cam-2", 30, 40, impossible=HOSTILE[6])
        query.watch()
        query.decide("ana", CONFIRMED, 1, 2)
        form = hidden(desk.get(path(query, "contacts")))
        for name in (HOSTILE[0], HOSTILE[6]):
            named = desk.post(
                path(query, "contacts", "case"), {**form, "preset": "covid-19", "name": name}
            )
            assert named.status_code in {303, 422}, words_of(named)
            assert tampered(named.text) == []
        for page in ("candidates/1", "trace", "contacts", "report"):
            shown = desk.get(path(query, page))
            assert shown.status_code == 200
            assert tampered(shown.text) == [], page
        assert MARK in words_of(desk.get(path(query, "trace")))
        assert MARK in words_of(desk.get(path(query, "candidates", "1")))
        signed = {"file": (HOSTILE[1], b"%PDF"), "signature": (HOSTILE[2], b"no signature")}
        assert tampered(desk.post("/reports/verify", files=signed).text) == []
    finally:
        desk.close()
        site.close()


# -- headquarters are silent ----------------------------------------------------------------------


@pytest.mark.slow
def test_what_is_open_is_read_on_while_headquarters_are_silent_and_nothing_is_signed(
    tmp_path: Path,
) -> None:
    site = TracedSite(tmp_path, policy=ONE_CONFIRMS)
    desk = PageDesk(site, "ana")
    try:
        query = on_their_way(site)
        query.decide("ana", CONFIRMED, 1)
        assert "1 hit" in words_of(desk.get(path(query, "trace")))
        old = desk.post(path(query, "report", "make"), {"form": "json"})
        site.close()
        shown = desk.get(path(query, "trace"))
        assert shown.status_code == 200
        assert "1 hit" in words_of(shown)
        assert "headquarters do not answer: this is as it was opened last" in words_of(shown)
        assert "0.71" in words_of(desk.get(path(query, "candidates", "2")))
        unsigned = desk.sign(old)
        assert unsigned.status_code == 422
        assert "/ready/" not in unsigned.text
    finally:
        desk.close()


@pytest.mark.slow
def test_the_pages_say_all_of_it_in_korean(site: TracedSite, query: TracedQuery) -> None:
    desk = PageDesk(site, "ana", language="ko")
    try:
        for page, words in (
            ("candidates/2", "동일인임을 강하게 뒷받침합니다."),
            ("trace", "없었다는 증거가 아닙니다"),
            ("contacts", "사례 파일"),
            ("report", "보고서 만들기"),
        ):
            assert words in words_of(desk.get(path(query, page)))
    finally:
        desk.close()
