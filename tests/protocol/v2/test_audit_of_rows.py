"""An audit holds the rows and stills that custodians opened against queries, grants and counts."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

import protocol_samples as s
import pytest
import query_samples_v2 as q2
from audit_samples import QUERY_ID, SCOPE, grant_body, rows_body, stills_body
from rows_asked import approved, directory, with_stills
from split_views import AUDITORS, EVE

from officers.desk.audit_words import query_lines, summary
from protocol.about_queries import Withdrawal
from protocol.audit import AuditorKey, LogCopy, audit, open_entries
from protocol.auditlog import (
    Checkpoint,
    cosign,
    origin_of,
    root_of,
    seal_entry,
    sign_checkpoint,
)
from protocol.findings import Finding, FindingKind, Report, Severity
from protocol.query import Asked

K = FindingKind
ROLES = (*s.CUSTODIANS, "aggregator")
CASE = with_stills(3)
LABELS = ["face", "cover", "live"]
Bodies = Sequence[tuple[str, Mapping[str, object]]]


def granted(custodian: str = "c1", **changes: object) -> tuple[str, Mapping[str, object]]:
    body = grant_body(CASE, custodian, labels=LABELS, versions=[2])
    return "grant", body | changes


def rows(custodian: str = "c1", **changes: object) -> tuple[str, Mapping[str, object]]:
    return "rows", rows_body(CASE, custodian, **changes)


def stills(custodian: str = "c1", **changes: object) -> tuple[str, Mapping[str, object]]:
    return "evidence", stills_body(CASE, custodian, **changes)


def asked(**changes: object) -> tuple[str, Mapping[str, object]]:
    body: dict[str, object] = {
        "query_digest": CASE.query.digest, "request": bytes(32), "officer": "ana", "box": "box-1",
        "stills": 1,
    }  # fmt: skip
    return "still-asked", body | changes


def answered(**changes: object) -> tuple[str, Mapping[str, object]]:
    body: dict[str, object] = {
        "query_digest": CASE.query.digest, "request": bytes(32), "officer": "ana", "box": "box-1",
        "outcome": "sent", "reason": "", "sent": 1,
    }  # fmt: skip
    return "still-answered", body | changes


def log_copy(role: str, bodies: Bodies) -> LogCopy:
    """A role's log, cosigned by all others."""
    said = [("policy", {"version": 1, "digest": q2.POLICY.digest}), *bodies]
    entries = tuple(
        seal_entry(
            kind, body, time_ms=s.NOW_MS + 1000 * at, actor=role,
            query_id=None if kind == "policy" else QUERY_ID, auditors=AUDITORS,
        ).to_bytes()
        for at, (kind, body) in enumerate(said)
    )  # fmt: skip
    head = Checkpoint(origin_of(s.SITE, role), len(entries), root_of(entries))
    note = sign_checkpoint(head, s.signing_key(role))
    for other in ROLES:
        if other != role:
            key, origin = s.signing_key(other), origin_of(s.SITE, other)
            note += cosign(head, witness=origin, key=key, time_s=s.NOW_MS // 1000 + 60)
    return LogCopy(head.origin, entries, (note,))


def report_of(
    by_role: Mapping[str, Bodies], *, absent: str = "", auditor: AuditorKey | None = EVE
) -> Report:
    filed = ("query-filed", {"query": CASE.query.to_bytes()})
    approvals = [("approval", {"approval": a.to_bytes()}) for a in CASE.approvals]
    aggregator = [filed, *approvals, *by_role.get("aggregator", ())]
    return audit(
        [
            log_copy(role, aggregator if role == "aggregator" else by_role.get(role, ()))
            for role in ROLES
            if role != absent
        ],
        now_ms=s.NOW_MS + 60_000,
        directory=directory(),
        policies={q2.POLICY.digest: q2.POLICY},
        auditor=auditor,
    )


def of_opening(report: Report) -> list[Finding]:
    """The findings about what was opened one by one, or about who might."""
    unasked = {K.GRANT_NOT_RECEIVED, K.NOT_YET_COSIGNED, K.WITNESS_SILENT, K.LOG_MISSING}
    return [finding for finding in report.findings if finding.kind not in unasked]


def kinds(report: Report) -> set[FindingKind]:
    return {finding.kind for finding in of_opening(report)}


def test_nothing_is_found_where_rows_and_stills_were_opened_as_approved() -> None:
    done = [granted(), rows(), rows(rows=1, total=3), rows(rows=3, total=3), stills()]
    carried = [asked(), answered()]
    report = report_of({"c1": done, "c3": [granted("c3"), rows("c3")], "aggregator": carried})
    assert of_opening(report) == []
    (query,) = report.queries
    assert (query.rows_opened, query.stills_opened, query.stills_sent) == (3, 1, 1)
    assert "    3 rows and 1 still opened one by one" in query_lines(query)
    assert "    1 still sent by boxes to who asked for them" in query_lines(query)


def test_entries_tell_in_words_what_was_opened() -> None:
    copy = log_copy("c1", [rows(left_out=[["retention-ended: x", 4]]), stills()])
    told = [summary(item) for item in open_entries(copy, EVE) if item is not None]
    assert told[1:] == [
        "2 rows opened, 2 in all; 4 left out",
        "1 still opened for ana, bea, asked by ana; 1 in all",
    ]


def test_a_custodian_that_was_away_while_others_granted_may_open_rows() -> None:
    assert kinds(report_of({"c1": [granted()], "c2": [rows("c2")]})) == set()


@pytest.mark.parametrize(
    ("bodies", "kind"),
    [
        ([rows()], K.OPENED_WITHOUT_GRANT),
        ([rows(), granted()], K.OPENED_WITHOUT_GRANT),
        ([granted(versions=[1]), rows()], K.OPENED_WITHOUT_GRANT),
        ([granted(), rows(rows=51, total=51)], K.OPENED_BEYOND_QUERY),
        ([granted(), rows(rows=40, total=40), rows(rows=20, total=60)], K.OPENED_BEYOND_QUERY),
        ([granted(), rows(rows=60, total=50)], K.OPENED_BEYOND_QUERY),
        ([granted(), rows(total=4)], K.OPENED_MISCOUNTED),
        ([granted(), rows(total=1)], K.OPENED_MISCOUNTED),
        ([granted(), rows(rows=4, total=4), rows(total=3)], K.OPENED_MISCOUNTED),
        ([granted(), rows(), rows(total=5)], K.OPENED_MISCOUNTED),
        ([granted(), rows(rows=0, total=0)], K.OPENED_MISCOUNTED),
        ([granted(), rows(approvals=[])], K.GRANT_UNAUTHORIZED),
        ([granted(), stills()], K.OPENED_WITHOUT_GRANT),
        ([granted(), rows(), stills(stills=3, total=3)], K.OPENED_WITHOUT_GRANT),
        ([granted(), rows(rows=9, total=9), stills(stills=4, total=4)], K.OPENED_BEYOND_QUERY),
        ([granted(), rows(), stills(total=2)], K.OPENED_MISCOUNTED),
        ([granted(), rows(), stills(asked_by="cleo")], K.OPENED_BEYOND_QUERY),
        ([granted(), rows(), stills(officers=["ana", "aggregator"])], K.OPENED_BEYOND_QUERY),
        ([granted(), rows(), stills(approvals=[])], K.GRANT_UNAUTHORIZED),
        ([granted(), rows(), rows(release_id=rows()[1]["release_id"], digest=bytes(32))],
         K.ID_REUSED),
        ([granted(labels=["face", "meta", "live"])], K.GRANT_OUTSIDE_QUERY),
        ([granted(labels=[*LABELS, "counts"])], K.GRANT_OUTSIDE_QUERY),
        ([granted(versions=[1])], K.GRANT_OUTSIDE_QUERY),
        ([granted(versions=[3])], K.BODY_UNREADABLE),
        ([granted(versions=[])], K.BODY_UNREADABLE),
    ],
)  # fmt: skip
def test_what_a_custodian_may_not_open_is_named(bodies: Bodies, kind: FindingKind) -> None:
    report = report_of({"c1": bodies})
    assert kind in kinds(report)
    assert any(f.kind is kind and f.severity is Severity.WRONG for f in report.findings)


def test_rows_opened_after_a_withdrawal_are_named() -> None:
    content = Withdrawal(CASE.query.digest, "no longer", s.NOW_MS).sign(s.signing_key("ana"))
    withdrawn = ("withdrawal", {"withdrawal": content.to_bytes()})
    report = report_of({"c1": [granted(), withdrawn, rows()]})
    assert kinds(report) == {K.GRANT_AFTER_WITHDRAWAL}


def test_while_a_log_is_missing_rows_without_a_grant_are_a_warning() -> None:
    report = report_of({"c1": [rows()]}, absent="c2")
    (finding,) = [f for f in report.findings if f.kind is K.OPENED_WITHOUT_GRANT]
    assert finding.severity is Severity.WARNING


def test_the_aggregator_has_no_business_to_log_rows_or_stills() -> None:
    report = report_of({"aggregator": [rows("aggregator"), stills("aggregator")]})
    assert sum(finding.kind is K.ACTOR_FALSE for finding in report.findings) == 2


@pytest.mark.parametrize("value", [None, -1, "2", True, 1 << 40, [2], 2.0])
@pytest.mark.parametrize("name", ["rows", "total"])
def test_a_count_that_is_none_is_reported_and_stops_nothing(name: str, value: object) -> None:
    odd: dict[str, object] = {name: value}
    body = rows_body(CASE, "c1") | odd
    report = report_of({"c1": [granted(), ("rows", body)]})
    assert K.BODY_UNREADABLE in kinds(report)


def test_a_grant_may_mix_versions_and_states_the_labels_of_both() -> None:
    both = granted(
        scopes=[SCOPE.to_value(), SCOPE.to_value()],
        versions=[1, 2],
        labels=["face", "meta", "live", "cover"],
    )
    assert kinds(report_of({"c1": [both]})) == set()


def test_counts_may_be_granted_to_a_query_that_asks_for_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asks = Asked(same_place_counts=True)
    monkeypatch.setattr(
        sys.modules[__name__], "CASE", approved(q2.query(asks=asks), "bo", "cy", "di")
    )
    assert kinds(report_of({"c1": [granted(labels=[*LABELS, "counts"])]})) == set()


def taken(*release_ids: bytes, candidates: int = 2) -> tuple[str, Mapping[str, object]]:
    return "opened-rows", {
        "query_digest": CASE.query.digest, "release_ids": list(release_ids), "rows": 2,
        "candidates": candidates,
    }  # fmt: skip


def test_rows_that_the_aggregator_took_are_those_that_custodians_opened() -> None:
    opening = rows()
    told = taken(opening[1]["release_id"])  # type: ignore[arg-type]
    report = report_of({"c1": [granted(), opening], "aggregator": [told]})
    assert of_opening(report) == []
    lost = [f for f in report.findings if f.kind is K.GRANT_NOT_RECEIVED]
    assert [finding.index for finding in lost] == [1], "the grant alone, which nobody took"
    assert report.queries[0].candidates == 2


def test_rows_that_nobody_says_he_took_are_told_of() -> None:
    report = report_of({"c1": [granted(), rows()]})
    lost = [f for f in report.findings if f.kind is K.GRANT_NOT_RECEIVED]
    assert [finding.index for finding in lost] == [1, 2]
    assert "officers' receipts tell" in lost[1].message


def test_rows_that_no_custodian_opened_were_made_up() -> None:
    assert kinds(report_of({"aggregator": [taken(b"made up, 16 bytes")]})) == {K.GRANT_NOT_LOGGED}
    assert K.GRANT_NOT_LOGGED not in kinds(
        report_of({"aggregator": [taken(b"made up, 16 bytes")]}, absent="c2")
    )


def test_the_aggregators_entry_is_told_in_words() -> None:
    copy = log_copy("aggregator", [taken(b"one", b"two", candidates=1)])
    told = [summary(item) for item in open_entries(copy, EVE) if item is not None]
    assert told[1:] == ["2 rows opened under 2 receipts: 1 candidate"]


def test_a_day_key_made_again_after_its_destruction_is_named() -> None:
    issued, gone = ("day-keys-issued", {"epochs": [3, 4]}), ("day-key-destroyed", {"epoch": 3})
    assert kinds(report_of({"c1": [issued, gone], "c2": [issued]})) == set()
    assert kinds(report_of({"c1": [issued, gone, issued]})) == {K.DAY_KEY_MADE_AGAIN}
    odd = ("day-keys-issued", {"epochs": [[3], "x"]})
    assert kinds(report_of({"c1": [gone, odd]})) == {K.BODY_UNREADABLE}


@pytest.mark.parametrize(
    ("bodies", "kind", "severity"),
    [
        ([asked(officer="cleo")], K.OPENED_BEYOND_QUERY, Severity.WRONG),
        ([asked(stills=0)], K.BODY_UNREADABLE, Severity.WRONG),
        ([asked(stills="3")], K.BODY_UNREADABLE, Severity.WRONG),
        ([answered()], K.STILLS_UNASKED, Severity.WRONG),
        ([asked(), answered(request=bytes([1]) * 32)], K.STILLS_UNASKED, Severity.WRONG),
        ([asked(), answered(sent=4)], K.OPENED_BEYOND_QUERY, Severity.WARNING),
        ([asked(), answered(outcome="perhaps")], K.BODY_UNREADABLE, Severity.WRONG),
        ([asked(), answered(sent=-1)], K.BODY_UNREADABLE, Severity.WRONG),
    ],
)
def test_stills_that_were_carried_and_should_not_have_been_are_named(
    bodies: Bodies, kind: FindingKind, severity: Severity
) -> None:
    report = report_of({"aggregator": bodies})
    found = [finding for finding in of_opening(report) if finding.kind is kind]
    assert [finding.severity for finding in found] == [severity]


def test_stills_that_no_box_was_asked_for_are_told_of_while_the_aggregators_log_is_here() -> None:
    opened = {"c1": [granted(), rows(), stills()]}
    (found,) = [f for f in of_opening(report_of(opened)) if f.kind is K.STILLS_UNASKED]
    assert found.severity is Severity.WARNING
    assert "went another way" in found.message
    assert K.STILLS_UNASKED not in kinds(report_of(opened, absent="aggregator"))
    carried = {**opened, "aggregator": [asked()]}
    assert K.STILLS_UNASKED not in kinds(report_of(carried))


def test_what_was_asked_of_boxes_and_answered_is_told_in_words() -> None:
    none = answered(outcome="none", reason="others-near", sent=0)
    copy = log_copy("aggregator", [asked(stills=2), answered(), none])
    told = [summary(item) for item in open_entries(copy, EVE) if item is not None]
    assert told[1:] == [
        "ana asked box-1 for 2 stills",
        "box-1 answered ana: sent; 1 still sent for the query so far",
        "box-1 answered ana: none (others-near); 0 stills sent for the query so far",
    ]
