"""The list of queries and one of them: states, what is hidden, ways on, and whose word it is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from desk_pages import PageDesk, links_of, page_desk, words_of
from filed_queries import approve, file_query, refuse
from officer_site import OfficerSite
from store_file import altering

HOSTILE = "<script>alert(1)</script>\"'>{{7*7}}"


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OfficerSite]:
    made = OfficerSite(tmp_path_factory.mktemp("officers"))
    yield made
    made.close()


@pytest.fixture(scope="module")
def query_id(site: OfficerSite) -> str:
    return file_query(site, pseudonym="patient-17", purpose=HOSTILE)


@pytest.fixture(scope="module")
def bo(site: OfficerSite) -> Iterator[PageDesk]:
    with page_desk(site, "bo") as made:
        yield made


@pytest.fixture(scope="module")
def ana(site: OfficerSite) -> Iterator[PageDesk]:
    with page_desk(site, "ana") as made:
        yield made


@pytest.mark.slow
def test_the_list_says_what_waits_for_whom_and_marks_what_waits_for_me(
    bo: PageDesk, ana: PageDesk, query_id: str
) -> None:
    said = words_of(bo.get("/queries"))
    assert "waits for approvals" in said
    assert "for 2 approvals of 2" in said
    assert "waits for you" in said
    assert "waits for you" not in words_of(ana.get("/queries"))
    assert f"/queries/{query_id}" in links_of(bo.get("/queries"))


def test_a_filter_says_how_many_it_hides(site: OfficerSite, bo: PageDesk, query_id: str) -> None:
    ended = file_query(site, pseudonym="patient-18")
    site.aggregator.desk.set_state(site.record(ended).digest, "expired")
    said = words_of(bo.get("/queries"))
    assert "1 query. 1 more is hidden by this filter." in said
    assert f"/queries/{ended}" not in links_of(bo.get("/queries"))
    both = bo.get("/queries?show=all")
    assert "2 queries." in words_of(both)
    assert "hidden" not in words_of(both)
    none = words_of(bo.get("/queries?show=all&find=nobody"))
    assert "0 queries. 2 more are hidden by this filter." in none
    assert "This filter shows none." in none
    assert "1 query. 1 more" in words_of(bo.get("/queries?show=all&find=PATIENT-18"))


def test_a_query_tells_what_it_opens_by_whose_word(bo: PageDesk, query_id: str) -> None:
    page = bo.get(f"/queries/{query_id}")
    said = words_of(page)
    for words in ("What it opens", "5 camera quarter hours", "verified here", "headquarters says"):
        assert words in said
    assert "patient-17" not in page.text.partition("<title>")[2].partition("</title>")[0]


@pytest.mark.slow
def test_nothing_that_others_write_is_markup(
    site: OfficerSite, bo: PageDesk, query_id: str
) -> None:
    refuse(site, query_id, "cy", HOSTILE)
    for path in ("/queries", f"/queries/{query_id}", f"/queries/{query_id}/decide"):
        page = bo.get(path)
        assert page.status_code == 200
        assert "<script>alert" not in page.text
        assert "49" not in words_of(page).replace("{{7*7}}", "").partition("purpose")[2][:40]
    assert HOSTILE in words_of(bo.get(f"/queries/{query_id}"))


@pytest.mark.slow
def test_ways_on_are_those_of_the_officers_duties(
    site: OfficerSite, bo: PageDesk, ana: PageDesk
) -> None:
    query_id = file_query(site, pseudonym="patient-19")
    base = f"/queries/{query_id}"
    assert f"{base}/decide" in links_of(bo.get(base))
    assert f"{base}/withdraw" not in links_of(bo.get(base))
    assert not {f"{base}/candidates", f"{base}/trace"} & links_of(bo.get(base))
    assert {f"{base}/candidates", f"{base}/trace", f"{base}/withdraw"} <= links_of(ana.get(base))
    assert f"{base}/decide" not in links_of(ana.get(base))
    approve(site, query_id, "bo")
    assert f"{base}/withdraw" in links_of(bo.get(base))
    assert f"{base}/decide" not in links_of(bo.get(base))
    with page_desk(site, "eve") as eve:
        assert f"/audit/queries/{query_id}" in links_of(eve.get(base))


def test_the_first_digits_lead_to_the_whole_address(bo: PageDesk, query_id: str) -> None:
    found = bo.get(f"/queries/{query_id[:8]}")
    assert (found.status_code, found.headers["location"]) == (303, f"/queries/{query_id}")
    assert bo.get("/queries/ffffffff").status_code == 404


@pytest.mark.slow
def test_another_query_under_the_id_of_one_that_was_approved_is_a_page_without_a_button(
    site: OfficerSite, bo: PageDesk
) -> None:
    query_id = file_query(site, pseudonym="patient-20")
    other = file_query(site, pseudonym="patient-21")
    approve(site, query_id, "bo")
    digest, signed = site.record(query_id).digest, site.record(other).signed
    with altering(site.aggregator.store) as connection:
        connection.execute("UPDATE queries SET signed = ? WHERE digest = ?", [signed, digest])
    for path in (f"/queries/{query_id}", f"/queries/{query_id}/decide"):
        page = bo.get(path)
        assert page.status_code == 409
        assert "tell the auditor" in words_of(page)
        assert "<button" not in page.text.partition("<main")[2].partition("</main>")[0]


@pytest.mark.slow
def test_a_query_reads_in_korean(site: OfficerSite, query_id: str) -> None:
    with page_desk(site, "cy", language="ko") as cy:
        said = words_of(cy.get(f"/queries/{query_id}"))
        assert "승인" in said
        assert "추적 요청" in words_of(cy.get("/queries"))
