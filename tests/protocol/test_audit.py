"""An audit finds each thing that is wrong with the logs, by name; nothing when all is well."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Unpack

import protocol_samples as s
import pytest
from audit_samples import LABELS, SCOPE, grant_body, match_body, received_body
from audit_site import EVE, ROLES, LoggedSite, LogInMaking
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st
from officers_passkeys import case_by_passkeys, with_passkeys

from protocol.about_queries import Withdrawal
from protocol.audit import AuditorKey, LogCopy, audit
from protocol.auditlog import (
    KINDS,
    Checkpoint,
    Entry,
    origin_of,
    root_of,
    sign_checkpoint,
)
from protocol.directory import Directory
from protocol.findings import FindingKind, Report, Severity
from protocol.names import SLOT_MS, slot_start_ms
from protocol.policy import parse_policy

K = FindingKind


def wrong(report: Report) -> set[FindingKind]:
    return {finding.kind for finding in report.wrong}


def lesser(report: Report) -> set[FindingKind]:
    return {f.kind for f in report.findings if f.severity is not Severity.WRONG}


@pytest.mark.parametrize("auditor", [EVE, None])
def test_nothing_is_found_where_all_is_well(auditor: AuditorKey | None) -> None:
    report = LoggedSite().whole().signed().audit(auditor=auditor, late=True)
    assert report.findings == ()
    assert [log.witnesses for log in report.logs] == [
        tuple(sorted(set(ROLES) - {role})) for role in ROLES
    ]
    assert report.auditor == ("eve" if auditor else None)


def test_queries_are_counted_against_approvals_and_grants() -> None:
    report = LoggedSite().whole().signed().audit()
    (query,) = report.queries
    assert (query.requester, query.approvers) == ("ana", ("bo", "cy"))
    assert (query.grants, query.granting_custodians, query.received) == (2, ("c1", "c3"), 2)
    assert (query.matches, query.sightings, query.candidates) == (1, 40, 2)
    assert (query.decisions, query.reads, query.granted_slots) == (1, 1, 6)
    officers = {officer.name: officer for officer in report.officers}
    assert (officers["ana"].queries, officers["ana"].grants_asked) == (1, 2)
    assert (officers["bo"].approvals, officers["bo"].grants_approved) == (1, 2)


def test_without_the_key_entries_are_counted_and_bodies_stay_closed() -> None:
    (query,) = LoggedSite().whole().signed().audit(auditor=None).queries
    assert (query.grants, query.received, query.matches) == (2, 2, 1)
    assert query.requester is None
    assert query.purpose is None


@given(
    role=st.sampled_from(ROLES), place=st.integers(0, 200), flip=st.integers(1, 255), data=st.data()
)
@settings(max_examples=examples(40), deadline=None)
def test_no_changed_byte_of_any_entry_goes_unnoticed(
    role: str, place: int, flip: int, data: st.DataObject
) -> None:
    site = LoggedSite().whole().signed()
    entries = site.logs[role].entries
    number = data.draw(st.integers(0, len(entries) - 1))
    changed = bytearray(entries[number])
    changed[place % len(changed)] ^= flip
    entries[number] = bytes(changed)
    assert K.ENTRY_ALTERED in wrong(site.audit())


def test_a_removed_entry_at_the_end() -> None:
    site = LoggedSite().whole().signed()
    site.c1.entries.pop()
    assert wrong(site.audit()) >= {K.LOG_INCONSISTENT}


def test_a_removed_entry_in_the_middle_and_another_in_its_place() -> None:
    site = LoggedSite().whole().signed()
    site.c1.entries[1] = site.c1.entries[0]
    assert wrong(site.audit()) >= {K.ENTRY_ALTERED}


def test_the_altered_entry_is_narrowed_down_by_earlier_checkpoints() -> None:
    site = LoggedSite().whole()
    site.aggregator.sign(size=3)
    site.signed()
    site.aggregator.entries[5] = site.aggregator.entries[4]
    (finding,) = (f for f in site.audit().wrong if f.kind is K.ENTRY_ALTERED)
    assert "after the first 3" in finding.message


def test_a_fork_shows_two_histories_of_one_size() -> None:
    site = LoggedSite().whole().signed()
    other = LogInMaking("c1", list(site.c1.entries))
    other.entries[-1] = other.entries[0]
    other.sign()
    site.c1.checkpoints += other.checkpoints
    assert wrong(site.audit()) == {K.LOG_FORKED}


def test_a_history_rewritten_after_it_was_signed() -> None:
    site = LoggedSite().whole()
    earlier = LogInMaking("c1", list(site.c1.entries))
    earlier.entries[-1] = earlier.entries[0]
    earlier.sign()
    site.c1.add("refusal", {"query_digest": b"", "reason": "asked twice"})
    site.signed()
    site.c1.checkpoints += earlier.checkpoints
    assert wrong(site.audit()) == {K.LOG_INCONSISTENT}


def test_a_checkpoint_signed_by_another_role() -> None:
    site = LoggedSite().whole().signed()
    held = site.c1.entries
    checkpoint = Checkpoint(site.c1.origin, len(held), root_of(held))
    site.c1.checkpoints = [sign_checkpoint(checkpoint, s.signing_key("c2"))]
    assert wrong(site.audit()) >= {K.CHECKPOINT_INVALID, K.NOT_YET_SIGNED}


@pytest.mark.parametrize("text", ["", "sealtrace/vectors/c1\n", "a\n1\nAAAA\n\n— a AAAA\n", "\x00"])
def test_a_checkpoint_that_is_not_one(text: str) -> None:
    site = LoggedSite().whole().signed()
    site.c1.checkpoints.append(text)
    assert wrong(site.audit()) == {K.CHECKPOINT_INVALID}


def test_entries_that_no_witness_saw_are_excused_for_a_quarter_of_an_hour() -> None:
    site = LoggedSite().whole()
    for log in site.logs.values():
        log.sign(witnesses=())
    early = site.audit()
    assert not early.wrong
    assert lesser(early) == {K.NOT_YET_COSIGNED}
    assert {f.severity for f in early.findings} == {Severity.NOTE}
    assert wrong(site.audit(late=True)) == {K.COSIGNATURES_MISSING}


def test_one_role_that_is_away_leaves_entries_uncovered_which_is_no_violation_at_first() -> None:
    site = LoggedSite().whole()
    for log in site.logs.values():
        log.sign(witnesses=("c1", "c2", "aggregator"))
    report = site.audit(late=True)
    assert not report.wrong
    (of_c1,) = (f for f in report.findings if f.origin == site.c1.origin)
    assert (of_c1.kind, of_c1.severity) == (K.NOT_YET_COSIGNED, Severity.WARNING)
    assert "by 2 of the 3 others that it takes, for 24 h now (not by 'c3')" in of_c1.message
    assert [log.covered_size for log in report.uncovered] == [0, 0, 0]  # c3's log has its three


def test_one_role_that_stays_away_fails_the_audit_after_three_days() -> None:
    site = LoggedSite().whole()
    for log in site.logs.values():
        log.sign(witnesses=("c1", "c2", "aggregator"))
    report = audit(
        [log.copy() for log in site.logs.values()],
        directory=site.directory,
        policies=site.policies,
        now_ms=s.NOW_MS + 300 * SLOT_MS,
        auditor=EVE,
    )
    assert wrong(report) == {K.COSIGNATURES_MISSING}


def test_a_witness_that_lags_behind_a_quorum_is_a_note() -> None:
    site = LoggedSite().whole()
    more = s.principal("c4", "custodian")
    site.directory = replace(site.directory, principals={**site.directory.principals, "c4": more})
    site.logs["c4"] = LogInMaking("c4")
    site.logs["c4"].add("policy", {"version": 1, "digest": s.POLICY.digest}, query_id=None)
    report = site.signed().audit(late=True)
    assert not report.wrong
    assert {f.severity for f in report.findings} == {Severity.NOTE}
    assert lesser(report) == {K.COSIGNATURES_MISSING}
    assert not report.uncovered


def test_the_cosignatures_of_a_revoked_role_count_no_longer() -> None:
    site = LoggedSite().whole()
    for log in site.logs.values():
        log.sign(witnesses=("c3", "aggregator"))
    site.directory = site.directory.revoke("c3", at_ms=s.NOW_MS + SLOT_MS)
    report = site.audit(late=True)
    assert {f.kind for f in report.wrong if f.origin == site.c1.origin} == {K.COSIGNATURES_MISSING}


def test_an_entry_dated_after_the_fetch_cannot_put_off_its_witnesses() -> None:
    site = LoggedSite().whole()
    site.c1.add(
        "refusal", {"query_digest": b"", "reason": "x"}, time_ms=s.NOW_MS + 10_000 * SLOT_MS
    )
    for log in site.logs.values():
        log.sign(witnesses=("c1", "c2"))
    assert K.TIME_WRONG in wrong(site.audit())


def test_a_false_cosignature() -> None:
    site = LoggedSite().whole().signed()
    forged = LogInMaking("c1", list(site.c1.entries[:-1]))
    forged.sign()
    line = forged.checkpoints[0].splitlines(keepends=True)[-1]
    site.c1.checkpoints.append(
        site.c1.checkpoints[0].replace(site.c1.checkpoints[0].splitlines(keepends=True)[-1], line)
    )
    assert wrong(site.audit()) == {K.CHECKPOINT_INVALID}


def test_entries_not_yet_signed_for_are_a_note() -> None:
    site = LoggedSite().whole().signed()
    site.c1.add("refusal", {"query_digest": b"", "reason": "late"})
    report = site.audit()
    assert not report.wrong
    assert lesser(report) == {K.NOT_YET_SIGNED}


def test_a_missing_log_and_an_unknown_one() -> None:
    site = LoggedSite().whole().signed()
    del site.logs["c2"]
    report = site.audit()
    assert not report.wrong
    assert lesser(report) == {K.LOG_MISSING}
    site.logs["mallory"] = LogInMaking("mallory")
    assert K.LOG_UNKNOWN in wrong(site.audit())


def test_an_entry_that_speaks_for_another_role() -> None:
    site = LoggedSite().whole()
    entry = Entry("started", s.NOW_MS + 9000, "c2", None, {})
    site.c1.entries.append(entry.to_bytes())
    assert K.ACTOR_FALSE in wrong(site.signed().audit())


def test_bytes_that_are_no_entry() -> None:
    site = LoggedSite().whole()
    site.c1.entries.append(b"\xa0")
    assert wrong(site.signed().audit()) == {K.ENTRY_MALFORMED}


def test_a_body_sealed_to_nobody_and_a_body_that_is_not_of_its_kind() -> None:
    site = LoggedSite().whole()
    site.c1.entries.append(Entry("started", s.NOW_MS + 9000, "c1", None, {}).to_bytes())
    report = site.signed().audit()
    assert not report.wrong
    assert lesser(report) == {K.BODY_UNREADABLE}
    site = LoggedSite().whole()
    site.c1.add("grant", {"grant_id": 7})
    assert wrong(site.signed().audit()) == {K.BODY_UNREADABLE}


def test_time_that_runs_backwards() -> None:
    site = LoggedSite().whole()
    site.c1.add("refusal", {"query_digest": b"", "reason": "x"}, time_ms=s.NOW_MS - 20 * SLOT_MS)
    report = site.signed().audit()
    assert lesser(report) == {K.TIME_WRONG}


def test_an_entry_dated_before_witnesses_saw_the_log_end() -> None:
    site = LoggedSite().whole().signed()
    site.c1.add("refusal", {"query_digest": b"", "reason": "x"}, time_ms=s.NOW_MS - 20 * SLOT_MS)
    assert wrong(site.signed().audit()) == {K.TIME_WRONG}


def test_an_entry_dated_after_witnesses_saw_it() -> None:
    site = LoggedSite().whole()
    site.c1.add("refusal", {"query_digest": b"", "reason": "x"}, time_ms=s.NOW_MS + SLOT_MS)
    assert wrong(site.signed().audit()) == {K.TIME_WRONG}


def too_few_approvals(site: LoggedSite) -> None:
    site.case = s.case(approvers=("bo",))


def approved_by_the_requester(site: LoggedSite) -> None:
    site.case = s.case(approvers=("bo", "ana"))


def expired(site: LoggedSite) -> None:
    site.case = s.case(not_after_ms=s.NOW_MS - 1)


def over_the_policy(site: LoggedSite) -> None:
    site.case = s.case(max_candidates=101)


def programme_ended(site: LoggedSite) -> None:
    ended = replace(s.POLICY, programme_ends_ms=s.NOW_MS - 1)
    site.policies = {s.POLICY.digest: ended}


def approver_long_revoked(site: LoggedSite) -> None:
    site.directory = site.directory.revoke("cy", at_ms=s.NOW_MS - 2 * SLOT_MS)


def other_policy_in_force(site: LoggedSite) -> None:
    for name in s.CUSTODIANS:
        site.logs[name].add("policy", {"version": 2, "digest": bytes(32)}, query_id=None)


@pytest.mark.parametrize(
    "change",
    [
        too_few_approvals,
        approved_by_the_requester,
        expired,
        over_the_policy,
        programme_ended,
        approver_long_revoked,
        other_policy_in_force,
    ],
)
def test_a_grant_that_no_custodian_may_give(change: Callable[[LoggedSite], None]) -> None:
    site = LoggedSite()
    change(site)
    report = site.whole().signed().audit()
    assert K.GRANT_UNAUTHORIZED in wrong(report)
    assert {f.origin for f in report.wrong if f.kind is K.GRANT_UNAUTHORIZED} == {
        site.logs["c1"].origin,
        site.logs["c3"].origin,
    }


def test_an_approver_revoked_after_the_grant_did_no_wrong() -> None:
    site = LoggedSite().whole().signed()
    site.directory = site.directory.revoke("cy", at_ms=s.NOW_MS + SLOT_MS)
    site.directory = site.directory.revoke("ana", at_ms=s.NOW_MS + SLOT_MS)
    assert site.audit().findings == ()


def withdrawal(site: LoggedSite, officer: str) -> dict[str, object]:
    signed = Withdrawal(site.case.query.digest, "no", s.NOW_MS).sign(s.signing_key(officer))
    return {"withdrawal": signed.to_bytes()}


@pytest.mark.parametrize("officer", ["ana", "bo"])
def test_a_grant_after_a_withdrawal(officer: str) -> None:
    site = LoggedSite()
    site.c1.add("withdrawal", withdrawal(site, officer), query_id=None)
    report = site.whole().signed().audit()
    assert wrong(report) == {K.GRANT_AFTER_WITHDRAWAL}
    assert report.queries[0].withdrawn_by == (officer,)


def test_a_withdrawal_after_the_grant_is_in_order() -> None:
    site = LoggedSite().whole()
    site.c1.add("withdrawal", withdrawal(site, "bo"), query_id=None)
    assert site.signed().audit().findings == ()


def test_a_withdrawal_that_only_another_custodian_was_told_of() -> None:
    site = LoggedSite()
    site.logs["c2"].add(
        "withdrawal", withdrawal(site, "ana"), query_id=None, time_ms=s.NOW_MS - 3 * SLOT_MS
    )
    report = site.whole().signed().audit()
    assert not report.wrong
    assert K.GRANT_AFTER_WITHDRAWAL in lesser(report)


@pytest.mark.parametrize(
    "changes",
    [
        {"scopes": [replace(SCOPE, first_slot=37).to_value()]},
        {"scopes": [replace(SCOPE, last_slot=42).to_value()]},
        {"scopes": [replace(SCOPE, epoch=s.EPOCH - 1).to_value()]},
        {"scopes": [replace(SCOPE, address=replace(s.ADDRESS, camera="cam-2")).to_value()]},
        {"labels": [*LABELS, "evidence"]},
        {"labels": [*LABELS, "appearance"]},
    ],
)
def test_a_grant_outside_of_the_query(changes: dict[str, object]) -> None:
    site = LoggedSite().file().grant("c1", **changes)
    site.receive("c1", **changes)
    assert wrong(site.signed().audit()) == {K.GRANT_OUTSIDE_QUERY}


def test_grants_that_name_their_query_by_digest_are_judged_like_the_one_that_has_it_in_full() -> (
    None
):
    site = LoggedSite().whole()
    later = {"query": site.case.query.digest, "grant_id": s.fixed("a later grant", 16)}
    site.grant("c1", **later).receive("c1", grant_id=later["grant_id"])
    report = site.signed().audit()
    assert report.findings == ()
    assert sum(count.grants for count in report.queries) == 3
    outside = later | {"grant_id": s.fixed("another", 16), "labels": [*LABELS, "evidence"]}
    assert wrong(site.grant("c3", **outside).signed().audit()) == {K.GRANT_OUTSIDE_QUERY}


@pytest.mark.parametrize("before", [False, True])
def test_a_digest_that_no_earlier_entry_of_the_log_has_in_full_names_nothing(before: bool) -> None:
    site = LoggedSite().file()
    site.grant("c3")  # another custodian's log is of no help
    if before:
        site.grant("c1", query=site.case.query.digest, grant_id=s.fixed("too early", 16))
        site.grant("c1")
    else:
        site.grant("c1", query=s.fixed("no query's digest", 32))
    assert K.BODY_UNREADABLE in wrong(site.signed().audit())


def test_a_grant_of_a_destroyed_day() -> None:
    site = LoggedSite().file()
    site.c1.add("day-key-destroyed", {"epoch": s.EPOCH}, query_id=None)
    site.grant("c1").receive("c1")
    assert wrong(site.signed().audit()) == {K.GRANT_AFTER_DESTRUCTION}


@pytest.mark.parametrize(("days", "found"), [(14, set()), (15, {K.GRANT_AFTER_DESTRUCTION})])
def test_a_grant_of_a_day_that_should_have_been_destroyed(
    days: int, found: set[FindingKind]
) -> None:
    site = LoggedSite()
    start_ms = slot_start_ms(s.EPOCH - days, 38)
    site.case = s.case(window_from_ms=start_ms, window_to_ms=start_ms + 3 * SLOT_MS)
    scopes = [replace(SCOPE, epoch=s.EPOCH - days).to_value()]
    site.file().grant("c1", scopes=scopes).receive("c1", scopes=scopes)
    assert wrong(site.signed().audit()) == found


def test_a_received_grant_that_its_custodian_never_logged() -> None:
    site = LoggedSite().file().grant("c1").receive("c1").receive("c2")
    report = site.signed().audit()
    assert wrong(report) == {K.GRANT_NOT_LOGGED}


def test_a_received_grant_of_another_scope_than_was_logged() -> None:
    site = LoggedSite().file().grant("c1")
    site.receive("c1", scopes=[replace(SCOPE, last_slot=41).to_value()])
    assert wrong(site.signed().audit()) == {K.GRANT_NOT_LOGGED}


def test_a_received_grant_of_other_labels_than_were_logged() -> None:
    site = LoggedSite().file().grant("c1").receive("c1", labels=["meta", "live", "appearance"])
    assert wrong(site.signed().audit()) == {K.GRANT_NOT_LOGGED}


def test_a_grant_under_a_policy_without_a_floor_is_judged_on_the_rest() -> None:
    text = s.POLICY_TEXT.replace(b'"sample-16@00000000" = 0.4\n', b"")
    lax = parse_policy(text.replace(b"version = 1\n", b"version = 2\n"))
    for approvers, found in ((("bo", "cy"), set()), (("bo",), {K.GRANT_UNAUTHORIZED})):
        site = LoggedSite()
        site.policies[lax.digest] = lax
        for log in site.logs.values():
            log.add("policy", {"version": 2, "digest": lax.digest}, query_id=None)
        signed = s.query(policy_digest=lax.digest, thresholds={s.MODEL: -1.0})
        query = signed.sign(s.signing_key("ana"))
        approvals = [s.approval(query, name, policy_digest=lax.digest) for name in approvers]
        site.case = s.Case(query, approvals)
        report = site.file().grant("c1").receive("c1").signed().audit()
        assert wrong(report) == found
        assert K.GRANT_UNAUTHORIZED in lesser(report)


OF_SCHEMA_2 = (
    b'policy_schema = 2\nconfirmations = 1\npurposes = ["exercise"]\n'
    b"enrolment_without_witness = true\n"
) + s.POLICY_TEXT.replace(b"version = 1\n", b"version = 2\n")


def under(site: LoggedSite, text: bytes, /, **changes: Unpack[s.QueryChanges]) -> LoggedSite:
    """Put another policy in force; have a query of the second form filed and granted under it."""
    policy = parse_policy(text)
    site.policies[policy.digest] = policy
    for log in site.logs.values():
        log.add("policy", {"version": 2, "digest": policy.digest}, query_id=None)
    of_version_2: s.QueryChanges = {
        "query_id": s.fixed("second query", 16),
        "policy_digest": policy.digest,
        "version": 2,
        "purpose_kind": "exercise",
        "live": False,
        "contacts": False,
        "window_to_ms": s.NOW_MS // SLOT_MS * SLOT_MS,
    }
    query = s.query(**(of_version_2 | changes)).sign(s.signing_key("ana"))
    approvals = [s.approval(query, name, policy_digest=policy.digest) for name in ("bo", "cy")]
    site.case = s.Case(query, approvals)
    number = of_version_2["query_id"]
    body = grant_body(site.case, "c1", grant_id=s.fixed("second grant", 16))
    site.aggregator.add("query-filed", {"query": query.to_bytes()}, query_id=number)
    for approval in approvals:
        site.aggregator.add("approval", {"approval": approval.to_bytes()}, query_id=number)
    site.c1.add("grant", body, query_id=number)
    received = received_body(site.case, "c1", grant_id=s.fixed("second grant", 16))
    site.aggregator.add("grant-received", received, query_id=number)
    return site


def test_each_grant_is_judged_by_the_policy_that_was_in_force_of_either_schema() -> None:
    report = under(LoggedSite().whole(), OF_SCHEMA_2).signed().audit()
    assert not report.wrong
    assert {query.grants for query in report.queries} == {1, 2}


@pytest.mark.parametrize(
    ("text", "changes"),
    [
        (OF_SCHEMA_2, {"purpose_kind": "curiosity"}),
        (OF_SCHEMA_2, {"contacts": True}),
        (OF_SCHEMA_2, {"version": 1, "purpose_kind": ""}),
        (OF_SCHEMA_2.replace(b"enrolment_without_witness = true\n", b""), {}),
        (OF_SCHEMA_2.replace(b"confirmations = 1", b"confirmations = 2"), {}),
        (OF_SCHEMA_2.replace(b'"sample-16@00000000" = 0.4\n', b""), {}),
    ],
)
def test_a_grant_of_what_a_policy_of_the_second_schema_does_not_state_is_unauthorized(
    text: bytes, changes: s.QueryChanges
) -> None:
    """A missing floor, too: whatever reads this schema refuses that."""
    report = under(LoggedSite().whole(), text, **changes).signed().audit()
    assert wrong(report) == {K.GRANT_UNAUTHORIZED}
    assert {f.origin for f in report.wrong} == {origin_of(s.SITE, "c1")}


def test_a_log_from_before_labels_were_noted_is_still_right() -> None:
    site = LoggedSite().whole()
    old = received_body(site.case, "c2")
    del old["labels"]
    site.grant("c2").aggregator.add("grant-received", old)
    assert not wrong(site.signed().audit())


def test_a_grant_that_the_aggregator_refused_as_false_names_its_custodian() -> None:
    site = LoggedSite().whole()
    body = {"query_digest": site.case.query.digest, "reason": "c2: false keys", "custodian": "c2"}
    site.aggregator.add("refusal", body)
    site.c1.add("refusal", {"query_digest": site.case.query.digest, "reason": "expired"})
    report = site.signed().audit()
    assert not wrong(report)
    (found,) = [f for f in report.findings if f.kind is K.GRANT_FALSE]
    assert "c2: false keys" in found.message


def test_a_received_grant_of_a_custodian_whose_log_is_not_at_hand() -> None:
    site = LoggedSite().file().grant("c1").receive("c1").receive("c2")
    del site.logs["c2"]
    report = site.signed().audit()
    assert not report.wrong
    assert lesser(report) == {K.LOG_MISSING}


def test_grants_that_the_aggregator_keeps_quiet_about() -> None:
    report = LoggedSite().grant("c1").signed().audit()
    assert not report.wrong
    assert lesser(report) == {K.GRANT_NOT_RECEIVED, K.QUERY_NOT_FILED}


@pytest.mark.parametrize("custodians", [("c1",), ("c1", "c1"), ("c1", "c2")])
def test_a_match_without_enough_grants(custodians: tuple[str, ...]) -> None:
    site = LoggedSite().file().grant("c1").receive("c1").match(*custodians)
    assert wrong(site.signed().audit()) == {K.MATCH_WITHOUT_GRANT}


@pytest.mark.parametrize("before", [(), ("c1",), ("c3",)])
def test_a_match_before_its_grants(before: tuple[str, ...]) -> None:
    site = LoggedSite().file()
    for custodian in before:
        site.grant(custodian).receive(custodian)
    site.match()
    for custodian in {"c1", "c3"} - set(before):
        site.grant(custodian).receive(custodian)
    assert wrong(site.signed().audit()) == {K.MATCH_WITHOUT_GRANT}


def test_a_match_without_grants_shows_without_the_key_too() -> None:
    site = LoggedSite().file().grant("c1").receive("c1").match().signed()
    assert wrong(site.audit(auditor=None)) == {K.MATCH_WITHOUT_GRANT}


def test_an_approval_that_its_officer_never_signed() -> None:
    site = LoggedSite().whole()
    forged = replace(site.case.approvals[0], signature=bytes(64))
    site.aggregator.add("approval", {"approval": forged.to_bytes()})
    assert wrong(site.signed().audit()) == {K.SIGNATURE_FALSE}


def test_a_custodian_that_never_said_which_policy_was_in_force() -> None:
    site = LoggedSite()
    del site.c1.entries[1]
    report = site.whole().signed().audit()
    assert wrong(report) == {K.POLICY_UNKNOWN}
    assert {f.origin for f in report.wrong} == {site.c1.origin}


def test_a_grant_under_a_policy_that_is_not_at_hand() -> None:
    site = LoggedSite().whole().signed()
    site.policies = {}
    report = site.audit()
    assert not report.wrong
    assert lesser(report) == {K.POLICY_UNKNOWN}
    site = LoggedSite()
    site.case = s.case(policy_digest=bytes(32))
    assert K.POLICY_UNKNOWN in wrong(site.whole().signed().audit())


@given(st.lists(st.binary(max_size=60), max_size=5), st.lists(st.text(max_size=80), max_size=3))
@settings(max_examples=examples(60), deadline=None)
def test_garbage_in_a_log_is_reported_and_never_raises(
    entries: list[bytes], checkpoints: list[str]
) -> None:
    copy = LogCopy(origin_of(s.SITE, "c1"), tuple(entries), tuple(checkpoints))
    directory: Directory = s.directory()
    report = audit([copy], directory=directory, policies={}, now_ms=s.NOW_MS, auditor=EVE)
    assert K.CHECKPOINT_INVALID in wrong(report)


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.binary(max_size=40) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)
members = st.sampled_from(
    [
        "approval",
        "approvals",
        "candidates",
        "custodian",
        "decision",
        "digest",
        "epoch",
        "grant_id",
        "grant_ids",
        "labels",
        "query",
        "query_digest",
        "refused",
        "scopes",
        "segments",
        "sightings",
        "version",
        "withdrawal",
    ]
)


@given(kind=st.sampled_from(sorted(KINDS)), odd=st.dictionaries(members, values), data=st.data())
@settings(max_examples=examples(150), deadline=None)
def test_a_body_of_any_shape_is_reported_and_never_raises(
    kind: str, odd: dict[str, object], data: st.DataObject
) -> None:
    site = LoggedSite().whole()
    good = {
        "grant": grant_body(site.case, "c1"),
        "grant-received": received_body(site.case, "c1"),
        "match": match_body(site.case),
    }.get(kind, {})
    site.logs[data.draw(st.sampled_from(ROLES))].add(kind, good | odd)
    report = site.signed().audit()
    assert sum(log.entries for log in report.logs) == 19
    assert not wrong(report) & {K.ENTRY_ALTERED, K.ENTRY_MALFORMED}


def refusal(site: LoggedSite, officer: str) -> dict[str, object]:
    return {"refusal": s.refusal(site.case.query, officer).to_bytes()}


def test_a_refusal_is_counted_and_nobody_is_accused() -> None:
    site = LoggedSite().whole()
    site.aggregator.add("approval-refused", refusal(site, "di"))
    report = site.signed().audit()
    assert report.findings == ()
    (query,) = report.queries
    assert (query.approvers, query.refused_by, query.refusals) == (("bo", "cy"), ("di",), 0)
    assert {o.name: o.refused for o in report.officers if o.refused} == {"di": 1}


def test_an_approval_after_the_same_approvers_refusal_is_noted() -> None:
    site = LoggedSite()
    site.aggregator.add("query-filed", {"query": site.case.query.to_bytes()})
    site.aggregator.add("approval-refused", refusal(site, "bo"))
    for approval in site.case.approvals:
        site.aggregator.add("approval", {"approval": approval.to_bytes()})
    report = site.signed().audit()
    (finding,) = report.findings
    assert (finding.kind, finding.severity) == (K.APPROVED_AFTER_REFUSAL, Severity.NOTE)
    assert "the hours are too wide" in finding.message


def test_a_refusal_of_what_the_same_approver_approved_is_a_warning() -> None:
    site = LoggedSite().whole()
    site.aggregator.add("approval-refused", refusal(site, "bo"))
    report = site.signed().audit()
    assert [(f.kind, f.severity) for f in report.findings] == [
        (K.REFUSED_OWN_APPROVAL, Severity.WARNING)
    ]
    site = LoggedSite().whole()
    site.aggregator.add("withdrawal", withdrawal(site, "bo"))
    site.aggregator.add("approval-refused", refusal(site, "bo"))
    assert site.signed().audit().findings == ()


def test_a_refusal_that_its_approver_never_signed() -> None:
    site = LoggedSite().whole()
    for body in (
        {"refusal": replace(s.refusal(site.case.query, "di"), signature=bytes(64)).to_bytes()},
        {"refusal": s.refusal(site.case.query, "ana").to_bytes()},
    ):
        site.aggregator.add("approval-refused", body)
    report = site.signed().audit()
    assert [f.kind for f in report.findings] == [K.SIGNATURE_FALSE] * 2
    assert not any(officer.refused for officer in report.officers)


def test_a_refusal_in_a_custodians_log_is_none_of_its_business() -> None:
    site = LoggedSite().whole()
    site.c1.add("approval-refused", refusal(site, "di"))
    assert wrong(site.signed().audit()) == {K.ACTOR_FALSE}


def test_what_a_passkey_signed_before_it_was_withdrawn_is_still_judged_by_it() -> None:
    site = LoggedSite()
    site.case = case_by_passkeys(s.query())
    listed = with_passkeys(s.directory(), "ana", "bo", "cy")
    bare = {name: replace(one, passkeys=()) for name, one in listed.principals.items()}
    site.directory = listed.next_version(bare, at_ms=s.NOW_MS + 10 * SLOT_MS)
    site.whole().signed()
    assert K.SIGNATURE_FALSE in wrong(site.audit()), (
        "nothing at hand says whose passkeys these were"
    )
    remembered = site.audit(former=[listed])
    assert wrong(remembered) == set()
    (query,) = remembered.queries
    assert (query.requester, query.approvers) == ("ana", ("bo", "cy"))


def test_what_a_passkey_signed_after_it_was_withdrawn_is_nobodys_word() -> None:
    site = LoggedSite()
    site.case = case_by_passkeys(s.query())
    listed = with_passkeys(s.directory(), "ana", "bo", "cy")
    bare = {name: replace(one, passkeys=()) for name, one in listed.principals.items()}
    site.directory = listed.next_version(bare, at_ms=s.NOW_MS - 10 * SLOT_MS)
    site.whole().signed()
    found = site.audit(former=[listed])
    assert {K.SIGNATURE_FALSE, K.GRANT_UNAUTHORIZED} <= wrong(found)
