"""Who is found later gets a share of a query's room, whatever filled it before."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import protocol_samples as s
import pytest
from answered_query import SCOPE, Site, says

from protocol.names import ENVELOPE, slot_start_ms
from protocol.results import CONFIRMED, Candidate, Decision
from runtime.clock import system_ms

ROOM = 4


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    """A query for two people that goes on: the last quarter hour has not ended for custodians."""
    people = {"P-17": "person 1", "P-18": "somebody else"}
    one = Site(tmp_path, monkeypatch, s.CUSTODIANS, 2, people=people, max_candidates=ROOM)
    short = replace(SCOPE, last_slot=SCOPE.last_slot - 1)
    late_ms = system_ms() - slot_start_ms(s.EPOCH, SCOPE.last_slot)
    behind = says(lambda at, name: [at.honest(name, short)], late_ms=late_ms)
    one.answers.update(dict.fromkeys(s.CUSTODIANS, behind))
    yield one
    one.close()


def flood(site: Site) -> None:
    """Let a first pass find the first of the two ten times and more."""
    looks = s.sighting("person 1")
    many = [replace(looks, sighting_id=s.fixed(f"look {n}", 8)) for n in range(3 * ROOM)]
    site.take(ENVELOPE, site.segment(2, many))
    assert site.step().state == "standing"
    assert found(site) == {"P-17": ROOM}


def found(site: Site) -> Counter[str]:
    record = site.record
    return Counter(
        Candidate.open(sealed, s.sealing_key("ana"), query_digest=record.digest).subject
        for _, sealed, _ in site.desk.results(record, reader="ana")
    )


def test_a_later_find_takes_the_place_of_the_weakest_of_a_flood(site: Site) -> None:
    flood(site)
    site.take(ENVELOPE, site.segment(3, [s.sighting("somebody else")]))
    record = site.step()
    assert found(site) == {"P-17": ROOM - 1, "P-18": 1}
    assert record.progress["left_out.cam-1"] == 1 + 3 * ROOM + 1 - ROOM


def test_a_candidate_that_was_decided_on_stays_all_the_same(site: Site) -> None:
    flood(site)
    ana = s.signing_key("ana")
    for candidate, _, _ in site.desk.results(site.record, reader="ana"):
        decision = Decision(site.record.digest, candidate, CONFIRMED, system_ms())
        site.desk.decide(site.query_id, decision.sign(ana).to_bytes())
    site.take(ENVELOPE, site.segment(3, [s.sighting("somebody else")]))
    site.step()
    assert found(site) == {"P-17": ROOM, "P-18": 1}


def test_a_later_flood_takes_nobodys_place(site: Site) -> None:
    site.take(ENVELOPE, site.segment(2, [s.sighting("somebody else")]))
    site.step()
    assert found(site) == {"P-17": 1, "P-18": 1}
    looks = s.sighting("person 1")
    many = [replace(looks, sighting_id=s.fixed(f"look {n}", 8)) for n in range(3 * ROOM)]
    site.take(ENVELOPE, site.segment(3, many))
    site.step()
    assert found(site) == {"P-17": ROOM - 1, "P-18": 1}
