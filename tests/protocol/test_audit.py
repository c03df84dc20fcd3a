"""An audit finds each thing that is wrong with the logs, by name; nothing when all is well."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Unpack

import protocol_samples as s
import pytest
from audit_samples import LABELS, QUERY_ID, SCOPE, grant_body, match_body, received_body
from examples import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.about_queries import Withdrawal
from protocol.audit import AuditorKey, LogCopy, audit
from protocol.auditlog import (
    KINDS,
    Checkpoint,
    Entry,
    cosign,
    origin_of,
    root_of,
    seal_entry,
    sign_checkpoint,
)
from protocol.directory import Directory
from protocol.findings import FindingKind, Report, Severity
from protocol.names import SLOT_MS, slot_start_ms
from protocol.policy import parse_policy
from protocol.results import Decision

K = FindingKind
ROLES = (*s.CUSTODIANS, "aggregator")
EVE = AuditorKey("eve", s.sealing_key("eve"))


@dataclass
class Log:
    """A log in the making."""

    actor: str
    entries: list[bytes] = field(default_factory=list)
    checkpoints: list[str] = field(default_factory=list)
    time_ms: int = s.NOW_MS

    @property
    def origin(self) -> str:
        return origin_of(s.SITE, self.actor)

    def add(
        self,
        kind: str,
        body: Mapping[str, object],
        *,
        query_id: bytes | None = QUERY_ID,
        **more: int,
    ) -> None:
        self.time_ms += 1000
        entry = seal_entry(
            kind,
            body,
            time_ms=more.get("time_ms", self.time_ms),
            actor=self.actor,
            query_id=query_id,
            auditors={"eve": s.sealing_key("eve").public},
        )
        self.entries.append(entry.to_bytes())

    def sign(self, *, witnesses: tuple[str, ...] = ROLES, size: int | None = None) -> None:
        held = self.entries[:size]
        checkpoint = Checkpoint(self.origin, len(held), root_of(held))
        text = sign_checkpoint(checkpoint, s.signing_key(self.actor))
        for witness in witnesses:
            if witness != self.actor:
                text += cosign(
                    checkpoint,
                    witness=origin_of(s.SITE, witness),
                    key=s.signing_key(witness),
                    time_s=self.time_ms // 1000,
                )
        self.checkpoints.append(text)

    def copy(self) -> LogCopy:
        return LogCopy(self.origin, tuple(self.entries), tuple(self.checkpoints))


class Site:
    """The logs of a site in which one query ran: filed, approved, granted by two, matched."""

    def __init__(self) -> None:
        self.case = s.case()
        self.logs = {role: Log(role) for role in ROLES}
        self.directory = s.directory()
        self.policies = {s.POLICY.digest: s.POLICY}
        for log in self.logs.values():
            log.add("started", {"version": "1"}, query_id=None)
            log.add("policy", {"version": 1, "digest": s.POLICY.digest}, query_id=None)
        self.aggregator = self.logs["aggregator"]
        self.c1 = self.logs["c1"]

    def file(self) -> Site:
        self.aggregator.add("query-filed", {"query": self.case.query.to_bytes()})
        for approval in self.case.approvals:
            self.aggregator.add("approval", {"approval": approval.to_bytes()})
        return self

    def grant(self, custodian: str, **changes: object) -> Site:
        self.logs[custodian].add("grant", grant_body(self.case, custodian, **changes))
        return self

    def receive(self, custodian: str, **changes: object) -> Site:
        self.aggregator.add("grant-received", received_body(self.case, custodian, **changes))
        return self

    def match(self, *custodians: str) -> Site:
        self.aggregator.add("match", match_body(self.case, custodians or ("c1", "c3")))
        return self

    def whole(self) -> Site:
        self.file()
        for custodian in ("c1", "c3"):
            self.grant(custodian).receive(custodian)
        self.match()
        decision = Decision(self.case.query.digest, s.fixed("candidate", 16), "confirmed", s.NOW_MS)
        self.aggregator.add(
            "decision", {"decision": decision.sign(s.signing_key("ana")).to_bytes()}
        )
        self.aggregator.add("result-read", {"query_digest": self.case.query.digest})
        return self

    def signed(self) -> Site:
        for log in self.logs.values():
            log.sign()
        return self

    def audit(self, *, auditor: AuditorKey | None = EVE, late: bool = False) -> Report:
        return audit(
            [log.copy() for log in self.logs.values()],
            directory=self.directory,
            policies=self.policies,
            now_ms=s.NOW_MS + (100 * SLOT_MS if late else 60_000),
            auditor=auditor,
        )


def wrong(report: Report) -> set[FindingKind]:
    return {finding.kind for finding in report.wrong}


def lesser(report: Report) -> set[FindingKind]:
    return {f.kind for f in report.findings if f.severity is not Severity.WRONG}


@pytest.mark.parametrize("auditor", [EVE, None])
def test_nothing_is_found_where_all_is_well(auditor: AuditorKey | None) -> None:
    report = Site().whole().signed().audit(auditor=auditor, late=True)
    assert report.findings == ()
    assert [log.witnesses for log in report.logs] == [
        tuple(sorted(set(ROLES) - {role})) for role in ROLES
    ]
    assert report.auditor == ("eve" if auditor else None)


def test_queries_are_counted_against_approvals_and_grants() -> None:
    report = Site().whole().signed().audit()
    (query,) = report.queries
    assert (query.requester, query.approvers) == ("ana", ("bo", "cy"))
    assert (query.grants, query.granting_custodians, query.received) == (2, ("c1", "c3"), 2)
    assert (query.matches, query.sightings, query.candidates) == (1, 40, 2)
    assert (query.decisions, query.reads, query.granted_slots) == (1, 1, 6)
    officers = {officer.name: officer for officer in report.officers}
    assert (officers["ana"].queries, officers["ana"].grants_asked) == (1, 2)
    assert (officers["bo"].approvals, officers["bo"].grants_approved) == (1, 2)


def test_without_the_key_entries_are_counted_and_bodies_stay_closed() -> None:
    (query,) = Site().whole().signed().audit(auditor=None).queries
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
    site = Site().whole().signed()
    entries = site.logs[role].entries
    number = data.draw(st.integers(0, len(entries) - 1))
    changed = bytearray(entries[number])
    changed[place % len(changed)] ^= flip
    entries[number] = bytes(changed)
    assert K.ENTRY_ALTERED in wrong(site.audit())


def test_a_removed_entry_at_the_end() -> None:
    site = Site().whole().signed()
    site.c1.entries.pop()
    assert wrong(site.audit()) >= {K.LOG_INCONSISTENT}


def test_a_removed_entry_in_the_middle_and_another_in_its_place() -> None:
    site = Site().whole().signed()
    site.c1.entries[1] = site.c1.entries[0]
    assert wrong(site.audit()) >= {K.ENTRY_ALTERED}


def test_the_altered_entry_is_narrowed_down_by_earlier_checkpoints() -> None:
    site = Site().whole()
    site.aggregator.sign(size=3)
    site.signed()
    site.aggregator.entries[5] = site.aggregator.entries[4]
    (finding,) = (f for f in site.audit().wrong if f.kind is K.ENTRY_ALTERED)
    assert "after the first 3" in finding.message


def test_a_fork_shows_two_histories_of_one_size() -> None:
    site = Site().whole().signed()
    other = Log("c1", list(site.c1.entries))
    other.entries[-1] = other.entries[0]
    other.sign()
    site.c1.checkpoints += other.checkpoints
    assert wrong(site.audit()) == {K.LOG_FORKED}


def test_a_history_rewritten_after_it_was_signed() -> None:
    site = Site().whole()
    earlier = Log("c1", list(site.c1.entries))
    earlier.entries[-1] = earlier.entries[0]
    earlier.sign()
    site.c1.add("refusal", {"query_digest": b"", "reason": "asked twice"})
    site.signed()
    site.c1.checkpoints += earlier.checkpoints
    assert wrong(site.audit()) == {K.LOG_INCONSISTENT}


def test_a_checkpoint_signed_by_another_role() -> None:
    site = Site().whole().signed()
    held = site.c1.entries
    checkpoint = Checkpoint(site.c1.origin, len(held), root_of(held))
    site.c1.checkpoints = [sign_checkpoint(checkpoint, s.signing_key("c2"))]
    assert wrong(site.audit()) >= {K.CHECKPOINT_INVALID, K.NOT_YET_SIGNED}


@pytest.mark.parametrize("text", ["", "sealtrace/vectors/c1\n", "a\n1\nAAAA\n\n— a AAAA\n", "\x00"])
def test_a_checkpoint_that_is_not_one(text: str) -> None:
    site = Site().whole().signed()
    site.c1.checkpoints.append(text)
    assert wrong(site.audit()) == {K.CHECKPOINT_INVALID}


def test_entries_that_no_witness_saw_are_excused_for_a_quarter_of_an_hour() -> None:
    site = Site().whole()
    for log in site.logs.values():
        log.sign(witnesses=())
    early = site.audit()
    assert not early.wrong
    assert lesser(early) == {K.NOT_YET_COSIGNED}
    assert {f.severity for f in early.findings} == {Severity.NOTE}
    assert wrong(site.audit(late=True)) == {K.COSIGNATURES_MISSING}


def test_one_role_that_is_away_leaves_entries_uncovered_which_is_no_violation_at_first() -> None:
    site = Site().whole()
    for log in site.logs.values():
        log.sign(witnesses=("c1", "c2", "aggregator"))
    report = site.audit(late=True)
    assert not report.wrong
    (of_c1,) = (f for f in report.findings if f.origin == site.c1.origin)
    assert (of_c1.kind, of_c1.severity) == (K.NOT_YET_COSIGNED, Severity.WARNING)
    assert "by 2 of the 3 others that it takes, for 24 h now (not by 'c3')" in of_c1.message
    assert [log.covered_size for log in report.uncovered] == [0, 0, 0]  # c3's log has its three


def test_one_role_that_stays_away_fails_the_audit_after_three_days() -> None:
    site = Site().whole()
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
    site = Site().whole()
    more = s.principal("c4", "custodian")
    site.directory = replace(site.directory, principals={**site.directory.principals, "c4": more})
    site.logs["c4"] = Log("c4")
    site.logs["c4"].add("policy", {"version": 1, "digest": s.POLICY.digest}, query_id=None)
    report = site.signed().audit(late=True)
    assert not report.wrong
    assert {f.severity for f in report.findings} == {Severity.NOTE}
    assert lesser(report) == {K.COSIGNATURES_MISSING}
    assert not report.uncovered


def test_the_cosignatures_of_a_revoked_role_count_no_longer() -> None:
    site = Site().whole()
    for log in site.logs.values():
        log.sign(witnesses=("c3", "aggregator"))
    site.directory = site.directory.revoke("c3", at_ms=s.NOW_MS + SLOT_MS)
    report = site.audit(late=True)
    assert {f.kind for f in report.wrong if f.origin == site.c1.origin} == {K.COSIGNATURES_MISSING}


def test_an_entry_dated_after_the_fetch_cannot_put_off_its_witnesses() -> None:
    site = Site().whole()
    site.c1.add(
        "refusal", {"query_digest": b"", "reason": "x"}, time_ms=s.NOW_MS + 10_000 * SLOT_MS
    )
    for log in site.logs.values():
        log.sign(witnesses=("c1", "c2"))
    assert K.TIME_WRONG in wrong(site.audit())


def test_a_false_cosignature() -> None:
    site = Site().whole().signed()
    forged = Log("c1", list(site.c1.entries[:-1]))
    forged.sign()
    line = forged.checkpoints[0].splitlines(keepends=True)[-1]
    site.c1.checkpoints.append(
        site.c1.checkpoints[0].replace(site.c1.checkpoints[0].splitlines(keepends=True)[-1], line)
    )
    assert wrong(site.audit()) == {K.CHECKPOINT_INVALID}


def test_entries_not_yet_signed_for_are_a_note() -> None:
    site = Site().whole().signed()
    site.c1.add("refusal", {"query_digest": b"", "reason": "late"})
    report = site.audit()
    assert not report.wrong
    assert lesser(report) == {K.NOT_YET_SIGNED}


def test_a_missing_log_and_an_unknown_one() -> None:
    site = Site().whole().signed()
    del site.logs["c2"]
    report = site.audit()
    assert not report.wrong
    assert lesser(report) == {K.LOG_MISSING}
    site.logs["mallory"] = Log("mallory")
    assert K.LOG_UNKNOWN in wrong(site.audit())


def test_an_entry_that_speaks_for_another_role() -> None:
    site = Site().whole()
    entry = Entry("started", s.NOW_MS + 9000, "c2", None, {})
    site.c1.entries.append(entry.to_bytes())
    assert K.ACTOR_FALSE in wrong(site.signed().audit())


def test_bytes_that_are_no_entry() -> None:
    site = Site().whole()
    site.c1.entries.append(b"\xa0")
    assert wrong(site.signed().audit()) == {K.ENTRY_MALFORMED}


def test_a_body_sealed_to_nobody_and_a_body_that_is_not_of_its_kind() -> None:
    site = Site().whole()
    site.c1.entries.append(Entry("started", s.NOW_MS + 9000, "c1", None, {}).to_bytes())
    report = site.signed().audit()
    assert not report.wrong
    assert lesser(report) == {K.BODY_UNREADABLE}
    site = Site().whole()
    site.c1.add("grant", {"grant_id": 7})
    assert wrong(site.signed().audit()) == {K.BODY_UNREADABLE}


def test_time_that_runs_backwards() -> None:
    site = Site().whole()
    site.c1.add("refusal", {"query_digest": b"", "reason": "x"}, time_ms=s.NOW_MS - 20 * SLOT_MS)
    report = site.signed().audit()
    assert lesser(report) == {K.TIME_WRONG}


def test_an_entry_dated_before_witnesses_saw_the_log_end() -> None:
    site = Site().whole().signed()
    site.c1.add("refusal", {"query_digest": b"", "reason": "x"}, time_ms=s.NOW_MS - 20 * SLOT_MS)
    assert wrong(site.signed().audit()) == {K.TIME_WRONG}


def test_an_entry_dated_after_witnesses_saw_it() -> None:
    site = Site().whole()
    site.c1.add("refusal", {"query_digest": b"", "reason": "x"}, time_ms=s.NOW_MS + SLOT_MS)
    assert wrong(site.signed().audit()) == {K.TIME_WRONG}


def too_few_approvals(site: Site) -> None:
    site.case = s.case(approvers=("bo",))


def approved_by_the_requester(site: Site) -> None:
    site.case = s.case(approvers=("bo", "ana"))


def expired(site: Site) -> None:
    site.case = s.case(not_after_ms=s.NOW_MS - 1)


def over_the_policy(site: Site) -> None:
    site.case = s.case(max_candidates=101)


def programme_ended(site: Site) -> None:
    ended = replace(s.POLICY, programme_ends_ms=s.NOW_MS - 1)
    site.policies = {s.POLICY.digest: ended}


def approver_long_revoked(site: Site) -> None:
    site.directory = site.directory.revoke("cy", at_ms=s.NOW_MS - 2 * SLOT_MS)


def other_policy_in_force(site: Site) -> None:
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
def test_a_grant_that_no_custodian_may_give(change: Callable[[Site], None]) -> None:
    site = Site()
    change(site)
    report = site.whole().signed().audit()
    assert K.GRANT_UNAUTHORIZED in wrong(report)
    assert {f.origin for f in report.wrong if f.kind is K.GRANT_UNAUTHORIZED} == {
        site.logs["c1"].origin,
        site.logs["c3"].origin,
    }


def test_an_approver_revoked_after_the_grant_did_no_wrong() -> None:
    site = Site().whole().signed()
    site.directory = site.directory.revoke("cy", at_ms=s.NOW_MS + SLOT_MS)
    site.directory = site.directory.revoke("ana", at_ms=s.NOW_MS + SLOT_MS)
    assert site.audit().findings == ()


def withdrawal(site: Site, officer: str) -> dict[str, object]:
    signed = Withdrawal(site.case.query.digest, "no", s.NOW_MS).sign(s.signing_key(officer))
    return {"withdrawal": signed.to_bytes()}


@pytest.mark.parametrize("officer", ["ana", "bo"])
def test_a_grant_after_a_withdrawal(officer: str) -> None:
    site = Site()
    site.c1.add("withdrawal", withdrawal(site, officer), query_id=None)
    report = site.whole().signed().audit()
    assert wrong(report) == {K.GRANT_AFTER_WITHDRAWAL}
    assert report.queries[0].withdrawn_by == (officer,)


def test_a_withdrawal_after_the_grant_is_in_order() -> None:
    site = Site().whole()
    site.c1.add("withdrawal", withdrawal(site, "bo"), query_id=None)
    assert site.signed().audit().findings == ()


def test_a_withdrawal_that_only_another_custodian_was_told_of() -> None:
    site = Site()
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
    site = Site().file().grant("c1", **changes)
    site.receive("c1", **changes)
    assert wrong(site.signed().audit()) == {K.GRANT_OUTSIDE_QUERY}


def test_a_grant_of_a_destroyed_day() -> None:
    site = Site().file()
    site.c1.add("day-key-destroyed", {"epoch": s.EPOCH}, query_id=None)
    site.grant("c1").receive("c1")
    assert wrong(site.signed().audit()) == {K.GRANT_AFTER_DESTRUCTION}


@pytest.mark.parametrize(("days", "found"), [(14, set()), (15, {K.GRANT_AFTER_DESTRUCTION})])
def test_a_grant_of_a_day_that_should_have_been_destroyed(
    days: int, found: set[FindingKind]
) -> None:
    site = Site()
    start_ms = slot_start_ms(s.EPOCH - days, 38)
    site.case = s.case(window_from_ms=start_ms, window_to_ms=start_ms + 3 * SLOT_MS)
    scopes = [replace(SCOPE, epoch=s.EPOCH - days).to_value()]
    site.file().grant("c1", scopes=scopes).receive("c1", scopes=scopes)
    assert wrong(site.signed().audit()) == found


def test_a_received_grant_that_its_custodian_never_logged() -> None:
    site = Site().file().grant("c1").receive("c1").receive("c2")
    report = site.signed().audit()
    assert wrong(report) == {K.GRANT_NOT_LOGGED}


def test_a_received_grant_of_another_scope_than_was_logged() -> None:
    site = Site().file().grant("c1")
    site.receive("c1", scopes=[replace(SCOPE, last_slot=41).to_value()])
    assert wrong(site.signed().audit()) == {K.GRANT_NOT_LOGGED}


def test_a_received_grant_of_other_labels_than_were_logged() -> None:
    site = Site().file().grant("c1").receive("c1", labels=["meta", "live", "appearance"])
    assert wrong(site.signed().audit()) == {K.GRANT_NOT_LOGGED}


def test_a_grant_under_a_policy_without_a_floor_is_judged_on_the_rest() -> None:
    text = s.POLICY_TEXT.replace(b'"sample-16@00000000" = 0.4\n', b"")
    lax = parse_policy(text.replace(b"version = 1\n", b"version = 2\n"))
    for approvers, found in ((("bo", "cy"), set()), (("bo",), {K.GRANT_UNAUTHORIZED})):
        site = Site()
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


def under(site: Site, text: bytes, /, **changes: Unpack[s.QueryChanges]) -> Site:
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
    report = under(Site().whole(), OF_SCHEMA_2).signed().audit()
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
    report = under(Site().whole(), text, **changes).signed().audit()
    assert wrong(report) == {K.GRANT_UNAUTHORIZED}
    assert {f.origin for f in report.wrong} == {origin_of(s.SITE, "c1")}


def test_a_log_from_before_labels_were_noted_is_still_right() -> None:
    site = Site().whole()
    old = received_body(site.case, "c2")
    del old["labels"]
    site.grant("c2").aggregator.add("grant-received", old)
    assert not wrong(site.signed().audit())


def test_a_grant_that_the_aggregator_refused_as_false_names_its_custodian() -> None:
    site = Site().whole()
    body = {"query_digest": site.case.query.digest, "reason": "c2: false keys", "custodian": "c2"}
    site.aggregator.add("refusal", body)
    site.c1.add("refusal", {"query_digest": site.case.query.digest, "reason": "expired"})
    report = site.signed().audit()
    assert not wrong(report)
    (found,) = [f for f in report.findings if f.kind is K.GRANT_FALSE]
    assert "c2: false keys" in found.message


def test_a_received_grant_of_a_custodian_whose_log_is_not_at_hand() -> None:
    site = Site().file().grant("c1").receive("c1").receive("c2")
    del site.logs["c2"]
    report = site.signed().audit()
    assert not report.wrong
    assert lesser(report) == {K.LOG_MISSING}


def test_grants_that_the_aggregator_keeps_quiet_about() -> None:
    report = Site().grant("c1").signed().audit()
    assert not report.wrong
    assert lesser(report) == {K.GRANT_NOT_RECEIVED, K.QUERY_NOT_FILED}


@pytest.mark.parametrize("custodians", [("c1",), ("c1", "c1"), ("c1", "c2")])
def test_a_match_without_enough_grants(custodians: tuple[str, ...]) -> None:
    site = Site().file().grant("c1").receive("c1").match(*custodians)
    assert wrong(site.signed().audit()) == {K.MATCH_WITHOUT_GRANT}


@pytest.mark.parametrize("before", [(), ("c1",), ("c3",)])
def test_a_match_before_its_grants(before: tuple[str, ...]) -> None:
    site = Site().file()
    for custodian in before:
        site.grant(custodian).receive(custodian)
    site.match()
    for custodian in {"c1", "c3"} - set(before):
        site.grant(custodian).receive(custodian)
    assert wrong(site.signed().audit()) == {K.MATCH_WITHOUT_GRANT}


def test_a_match_without_grants_shows_without_the_key_too() -> None:
    site = Site().file().grant("c1").receive("c1").match().signed()
    assert wrong(site.audit(auditor=None)) == {K.MATCH_WITHOUT_GRANT}


def test_an_approval_that_its_officer_never_signed() -> None:
    site = Site().whole()
    forged = replace(site.case.approvals[0], signature=bytes(64))
    site.aggregator.add("approval", {"approval": forged.to_bytes()})
    assert wrong(site.signed().audit()) == {K.SIGNATURE_FALSE}


def test_a_custodian_that_never_said_which_policy_was_in_force() -> None:
    site = Site()
    del site.c1.entries[1]
    report = site.whole().signed().audit()
    assert wrong(report) == {K.POLICY_UNKNOWN}
    assert {f.origin for f in report.wrong} == {site.c1.origin}


def test_a_grant_under_a_policy_that_is_not_at_hand() -> None:
    site = Site().whole().signed()
    site.policies = {}
    report = site.audit()
    assert not report.wrong
    assert lesser(report) == {K.POLICY_UNKNOWN}
    site = Site()
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
    site = Site().whole()
    good = {
        "grant": grant_body(site.case, "c1"),
        "grant-received": received_body(site.case, "c1"),
        "match": match_body(site.case),
    }.get(kind, {})
    site.logs[data.draw(st.sampled_from(ROLES))].add(kind, good | odd)
    report = site.signed().audit()
    assert sum(log.entries for log in report.logs) == 19
    assert not wrong(report) & {K.ENTRY_ALTERED, K.ENTRY_MALFORMED}
