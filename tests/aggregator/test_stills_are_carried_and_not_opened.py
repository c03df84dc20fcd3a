"""Officers' requests for stills reach the box, its answers who asked; the aggregator opens none."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import protocol_samples as s
import pytest
import query_samples_v2 as q2
from laid_down import new_store
from rows_asked import approved, directory

from aggregator.queries import QueryConflict, QueryDesk, QueryUnknown
from aggregator.records import Records
from aggregator.stills import ANSWERED_MS, ASKED_MS, MAX_OF_OFFICER, StillDesk
from protocol import errors
from protocol.about_queries import Withdrawal
from protocol.auditlog import Entry, origin_of
from protocol.directory_forms import sign_forms
from protocol.errors import ProtocolError
from protocol.names import SightingName, epoch_of, slot_of, stills_topic
from protocol.query import Asked, Query
from protocol.signing import Signed
from protocol.v2.evidence import SealedStill
from protocol.v2.stills import (
    MAX_ASKED,
    StillAnswer,
    StillRequest,
    answer_request,
    open_answer,
    request_digest,
)
from runtime.auditlog import AuditLog
from runtime.clock import system_ms
from runtime.trust import Trust

HOUR_MS = 3_600_000


class Office:
    """An aggregator's desk for stills, with a query of ana's that bea confirms, and a clock."""

    def __init__(self, folder: Path) -> None:
        installed = folder / "directory.cbor"
        installed.write_bytes(sign_forms(directory(), s.authority())[2])
        authority = s.authority().verify_key
        trust = Trust(site=s.SITE, authority=authority, installed=installed, state_dir=folder)
        key = s.signing_key("aggregator")
        self.store = new_store(folder / "aggregator.db")
        auditors = {"eve": s.sealing_key("eve").public}
        self.log = AuditLog(folder / "audit.db", origin_of(s.SITE, "aggregator"), key, auditors)
        self.queries = QueryDesk(self.store, trust, q2.POLICY, self.log, key)
        self.clock_ms = system_ms()
        self.rejected: list[tuple[str, str, str]] = []
        self.stills = StillDesk(
            site=s.SITE,
            store=self.store,
            trust=trust,
            policy=q2.POLICY,
            desk=self.queries,
            records=Records(self.store, self.log, "aggregator"),
            reject=lambda *told: self.rejected.append(told),
            now_ms=lambda: self.clock_ms,
        )
        self.query = self.filed()

    def filed(self, stills: int = 3, number: int = 0, approve: bool = True) -> Signed:
        now_ms = system_ms()
        begins_ms = now_ms // 900_000 * 900_000 - HOUR_MS
        query = replace(
            q2.query(confirmers=("bea",)),
            query_id=s.fixed(f"query {number}", 16),
            asks=Asked(evidence_stills=stills),
            window_from_ms=begins_ms,
            window_to_ms=begins_ms + HOUR_MS,
            requested_at_ms=now_ms,
            not_after_ms=now_ms + 3 * HOUR_MS,
        )
        case = approved(query)
        self.queries.file(case.query.to_bytes())
        for approval in case.approvals if approve else ():
            self.queries.approve(query.query_id, approval.to_bytes())
        return case.query

    def name(self, number: int = 1) -> SightingName:
        at_ms = Query.parse(self.query.payload).window_from_ms
        return SightingName(
            "box-1", "cam-1", epoch_of(at_ms), 1, slot_of(at_ms), bytes([number] * 8)
        )

    def request(self, *names: SightingName, by: str = "ana", **changes: object) -> bytes:
        asked = StillRequest(
            s.SITE,
            self.query.digest,
            "box-1",
            names or (self.name(),),
            os.urandom(16),
            self.clock_ms,
        )
        made = replace(asked, **changes)  # type: ignore[arg-type]
        return made.sign(s.signing_key(by)).to_bytes()

    @property
    def query_id(self) -> bytes:
        return Query.parse(self.query.payload).query_id

    def ask(self, data: bytes, caller: str = "ana") -> bytes:
        return self.stills.ask(self.query_id, data, caller=caller)

    def answer(self, data: bytes, name: SightingName | None = None, **changes: object) -> bytes:
        signed = Signed.parse(data, kind="still-request")
        request = StillRequest.parse(signed.payload)
        name = name or request.sightings[0]
        still = SealedStill(s.SITE, name, bytes(12), b"sealed" * 8).to_bytes()
        made = answer_request(
            data, signed.signer, request, name,
            answered_at_ms=self.clock_ms, still=still, to=s.sealing_key(signed.signer).public,
        )  # fmt: skip
        made = replace(made, **changes)  # type: ignore[arg-type]
        return made.sign(s.signing_key("box-1")).to_bytes()

    def take(self, data: bytes, box: str = "box-1") -> None:
        self.stills.take(stills_topic(s.SITE, box), data)

    def answers(self, reader: str, request: bytes | None = None) -> list[bytes]:
        record = self.queries.get(self.query_id)
        return self.stills.answers(record, reader=reader, request=request)

    def logged(self, kind: str) -> list[dict[str, object]]:
        found = []
        for data in self.log.entries():
            entry = Entry.parse(data)
            if entry.kind == kind:
                found.append(entry.open("eve", s.sealing_key("eve")))
        return found


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    one = Office(tmp_path)
    yield one
    one.log.close()
    one.store.close()


def test_what_a_box_answers_is_there_for_who_asked_and_for_nobody_else(office: Office) -> None:
    data = office.request()
    asked = office.ask(data)
    assert asked == request_digest(data)
    assert office.answers("ana", asked) == []
    told = office.answer(data)
    office.take(told)
    assert office.answers("ana", asked) == office.answers("ana") == [told]
    assert office.answers("bea") == []
    assert office.rejected == []
    _, answer = open_answer(told, directory())
    with pytest.raises(errors.AuthenticationFailed):
        answer.open("ana", s.sealing_key("aggregator"))


def test_the_log_counts_what_was_asked_and_sent_and_names_no_place(office: Office) -> None:
    first, second = office.name(1), office.name(2)
    for names in ((first, second), (second,)):
        data = office.request(*names)
        office.ask(data)
        for name in names:
            office.take(office.answer(data, name))
    none = office.request(office.name(3))
    office.ask(none)
    office.take(office.answer(none, outcome="none", reason="no-body", sealed=b""))
    asked, answered = office.logged("still-asked"), office.logged("still-answered")
    assert [(one["officer"], one["box"], one["stills"]) for one in asked] == [
        ("ana", "box-1", 2),
        ("ana", "box-1", 1),
        ("ana", "box-1", 1),
    ]
    assert [(one["outcome"], one["sent"]) for one in answered] == [
        ("sent", 1),
        ("sent", 2),
        ("sent", 2),
        ("none", 2),
    ]
    assert "cam-1" not in repr([asked, answered])
    assert first.sighting_id not in [v for one in answered for v in one.values()]


def test_asking_again_with_the_same_message_changes_nothing(office: Office) -> None:
    data = office.request()
    assert office.ask(data) == office.ask(data)
    assert len(office.logged("still-asked")) == 1


@pytest.mark.parametrize("reader", ["ana", "bea"])
def test_either_confirming_officer_asks(office: Office, reader: str) -> None:
    data = office.request(by=reader)
    office.ask(data, reader)
    office.take(office.answer(data))
    assert len(office.answers(reader)) == 1


def test_nobody_else_asks(office: Office) -> None:
    with pytest.raises(errors.NotAuthorized, match="'cleo' does not confirm"):
        office.ask(office.request(by="cleo"), "cleo")
    with pytest.raises(errors.NotAuthorized, match="'cleo' brings"):
        office.ask(office.request(), "cleo")
    for officer in ("bo", "eve", "aggregator"):
        with pytest.raises(errors.UnknownSigner):
            office.ask(office.request(by=officer), officer)
    with pytest.raises(QueryUnknown):
        office.stills.ask(bytes(16), office.request(), caller="ana")
    assert office.logged("still-asked") == []


REFUSED: dict[str, tuple[dict[str, object], type[ProtocolError]]] = {
    "of another query": ({"query_digest": bytes(32)}, errors.MalformedMessage),
    "of another site": ({"site": "elsewhere"}, errors.MalformedMessage),
    "of yesterday": ({"requested_at_ms": 5}, errors.NotAuthorized),
    "of tomorrow": ({"requested_at_ms": 1 << 50}, errors.NotAuthorized),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_request_that_does_not_fit_goes_nowhere(office: Office, name: str) -> None:
    changes, error = REFUSED[name]
    with pytest.raises(error):
        office.ask(office.request(**changes))  # type: ignore[arg-type]
    assert office.store.ledger.count_still_requests() == 0


def test_a_camera_that_the_query_does_not_name_is_refused(office: Office) -> None:
    elsewhere = replace(office.name(), camera="cam-9")
    with pytest.raises(errors.ScopeExceeded):
        office.ask(office.request(elsewhere))


def test_a_query_without_stills_without_approvals_or_withdrawn_asks_for_none(
    office: Office,
) -> None:
    office.query = office.filed(stills=0, number=1)
    with pytest.raises(errors.ScopeExceeded, match="asks for no stills"):
        office.ask(office.request())
    office.query = office.filed(number=2, approve=False)
    with pytest.raises(errors.ApprovalsMissing):
        office.ask(office.request())
    office.query = office.filed(number=3)
    office.ask(office.request())
    gone = Withdrawal(office.query.digest, "found", system_ms()).sign(s.signing_key("bo"))
    office.queries.withdraw(office.query_id, gone.to_bytes())
    with pytest.raises(errors.QueryWithdrawn):
        office.ask(office.request())


def test_an_answer_to_nothing_that_was_asked_is_noted_against_the_box(office: Office) -> None:
    data = office.request()
    office.take(office.answer(data))  # nobody has asked yet
    office.ask(data)
    office.take(office.answer(data), "box-2")
    office.take(office.answer(data, office.name(7)))
    office.take(office.answer(data, officer="bea"))
    office.take(office.answer(data, query_digest=bytes(32)))
    office.take(b"no message at all")
    signed = StillAnswer.parse(Signed.parse(office.answer(data), kind="still").payload)
    office.take(signed.sign(s.signing_key("box-2")).to_bytes(), "box-2")
    assert [box for box, _, _ in office.rejected] == [
        "box-1", "box-2", "box-1", "box-1", "box-1", "box-1", "box-2",
    ]  # fmt: skip
    assert office.answers("ana") == []
    assert office.logged("still-answered") == []


def test_the_first_answer_stays(office: Office) -> None:
    data = office.request()
    office.ask(data)
    first = office.answer(data)
    office.take(first)
    office.take(office.answer(data, outcome="refused", reason="seen-before", sealed=b""))
    assert office.answers("ana") == [first]
    assert office.rejected == []


def test_both_are_forgotten_in_time(office: Office) -> None:
    data = office.request()
    office.ask(data)
    office.take(office.answer(data))
    office.clock_ms += ASKED_MS + 1
    office.ask(office.request(office.name(2)))
    assert office.store.ledger.count_still_requests() == 1
    assert len(office.answers("ana")) == 1
    office.take(office.answer(data))
    assert "nobody asked" in office.rejected[-1][2]
    office.clock_ms += ANSWERED_MS
    office.ask(office.request(office.name(2)))
    assert office.answers("ana") == []
    assert office.store.ledger.count_stills_sent(office.query.digest) == 1


@pytest.mark.slow
def test_an_officer_cannot_pile_up_requests_nor_boxes_answers(office: Office) -> None:
    data = office.request()
    office.ask(data)
    asked = office.store.ledger.still_request(request_digest(data))
    assert asked is not None
    with office.store.writing() as unit:
        for number in range(MAX_OF_OFFICER - 1):
            unit.ledger.add_still_request(replace(asked, request=s.fixed(f"{number}", 32)))
    with pytest.raises(QueryConflict, match="quarter of an hour"):
        office.ask(office.request())
    names = [office.name(number) for number in range(1, MAX_ASKED + 1)]
    with pytest.raises(QueryConflict, match="on their way"):
        for _ in range(MAX_OF_OFFICER):
            office.ask(office.request(*names, by="bea"), "bea")
