"""An audit tells queries, grants and signed lists by their digests: ids can be doubled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import protocol_samples as s
import pytest
from audit_samples import QUERY_ID, SCOPE, grant_body, match_body, received_body
from split_views import AUDITORS, EVE

from protocol.about_queries import Withdrawal
from protocol.audit import LogCopy, audit
from protocol.audit_editions import ADMISSIONS, DIRECTORY
from protocol.auditlog import (
    Checkpoint,
    cosign,
    origin_of,
    root_of,
    seal_entry,
    sign_checkpoint,
)
from protocol.findings import Finding, FindingKind, Report

K = FindingKind
ROLES = (*s.CUSTODIANS, "aggregator")
WIDE: s.QueryChanges = {"cameras": ("cam-1", "cam-2"), "purpose": "everybody, everywhere"}


class Logs:
    """The logs of all roles, in which each body goes into the log that a test names."""

    def __init__(self) -> None:
        self.entries: dict[str, list[bytes]] = {role: [] for role in ROLES}
        self.time_ms = s.NOW_MS
        for role in ROLES:
            self.add(role, "policy", {"version": 1, "digest": s.POLICY.digest}, None)

    def add(
        self, role: str, kind: str, body: Mapping[str, object], query_id: bytes | None = QUERY_ID
    ) -> None:
        self.time_ms += 1000
        entry = seal_entry(
            kind, body, time_ms=self.time_ms, actor=role, query_id=query_id, auditors=AUDITORS
        )
        self.entries[role].append(entry.to_bytes())

    def run(self, case: s.Case, tag: str, *, custodians: tuple[str, ...] = ("c1", "c3")) -> None:
        """File, approve, grant, receive and match one query; ``tag`` tells its grants' ids."""
        self.add("aggregator", "query-filed", {"query": case.query.to_bytes()})
        for approval in case.approvals:
            self.add("aggregator", "approval", {"approval": approval.to_bytes()})
        ids = {name: s.fixed(f"{tag} {name}", 16) for name in custodians}
        for name in custodians:
            self.add(name, "grant", grant_body(case, name, grant_id=ids[name]))
            body = received_body(case, name, grant_id=ids[name])
            self.add("aggregator", "grant-received", body)
        self.add("aggregator", "match", match_body(case) | {"grant_ids": list(ids.values())})

    def copy(self, role: str) -> LogCopy:
        held, origin = self.entries[role], origin_of(s.SITE, role)
        checkpoint = Checkpoint(origin, len(held), root_of(held))
        lines = [
            cosign(
                checkpoint,
                witness=origin_of(s.SITE, witness),
                key=s.signing_key(witness),
                time_s=self.time_ms // 1000,
            )
            for witness in ROLES
            if witness != role
        ]
        text = sign_checkpoint(checkpoint, s.signing_key(role)) + "".join(lines)
        return LogCopy(origin, tuple(held), (text,))

    def audit(self, *, sealed: bool = False, **more: object) -> Report:
        return audit(
            [self.copy(role) for role in ROLES],
            directory=s.directory(),
            policies={s.POLICY.digest: s.POLICY},
            now_ms=self.time_ms,
            auditor=None if sealed else EVE,
            **more,  # type: ignore[arg-type]
        )


def of_kind(report: Report, kind: FindingKind) -> list[Finding]:
    return [finding for finding in report.findings if finding.kind is kind]


@pytest.mark.parametrize("wide_first", [False, True])
def test_two_queries_under_one_id_are_two_and_the_wider_is_not_hidden(*, wide_first: bool) -> None:
    narrow, wide = s.case(), s.case(**WIDE)
    logs = Logs()
    for tag, case in sorted({"1": wide, "2": narrow}.items(), reverse=not wide_first):
        logs.run(case, tag)
    report = logs.audit()
    told = {query.digest: query for query in report.queries}
    assert set(told) == {narrow.query.digest.hex(), wide.query.digest.hex()}
    assert {query.query for query in report.queries} == {QUERY_ID.hex()}
    shown = told[wide.query.digest.hex()]
    assert (shown.purpose, shown.cameras) == ("everybody, everywhere", 2)
    assert {(q.grants, q.received, q.matches, q.approvers) for q in report.queries} == {
        (2, 2, 1, ("bo", "cy"))
    }
    (finding,) = of_kind(report, K.ID_REUSED)
    assert finding in report.wrong
    for digest in told:
        assert str(digest)[:16] in finding.message


