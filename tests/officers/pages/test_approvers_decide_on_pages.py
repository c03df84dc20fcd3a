"""An approver's page: cost first, then a signature on what was shown, then a receipt; or a no."""

from __future__ import annotations

from collections.abc import Iterator

import protocol_samples as s
import pytest
from desk_pages import PageDesk, hidden, links_of, page_desk, words_of
from filed_queries import approve, file_query, refuse
from officer_site import OfficerSite
from store_file import altering


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OfficerSite]:
    made = OfficerSite(tmp_path_factory.mktemp("officers"))
    yield made
    made.close()


@pytest.fixture
def query_id(site: OfficerSite) -> str:
    return file_query(site, purpose="one family")


@pytest.fixture(scope="module")
def bo(site: OfficerSite) -> Iterator[PageDesk]:
    with page_desk(site, "bo") as made:
        yield made


def shown(desk: PageDesk, path: str) -> dict[str, str]:
    return {"shown": hidden(desk.get(path))["shown"]}


def approvals(site: OfficerSite, query_id: str) -> list[str]:
    return [one.signer for one in site.aggregator.desk.approvals(site.record(query_id).digest)]


def refusals(site: OfficerSite, query_id: str) -> list[str]:
    return [one.signer for one in site.aggregator.desk.refusals(site.record(query_id).digest)]


@pytest.mark.slow
def test_what_would_open_stands_first_and_the_buttons_end_the_text(
    bo: PageDesk, query_id: str
) -> None:
    page = bo.get(f"/queries/{query_id}/decide")
    said = words_of(page)
    order = ["What would open", "Since the last query", "For whom, and why", "Which cameras"]
    places = [said.index(words) for words in [*order, "Your decision", "Approve…", "Refuse…"]]
    assert places == sorted(places)
    assert said.endswith("Approve… Refuse… Later")
    assert 'class="button plain"' in page.text
    assert "primary" not in page.text.partition("<main")[2].partition("</main>")[0]


@pytest.mark.slow
def test_a_signed_approval_ends_on_a_receipt_that_was_verified_here(
    site: OfficerSite, bo: PageDesk, query_id: str
) -> None:
    path = f"/queries/{query_id}/decide"
    to_sign = bo.post(path, shown(bo, path))
    statement = words_of(bo.get(to_sign.headers["location"]))
    assert "I let 5 camera quarter hours of everybody who was there be opened for ana." in statement
    assert approvals(site, query_id) == [], "nothing is signed before"
    receipt = bo.sign(to_sign)
    assert "You approved" in words_of(receipt)
    assert "1 of 2 approvals" in words_of(receipt)
    assert approvals(site, query_id) == ["bo"]
    assert (
        bo.get(to_sign.headers["location"]).headers["location"] == f"/queries/{query_id}/approved"
    )
    assert bo.get(path).headers["location"] == f"/queries/{query_id}/approved"
    assert bo.post(path, {"shown": site.record(query_id).digest.hex()}).headers["location"] == (
        f"/queries/{query_id}/approved"
    )
    assert approvals(site, query_id) == ["bo"], "back, and a second tab, sign nothing twice"


def test_a_form_that_showed_another_query_signs_nothing(
    site: OfficerSite, bo: PageDesk, query_id: str
) -> None:
    other = file_query(site)
    wrong = {"shown": hidden(bo.get(f"/queries/{other}/decide"))["shown"], "reason": "no"}
    for path in ("decide", "refuse"):
        page = bo.post(f"/queries/{query_id}/{path}", wrong)
        assert page.status_code == 409
        assert "tell the auditor" in words_of(page)
    assert (approvals(site, query_id), refusals(site, query_id)) == ([], [])


@pytest.mark.slow
def test_a_refusal_needs_a_reason_and_keeps_what_was_typed(
    site: OfficerSite, bo: PageDesk, query_id: str
) -> None:
    path = f"/queries/{query_id}/refuse"
    empty = bo.post(path, shown(bo, path) | {"reason": "  "})
    assert empty.status_code == 422
    assert "must be a text of 1 to 2000 characters" in words_of(empty)
    long = bo.post(path, shown(bo, path) | {"reason": "x" * 2001})
    assert "x" * 2001 in long.text
    to_sign = bo.post(path, shown(bo, path) | {"reason": "four <b>hours</b>"})
    assert "I do not approve query" in words_of(bo.get(to_sign.headers["location"]))
    assert refusals(site, query_id) == []
    receipt = bo.sign(to_sign)
    assert "You refused" in words_of(receipt)
    assert "four <b>hours</b>" in words_of(receipt)
    assert "<b>hours" not in receipt.text
    assert refusals(site, query_id) == ["bo"]


