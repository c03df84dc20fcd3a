"""A refusal is an approver's own, of this query, under this policy; it leaves others their say."""

from __future__ import annotations

from dataclasses import replace

import protocol_samples as s
import pytest

from protocol.about_queries import REFUSAL_KIND, Refusal
from protocol.directory import Directory
from protocol.errors import MalformedMessage, PolicyMismatch, RefusalInvalid
from protocol.refusing import check_refusal, still_able
from protocol.signing import Signed

CASE = s.case()


def check(refusal: Signed, directory: Directory | None = None) -> Refusal:
    return check_refusal(refusal, CASE.query.digest, "ana", directory or s.directory(), s.POLICY)


def test_an_approvers_refusal_says_why_and_when() -> None:
    said = check(s.refusal(CASE.query, "bo", reason="no lawful ground"))
    assert (said.reason, said.refused_at_ms) == ("no lawful ground", s.NOW_MS)


@pytest.mark.parametrize("stranger", ["ana", "c1", "box-1", "nobody"])
def test_nobody_but_an_approver_refuses(stranger: str) -> None:
    with pytest.raises(RefusalInvalid, match=stranger):
        check(s.refusal(CASE.query, stranger))


def test_who_asked_withdraws_and_does_not_refuse() -> None:
    principals = dict(s.directory().principals)
    principals["ana"] = replace(principals["ana"], duties=principals["ana"].duties | {"approver"})
    both = replace(s.directory(), principals=principals)
    with pytest.raises(RefusalInvalid, match="who asked withdraws"):
        check(s.refusal(CASE.query, "ana"), both)


def test_a_revoked_approver_refuses_nothing() -> None:
    with pytest.raises(RefusalInvalid, match="revoked"):
        check(s.refusal(CASE.query, "bo"), s.directory().revoke("bo", at_ms=s.NOW_MS))


def test_a_refusal_of_another_query_or_under_another_policy_is_told_apart() -> None:
    other = s.case(purpose="something else")
    with pytest.raises(RefusalInvalid, match="another query"):
        check(s.refusal(other.query, "bo"))
    elsewhere = Refusal(CASE.query.digest, b"x" * 32, "why", 5).sign(s.signing_key("bo"))
    with pytest.raises(PolicyMismatch):
        check(elsewhere)


def test_an_altered_refusal_is_refused_itself() -> None:
    signed = s.refusal(CASE.query, "bo")
    other = s.refusal(CASE.query, "bo", reason="yes please")
    with pytest.raises(RefusalInvalid, match="does not verify"):
        check(replace(signed, payload=other.payload))
    with pytest.raises(RefusalInvalid, match="not a refusal"):
        check(CASE.approvals[0])


def test_an_approval_is_no_refusal_under_another_name() -> None:
    with pytest.raises(RefusalInvalid):
        check(replace(CASE.approvals[0], kind=REFUSAL_KIND))


@pytest.mark.parametrize("reason", ["", "x" * 2001])
def test_a_refusal_without_a_reason_or_with_a_book_is_none(reason: str) -> None:
    with pytest.raises(MalformedMessage, match="reason"):
        Refusal.parse(s.refusal(CASE.query, "bo", reason=reason).payload)


def test_who_can_still_approve_is_counted_by_key() -> None:
    listed = s.directory()
    assert still_able(listed, "ana", ()) == ("bo", "cy", "di")
    assert still_able(listed, "ana", {"bo"}) == ("cy", "di")
    assert still_able(listed.revoke("di", at_ms=1), "ana", {"bo"}) == ("cy",)
    twice = dict(listed.principals)
    twice["bo-too"] = replace(twice["bo"], name="bo-too")
    twin = replace(listed, principals=twice)
    assert still_able(twin, "ana", ()) == ("bo", "cy", "di")
    assert still_able(twin, "ana", {"bo-too"}) == ("cy", "di")
