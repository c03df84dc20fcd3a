"""A query is sent to a custodian and written to its log in full once; then its digest names it."""

from __future__ import annotations

from dataclasses import replace

import protocol_samples as s
import pytest
from custodian_site import Asked, Make, approved, make_announcement, opened_log, read_grant

import custodian.queries
from custodian.custodian import Custodian
from custodian.queries import Queries
from protocol.errors import NotAuthorized, QueryNotHeld
from protocol.signing import Signed


def by_digest(asked: Asked) -> bytes:
    return asked.request().naming(asked.case.query.digest).sign(asked.signer).to_bytes()


def scopes(data: bytes) -> object:
    return read_grant(data, "c1").scopes


def queries_in(custodian: Custodian, kind: str = "grant") -> list[object]:
    return [body["query"] for logged, body in opened_log(custodian) if logged == kind]


@pytest.fixture
def c1(make: Make) -> Custodian:
    return make("c1")


@pytest.fixture
def asked(c1: Custodian) -> Asked:
    _, message = make_announcement([c1])
    return Asked(approved(s.NOW_MS), [message], s.NOW_MS)


def test_a_query_that_was_granted_for_is_named_by_its_digest_afterwards(
    c1: Custodian, asked: Asked
) -> None:
    whole = c1.granter.grant(asked.to_bytes())
    named = c1.granter.grant(by_digest(asked))
    again = c1.granter.grant(asked.to_bytes())  # an aggregator that knows no digests
    assert scopes(whole) == scopes(named) == scopes(again)
    assert len(read_grant(named, "c1").open(asked.matcher)) == 1
    query = asked.case.query
    assert queries_in(c1) == [query.to_bytes(), query.digest, query.digest]
    assert len(by_digest(asked)) < len(asked.to_bytes()) - len(query.to_bytes()) + 64


def test_a_custodian_that_has_started_anew_says_that_it_holds_no_query(
    make: Make, c1: Custodian, asked: Asked
) -> None:
    c1.granter.grant(asked.to_bytes())
    c1.close()
    anew = make("c1", again=True)
    with pytest.raises(QueryNotHeld, match="send it in full"):
        anew.granter.grant(by_digest(asked))
    assert "query-not-held" in str(opened_log(anew)[-1][1]["reason"])
    anew.granter.grant(asked.to_bytes())
    anew.granter.grant(by_digest(asked))
    query = asked.case.query
    assert queries_in(anew) == [query.to_bytes(), query.to_bytes(), query.digest]


def test_a_query_that_was_refused_is_not_held(c1: Custodian, asked: Asked) -> None:
    refused = replace(asked, case=replace(asked.case, approvals=[]))
    with pytest.raises(NotAuthorized):
        c1.granter.grant(refused.to_bytes())
    with pytest.raises(QueryNotHeld):
        c1.granter.grant(by_digest(asked))


def test_a_query_named_by_digest_is_decided_again(c1: Custodian, asked: Asked) -> None:
    c1.granter.grant(asked.to_bytes())
    fewer = replace(asked, case=replace(asked.case, approvals=[]))
    with pytest.raises(NotAuthorized):
        c1.granter.grant(by_digest(fewer))


def test_new_auditors_have_the_query_in_full_again() -> None:
    held, query = Queries(), s.case().query
    data, eve = query.to_bytes(), {"eve": s.sealing_key("eve").public}
    assert held.in_entry(query, data, eve) == data
    held.logged(query, data, eve)
    assert held.in_entry(query, data, dict(eve)) == query.digest
    assert held.in_entry(query, data, eve | {"gil": s.sealing_key("gil").public}) == data
    assert held.held(query.digest) == data


def test_what_is_held_is_bounded_and_the_oldest_goes_first(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(custodian.queries, "MOST", 2)
    held = Queries()
    signed = [Signed("query", "ana", bytes([number]) * 9, bytes(64)) for number in range(3)]
    for number, one in enumerate(signed):
        held.logged(one, one.to_bytes(), {})
        if number:
            held.held(signed[0].digest)
    assert held.held(signed[0].digest) == signed[0].to_bytes()
    with pytest.raises(QueryNotHeld):
        held.held(signed[1].digest)
