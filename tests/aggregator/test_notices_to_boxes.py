"""Boxes are told of the live queries that stand, of nothing else, and never of an older state."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import protocol_samples as s
import pytest
import query_samples_v2 as q2
from laid_down import new_store
from waiting import wait_for

from aggregator.notices import NoticeMaker, SitePolicy
from aggregator.queries import QueryDesk
from aggregator.relay import Relay
from aggregator.store.rows import COMPLETE
from protocol.about_queries import Withdrawal
from protocol.auditlog import origin_of
from protocol.directory_forms import sign_forms
from protocol.names import notice_topic
from protocol.policy import parse_policy, sign_policy
from protocol.query import Asked, Query
from protocol.signing import Signed
from protocol.v2.notices import Notice, open_notice, standing
from runtime.auditlog import AuditLog
from runtime.clock import system_ms
from runtime.lifecycle import Stop
from runtime.trust import Trust

HOUR_MS = 3_600_000
AUTHORITY = s.authority().verify_key
SIGNATURE = sign_policy(s.POLICY_TEXT, s.authority())


class Office:
    """An aggregator's desk and what it tells boxes; may be opened again over the same folder."""

    def __init__(self, folder: Path, form: int = 2, *, policy: bytes = s.POLICY_TEXT) -> None:
        installed = folder / "directory.cbor"
        installed.write_bytes(sign_forms(s.directory(), s.authority())[form])
        self.trust = Trust(site=s.SITE, authority=AUTHORITY, installed=installed, state_dir=folder)
        key = s.signing_key("aggregator")
        self.store = new_store(folder / "aggregator.db")
        auditors = {"eve": s.sealing_key("eve").public}
        self.log = AuditLog(folder / "audit.db", origin_of(s.SITE, "aggregator"), key, auditors)
        read = parse_policy(policy)
        self.clock_ms: int | None = None
        self.desk = QueryDesk(self.store, self.trust, read, self.log, key)
        self.maker = NoticeMaker(
            site=s.SITE,
            key=key,
            trust=self.trust,
            policy=SitePolicy(read, policy, sign_policy(policy, s.authority())),
            desk=self.desk,
            file=folder / "notice.cbor",
            now_ms=lambda: self.clock_ms or system_ms(),
        )

    def close(self) -> None:
        self.log.close()
        self.store.close()

    def file(self, *, live: bool = True, number: int = 0) -> Signed:
        now_ms = system_ms()
        changes: s.QueryChanges = {
            "query_id": s.fixed(f"query {number}", 16),
            "live": live,
            "window_from_ms": now_ms // 900_000 * 900_000 - HOUR_MS,
            "window_to_ms": now_ms // 900_000 * 900_000 + (HOUR_MS if live else 0),
            "requested_at_ms": now_ms,
            "not_after_ms": now_ms + 2 * HOUR_MS,
        }
        query: Query = s.query(**changes)
        signed = query.sign(s.signing_key("ana"))
        self.desk.file(signed.to_bytes())
        return signed

    def approve(self, signed: Signed, *names: str) -> None:
        query = Query.parse(signed.payload)
        for name in names:
            self.desk.approve(query.query_id, s.approval(signed, name).to_bytes())

    def told(self) -> Notice:
        """Read the newest notice as a box does."""
        newest = self.maker.newest()
        assert newest is not None
        return open_notice(newest, self.trust.directory, after=0)


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    one = Office(tmp_path)
    yield one
    one.close()


@pytest.fixture
def with_stills(tmp_path: Path) -> Iterator[Office]:
    one = Office(tmp_path, policy=q2.POLICY_TEXT)
    yield one
    one.close()


def test_an_approved_live_query_is_told_and_stands_by_the_boxes_own_judgement(
    office: Office,
) -> None:
    assert office.told().queries == ()
    signed = office.file()
    assert office.told().queries == (), "nobody has approved it"
    office.approve(signed, "bo", "cy")
    found = standing(office.told(), office.trust.directory, authority=AUTHORITY, now_ms=system_ms())
    assert [one.digest for one in found.queries] == [signed.digest]
    assert found.live_until_ms("cam-1", system_ms()) is not None


