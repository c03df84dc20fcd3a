"""Custodians that answer falsely keep nothing closed that enough others opened, and are named."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from time import monotonic

import httpx
import protocol_samples as s
import pytest
from answered_query import LABELS, SCOPE, Answer, Site, says
from store_file import altering

from aggregator.grants import TooFewGrants
from protocol.auditlog import Entry
from protocol.grant import GrantedKeys, GrantRequest
from protocol.names import slot_start_ms
from runtime.clock import system_ms


def lying(label: str, *, place: int = 0) -> Answer:
    """Return the answer of one whose keys of ``label`` are false from some slot on."""

    def keys(site: Site, name: str) -> list[GrantedKeys]:
        own = site.honest(name)
        spoilt = {
            root: tuple(
                replace(node, key=s.fixed(f"lie {name}", 32)) if number >= place else node
                for number, node in enumerate(nodes)
            )
            for root, nodes in own.nodes[label].items()
        }
        return [GrantedKeys(own.scope, {**own.nodes, label: spoilt})]

    return says(keys)


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    one = Site(tmp_path, monkeypatch, s.CUSTODIANS, 2)
    yield one
    one.close()


@pytest.fixture
def site_of_five(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    one = Site(tmp_path, monkeypatch, ("c1", "c2", "c3", "c4", "c5"), 3)
    yield one
    one.close()


def scoped(first_slot: int = SCOPE.first_slot, last_slot: int = SCOPE.last_slot) -> Answer:
    scope = replace(SCOPE, first_slot=first_slot, last_slot=last_slot)
    return says(lambda site, name: [site.honest(name, scope)])


def relabelled(site: Site, name: str) -> list[GrantedKeys]:
    own = site.honest(name)
    return [GrantedKeys(own.scope, {"meta": own.nodes["meta"]})]


def elsewhere(site: Site, name: str) -> list[GrantedKeys]:
    other = replace(SCOPE, generation=99)
    return [site.honest(name), GrantedKeys(other, site.honest(name).nodes)]


def stolen_roots(site: Site, name: str) -> list[GrantedKeys]:
    own, other = site.honest(name), site.honest("c1")
    nodes = {label: {**other.nodes[label], **own.nodes[label]} for label in LABELS}
    return [GrantedKeys(own.scope, nodes)]


LIES: Mapping[str, Answer] = {
    "what does not open": says(sealed=b"x" * 2000),
    "fewer slots": scoped(last_slot=38),
    "more slots": scoped(last_slot=50),
    "later slots": scoped(first_slot=40),
    "one camera many times": says(lambda site, name: [site.honest(name)] * 5),
    "other labels": says(relabelled),
    "keys that nobody asked for": says(elsewhere),
    "roots that it cannot have": says(stolen_roots),
    "a grant for another query": says(query_digest=bytes(32)),
    "false template keys": lying("face"),
    "false template keys of the later slots": lying("face", place=1),
    "false metadata keys": lying("meta"),
}


@pytest.mark.parametrize("lie", LIES)
def test_one_that_lies_fails_no_query_and_is_named(site: Site, lie: str) -> None:
    site.answers["c3"] = LIES[lie]
    record = site.step()
    assert (record.state, record.reason) == ("complete", "")
    assert record.progress["candidates"] == 1
    assert not record.progress["altered"]
    assert site.named() == {"c3"}


def test_where_nobody_lies_nobody_is_named(site: Site) -> None:
    assert site.step().progress["candidates"] == 1
    assert not site.named()


def test_two_liars_of_five_fail_no_query_and_both_are_named(site_of_five: Site) -> None:
    site_of_five.answers.update(c1=lying("face"), c4=lying("meta", place=1))
    record = site_of_five.step()
    assert (record.state, record.progress["candidates"]) == ("complete", 1)
    assert site_of_five.named() == {"c1", "c4"}


def test_two_liars_that_agree_on_a_scope_do_not_outvote_clocks_that_differ(
    site_of_five: Site,
) -> None:
    site_of_five.answers.update(c1=scoped(last_slot=39), c4=scoped(last_slot=39))
    assert site_of_five.step().progress["candidates"] == 1
    assert site_of_five.named() == {"c1", "c4"}


def test_an_old_grant_is_not_taken_again(site: Site) -> None:
    same = says(grant_id=b"one and the same")
    site.answers["c3"] = same
    assert not any(refusal.false for refusal in site.ask().refusals)
    (refusal,) = site.ask().refusals
    assert refusal.false
    assert "came before" in refusal.reason


@pytest.mark.slow
def test_one_that_is_silent_holds_nothing_up(site: Site) -> None:
    gone = threading.Event()

    def never(_site: Site, _name: str, _asked: GrantRequest) -> bytes:
        gone.wait(30)
        return b""

    site.answers["c3"] = never
    try:
        started = monotonic()
        assert {refusal.custodian for refusal in site.ask().refusals} == {"c3"}
        assert site.step().progress["candidates"] == 1
        assert monotonic() - started < 10
        assert not site.named(), "to be slow is not to lie"
        assert site.asked.count("c3") == 1, "one that still answers is not asked again"
    finally:
        gone.set()


def refuses(_site: Site, _name: str, _asked: GrantRequest) -> bytes:
    raise httpx.ConnectError("nobody there")


def test_a_lie_that_nobody_can_contradict_waits_for_the_silent_custodian(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.answers.update(c1=refuses, c3=lying("face"))
    record = site.step()
    assert record.state == "standing"
    assert "cam-1" in record.reason
    assert not site.named(), "of two that differ from the box nobody knows who lies"
    asked = len(site.asked)
    assert site.step().state == "standing"
    assert len(site.asked) == asked, "it is not asked for again at once"
    del site.answers["c1"]
    later = monotonic() + 11
    monkeypatch.setattr("aggregator.runner.time.monotonic", lambda: later)
    record = site.step()
    assert (record.state, record.progress["candidates"]) == ("complete", 1)
    assert site.named() == {"c3"}


def test_an_envelope_that_was_altered_in_store_accuses_nobody(site: Site) -> None:
    site.answers.update(c1=refuses)
    with altering(site.store) as connection:
        connection.execute("UPDATE envelopes SET face = zeroblob(length(face))")
    record = site.step()
    assert (record.state, record.progress["altered"]) == ("complete", 1)
    assert not site.named()


def test_a_spoilt_announcement_fails_no_query(site: Site) -> None:
    with altering(site.store) as connection:
        connection.execute("UPDATE announcements SET signed = x'00'")
    record = site.step()
    assert record.state == "complete"
    assert "1 camera-days stayed closed" in record.reason


def test_one_that_is_a_moment_behind_keeps_no_slot_closed(site: Site) -> None:
    site.answers["c1"] = says(late_ms=60_000)
    (keys,) = site.ask().keys
    assert keys.scope == SCOPE


def test_one_that_says_it_is_far_behind_is_not_asked_again_and_again(site: Site) -> None:
    before_last_ms = system_ms() - slot_start_ms(s.EPOCH, SCOPE.last_slot)
    short = replace(SCOPE, last_slot=SCOPE.last_slot - 1)
    behind = says(lambda at, name: [at.honest(name, short)], late_ms=before_last_ms)
    site.answers.update(c1=refuses, c3=behind)
    for _ in range(5):
        record = site.step()
    assert record.state == "standing", "a quarter hour is still closed"
    assert "cam-1" in record.reason
    assert record.progress["candidates"] == 1
    assert site.asked.count("c2") == 1


def test_too_few_that_open_are_too_few(site: Site) -> None:
    for name in ("c2", "c3"):
        site.answers[name] = says(sealed=b"x" * 2000)
    before = site.log.size
    with pytest.raises(TooFewGrants, match="1 of 3 custodians granted") as caught:
        site.ask()
    assert not caught.value.final
    assert site.log.size == before + 3, "what came is logged all the same"
    assert site.step().state == "blocked"
    assert site.named() == {"c2", "c3"}


def test_what_came_is_logged_with_its_labels(site: Site) -> None:
    site.ask()
    entries = [Entry.parse(data) for data in site.log.entries(0, site.log.size)]
    received = [entry for entry in entries if entry.kind == "grant-received"]
    assert len(received) == 3
    for entry in received:
        assert set(entry.open("eve", s.sealing_key("eve"))["labels"]) == set(LABELS)
