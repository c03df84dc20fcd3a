"""Approvers say no, with a reason: kept, logged, told; and a query that too few can approve."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import protocol_samples as s
import pytest
from quiet_site import QuietSite

from aggregator.queries import QueryConflict
from aggregator.store.rows import QueryRecord
from aggregator.views import query_view
from protocol.about_queries import MATCHER_KEY_KIND, MatcherKey, Withdrawal
from protocol.auditlog import Entry
from protocol.errors import RefusalInvalid
from protocol.signing import Signed
from protocol.templates import seal_templates


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[QuietSite]:
    made = QuietSite(tmp_path, monkeypatch, queries=0, cameras=1)
    yield made
    made.close()


@pytest.fixture
def case(site: QuietSite) -> s.Case:
    """A query that waits for approvals, and whose approvals are signed but not sent."""
    made = s.case(cameras=tuple(site.cameras), policy_digest=site.policy.digest)
    record = site.desk.file(made.query.to_bytes())
    signed = Signed.parse(site.desk.matcher_key(record.query_id), kind=MATCHER_KEY_KIND)
    sealed = seal_templates(
        {"P-17": (s.template(),)}, MatcherKey.parse(signed.payload).key,
        query_digest=record.digest,
    )  # fmt: skip
    site.desk.put_templates(record.query_id, sealed)
    return made


def record(site: QuietSite) -> QueryRecord:
    (found,) = site.desk.everything()
    return found


def refuse(site: QuietSite, case: s.Case, *names: str) -> None:
    for name in names:
        site.desk.refuse(record(site).query_id, s.refusal(case.query, name).to_bytes())
    site.look()


def approve(site: QuietSite, case: s.Case, name: str) -> None:
    site.desk.approve(record(site).query_id, s.approval(case.query, name).to_bytes())
    site.look()


def logged(site: QuietSite) -> list[str]:
    site.look()
    return [Entry.parse(data).kind for data in site.log.entries()]


def view(site: QuietSite) -> dict[str, Any]:
    return query_view(site.desk, record(site), site.policy)


def test_a_refusal_is_kept_logged_once_and_told(site: QuietSite, case: s.Case) -> None:
    refuse(site, case, "bo", "bo")
    assert view(site)["refusals"] == [
        {"approver": "bo", "reason": "the hours are too wide", "at_ms": s.NOW_MS}
    ]
    assert logged(site).count("approval-refused") == 1
    assert [one.signer for one in site.desk.refusals(record(site).digest)] == ["bo"]


def test_a_query_waits_while_enough_others_can_approve(site: QuietSite, case: s.Case) -> None:
    refuse(site, case, "bo")
    assert record(site).state == "awaiting-approvals"


def test_a_query_that_too_few_can_approve_is_refused_and_says_by_whom(
    site: QuietSite, case: s.Case
) -> None:
    refuse(site, case, "bo", "cy")
    assert record(site).state == "refused"
    assert record(site).reason.startswith("bo, cy refused: 1 of 2 approvals can come")


def test_who_refused_may_approve_and_the_query_goes_on(site: QuietSite, case: s.Case) -> None:
    refuse(site, case, "bo", "cy")
    approve(site, case, "bo")
    assert record(site).state == "awaiting-approvals"
    approve(site, case, "di")
    assert record(site).state == "standing"


def test_a_refused_query_can_be_withdrawn(site: QuietSite, case: s.Case) -> None:
    refuse(site, case, "bo", "cy")
    gone = Withdrawal(case.query.digest, "as they say", s.NOW_MS).sign(s.signing_key("ana"))
    site.desk.withdraw(record(site).query_id, gone.to_bytes())
    site.look()
    assert record(site).state == "withdrawn"
    with pytest.raises(QueryConflict, match="withdrawn"):
        refuse(site, case, "di")


def test_who_approved_withdraws_before_refusing(site: QuietSite, case: s.Case) -> None:
    approve(site, case, "bo")
    with pytest.raises(QueryConflict, match="first withdraw the approval"):
        refuse(site, case, "bo")
    assert view(site)["refusals"] == []
    gone = Withdrawal(case.query.digest, "I was wrong", s.NOW_MS).sign(s.signing_key("bo"))
    site.desk.withdraw(record(site).query_id, gone.to_bytes())
    site.desk.refuse(record(site).query_id, s.refusal(case.query, "bo").to_bytes())
    assert [one["approver"] for one in view(site)["refusals"]] == ["bo"]


def test_the_requester_and_strangers_refuse_nothing(site: QuietSite, case: s.Case) -> None:
    for name in ("ana", "c1", "nobody"):
        with pytest.raises(RefusalInvalid):
            refuse(site, case, name)
    assert "approval-refused" not in logged(site)