def test_a_second_query_that_only_a_custodian_granted_is_told_apart_too() -> None:
    logs = Logs()
    logs.run(s.case(), "1")
    logs.add("c2", "grant", grant_body(s.case(**WIDE), "c2"))
    report = logs.audit()
    assert len(report.queries) == 2
    (finding,) = of_kind(report, K.ID_REUSED)
    assert finding.origin == origin_of(s.SITE, "c2")


def test_a_withdrawal_counts_for_its_own_query_alone() -> None:
    narrow, wide = s.case(), s.case(**WIDE)
    logs = Logs()
    logs.run(narrow, "1")
    logs.run(wide, "2")
    signed = Withdrawal(wide.query.digest, "no", s.NOW_MS).sign(s.signing_key("bo"))
    logs.add("aggregator", "withdrawal", {"withdrawal": signed.to_bytes()})
    told = {query.digest: query.withdrawn_by for query in logs.audit().queries}
    assert told == {narrow.query.digest.hex(): (), wide.query.digest.hex(): ("bo",)}


def test_entries_without_a_digest_count_for_the_only_query_of_their_id() -> None:
    logs = Logs()
    logs.run(s.case(), "1")
    logs.add("c2", "refusal", {"query_digest": b"", "reason": "not readable"})
    (query,) = logs.audit().queries
    assert query.refusals == 1
    (sealed,) = logs.audit(sealed=True).queries
    assert (sealed.digest, sealed.refusals, sealed.grants) == (None, 1, 2)


def test_an_entry_that_names_another_query_than_its_body_is_reported() -> None:
    logs = Logs()
    logs.run(s.case(), "1")
    body = {"query_digest": s.case().query.digest, "reader": "ana"}
    logs.add("aggregator", "result-read", body, bytes(16))
    report = logs.audit()
    (query,) = report.queries
    assert query.reads == 1
    assert "another query than the entry names" in of_kind(report, K.BODY_UNREADABLE)[0].message


def test_two_grants_under_one_id_are_not_taken_for_one() -> None:
    logs = Logs()
    logs.run(s.case(), "1")
    wider = [replace(SCOPE, last_slot=41).to_value()]
    logs.add("c1", "grant", grant_body(s.case(), "c1", grant_id=s.fixed("1 c1", 16), scopes=wider))
    (finding,) = of_kind(logs.audit(), K.ID_REUSED)
    assert finding.origin == origin_of(s.SITE, "c1")
    logs = Logs()
    logs.run(s.case(), "1")
    body = received_body(s.case(), "c1", grant_id=s.fixed("1 c1", 16), scopes=wider)
    logs.add("aggregator", "grant-received", body)
    assert [f.origin for f in of_kind(logs.audit(), K.ID_REUSED)] == [
        origin_of(s.SITE, "aggregator")
    ]


def test_a_custodian_cannot_hide_its_grant_behind_the_id_of_anothers() -> None:
    logs = Logs()
    logs.run(s.case(), "1")
    logs.add("c2", "grant", grant_body(s.case(), "c2", grant_id=s.fixed("1 c1", 16)))
    report = logs.audit()
    assert [f.origin for f in of_kind(report, K.GRANT_NOT_RECEIVED)] == [origin_of(s.SITE, "c2")]
    assert not of_kind(report, K.GRANT_NOT_LOGGED)


def test_grants_of_custodians_that_the_aggregator_made_up_back_nothing() -> None:
    logs, case = Logs(), s.case()
    logs.add("aggregator", "query-filed", {"query": case.query.to_bytes()})
    invented = ("north", "south")
    for name in invented:
        logs.add("aggregator", "grant-received", received_body(case, name))
    logs.add("aggregator", "match", match_body(case, invented))
    report = logs.audit()
    assert {f.kind for f in report.wrong} == {K.GRANT_NOT_LOGGED, K.MATCH_WITHOUT_GRANT}
    assert "lists no custodian 'north'" in of_kind(report, K.GRANT_NOT_LOGGED)[0].message


@pytest.mark.parametrize(
    ("role", "kind"), [("c1", "query-filed"), ("c1", "grant-received"), ("aggregator", "grant")]
)
def test_an_entry_that_only_another_duty_writes_is_named(role: str, kind: str) -> None:
    """Else a custodian files, in its own log, the query that the aggregator keeps quiet about."""
    logs, case = Logs(), s.case()
    bodies: dict[str, Mapping[str, object]] = {
        "query-filed": {"query": case.query.to_bytes()},
        "grant-received": received_body(case, "c1"),
        "grant": grant_body(case, "c1"),
    }
    logs.add(role, kind, bodies[kind])
    finding = of_kind(logs.audit(), K.ACTOR_FALSE)[0]
    assert (finding.origin, finding.index) == (origin_of(s.SITE, role), 1)
    assert of_kind(logs.audit(sealed=True), K.ACTOR_FALSE)


