"""What an auditor reads of a copy of the logs: each query's life, counts, meanings, one page."""

from __future__ import annotations

import re
from datetime import UTC
from pathlib import Path

import protocol_samples as s
import pytest
from audit_samples import QUERY_ID, rows_body, stills_body
from audit_site import EVE, LoggedSite, LogInMaking

from officers.desk.audit_copy import read_audit_copy
from officers.desk.audit_counts import MonthCount
from officers.desk.audit_desk import Audited, audited
from officers.desk.audit_document import audit_html
from officers.desk.audit_meanings import MEANINGS, UNKNOWN
from officers.desk.audit_outcomes import Fetched, keep_outcomes, read_outcomes
from officers.desk.audit_story import Standing, Step
from officers.desk.audit_tell import count_cells, said, verdict
from officers.desk.report.words import Words
from protocol.about_queries import Withdrawal
from protocol.audit import AuditorKey
from protocol.findings import FindingKind
from protocol.merkle import leaf_hash
from protocol.results import Decision

WORDS = Words("en", UTC)


def audit_of(site: LoggedSite, folder: Path, auditor: AuditorKey | None = EVE) -> Audited:
    site.write(folder)
    return audited(folder, read_audit_copy(folder), auditor, month_of=WORDS.month)


def steps_of(found: Audited) -> list[Step]:
    return list(found.stories[QUERY_ID.hex()].steps)


def test_a_query_is_told_from_filing_to_decision_with_its_entries(tmp_path: Path) -> None:
    site = LoggedSite().whole().signed()
    found = audit_of(site, tmp_path)
    steps = steps_of(found)
    told = [said(step) for step in steps]
    assert told[0].startswith("ana asked: “")
    assert "1 camera" in told[0] or "cameras" in told[0]
    assert told[1:3] == ["bo approved.", "cy approved."]
    assert "c1 gave 3 quarter hours of cam-1." in told
    assert "40 sightings were compared. 2 candidates found." in told
    assert told[-2] == f"ana confirmed candidate {s.fixed('candidate', 16).hex()[:8]}."
    proof = steps[0].proofs[0]
    entry = site.aggregator.entries[proof.index]
    assert (proof.log, proof.digest) == ("aggregator", leaf_hash(entry).hex())


def test_a_grant_and_its_receipt_are_one_step_in_the_custodians_words(tmp_path: Path) -> None:
    found = audit_of(LoggedSite().whole().signed(), tmp_path)
    (step,) = (one for one in steps_of(found) if said(one).startswith("c1 gave"))
    assert [(proof.log, proof.index) for proof in step.proofs] in (
        [("c1", 2), ("aggregator", 5)],
        [("aggregator", 5), ("c1", 2)],
    )
    assert step.standing is Standing.PROVEN


def test_a_grant_that_only_the_aggregator_tells_of_is_told_so_and_doubted(
    tmp_path: Path,
) -> None:
    found = audit_of(LoggedSite().file().receive("c1").signed(), tmp_path)
    step = steps_of(found)[-1]
    assert said(step).startswith("The aggregator says that c1 gave 3 quarter hours")
    assert step.standing is Standing.DOUBTED
    assert found.report.findings[step.findings[0]].kind is FindingKind.GRANT_NOT_LOGGED


def test_an_approvers_refusal_is_told_and_counted(tmp_path: Path) -> None:
    site = LoggedSite()
    site.aggregator.add("query-filed", {"query": site.case.query.to_bytes()})
    signed = s.refusal(site.case.query, "di")
    site.aggregator.add("approval-refused", {"refusal": signed.to_bytes()})
    found = audit_of(site.signed(), tmp_path)
    assert said(steps_of(found)[-1]).startswith("di refused to approve: “")
    assert [(count.filed, count.refused, count.approved) for count in found.counts] == [(1, 1, 0)]


def test_stills_that_were_asked_for_and_sent_are_told(tmp_path: Path) -> None:
    site = LoggedSite().whole()
    about = {"query_digest": site.case.query.digest, "request": bytes(32)}
    whom = {"officer": "ana", "box": "box-1"}
    site.aggregator.add("still-asked", {**about, **whom, "stills": 2})
    answer = {**about, **whom, "outcome": "sent", "reason": "", "sent": 1}
    site.aggregator.add("still-answered", answer)
    no = {**answer, "outcome": "refused", "reason": "rate"}
    site.aggregator.add("still-answered", no)
    told = [said(step) for step in steps_of(audit_of(site.signed(), tmp_path))]
    assert told[-3:] == [
        "ana asked box-1 for 2 stills.",
        "box-1 sent ana a still. So far stills of 1 sighting were sent.",
        "box-1 sent ana no still (rate). So far stills of 1 sighting were sent.",
    ]


