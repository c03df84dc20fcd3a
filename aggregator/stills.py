"""Carry requests for stills from officers to boxes, and the answers back; open neither.

docs/protocol.md, "Stills". Who asks must confirm hits of a query that stands and asks for stills;
the box decides that again, and seals what it sends to who asked. Thread ``stills``: publishes what
is asked, again while a box is silent, and takes in what boxes answer.
"""

from __future__ import annotations

import queue
import time
from collections.abc import Callable

import structlog

from aggregator.queries import QueryConflict, QueryDesk
from aggregator.records import Records
from aggregator.store import Store
from aggregator.store.rows import QueryRecord
from aggregator.store.stills import StillAsked
from aggregator.wanted_rows import mark_of
from protocol.authorization import authorize, parse_signed_query
from protocol.errors import MalformedMessage, NotAuthorized, ProtocolError, ScopeExceeded
from protocol.names import STILLS, TOPIC_ROOT, still_requests_topic, stills_topic
from protocol.policy import Policy
from protocol.v2.stills import (
    MAX_ANSWER_BYTES,
    REQUEST_AGE_MS,
    SENT,
    StillAnswer,
    StillRequest,
    open_answer,
    open_request,
    request_digest,
)
from runtime.clock import system_ms
from runtime.database import StorageError
from runtime.lifecycle import Stop
from runtime.mqtt import Delivery, MqttError, Session
from runtime.mqtt_brokers import Brokers
from runtime.trust import Trust

_log = structlog.get_logger()
ASKED_MS, ANSWERED_MS = 15 * 60 * 1000, 60 * 60 * 1000
"""How long a request waits for its answer, and an answer for who asked."""

MAX_OF_OFFICER = 128
MAX_KEPT_BYTES = 256 << 20
"""Of answers: those that are here, and the largest that may come to what was asked."""
AGAIN_S = 20.0
_IDLE_S = 0.5
_RETRY_S = 1.0
_UPKEEP_S = 30.0
_REFUSED = "still-refused"


