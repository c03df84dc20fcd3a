"""An approver says no, with a reason: signed, told to all, and taken back by an approval."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import protocol_samples as s
import pytest
from officer_site import OfficerSite

from officers import desk
from officers.desk.voices import weigh
from officers.query_cli import app
from protocol.about_queries import Approval
from protocol.errors import SignatureInvalid


@pytest.fixture
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OfficerSite]:
    made = OfficerSite(tmp_path_factory.mktemp("officers"))
    yield made
    made.close()


@pytest.fixture
def query_id(site: OfficerSite) -> str:
    now = datetime.now(UTC)
    with desk.connect(officer(site, "ana")) as session:
        scope = desk.scope(session, ["cam-1"], now - timedelta(hours=1), now)
        asked = desk.Request(scope, (site.subject_file("P-17"),), purpose="tracing")
        with closing(desk.draft(session, asked, s.sealing_key("ana"))) as draft:
            signed = desk.to_file(session, draft).by_key(s.signing_key("ana"))
            return desk.file(session, draft, signed).id


def officer(site: OfficerSite, name: str) -> desk.Officer:
    return desk.Officer.load(site.officer(name))


def refused(site: OfficerSite, query_id: str, name: str, reason: str) -> desk.QuerySummary:
    with desk.connect(officer(site, name)) as session:
        review = desk.review(session, query_id)
        signed = desk.to_refuse(session, review, reason).by_key(s.signing_key(name))
        return desk.refuse(session, review, signed)


def facts(site: OfficerSite, query_id: str, name: str) -> list[str]:
    with desk.connect(officer(site, name)) as session:
        view = desk.look(session, query_id)
        told = [one for one in desk.facts_of(session, view) if one.about == "refused by"]
    assert not any(one.headquarters for one in told)
    return [one.words for one in told]


@pytest.mark.slow
def test_everybody_reads_who_refused_and_why(site: OfficerSite, query_id: str) -> None:
    summary = refused(site, query_id, "bo", "four  hours are\ntoo many")
    assert [one.reason for one in summary.refusals] == ["four hours are too many"]
    for name in ("ana", "cy"):
        (words,) = facts(site, query_id, name)
        assert words.startswith("bo, ")
        assert "“four hours are too many” (signature checked here)" in words


@pytest.mark.slow
def test_who_refused_approves_later_and_the_newest_word_counts(
    site: OfficerSite, query_id: str
) -> None:
    refused(site, query_id, "bo", "no")
    with desk.connect(officer(site, "bo")) as session:
        review = desk.review(session, query_id)
        assert review.voices.refusal_of("bo") is not None
        desk.approve(session, review, desk.to_approve(session, review).by_key(s.signing_key("bo")))
        after = desk.review(session, query_id)
    assert [one.overtaken for one in after.voices.refusals] == [True]
    assert after.voices.refusal_of("bo") is None
    (words,) = facts(site, query_id, "ana")
    assert words.endswith("“no”; approved it since")


@pytest.mark.slow
def test_nobody_refuses_twice_or_what_they_approved_or_what_has_ended(
    site: OfficerSite, query_id: str
) -> None:
    refused(site, query_id, "bo", "no")
    with pytest.raises(desk.RefusalUseless, match="refused this query already"):
        refused(site, query_id, "bo", "no again")
    with desk.connect(officer(site, "cy")) as session:
        review = desk.review(session, query_id)
        desk.approve(session, review, desk.to_approve(session, review).by_key(s.signing_key("cy")))
    with pytest.raises(desk.RefusalUseless, match="taken back by a withdrawal"):
        refused(site, query_id, "cy", "no")
    site.aggregator.desk.set_state(site.record(query_id).digest, "expired")
    with pytest.raises(desk.RefusalUseless, match="has ended"):
        refused(site, query_id, "cy", "no")


@pytest.mark.slow
@pytest.mark.parametrize("reason", ["", "   ", "x" * 2001, "a\x07b"])
def test_a_refusal_needs_a_reason_that_can_be_read(
    site: OfficerSite, query_id: str, reason: str
) -> None:
    with pytest.raises(desk.ReasonInvalid, match="1 to 2000 characters"):
        refused(site, query_id, "bo", reason)


@pytest.mark.slow
def test_who_withdrew_an_approval_is_told_that_another_counts_for_nothing(
    site: OfficerSite, query_id: str
) -> None:
    site.run(app, "bo", "approve", query_id, "--yes")
    site.run(app, "bo", "revoke", query_id, "--reason", "I was wrong", "--yes")
    with desk.connect(officer(site, "bo")) as session:
        review = desk.review(session, query_id)
    assert not review.given
    assert "that is for good" in review.hindrance


@pytest.mark.slow
def test_a_refusal_of_another_query_or_by_somebody_else_is_not_handed_in(
    site: OfficerSite, query_id: str
) -> None:
    with desk.connect(officer(site, "bo")) as session:
        review = desk.review(session, query_id)
        genuine = desk.to_refuse(session, review, "no")
        other = s.refusal(s.case().query, "bo")
        with pytest.raises(SignatureInvalid, match="another query"):
            desk.refuse(session, review, other)
        with pytest.raises(SignatureInvalid):
            desk.refuse(session, review, replace(genuine.by_key(s.signing_key("bo")), signer="cy"))
    assert site.aggregator.desk.refusals(site.record(query_id).digest) == []


def test_a_refusal_that_headquarters_made_up_is_told_as_one_that_does_not_count() -> None:
    case = s.case()
    forged = replace(s.refusal(case.query, "bo"), signature=bytes(64))
    opened = desk.Case(s.query(), case.query.digest, "ana", case.query.to_bytes())
    heard = weigh(
        [], [forged.to_bytes(), b"nothing"], opened,
        directory=s.directory(), policy=s.POLICY, needed=2,
    )  # fmt: skip
    assert heard.refusals == ()
    assert len(heard.problems) == 2
    assert heard.able == ("bo", "cy", "di")
    assert not heard.refused


def test_an_approval_given_before_a_refusal_does_not_overtake_it() -> None:
    case = s.case()
    opened = desk.Case(s.query(), case.query.digest, "ana", case.query.to_bytes())
    early = Approval(case.query.digest, s.POLICY.digest, s.NOW_MS - 1).sign(s.signing_key("bo"))
    heard = weigh(
        [early.to_bytes()],
        [s.refusal(case.query, name).to_bytes() for name in ("bo", "cy")],
        opened, directory=s.directory(), policy=s.POLICY, needed=2,
    )  # fmt: skip
    assert [one.overtaken for one in heard.refusals] == [False, False]
    assert heard.refused


@pytest.mark.slow
def test_the_command_shows_asks_and_signs(site: OfficerSite, query_id: str) -> None:
    declined = site.run(app, "bo", "refuse", query_id, "--reason", "too wide", answer="n\n")
    assert declined.exit_code == 1
    assert "tracing" in declined.output
    assert site.aggregator.desk.refusals(site.record(query_id).digest) == []
    done = site.run(app, "bo", "refuse", query_id, "--reason", "too wide", "--yes")
    assert done.exit_code == 0, done.output
    assert f"sealtrace query approve {query_id}" in done.output
    assert "“too wide”" in site.run(app, "ana", "show", query_id).output
    again = site.run(app, "bo", "refuse", query_id, "--reason", "too wide", "--yes")
    assert again.exit_code == 1
    own = site.run(app, "ana", "refuse", query_id, "--reason", "too wide", "--yes")
    assert "takes an approver" in own.output
    empty = site.run(app, "cy", "refuse", query_id, "--reason", " ", "--yes")
    assert "--reason must be a text" in empty.output
