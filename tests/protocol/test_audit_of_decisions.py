"""An audit finds decisions of officers whom a query does not name, and counts what is confirmed."""

from __future__ import annotations

from dataclasses import replace

import protocol_samples as s
import pytest
import query_samples_v2 as q2
from audit_samples import QUERY_ID
from split_views import AUDITORS, EVE

from protocol.audit import LogCopy, audit
from protocol.auditlog import Checkpoint, origin_of, root_of, seal_entry, sign_checkpoint
from protocol.directory import INVESTIGATOR, Directory
from protocol.findings import FindingKind, QueryCount, Report
from protocol.policy import Policy, parse_policy
from protocol.results import CONFIRMED, REJECTED, Decision

K = FindingKind
TWO = parse_policy(q2.POLICY_TEXT.replace(b"confirmations = 1", b"confirmations = 2"))
CANDIDATES = [s.fixed(f"candidate {number}", 16) for number in range(3)]


def directory() -> Directory:
    base = s.directory()
    more = {
        name: s.principal(name, INVESTIGATOR, seal_key=s.sealing_key(name).public)
        for name in ("dan", "gil")
    }
    return replace(base, principals={**base.principals, **more})


def report(
    *said: tuple[str, int, str],
    policy: Policy = TWO,
    at_hand: bool = True,
    filed: bool = True,
    digest: bytes | None = None,
) -> Report:
    """Audit the log of an aggregator to which officers decided: (name, candidate, verdict)."""
    query = q2.query(confirmers=("dan",), policy_digest=policy.digest).sign(s.signing_key("ana"))
    bodies = [("query-filed", {"query": query.to_bytes()})] if filed else []
    for after, (name, number, verdict) in enumerate(said):
        decision = Decision(digest or query.digest, CANDIDATES[number], verdict, s.NOW_MS + after)
        bodies.append(("decision", {"decision": decision.sign(s.signing_key(name)).to_bytes()}))
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
        policies={policy.digest: policy} if at_hand else {},
        now_ms=s.NOW_MS + 1000,
        auditor=EVE,
    )


def query(of: Report) -> QueryCount:
    (one,) = of.queries
    return one


def unauthorized(of: Report) -> list[str]:
    return [one.message for one in of.wrong if one.kind is K.DECISION_UNAUTHORIZED]


@pytest.mark.parametrize(
    ("said", "confirmed"),
    [
        ((), 0),
        ((("ana", 0, CONFIRMED),), 0),
        ((("ana", 0, CONFIRMED), ("ana", 0, CONFIRMED)), 0),
        ((("ana", 0, CONFIRMED), ("dan", 0, CONFIRMED)), 1),
        ((("ana", 0, CONFIRMED), ("dan", 1, CONFIRMED)), 0),
        ((("ana", 0, CONFIRMED), ("dan", 0, CONFIRMED), ("dan", 0, REJECTED)), 0),
        ((("dan", 0, REJECTED), ("ana", 0, CONFIRMED), ("dan", 0, CONFIRMED)), 1),
    ],
)
def test_hits_are_counted_that_enough_different_officers_confirmed(
    said: tuple[tuple[str, int, str], ...], confirmed: int
) -> None:
    made = report(*said)
    assert query(made).confirmed == confirmed
    assert query(made).confirmers == ("dan",)
    assert unauthorized(made) == []


def test_a_decision_of_somebody_whom_the_query_does_not_name_is_wrong_and_counts_for_nothing() -> (
    None
):
    made = report(("ana", 0, CONFIRMED), ("gil", 0, CONFIRMED))
    (message,) = unauthorized(made)
    assert "'gil'" in message
    assert query(made).confirmed == 0


def test_a_policy_under_which_one_confirms_counts_one() -> None:
    made = report(("dan", 0, CONFIRMED), ("ana", 1, CONFIRMED), policy=q2.POLICY)
    assert query(made).confirmed == 2


def test_under_a_policy_that_is_not_at_hand_all_whom_the_query_names_must_have_confirmed() -> None:
    half = report(("ana", 0, CONFIRMED), policy=q2.POLICY, at_hand=False)
    assert query(half).confirmed == 0
    both = report(("ana", 0, CONFIRMED), ("dan", 0, CONFIRMED), policy=q2.POLICY, at_hand=False)
    assert query(both).confirmed == 1


def test_a_decision_on_a_query_that_no_log_holds_accuses_nobody() -> None:
    made = report(("gil", 0, CONFIRMED), filed=False, digest=bytes(32))
    assert unauthorized(made) == []