def test_one_withdrawal_in_several_logs_is_one_step(tmp_path: Path) -> None:
    site = LoggedSite().file()
    signed = Withdrawal(site.case.query.digest, "done", s.NOW_MS).sign(s.signing_key("ana"))
    for log in (site.aggregator, site.c1):
        log.add("withdrawal", {"withdrawal": signed.to_bytes()})
    found = audit_of(site.signed(), tmp_path)
    (step,) = (one for one in steps_of(found) if one.kind == "withdrawal")
    assert said(step) == "ana withdrew: “done”."
    assert {proof.log for proof in step.proofs} == {"aggregator", "c1"}


def test_reading_again_and_again_is_told_once_with_how_often(tmp_path: Path) -> None:
    site = LoggedSite().file()
    for _ in range(5):
        body = {"query_digest": site.case.query.digest, "reader": "ana"}
        site.aggregator.add("result-read", body)
    step = steps_of(audit_of(site.signed(), tmp_path))[-1]
    assert said(step) == "ana read the results. (5 times)"
    assert step.to_ms - step.from_ms == 4000
    assert len(step.proofs) == 5


def test_opened_rows_and_stills_are_told(tmp_path: Path) -> None:
    site = LoggedSite().whole()
    site.c1.add("rows", rows_body(site.case, "c1"))
    site.c1.add("evidence", stills_body(site.case, "c1"))
    told = [said(step) for step in steps_of(audit_of(site.signed(), tmp_path))]
    assert "c1 opened 2 sightings one by one. In all 2 of this query." in told
    assert "c1 opened 1 still for ana and bea; ana asked for it." in told


def test_numbers_of_sightings_below_five_are_not_told(tmp_path: Path) -> None:
    site = LoggedSite().file().grant("c1").receive("c1").grant("c3").receive("c3")
    body = {
        "query_digest": site.case.query.digest,
        "grant_ids": [s.fixed(f"grant {name}", 16) for name in ("c1", "c3")],
        "segments": 1,
        "sightings": 3,
        "candidates": 0,
    }
    site.aggregator.add("match", body)
    told = said(steps_of(audit_of(site.signed(), tmp_path))[-1])
    assert told == "Fewer than 5 sightings were compared. 0 candidates found."


def test_without_the_key_steps_are_told_as_sealed(tmp_path: Path) -> None:
    found = audit_of(LoggedSite().whole().signed(), tmp_path, auditor=None)
    assert {step.standing for step in steps_of(found)} == {Standing.SEALED}
    assert "A query was filed; its contents are sealed to others." in map(said, steps_of(found))


@pytest.mark.parametrize("body", [{}, {"query": 7}, {"query": b"x"}])
def test_an_entry_that_is_no_query_spoils_nothing(tmp_path: Path, body: dict[str, object]) -> None:
    site = LoggedSite()
    site.aggregator.add("query-filed", body)
    (step,) = steps_of(audit_of(site.signed(), tmp_path))
    assert said(step) == "An entry that is not what its kind, “query-filed”, says."
    assert step.standing is Standing.DOUBTED


def test_counts_by_month_and_ground_tell_what_was_opened_and_how_fast(tmp_path: Path) -> None:
    site = LoggedSite().whole()
    site.c1.add("rows", rows_body(site.case, "c1"))
    found = audit_of(site.signed(), tmp_path)
    (count,) = found.counts
    assert count == MonthCount(
        month=WORDS.month(s.NOW_MS),
        ground=count.ground,
        filed=1,
        refused=0,
        approved=1,
        withdrawn=0,
        quarter_hours=3,
        rows=2,
        stills=0,
        approval_ms=2000,
        slowest_ms=2000,
    )
    assert count.ground
    assert count_cells(count)[2:5] == ["1", "0", "1"]


def test_quarter_hours_that_too_few_custodians_gave_are_not_open(tmp_path: Path) -> None:
    found = audit_of(LoggedSite().file().grant("c1").signed(), tmp_path)
    assert [count.quarter_hours for count in found.counts] == [0]


def test_every_kind_of_finding_has_a_meaning_and_an_advice_of_its_own() -> None:
    assert set(MEANINGS) == set(FindingKind)
    means = [str(meaning.means) for meaning in MEANINGS.values()]
    assert len(set(means)) == len(means)
    assert UNKNOWN.means not in means