@pytest.mark.slow
def test_who_refused_is_told_so_and_may_approve(
    site: OfficerSite, bo: PageDesk, query_id: str
) -> None:
    refuse(site, query_id, "bo", "too wide")
    path = f"/queries/{query_id}/decide"
    page = bo.get(path)
    assert "You refused this query on" in words_of(page)
    assert f"/queries/{query_id}/refuse" not in links_of(page)
    assert "You approved" in words_of(bo.sign(bo.post(path, shown(bo, path))))


def test_a_query_that_has_ended_offers_no_approval(
    site: OfficerSite, bo: PageDesk, query_id: str
) -> None:
    site.aggregator.desk.set_state(site.record(query_id).digest, "expired")
    said = words_of(bo.get(f"/queries/{query_id}/decide"))
    assert "has ended" in said
    assert "Approve…" not in said
    assert "Refuse…" not in said


def test_nobody_decides_on_their_own_or_without_the_duty(site: OfficerSite, query_id: str) -> None:
    with page_desk(site, "ana") as ana:
        page = ana.get(f"/queries/{query_id}/decide")
    assert page.status_code == 409
    assert "takes an approver" in words_of(page)


def test_differences_from_the_last_query_stand_beside_the_cost(
    site: OfficerSite, bo: PageDesk
) -> None:
    file_query(site, pseudonym="P-40")
    wider = file_query(site, pseudonym="P-40", cameras=("cam-1", "cam-2"))
    said = words_of(bo.get(f"/queries/{wider}/decide"))
    assert "1 camera more: cam-2" in said
    assert "new in this query" in said


@pytest.mark.slow
def test_a_withdrawal_says_who_has_it_and_hands_the_same_in_again(
    site: OfficerSite, bo: PageDesk, query_id: str
) -> None:
    approve(site, query_id, "bo")
    path = f"/queries/{query_id}/withdraw"
    page = bo.get(path)
    assert "What was opened stays known" in words_of(page)
    to_sign = bo.post(path, shown(bo, path) | {"reason": "I was wrong"})
    assert "I withdraw my approval" in words_of(bo.get(to_sign.headers["location"]))
    receipt = words_of(bo.sign(to_sign))
    for words in ("has it headquarters", "has it custodian c1", "has it not custodian c3"):
        assert words in receipt
    (first,) = site.aggregator.desk.withdrawals(site.record(query_id).digest)
    again = bo.post(f"/queries/{query_id}/withdrawn", follow=True)
    assert "has it not custodian c3" in words_of(again)
    (same,) = site.aggregator.desk.withdrawals(site.record(query_id).digest)
    assert same == first
    assert bo.get(path).headers["location"] == f"/queries/{query_id}/withdrawn"
    decide = words_of(bo.get(f"/queries/{query_id}/decide"))
    assert "that is for good" in decide
    assert "Approve…" not in decide


def test_a_stranger_to_a_query_withdraws_nothing(bo: PageDesk, query_id: str) -> None:
    page = bo.get(f"/queries/{query_id}/withdraw")
    assert page.status_code == 409
    assert "neither asked for this query nor approved it" in words_of(page)


@pytest.mark.slow
def test_an_approver_reads_and_signs_in_korean(site: OfficerSite, query_id: str) -> None:
    with page_desk(site, "cy", language="ko") as cy:
        path = f"/queries/{query_id}/decide"
        assert words_of(cy.get(path)).endswith("승인… 거부… 나중에")
        to_sign = cy.post(path, shown(cy, path))
        assert "여는 데 동의합니다" in words_of(cy.get(to_sign.headers["location"]))
        assert "요청을 승인했습니다" in words_of(cy.sign(to_sign))


@pytest.mark.slow
def test_a_receipt_of_what_headquarters_lost_or_hide_says_so(
    site: OfficerSite, bo: PageDesk, query_id: str
) -> None:
    approve(site, query_id, "bo")
    with altering(site.aggregator.store) as connection:
        connection.execute(
            "DELETE FROM approvals WHERE query_digest = ?", [site.record(query_id).digest]
        )
    said = words_of(bo.get(f"/queries/{query_id}/approved"))
    assert "Headquarters show no approval of yours" in said
    assert "tell the auditor" in said


@pytest.mark.slow
def test_an_approval_that_headquarters_made_up_is_told_and_not_counted(
    site: OfficerSite, bo: PageDesk, query_id: str
) -> None:
    approve(site, query_id, "cy")
    with altering(site.aggregator.store) as connection:
        connection.execute(
            "UPDATE approvals SET signed = ? WHERE query_digest = ?",
            [s.approval(s.case().query, "cy").to_bytes(), site.record(query_id).digest],
        )
    said = words_of(bo.get(f"/queries/{query_id}/decide"))
    assert "0 of 2 approvals" in said
    assert "does not count: the approval of 'cy' is for another query" in said