@pytest.mark.parametrize("kind", ["directory", "policy"])
def test_different_lists_of_one_version_in_the_logs_contradict_each_other(kind: str) -> None:
    logs = Logs()
    for number, role in enumerate(ROLES):
        logs.add(role, kind, {"version": 4, "digest": bytes([number]) * 32}, None)
    report = logs.audit()
    (finding,) = of_kind(report, K.EDITION_CONTRADICTED)
    assert finding in report.wrong
    assert f"4 different {kind} of version 4" in finding.message
    for number, role in enumerate(ROLES):
        assert f"{bytes([number]).hex() * 8} in the log of '{role}'" in finding.message


def test_one_version_everywhere_and_different_ones_over_time_are_in_order() -> None:
    logs = Logs()
    for version in (3, 4):
        for role in ROLES:
            body = {"version": version, "digest": bytes([version]) * 32}
            more = {"admissions_version": 1, "admissions_digest": bytes(32)}
            logs.add(role, "directory", body | more, None)
    report = logs.audit(
        editions={(DIRECTORY, 4, 1): bytes([4]) * 32, (ADMISSIONS, 1, 1): bytes(32)}
    )
    assert not of_kind(report, K.EDITION_CONTRADICTED)


@pytest.mark.parametrize("kind", [DIRECTORY, ADMISSIONS])
def test_a_list_that_is_not_the_auditors_own_of_that_version(kind: str) -> None:
    logs = Logs()
    body = {"version": 4, "digest": bytes(32)}
    more = {"admissions_version": 4, "admissions_digest": bytes(32)}
    logs.add("c1", "directory", body | more, None)
    (finding,) = of_kind(
        logs.audit(editions={(kind, 4, 1): bytes([1]) * 32}), K.EDITION_CONTRADICTED
    )
    assert "your own copy" in finding.message
    assert finding.origin == origin_of(s.SITE, "c1")


def test_the_two_forms_of_one_directory_are_two_digests_and_no_contradiction() -> None:
    logs = Logs()
    for role, form in zip(ROLES, (1, 2, 2, None), strict=True):
        digest = bytes([form or 1]) * 32
        body = {"version": 4, "digest": digest} | ({} if form is None else {"form": form})
        logs.add(role, "directory", body, None)
    own = {(DIRECTORY, 4, 2): bytes([2]) * 32, (DIRECTORY, 4, 1): bytes([1]) * 32}
    assert not of_kind(logs.audit(editions=own), K.EDITION_CONTRADICTED)


@pytest.mark.parametrize("form", [1, 2])
def test_two_digests_of_one_form_contradict_each_other(form: int) -> None:
    logs = Logs()
    for number, role in enumerate(ROLES[:2]):
        body = {"version": 4, "form": form, "digest": bytes([number]) * 32}
        logs.add(role, "directory", body, None)
    (finding,) = of_kind(logs.audit(), K.EDITION_CONTRADICTED)
    assert "2 different directory of version 4" in finding.message


@pytest.mark.parametrize("form", ["2", -1, 1 << 64, None])
def test_a_form_that_is_no_number_is_reported(form: object) -> None:
    logs = Logs()
    logs.add("c1", "directory", {"version": 4, "form": form, "digest": bytes(32)}, None)
    assert of_kind(logs.audit(), K.BODY_UNREADABLE)


def test_a_number_in_the_place_of_a_digest_takes_no_memory() -> None:
    """``bytes`` of a number would make that many zeros."""
    huge = 1 << 62
    logs = Logs()
    logs.run(s.case(), "1")
    logs.add("c2", "policy", {"version": 2, "digest": huge}, None)
    logs.add("c2", "directory", {"version": 2, "digest": huge}, None)
    logs.add("c2", "directory", {"version": 10**5000, "digest": bytes(32)}, None)
    logs.add("c2", "directory", {"version": 10**5000, "digest": bytes(31)}, None)
    logs.add("c2", "grant", grant_body(s.case(), "c2", grant_id=huge))
    logs.add("aggregator", "grant-received", received_body(s.case(), "c2", query_digest=huge))
    logs.add("aggregator", "match", match_body(s.case()) | {"grant_ids": [huge]})
    report = logs.audit()
    assert len(of_kind(report, K.BODY_UNREADABLE)) >= 4