def rewritten(site: LoggedSite) -> LoggedSite:
    """Let c1 have signed another history before."""
    earlier = LogInMaking("c1", list(site.c1.entries))
    earlier.entries[-1] = earlier.entries[0]
    earlier.sign()
    site.signed()
    site.c1.checkpoints += earlier.checkpoints
    return site


def test_a_rewritten_log_is_an_alarm_and_a_late_witness_is_none(tmp_path: Path) -> None:
    found = audit_of(rewritten(LoggedSite().whole()), tmp_path / "a")
    assert {alarm.kind for alarm in found.alarms} == {FindingKind.LOG_FORKED}
    assert verdict(found).startswith("Not sound: ")
    unwitnessed = LoggedSite().whole()
    for log in unwitnessed.logs.values():
        log.sign(witnesses=())
    quiet = audit_of(unwitnessed, tmp_path / "b")
    assert quiet.alarms == ()
    assert verdict(quiet).startswith("Sound but for ")


# ------------------------------------------------------------------------------- the static page


@pytest.mark.slow
def test_the_page_tells_verdict_findings_counts_and_stories_and_fetches_nothing(
    tmp_path: Path,
) -> None:
    page = audit_html(audit_of(LoggedSite().whole().signed(), tmp_path), WORDS).decode()
    for words in (
        "Sound: nothing is wrong. 4 logs, ",
        "Nothing was found.",
        "Queries by month and legal ground",
        "bo approved.",
        "c1 gave 3 quarter hours of cam-1.",
        "default-src 'none'",
    ):
        assert words in page
    assert not re.search(r"(?:src|href|action)\s*=|url\((?!data:)|@import|<script", page)


@pytest.mark.slow
def test_the_same_logs_make_the_same_page(tmp_path: Path) -> None:
    found = audit_of(LoggedSite().whole().signed(), tmp_path)
    assert audit_html(found, WORDS) == audit_html(found, WORDS)


@pytest.mark.slow
@pytest.mark.parametrize("language", ["en", "ko"])
def test_what_others_wrote_is_no_markup_on_the_page(tmp_path: Path, language: str) -> None:
    attack = "<img src=x onerror=alert(1)>\"'</td>\u202e{0}{__class__}%s"
    site = LoggedSite().whole()
    body = {"query_digest": site.case.query.digest, "reason": attack, "custodian": attack}
    site.aggregator.add("refusal", body)
    site.aggregator.add("result-read", {"query_digest": site.case.query.digest, "reader": attack})
    signed = Withdrawal(site.case.query.digest, attack[:40], s.NOW_MS).sign(s.signing_key("ana"))
    site.aggregator.add("withdrawal", {"withdrawal": signed.to_bytes()})
    page = audit_html(audit_of(site.signed(), tmp_path), Words(language, UTC)).decode()
    assert "<img" not in page
    assert "\u202e" not in page
    assert page.count("&lt;img src=x onerror=alert(1)&gt;") >= 3


def test_what_came_of_fetching_is_kept_with_when_it_went_well(tmp_path: Path) -> None:
    assert read_outcomes(tmp_path).logs == ()
    well, away = Fetched("c1", 5, 5), Fetched("c2", 0, 0, "no answer", unreachable=True)
    keep_outcomes(tmp_path, [well, away], now_ms=1000)
    keep_outcomes(tmp_path, [Fetched("c1", 5, 0, "gone", unreachable=True), away], now_ms=2000)
    kept = read_outcomes(tmp_path)
    assert kept.at_ms == 2000
    assert [(one.fetched.actor, one.fetched.problem, one.well_ms) for one in kept.logs] == [
        ("c1", "gone", 1000),
        ("c2", "no answer", None),
    ]
    (tmp_path / "fetched.json").write_text("{not json")
    assert read_outcomes(tmp_path).logs == ()


def test_decisions_of_both_kinds_are_told_apart(tmp_path: Path) -> None:
    site = LoggedSite().whole()
    no = Decision(site.case.query.digest, s.fixed("other", 16), "rejected", s.NOW_MS)
    site.aggregator.add("decision", {"decision": no.sign(s.signing_key("ana")).to_bytes()})
    told = [said(step) for step in steps_of(audit_of(site.signed(), tmp_path))]
    assert f"ana rejected candidate {s.fixed('other', 16).hex()[:8]}." in told
