"""An audit counts what officers took out of the system, and finds exports of others."""

from __future__ import annotations

from dataclasses import replace

import protocol_samples as s
import query_samples_v2 as q2
from audit_samples import QUERY_ID
from split_views import AUDITORS, EVE

from officers.desk.audit_words import query_lines
from protocol.audit import LogCopy, audit
from protocol.auditlog import Checkpoint, origin_of, root_of, seal_entry, sign_checkpoint
from protocol.directory import INVESTIGATOR, Directory
from protocol.exports import Export
from protocol.findings import FindingKind, Report
from protocol.signing import Signed

FILE = s.fixed("file", 32)


def report(*exports: Signed, filed: bool = True) -> Report:
    """Audit the log of an aggregator that took these in."""
    bodies = [("query-filed", {"query": asked().to_bytes()})] if filed else []
    bodies += [("exported", {"export": one.to_bytes()}) for one in exports]
    entries = tuple(
        seal_entry(
            kind,
            body,
            time_ms=s.NOW_MS + after,
            actor="aggregator",
            query_id=QUERY_ID,
            auditors=AUDITORS,
        ).to_bytes()
        for after, (kind, body) in enumerate(bodies)
    )
    origin = origin_of(s.SITE, "aggregator")
    head = sign_checkpoint(
        Checkpoint(origin, len(entries), root_of(entries)), s.signing_key("aggregator")
    )
    return audit(
        [LogCopy(origin, entries, (head,))],
        directory=directory(),
        policies={q2.POLICY.digest: q2.POLICY},
        now_ms=s.NOW_MS + 1000,
        auditor=EVE,
    )


def directory() -> Directory:
    base = s.directory()
    more = {
        name: s.principal(name, INVESTIGATOR, seal_key=s.sealing_key(name).public)
        for name in ("dan", "gil")
    }
    return replace(base, principals={**base.principals, **more})


def asked() -> Signed:
    return q2.query(confirmers=("dan",), policy_digest=q2.POLICY.digest).sign(s.signing_key("ana"))


def export(by: str = "ana", *, of: bytes | None = None) -> Signed:
    return Export(of or asked().digest, "report", (FILE,), s.NOW_MS).sign(s.signing_key(by))


def kinds(of: Report) -> list[FindingKind]:
    return [one.kind for one in of.wrong]


def test_exports_are_counted_by_query_and_officer() -> None:
    made = report(export(), export())
    assert kinds(made) == []
    (query,) = made.queries
    assert query.exports == 2
    assert {one.name: one.exports for one in made.officers}["ana"] == 2
    assert any("exported 2 times" in line for line in query_lines(query))


def test_an_export_that_its_officer_did_not_sign_is_wrong() -> None:
    forged = Signed("export", "ana", export().payload, bytes(64))
    made = report(forged)
    assert kinds(made) == [FindingKind.SIGNATURE_FALSE]


def test_an_export_by_somebody_to_whom_nothing_was_sealed_is_wrong() -> None:
    made = report(export("gil"))
    (finding,) = made.wrong
    assert finding.kind is FindingKind.EXPORT_UNAUTHORIZED
    assert "'gil'" in finding.message


def test_who_confirms_may_export() -> None:
    assert kinds(report(export("dan"))) == []


def test_an_export_of_a_query_that_no_log_holds_accuses_nobody() -> None:
    assert kinds(report(export(of=bytes(32)), filed=False)) == []
