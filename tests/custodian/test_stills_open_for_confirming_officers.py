"""Stills open for the officers who confirm a query's hits: of opened rows, and no others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import protocol_samples as s
import pytest
import query_samples_v2 as q2
from custodian_site import DAY_MS, Make, make_announcement, opened_log
from rows_asked import RowsAsked, StillsAsked, approved, directory, row, with_stills

from custodian.custodian import Custodian
from protocol import errors
from protocol.about_queries import Withdrawal
from protocol.errors import ProtocolError
from protocol.keytree import DEPTH, EVIDENCE, descend, tree_top
from protocol.v2.evidence import evidence_key, evidence_value, open_still_key

Ready = tuple[Custodian, StillsAsked]
NO_STILLS = q2.POLICY_TEXT.replace(b"evidence_stills = 20", b"evidence_stills = 0")


def opens(make: Make, *names: str, stills: int = 3) -> tuple[list[Custodian], StillsAsked]:
    """Custodians that have opened the rows 1 to 5 of a query that asks for so many stills."""
    made = [make(name, policy=q2.POLICY_TEXT, directory=directory()) for name in names]
    _, message = make_announcement(made, version=2)
    case = with_stills(stills)
    for custodian in made:
        RowsAsked(case, [message], [row(n) for n in range(1, 6)]).opened_by(custodian)
    return made, StillsAsked(case, [message], [row(1)])


@pytest.fixture
def ready(make: Make) -> Ready:
    (c1,), asked = opens(make, "c1")
    return c1, asked


def kinds(custodian: Custodian) -> list[str]:
    return [kind for kind, _ in opened_log(custodian)]


@pytest.mark.parametrize("asker", ["ana", "bea"])
def test_either_confirming_officer_asks_and_both_can_open(make: Make, asker: str) -> None:
    (c1, c2), asked = opens(make, "c1", "c2")
    leaves = [descend(tree_top(root, EVIDENCE, 2), DEPTH, 40).key for root in s.roots()]
    values = [evidence_value(leaf, row().sighting_id) for leaf in leaves]
    true = evidence_key(values, row(), s.SITE)
    announcement, _ = make_announcement([c1, c2], version=2)
    asked.officer = asker
    releases = {c.config.name: asked.opened_by(c) for c in (c1, c2)}
    for officer in ("ana", "bea"):
        released = {
            name: one.open(officer, s.sealing_key(officer))[row()] for name, one in releases.items()
        }
        opening = open_still_key(announcement, row(), released, true.commitment)
        assert opening.key.key == true.key
    for release in releases.values():
        assert set(release.sealed) == {"ana", "bea"}
        with pytest.raises(errors.ScopeExceeded):
            release.open("aggregator", s.sealing_key("aggregator"))


def test_the_log_says_who_asked_for_how_many_and_not_of_whom(ready: Ready) -> None:
    c1, asked = ready
    asked.officer = "bea"
    release = asked.opened_by(c1)
    kind, body = opened_log(c1)[release.entry_index]
    assert kind == "evidence"
    assert (body["asked_by"], body["officers"]) == ("bea", ["ana", "bea"])
    assert (body["stills"], body["total"], body["digest"]) == (1, 1, release.digest)
    told = {k: v for k, v in body.items() if k not in {"query", "approvals"}}
    assert "cam-1" not in repr(told)


def test_no_more_stills_open_than_the_query_asked_for_and_again_costs_nothing(
    make: Make, ready: Ready
) -> None:
    c1, asked = ready
    assert replace(asked, sightings=[row(1), row(2)]).opened_by(c1).total == 2
    assert replace(asked, sightings=[row(2)], officer="bea").opened_by(c1).total == 2
    with pytest.raises(errors.ScopeExceeded, match="evidence_stills permits 3"):
        replace(asked, sightings=[row(3), row(4)]).opened_by(c1)
    assert replace(asked, sightings=[row(1), row(3)]).opened_by(c1).total == 3
    c1.close()
    again = make("c1", again=True)
    with pytest.raises(errors.ScopeExceeded):
        replace(asked, sightings=[row(4)]).opened_by(again)
    assert replace(asked, sightings=[row(3)]).opened_by(again).total == 3


def test_stills_are_counted_apart_from_rows(ready: Ready) -> None:
    c1, asked = ready
    assert asked.opened_by(c1).total == 1


def withdrawn(asked: StillsAsked) -> StillsAsked:
    content = Withdrawal(asked.case.query.digest, "no longer", s.NOW_MS)
    return replace(asked, withdrawals=[content.sign(s.signing_key("ana"))])


REFUSALS: dict[str, tuple[Callable[[StillsAsked], StillsAsked], type[ProtocolError]]] = {
    "asked by an approver": (lambda a: replace(a, officer="bo"), errors.UnknownSigner),
    "asked by the aggregator": (lambda a: replace(a, officer="aggregator"), errors.UnknownSigner),
    "asked by an auditor": (lambda a: replace(a, officer="eve"), errors.UnknownSigner),
    "of a row that was not opened": (
        lambda a: replace(a, sightings=[row(9)]),
        errors.ScopeExceeded,
    ),
    "of one row that was opened and one that was not": (
        lambda a: replace(a, sightings=[row(1), row(9)]),
        errors.ScopeExceeded,
    ),
    "of a row opened for another query": (
        lambda a: replace(a, case=with_stills(2)),
        errors.ScopeExceeded,
    ),
    "for a query that asks for none": (
        lambda a: replace(a, case=with_stills(0)),
        errors.ScopeExceeded,
    ),
    "for more than the policy permits": (
        lambda a: replace(a, case=with_stills(21)),
        errors.PolicyViolation,
    ),
    "without approvals": (
        lambda a: replace(a, case=s.Case(a.case.query, a.case.approvals[:1])),
        errors.ApprovalsMissing,
    ),
    "after a withdrawal": (withdrawn, errors.QueryWithdrawn),
    "dated yesterday": (lambda a: replace(a, now_ms=s.NOW_MS - DAY_MS), errors.ClockSkew),
    "without the announcement": (
        lambda a: replace(a, announcements=[]),
        errors.MalformedMessage,
    ),
    "a sighting twice": (
        lambda a: replace(a, sightings=[row(1), row(1)]),
        errors.MalformedMessage,
    ),
}


@pytest.mark.parametrize("name", REFUSALS)
def test_no_still_opens_and_the_refusal_is_logged(ready: Ready, name: str) -> None:
    c1, asked = ready
    change, error = REFUSALS[name]
    with pytest.raises(error):
        change(asked).opened_by(c1)
    assert kinds(c1)[-1] == "refusal"
    assert "evidence" not in kinds(c1)


def test_an_investigator_who_does_not_confirm_gets_nothing(ready: Ready) -> None:
    c1, _ = ready
    alone = approved(replace(q2.query(), asks=replace(q2.query().asks, evidence_stills=1)))
    _, message = make_announcement([c1], version=2, generation=2)
    RowsAsked(alone, [message], [row(1, generation=2)]).opened_by(c1)
    other = StillsAsked(alone, [message], [row(1, generation=2)], officer="bea")
    with pytest.raises(errors.ScopeExceeded, match="'bea' does not confirm"):
        other.opened_by(c1)
    assert replace(other, officer="ana").opened_by(c1).stills == 1


def test_a_policy_without_stills_opens_none(make: Make) -> None:
    c1 = make("c1", policy=NO_STILLS, directory=directory())
    _, message = make_announcement([c1], version=2)
    case = with_stills(1)
    with pytest.raises(ProtocolError):
        StillsAsked(case, [message], [row(1)]).opened_by(c1)


def test_a_confirming_officer_who_was_revoked_opens_nothing_more(make: Make, ready: Ready) -> None:
    c1, asked = ready
    newer = directory().revoke("bea", at_ms=s.NOW_MS).sign(s.authority()).to_bytes()
    c1.accept_directory(newer)
    with pytest.raises(ProtocolError):
        asked.opened_by(c1)
