"""Answers officers who ask this box for stills: decided here, counted, logged, sealed to them.

The aggregator brings the request and is believed in nothing. Checks go from what costs least to
what costs most: how many have come lately, size and form, the signature of an investigator in
force, for this box, not too old, not answered before; then the query, which must stand by the
newest notice and ask for stills (`edge_agent.notices` runs `authorize()`), be confirmed by who
asks, and cover the sighting's camera and quarter hour. A refusal is answered by a code of
`protocol.v2.stills.REASONS`; what nobody signed is not answered at all.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass

import structlog

from edge_agent.stills.ring import NoMoreStills, RequestSeen, StillRing
from protocol import hpke
from protocol.authorization import AuthorizedQuery
from protocol.errors import MalformedMessage
from protocol.names import SightingName, slots_in_window
from protocol.signing import SigningKey
from protocol.v2.notices import Standing
from protocol.v2.stills import (
    GONE,
    LATER,
    NONE,
    REFUSED,
    REQUEST_AGE_MS,
    SENT,
    StillRequest,
    answer_request,
    open_request,
    request_digest,
)
from runtime.clock import system_ms
from runtime.database import StorageError
from runtime.trust import Trust

_log = structlog.get_logger()

REQUESTS_A_MINUTE = 60
"""Messages read; what comes beyond is not even looked at."""
STILLS_A_MINUTE = 64
"""Stills sent."""
ANSWERED_AGAIN = 4
"""The same request is answered so often in all: a broker may bring it twice, an answer get lost."""
_MINUTE_S = 60.0


class TooManyRequests(MalformedMessage):
    """More requests come than are read."""


class _Refusal(Exception):
    """Nothing of a request is answered but this outcome and its code."""

    def __init__(self, reason: str, outcome: str = REFUSED) -> None:
        super().__init__(reason)
        self.reason, self.outcome = reason, outcome


class _Rate:
    """So many within a minute."""

    def __init__(self, most: int, now_s: Callable[[], float]) -> None:
        self._most, self._now_s = most, now_s
        self._when: deque[float] = deque()

    def take(self) -> bool:
        """Count one more; tell whether it is within the rate."""
        now_s = self._now_s()
        while self._when and now_s - self._when[0] > _MINUTE_S:
            self._when.popleft()
        if len(self._when) >= self._most:
            return False
        self._when.append(now_s)
        return True


@dataclass(frozen=True, slots=True)
class _Asked:
    """A request that may be answered: by whom, under which query, and to which key."""

    officer: str
    request: StillRequest
    query: AuthorizedQuery
    key: hpke.PublicKey


class StillAnswers:
    """Answers requests for the stills of one box; for one thread, figures for any.

    Args:
        box: this box's name.
        board: signs.
        trust: whose directory is in force.
        standing: gives what stands by the newest notice, None while none has come.
        ring: the stills.
        films: cameras of which this box imports films alone: of those there are no stills.
        now_ms: the wall clock.
        now_s: a clock that nobody sets.
    """

    def __init__(
        self,
        box: str,
        *,
        board: SigningKey,
        trust: Trust,
        standing: Callable[[], Standing | None],
        ring: StillRing,
        films: Collection[str] = (),
        now_ms: Callable[[], int] = system_ms,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._box = box
        self._board = board
        self._trust = trust
        self._standing = standing
        self._ring = ring
        self._films = frozenset(films)
        self._now_ms = now_ms
        self._requests = _Rate(REQUESTS_A_MINUTE, now_s)
        self._stills = _Rate(STILLS_A_MINUTE, now_s)
        self._lock = threading.Lock()
        self._sent = self._refused = 0

    def figures(self) -> dict[str, float]:
        """Return how many stills were sent, and how many were asked for in vain."""
        with self._lock:
            return {"stills.sent": self._sent, "stills.refused": self._refused}

    def answer(self, data: bytes) -> list[bytes]:
        """Return the signed answers to a request, one a sighting.

        Raises:
            TooManyRequests: more have come than are read.
            ProtocolError: not a request for stills of this box, signed by an investigator in
                force: there is nobody to answer.
        """
        if not self._requests.take():
            raise TooManyRequests(
                f"more than {REQUESTS_A_MINUTE} requests for stills came within a minute; "
                "this one was not read"
            )
        officer, request = open_request(data, self._trust.directory)
        if request.box != self._box:
            raise MalformedMessage(f"the request is for '{request.box}', not for this box")
        try:
            asked = self._check(data, officer, request)
        except _Refusal as refusal:
            self._log_refused(officer, request, refusal.reason)
            told = [(name, refusal.outcome, refusal.reason, b"") for name in request.sightings]
            key = None
        else:
            told = [(name, *self._one(asked, name)) for name in request.sightings]
            key = asked.key
            self._log_answered(asked, [(outcome, reason) for _, outcome, reason, _ in told])
        now_ms = self._now_ms()
        return [
            answer_request(
                data,
                officer,
                request,
                name,
                answered_at_ms=now_ms,
                outcome=outcome,
                reason=reason,
                still=still,
                to=key,
            )
            .sign(self._board)
            .to_bytes()
            for name, outcome, reason, still in told
        ]

    # ------------------------------------------------------------------ whether

    def _check(self, data: bytes, officer: str, request: StillRequest) -> _Asked:
        """Check that a signed request may be answered.

        Raises:
            _Refusal: it may not, or not now.
        """
        now_ms = self._now_ms()
        if abs(now_ms - request.requested_at_ms) > REQUEST_AGE_MS:
            raise _Refusal("too-old")
        try:
            self._ring.note_asked(
                officer,
                request.nonce,
                request_digest(data),
                now_ms=now_ms,
                since_ms=now_ms - 2 * REQUEST_AGE_MS,
                most=ANSWERED_AGAIN,
            )
        except RequestSeen:
            raise _Refusal("seen-before") from None
        except StorageError as error:  # what cannot be counted is not sent
            _log.warning("still_request_not_counted", reason=str(error))
            raise _Refusal("failed", LATER) from error
        stands = self._standing()
        queries = () if stands is None else stands.queries
        query = next((one for one in queries if one.digest == request.query_digest), None)
        if stands is None or query is None or not self._asks(query, now_ms):
            raise _Refusal("no-such-query")
        if officer not in query.readers:
            raise _Refusal("not-confirming")
        listed = self._trust.directory.principals.get(officer)
        if listed is None or listed.seal_key is None:
            raise _Refusal("no-key")
        return _Asked(officer, request, query, listed.seal_key)

    @staticmethod
    def _asks(query: AuthorizedQuery, now_ms: int) -> bool:
        return query.query.asks.evidence_stills > 0 and now_ms < query.query.not_after_ms

    # ------------------------------------------------------------------ one sighting

    def _one(self, asked: _Asked, name: SightingName) -> tuple[str, str, bytes]:
        """Return outcome, code and the encoded sealed still of one sighting."""
        query = asked.query.query
        slots = slots_in_window(name.epoch, query.window_from_ms, query.window_to_ms)
        if name.camera not in query.cameras or name.slot not in slots:
            return REFUSED, "out-of-scope", b""
        try:
            return self._kept(asked.query, name)
        except NoMoreStills:
            return REFUSED, "over-cap", b""
        except StorageError as error:
            _log.warning("still_not_read", camera=name.camera, reason=str(error))
            return LATER, "failed", b""

    def _kept(self, query: AuthorizedQuery, name: SightingName) -> tuple[str, str, bytes]:
        """Return outcome, code and still of a sighting that may be asked for.

        Raises:
            NoMoreStills: the query's number is used up.
            StorageError: it cannot be read, or counted.
        """
        found = self._ring.find(name)
        if found is None:
            why = self._ring.why_gone(name, self._now_ms())
            if why != "unknown":
                return GONE, why, b""
            return NONE, "recording" if name.camera in self._films else why, b""
        if not found.sealed:
            return NONE, found.reason, b""
        if not self._stills.take():
            return LATER, "too-many", b""
        most, until_ms = query.query.asks.evidence_stills, query.query.not_after_ms
        self._ring.count_sent(query.digest, name, most=most, until_ms=until_ms)
        return SENT, "", found.sealed

    # ------------------------------------------------------------------ what is told

    def _log_refused(self, officer: str, request: StillRequest, reason: str) -> None:
        with self._lock:
            self._refused += len(request.sightings)
        _log.warning(
            "stills_refused",
            officer=officer,
            query_digest=request.query_digest.hex(),
            asked=len(request.sightings),
            reason=reason,
        )

    def _log_answered(self, asked: _Asked, outcomes: list[tuple[str, str]]) -> None:
        sent = sum(outcome == SENT for outcome, _ in outcomes)
        with self._lock:
            self._sent += sent
            self._refused += len(outcomes) - sent
        _log.info(
            "stills_answered",
            officer=asked.officer,
            query_id=asked.query.query.query_id.hex(),
            query_digest=asked.query.digest.hex(),
            asked=len(outcomes),
            sent=sent,
            reasons=sorted({reason for _, reason in outcomes if reason}),
        )
