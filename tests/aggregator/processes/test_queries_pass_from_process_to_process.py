"""No query stands that nobody carries: whoever has its share and not its keys says so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import protocol_samples as s
import pytest
from quiet_site import QuietSite

from aggregator.queries import QueryDesk
from aggregator.store.rows import INTERRUPTED, STANDING
from protocol.auditlog import Entry


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[QuietSite]:
    """A site whose queries are this process's of several."""
    made = QuietSite(tmp_path, monkeypatch, queries=1, cameras=1)
    made.runner._mine = lambda _id: True
    yield made
    made.close()


def taken_over(site: QuietSite) -> QueryDesk:
    """Have the process lose its share to another; return the desk of the one that had it."""
    before = site.desk
    site.desk = QueryDesk(
        site.store, site.trust, site.policy, site.log, s.signing_key("aggregator")
    )
    site.runner._desk = site.desk
    site.desk.interrupt_open_queries()
    return before


def test_a_query_that_a_process_says_to_stand_after_it_lost_it_is_interrupted_again(
    site: QuietSite,
) -> None:
    site.look()
    digest = site.desk.get(site.ids[0]).digest
    assert site.desk.get(site.ids[0]).state == STANDING
    site.look()
    assert site.desk.get(site.ids[0]).state == STANDING, "whoever has the keys carries on"
    before = taken_over(site)
    assert site.desk.get(site.ids[0]).state == INTERRUPTED
    before.set_state(digest, STANDING, "")  # it was stopped for a while, and does not know yet
    site.desk.look_again()
    site.look()
    assert site.desk.get(site.ids[0]).state == INTERRUPTED
    assert "sealtrace query resume" in site.desk.get(site.ids[0]).reason


@pytest.mark.parametrize("moment", [1, 2])
def test_a_query_that_two_processes_are_brought_at_once_is_filed_once(
    site: QuietSite, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    key = s.signing_key("aggregator")
    other = QueryDesk(site.store, site.trust, site.policy, site.log, key)
    case = s.case(query_id=bytes(16), cameras=tuple(site.cameras), policy_digest=site.policy.digest)
    query, moments = case.query.to_bytes(), list[int]()
    flush = site.desk._records.flush

    def overtaken() -> None:
        moments.append(1)
        if len(moments) == moment:
            other.file(query)
        flush()

    monkeypatch.setattr(site.desk._records, "flush", overtaken)
    assert site.desk.file(query).digest == other.file(query).digest
    kinds = [Entry.parse(entry).kind for entry in site.log.entries()]
    assert kinds.count("query-filed") == 2, "the site's own, and this one"
