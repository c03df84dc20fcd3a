"""Under a policy of the second schema: what is drafted, what approvers read, what is refused."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import protocol_samples as s
import pytest
import query_samples_v2 as q2
from officer_site import CONSENT, PASSPHRASE, OfficerSite
from typer.testing import Result

from officers import desk
from officers.desk.case import objection
from officers.desk.facts import policy_facts, query_facts
from officers.desk.options import purpose_kind_of
from officers.desk.subjects import DraftInvalid
from officers.query_cli import app
from protocol.directory import Directory
from protocol.errors import EnrolmentNotWitnessed, PolicyViolation
from protocol.policy import Policy, parse_policy
from protocol.query import Asked, Query
from runtime.subject_files import sheet_path

ONE_PURPOSE = b"""policy_schema = 2
confirmations = 1
contacts = "near"
purposes = ["exercise"]
"""
WITNESSED = ONE_PURPOSE + s.POLICY_TEXT
UNWITNESSED = ONE_PURPOSE + b"enrolment_without_witness = true\n" + s.POLICY_TEXT


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OfficerSite]:
    made = OfficerSite(tmp_path_factory.mktemp("officers"), policy=WITNESSED)
    yield made
    made.close()


@pytest.fixture(scope="module")
def lenient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OfficerSite]:
    """A site whose policy asks for no witness."""
    made = OfficerSite(tmp_path_factory.mktemp("lenient"), policy=UNWITNESSED)
    yield made
    made.close()


def drafted(
    site: OfficerSite, subject: Path, **changes: object
) -> tuple[Query, dict[str, str], tuple[str, ...]]:
    """Draft as ana; return the query, the facts and the notices."""
    officer = desk.Officer.load(site.officer("ana"))
    with desk.connect(officer) as session:
        now = datetime.now(UTC)
        scope = desk.scope(session, ["cam-1"], now - timedelta(hours=2), now)
        asked = replace(desk.Request(scope, (subject,), purpose="tracing"), **changes)  # type: ignore[arg-type]
        sealing = desk.unlock(officer, PASSPHRASE.encode()).sealing
        with closing(desk.draft(session, asked, sealing)) as draft:
            notices = tuple(notice.text for notice in draft.notices if notice.warning)
            return draft.query, words(draft.facts), notices


def words(facts: Sequence[desk.Fact]) -> dict[str, str]:
    return {fact.about: fact.words for fact in facts}


def file(site: OfficerSite, subject: Path, *more: str) -> Result:
    return site.run(
        app, "ana", "file", "--subject", str(subject), "--camera", "cam-1", "--from", "-2h",
        "--to", "now", "--purpose", "contact tracing", "--yes", *more,
    )  # fmt: skip


def test_a_query_of_the_second_form_carries_the_witness_and_the_only_purpose(
    site: OfficerSite,
) -> None:
    query, told, _ = drafted(site, site.witnessed_file("P-17"))
    assert (query.version, query.purpose_kind, query.confirmers) == (2, "exercise", ())
    assert query.asks == Asked()
    assert query.contacts
    assert Query.parse(query.sign(s.signing_key("ana")).payload) == query
    assert told["purpose kind"] == "exercise"
    assert "P-17: by di, " in told["witnessed"]
    assert told["witnessed"].endswith(CONSENT.hex())


def test_what_nobody_witnessed_is_refused_before_it_is_signed(site: OfficerSite) -> None:
    unsigned = site.subject_file("P-17")
    before = len(site.aggregator.desk.everything())
    with pytest.raises(EnrolmentNotWitnessed, match=r"nobody.*subject witness"):
        drafted(site, unsigned)
    with pytest.raises(EnrolmentNotWitnessed, match="cannot witness"):
        drafted(site, site.witnessed_file("P-17", witness="ana"))
    with pytest.raises(EnrolmentNotWitnessed, match="statement"):
        drafted(site, site.witnessed_file("P-17", witness="eve"))
    result = file(site, unsigned)
    assert result.exit_code == 1
    assert "witnessed by nobody" in " ".join(result.output.split())
    assert len(site.aggregator.desk.everything()) == before


def test_the_sheet_of_another_enrolment_does_not_count(site: OfficerSite) -> None:
    subject, other = site.witnessed_file("P-17"), site.subject_file("P-17", template="another")
    sheet_path(other).write_bytes(sheet_path(subject).read_bytes())
    with pytest.raises(EnrolmentNotWitnessed, match="none that the witness signed for"):
        drafted(site, other)
    sheet_path(other).write_bytes(b"rubbish")
    with pytest.raises(Exception, match="not a witness's sheet"):
        drafted(site, other)


def test_the_aggregator_does_not_take_in_what_every_custodian_would_refuse(
    site: OfficerSite,
) -> None:
    query, _, _ = drafted(site, site.witnessed_file("P-17"))
    (subject,) = query.subjects
    bare = replace(query, subjects=(replace(subject, witnessed=b""),))
    with pytest.raises(EnrolmentNotWitnessed):
        site.aggregator.desk.file(bare.sign(s.signing_key("ana")).to_bytes())


@pytest.mark.slow
def test_an_approver_reads_who_witnessed_and_every_option_then_signs(site: OfficerSite) -> None:
    result = file(site, site.witnessed_file("P-17"), "--json")
    assert result.exit_code == 0, result.output
    query_id = json.loads(result.stdout)["id"]
    shown = " ".join(site.run(app, "bo", "approve", query_id, answer="n\n").output.split())
    for part in (
        "purpose kind exercise",
        "P-17: by di",
        CONSENT.hex(),
        "linked contacts no",
        "continuation no",
        "same-place counts no",
        "stills no",
        "2 needed: 2 of every query",
        "0 of 2: -",
    ):
        assert part in shown, part
    told = json.loads(site.run(app, "bo", "show", query_id, "--json").stdout)["query"]
    assert told["policy_objection"] is None
    assert told["purpose_kind"] == "exercise"
    (subject,) = told["subjects"]
    assert (subject["witness"]["name"], subject["witness"]["consent_document"]) == (
        "di",
        CONSENT.hex(),
    )
    for name in ("bo", "cy"):
        assert site.run(app, name, "approve", query_id, "--yes").exit_code == 0
    assert site.record(query_id).query.version == 2


def test_an_approver_is_told_when_the_witness_has_been_revoked_since(site: OfficerSite) -> None:
    query, _, _ = drafted(site, site.witnessed_file("P-17"))
    later = site.directory.revoke("di", at_ms=s.NOW_MS)
    now_ms = query.requested_at_ms
    listed = words(query_facts(query, "ana", later, site.aggregator.policy, now_ms=now_ms))
    assert "by nobody that counts" in listed["witnessed"]
    assert "revoked" in listed["witnessed"]
    case = desk.Case(query, b"", "ana", b"")
    assert "revoked" in objection_of(case, site, later, now_ms)
    assert objection_of(case, site, site.directory, now_ms) == ""


def objection_of(case: desk.Case, site: OfficerSite, directory: Directory, now_ms: int) -> str:
    return objection(case, directory, site.aggregator.policy, now_ms=now_ms)


def test_where_no_witness_is_asked_for_a_good_statement_goes_along_and_a_bad_one_stays(
    lenient: OfficerSite,
) -> None:
    query, told, notices = drafted(lenient, lenient.witnessed_file("P-17"))
    assert query.subjects[0].witnessed
    assert "by di" in told["witnessed"]
    assert notices == ()
    query, told, notices = drafted(lenient, lenient.witnessed_file("P-17", witness="ana"))
    assert query.subjects[0].witnessed == b""
    assert "by nobody: that the photographs are P-17's is ana's word alone" in told["witnessed"]
    assert any("left out" in notice for notice in notices)
    query, _, notices = drafted(lenient, lenient.subject_file("P-17"))
    assert (query.subjects[0].witnessed, notices) == (b"", ())


@pytest.mark.slow
def test_contacts_are_asked_for_as_far_as_the_policy_permits(
    lenient: OfficerSite, tmp_path: Path
) -> None:
    subject = lenient.subject_file("P-17")
    assert drafted(lenient, subject)[0].contacts
    assert not drafted(lenient, subject, contacts=False)[0].contacts
    none = OfficerSite(tmp_path, policy=UNWITNESSED.replace(b'"near"', b'"none"'))
    try:
        assert not drafted(none, none.subject_file("P-17"))[0].contacts
        with pytest.raises(PolicyViolation, match="contacts"):
            drafted(none, none.subject_file("P-17"), contacts=True)
    finally:
        none.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--contacts", "linked"), "asks for contacts (linked); the policy permits near"),
        (("--contacts", "all"), "--contacts takes none, near or linked"),
        (("--contacts", "linked", "--no-contacts"), "contradict each other: give one"),
        (("--afterwards", "20m"), "whole quarter hours, such as 45m or 3h"),
        (("--afterwards", "25h"), "of at most 24h"),
        (("--afterwards", "3h"), "counts who else was there; the policy permits none"),
        (("--continuation",), "follows people by their clothes; the policy permits none"),
        (("--same-place-counts",), "counts who else was there; the policy permits none"),
        (("--evidence-stills", "3"), "asks for 3 stills; the policy permits 0"),
        (("--purpose-kind", "curiosity"), "the policy's purposes: exercise"),
    ],
)
def test_what_this_version_cannot_do_is_refused_in_words(
    site: OfficerSite, options: tuple[str, ...], said: str
) -> None:
    before = len(site.aggregator.desk.everything())
    result = file(site, site.witnessed_file("P-17"), *options)
    assert result.exit_code == 1
    assert said in " ".join(result.output.split())
    assert len(site.aggregator.desk.everything()) == before


def policy_with(keys: bytes) -> Policy:
    return parse_policy(b"policy_schema = 2\n" + keys + s.POLICY_TEXT)


def test_one_of_several_purposes_has_to_be_named() -> None:
    several = policy_with(b'confirmations = 1\npurposes = ["b", "a"]\n')
    with pytest.raises(
        DraftInvalid, match="--purpose-kind takes one of the policy's purposes: a, b"
    ):
        purpose_kind_of("", several)
    assert purpose_kind_of("b", several) == "b"
    with pytest.raises(DraftInvalid, match="lists no purposes"):
        purpose_kind_of("", policy_with(b"confirmations = 1\n"))
    assert purpose_kind_of("", s.POLICY) == ""
    with pytest.raises(DraftInvalid, match="no list"):
        purpose_kind_of("b", s.POLICY)


def test_approvers_read_every_option_that_a_query_asks_for_and_what_each_costs() -> None:
    dear = q2.KEYS + s.POLICY_TEXT + b"[option_approvals]\nlinked = 1\nevidence = 2\n"
    policy, query = parse_policy(dear), q2.everything()
    told = words(query_facts(query, "ana", s.directory(), policy, now_ms=s.NOW_MS))
    assert told["linked contacts"].startswith("yes")
    assert told["continuation"].startswith("yes")
    assert told["same-place counts"].startswith("yes")
    assert told["stills"].startswith("yes: of 3 sightings at most, a small picture")
    assert told["stills"].endswith("Stills of false candidates show strangers")
    assert (
        "readable for ana and bea alone; a hit is what one of them confirms" in told["candidates"]
    )
    assert "1 earlier sighting in place of photographs" in told["looks for"]
    assert words(policy_facts(query, policy, ""))["approvals"] == (
        "7 needed: 2 of every query, 1 for linked contacts, 1 for continuation, 1 for same-place "
        "counts, 2 for stills"
    )
    order = replace(query, legal_basis="statutory-order")
    assert "1 for statutory-order" in words(policy_facts(order, policy, ""))["approvals"]


@pytest.mark.slow
def test_a_query_of_the_first_form_says_that_nobody_witnessed() -> None:
    told = words(query_facts(s.query(), "ana", s.directory(), s.POLICY, now_ms=s.NOW_MS))
    assert "by nobody" in told["witnessed"]
    assert "stills" not in told


@pytest.mark.slow
def test_the_aggregator_counts_the_approvals_that_options_cost(tmp_path: Path) -> None:
    dear = OfficerSite(tmp_path, policy=UNWITNESSED + b"[option_approvals]\nnear = 1\n")
    try:
        filed = json.loads(file(dear, dear.subject_file("P-17"), "--json").stdout)
        assert filed["approvals_needed"] == 3
        plain = file(dear, dear.subject_file("P-17"), "--json", "--no-contacts")
        assert json.loads(plain.stdout)["approvals_needed"] == 2
        shown = " ".join(dear.run(app, "bo", "show", filed["id"]).output.split())
        assert "3 needed: 2 of every query, 1 for contacts" in shown
        assert "0 of 3: -" in shown
    finally:
        dear.close()