class StillDesk:
    """Takes requests of officers and answers of boxes; safe to call from several threads.

    Args:
        site: the site's name.
        store: keeps both for a while.
        trust: the site's directory.
        policy: the site's.
        desk: the queries, with what officers have signed over them.
        records: the store together with the audit log.
        reject: told of what a box sent that counts for nothing: box, reason, detail.
        now_ms: our clock.
    """

    def __init__(
        self,
        *,
        site: str,
        store: Store,
        trust: Trust,
        policy: Policy,
        desk: QueryDesk,
        records: Records,
        reject: Callable[[str, str, str], None],
        now_ms: Callable[[], int] = system_ms,
    ) -> None:
        self._site = site
        self._store = store
        self._trust = trust
        self._policy = policy
        self._desk = desk
        self._records = records
        self._reject = reject
        self._now_ms = now_ms
        self._arrived: queue.SimpleQueue[Delivery | None] = queue.SimpleQueue()
        self._sent_s: dict[bytes, float] = {}
        self._upkeep_s = 0.0

    # ------------------------------------------------------------------ officers

    def ask(self, query_id: bytes, data: bytes, *, caller: str) -> bytes:
        """Take in a signed request for stills; the same one again changes nothing.

        Returns:
            its digest, by which answers name it.

        Raises:
            QueryUnknown: there is no such query.
            NotAuthorized: the query does not stand, or ``caller`` confirms no hits of it.
            ScopeExceeded: it asks for no stills, or for none of such a sighting.
            QueryConflict: too many requests are waiting.
            SignatureInvalid, MalformedMessage: it is not genuine.
        """
        record = self._desk.get(query_id)
        officer, request = open_request(data, self._trust.directory)
        self._check(record, request, officer, caller)
        asked = StillAsked(
            request=request_digest(data),
            query_digest=record.digest,
            query_id=query_id,
            officer=officer,
            box=request.box,
            signed=data,
            stills=len(request.sightings),
            received_ms=self._now_ms(),
        )
        body = {
            "query_digest": record.digest,
            "request": asked.request,
            "officer": officer,
            "box": request.box,
            "stills": asked.stills,
        }
        self._forget()
        with self._records.writing() as unit:
            if unit.ledger.still_request(asked.request) is None:
                self._check_room(asked)
                unit.ledger.add_still_request(asked)
                self._records.note("still-asked", query_id, body)
        _log.info(
            "stills_asked",
            query=query_id.hex(),
            officer=officer,
            box=request.box,
            stills=asked.stills,
        )
        self._arrived.put(None)
        return asked.request

    def answers(
        self, record: QueryRecord, *, reader: str, request: bytes | None = None
    ) -> list[bytes]:
        """Return the signed answers of boxes to ``reader``: to one request, or to all."""
        return self._store.ledger.still_answers(record.digest, reader, request)

    # ------------------------------------------------------------------ boxes

    def listen(self, session: Brokers | Session) -> None:
        """Have ``session`` hand over what boxes answer; call it before it starts."""
        session.subscribe(f"{TOPIC_ROOT}/{self._site}/+/{STILLS}", self._arrived.put)

    def run(self, stop: Stop, session: Brokers | Session) -> None:
        """Publish what is asked and take in what is answered; the body of the thread ``stills``."""
        while not stop.is_set():
            try:
                delivery = self._arrived.get(timeout=_IDLE_S)
            except queue.Empty:
                delivery = None
            try:
                if delivery is not None:
                    self._take(delivery, stop)
                self.publish(session)
                if time.monotonic() >= self._upkeep_s:
                    self._upkeep_s = time.monotonic() + _UPKEEP_S
                    self._forget()
            except StorageError as error:
                _log.error("stills_wait", reason=str(error))
                stop.wait(_RETRY_S)

    def publish(self, session: Brokers | Session) -> None:
        """Hand boxes what they have not answered: at once, and again while it is young.

        Raises:
            StorageError: the store cannot be read.
        """
        now_s = time.monotonic()
        waiting = self._store.ledger.unanswered_stills(since_ms=self._now_ms() - REQUEST_AGE_MS)
        last = {one.request: self._sent_s.get(one.request) for one in waiting}
        self._sent_s = {request: s for request, s in last.items() if s is not None}
        for one in waiting:
            sent_s = last[one.request]
            if sent_s is not None and now_s < sent_s + AGAIN_S:
                continue
            try:
                session.publish_and_wait(still_requests_topic(self._site, one.box), one.signed)
            except MqttError as error:
                _log.debug("still_request_waits", box=one.box, reason=str(error))
                return
            self._sent_s[one.request] = now_s

    def take(self, topic: str, payload: bytes) -> None:
        """Take in what a box answered, if a request for it stands; else note it against the box.

        Raises:
            StorageError: it cannot be kept.
        """
        claimed = topic.split("/")[3]
        try:
            asked, answer = self._matched(topic, payload)
        except ProtocolError as error:
            _log.warning("still_refused", box=claimed, reason=str(error))
            self._reject(claimed, _REFUSED, str(error))
            return
        mark = mark_of(asked.query_digest, answer.name)
        with self._records.writing() as unit:
            ledger = unit.ledger
            if ledger.has_still_answer(asked.request, mark):
                return
            sent = answer.outcome == SENT
            ledger.add_still_answer(asked, mark, payload, sent=sent, received_ms=self._now_ms())
            body = {
                "query_digest": asked.query_digest,
                "request": asked.request,
                "officer": asked.officer,
                "box": asked.box,
                "outcome": answer.outcome,
                "reason": answer.reason,
                "sent": ledger.count_stills_sent(asked.query_digest),
            }
            self._records.note("still-answered", asked.query_id, body)
        _log.info(
            "still_answered",
            query=asked.query_id.hex(),
            officer=asked.officer,
            box=asked.box,
            outcome=answer.outcome,
            reason=answer.reason,
        )

    # ------------------------------------------------------------------ inside

    def _check(self, record: QueryRecord, request: StillRequest, officer: str, caller: str) -> None:
        if officer != caller:
            raise NotAuthorized(f"'{caller}' brings a request that '{officer}' signed")
        if officer not in record.readers:
            raise NotAuthorized(
                f"'{officer}' does not confirm hits of this query; {' or '.join(record.readers)} "
                "may ask for stills"
            )
        if request.query_digest != record.digest:
            raise MalformedMessage("the request is of another query")
        query, now_ms = record.query, self._now_ms()
        if not query.asks.evidence_stills:
            raise ScopeExceeded("the query asks for no stills")
        if abs(now_ms - request.requested_at_ms) > REQUEST_AGE_MS:
            raise NotAuthorized(
                "the request is more than 5 minutes old, or dated ahead: set the clock of the "
                "machine it was signed on"
            )
        cameras = {name.camera for name in request.sightings}
        if not cameras <= set(query.cameras):
            raise ScopeExceeded("the query does not ask for every camera of these sightings")
        authorize(
            parse_signed_query(record.signed),
            self._desk.approvals(record.digest),
            self._desk.withdrawals(record.digest),
            directory=self._trust.directory,
            policy=self._policy,
            now_ms=now_ms,
        )

    def _check_room(self, asked: StillAsked) -> None:
        ledger = self._store.ledger
        if ledger.count_still_requests(asked.officer) >= MAX_OF_OFFICER:
            raise QueryConflict(
                f"{MAX_OF_OFFICER} requests of '{asked.officer}' for stills are waiting; go on in "
                "a quarter of an hour"
            )
        due = sum(
            one.stills - one.answered
            for one in ledger.unanswered_stills(since_ms=self._now_ms() - ASKED_MS)
        )
        kept = ledger.still_answer_bytes() + (due + asked.stills) * MAX_ANSWER_BYTES
        if kept > MAX_KEPT_BYTES:
            raise QueryConflict("too many stills are on their way; go on in a few minutes")

    def _take(self, delivery: Delivery, stop: Stop) -> None:
        """Take in a delivery, trying until there is room; acknowledged is what was dealt with."""
        while True:
            try:
                self.take(delivery.topic, delivery.payload)
            except StorageError as error:
                _log.error("stills_wait", reason=str(error))
                if stop.wait(_RETRY_S):
                    return
                continue
            delivery.ack()
            return

    def _matched(self, topic: str, payload: bytes) -> tuple[StillAsked, StillAnswer]:
        """Return an answer and the request that it is for.

        Raises:
            ProtocolError: it is not genuine, or answers nothing that was asked.
        """
        box, answer = open_answer(payload, self._trust.directory)
        if topic != stills_topic(self._site, box):
            raise MalformedMessage(f"'{box}' answers on another box's topic")
        asked = self._store.ledger.still_request(answer.request)
        if asked is None:
            raise ScopeExceeded("nobody asked for it, or more than a quarter of an hour ago")
        if (asked.box, asked.officer, asked.query_digest) != (
            box,
            answer.officer,
            answer.query_digest,
        ):
            raise ScopeExceeded("it answers another officer, query or box than was asked")
        _, request = open_request(asked.signed, self._trust.directory)
        if answer.name not in request.sightings:
            raise ScopeExceeded("it is of a sighting that was not asked for")
        return asked, answer

    def _forget(self) -> None:
        now_ms = self._now_ms()
        with self._store.writing() as unit:
            unit.ledger.forget_stills(
                asked_before_ms=now_ms - ASKED_MS, answered_before_ms=now_ms - ANSWERED_MS
            )