def test_a_query_of_the_past_is_nothing_to_boxes(office: Office) -> None:
    office.approve(office.file(live=False), "bo", "cy")
    assert office.told().queries == ()


def test_a_query_that_asks_for_stills_is_told_until_nothing_more_opens_for_it(
    with_stills: Office,
) -> None:
    office, now_ms = with_stills, system_ms()
    asks = Asked(evidence_stills=2)
    past = q2.query(
        query_id=s.fixed("query of the past", 16),
        asks=asks,
        window_from_ms=now_ms // 900_000 * 900_000 - HOUR_MS,
        window_to_ms=now_ms // 900_000 * 900_000,
        requested_at_ms=now_ms,
        not_after_ms=now_ms + 2 * HOUR_MS,
    )
    signed = past.sign(s.signing_key("ana"))
    office.desk.file(signed.to_bytes())
    for name in ("bo", "cy"):
        approval = s.approval(signed, name, policy_digest=q2.POLICY.digest)
        office.desk.approve(past.query_id, approval.to_bytes())
    assert len(office.told().queries) == 1
    office.desk.set_state(signed.digest, COMPLETE)
    assert len(office.told().queries) == 1, "stills are looked at once somebody was found"
    office.clock_ms = now_ms + 3 * HOUR_MS
    office.desk.version += 1
    assert office.told().queries == ()


def test_a_withdrawn_query_is_told_no_more(office: Office) -> None:
    signed = office.file()
    office.approve(signed, "bo", "cy")
    before = office.told()
    gone = Withdrawal(signed.digest, "found", system_ms()).sign(s.signing_key("bo"))
    office.desk.withdraw(Query.parse(signed.payload).query_id, gone.to_bytes())
    after = office.told()
    assert len(before.queries) == 1
    assert after.queries == ()
    assert after.number > before.number


def test_a_revoked_approver_takes_the_query_out(office: Office) -> None:
    office.approve(office.file(), "bo", "cy")
    assert len(office.told().queries) == 1
    revoked = s.directory().revoke("bo", at_ms=s.NOW_MS)
    office.trust.accept(sign_forms(revoked, s.authority())[2])
    assert office.told().queries == ()


def test_numbers_rise_with_what_is_told_and_go_on_after_a_restart(tmp_path: Path) -> None:
    first = Office(tmp_path)
    plain = first.told()
    assert first.told() == plain, "nothing new, no new notice"
    first.approve(first.file(), "bo", "cy")
    last = first.told()
    assert last.number > plain.number
    first.close()
    again = Office(tmp_path)
    assert again.told() == last
    again.approve(again.file(number=1), "bo", "cy")
    assert again.told().number > last.number
    again.close()


def test_a_site_of_the_first_form_gives_no_notice(tmp_path: Path) -> None:
    office = Office(tmp_path, form=1)
    assert office.maker.newest() is None
    office.close()


class Board:
    """Takes what is published."""

    def __init__(self) -> None:
        self.retained: dict[str, bytes] = {}

    def publish_and_wait(self, topic: str, payload: bytes, *, retain: bool) -> None:
        assert retain
        self.retained[topic] = payload


@pytest.mark.slow
def test_an_approval_is_with_the_broker_within_a_second(office: Office) -> None:
    board: Any = Board()
    relay = Relay(
        site=s.SITE, trust=office.trust, session=board, tls=None, poll_s=600, notices=office.maker
    )
    stop = Stop()
    thread = threading.Thread(target=relay.run, args=(stop,))
    thread.start()
    try:
        topic = notice_topic(s.SITE)
        wait_for(lambda: topic in board.retained, "the first notice")
        before = board.retained[topic]
        signed = office.file()
        office.approve(signed, "bo", "cy")
        approved_ms = system_ms()
        wait_for(
            lambda: (
                board.retained[topic] != before
                and open_notice(board.retained[topic], office.trust.directory, after=0).queries
            ),
            "the notice of the query",
        )
        assert system_ms() - approved_ms < 1000
    finally:
        stop.set("test over")
        thread.join(60)
