"""Put one signed request to all custodians at once: each one's own answer, or why there is none."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

import httpx
import structlog

from aggregator.asking import Late, Panel, Patience
from protocol.directory import CUSTODIAN, Principal
from protocol.encoding import MAX_MESSAGE_BYTES
from protocol.errors import ProtocolError, QueryNotHeld, UnsupportedVersion
from protocol.signing import Signed
from runtime.config import TlsConfig
from runtime.errors import OperationError
from runtime.http import CBOR, PeerUnreachable, ProblemError, client, raise_for_problem
from runtime.problems import problem_type
from runtime.trust import Trust

_log = structlog.get_logger()
_TIMEOUT_S = 60.0
_NOT_HELD, _UNSUPPORTED = problem_type(QueryNotHeld), problem_type(UnsupportedVersion)
_FINAL = frozenset({400, 401, 403, 409, 410})
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why one custodian released nothing that counts.

    Args:
        final: asking again would not change it.
        false: it signed an answer that no custodian gives who goes by the protocol.
    """

    custodian: str
    reason: str
    final: bool = False
    false: bool = False


class AnswerRejected(OperationError):
    """A custodian's answer is genuine but not what was asked for."""


class Told:
    """Which custodians hold which queries, as far as is known here; safe in several threads.

    A custodian of an older version holds none, and is not asked by digest again.
    """

    def __init__(self) -> None:
        self._held: set[tuple[str, bytes]] = set()
        self._old: set[str] = set()

    def holds(self, custodian: str, digest: bytes) -> bool:
        """Tell whether a custodian can be asked about a query by its digest."""
        return (custodian, digest) in self._held

    def note(self, custodian: str, digest: bytes) -> None:
        """Note that a custodian has granted for a query that it was sent in full."""
        if custodian not in self._old:
            self._held.add((custodian, digest))

    def forget(self, custodian: str, digest: bytes) -> None:
        """Note that a custodian does not hold a query."""
        self._held.discard((custodian, digest))

    def is_old(self, custodian: str) -> None:
        """Note that a custodian reads no requests that name their query by digest."""
        self._old.add(custodian)


@dataclass(frozen=True, slots=True)
class ByDigest:
    """The same request, naming its query; for custodians that hold it."""

    digest: bytes
    request: bytes
    told: Told


@dataclass(frozen=True, slots=True)
class Question(Generic[Answer]):
    """What is put to custodians.

    Args:
        path: of their interface.
        request: the signed message.
        answer_kind: of the signed message that comes back.
        read: reads the verified message of the custodian of that name. What it raises is an
            OperationError or ProtocolError; `AnswerRejected` accuses the custodian.
        by_digest: the message for those that hold its query; any other is sent the query in full.
    """

    path: str
    request: bytes
    answer_kind: str
    read: Callable[[str, Signed, bytes], Answer]
    by_digest: ByDigest | None = None


class Circle(Generic[Answer]):
    """All custodians in force, as the aggregator asks them.

    Args:
        trust: the site's directory, which says where they are.
        tls: the aggregator's client certificate.
        patience: how long they are waited for.
    """

    def __init__(self, trust: Trust, tls: TlsConfig | None, patience: Patience) -> None:
        self._trust = trust
        self._tls = tls
        self._panel: Panel[Answer | Refusal] = Panel(patience)

    def names(self) -> frozenset[str]:
        """Return the custodians in force."""
        return frozenset(one.name for one in self._trust.directory.with_duty(CUSTODIAN))

    def ask(
        self,
        question: Question[Answer],
        *,
        of: Collection[str] | None = None,
        needed: int,
        wait_for_all: bool = False,
        late: Late[Answer | Refusal] | None = None,
        lane: object = None,
    ) -> dict[str, Answer | Refusal]:
        """Return what each custodian says, for those that say nothing a refusal.

        Args:
            question: what is asked.
            of: only these custodians; None: all.
            needed: once so many have answered, slow ones are waited for no longer than it took.
            wait_for_all: wait for slow ones all the same.
            late: handed what one says afterwards (`aggregator.asking.Panel.ask`).
            lane: of which query it is: those of others are no hindrance.
        """
        asked = [
            one
            for one in self._trust.directory.with_duty(CUSTODIAN)
            if of is None or one.name in of
        ]

        def enough(answers: Mapping[str, Answer | Refusal]) -> bool:
            return sum(not isinstance(one, Refusal) for one in answers.values()) >= needed

        answers = self._panel.ask(
            {one.name: partial(self._ask, one, question) for one in asked},
            enough=enough,
            wait_for_all=wait_for_all,
            late=late,
            lane=lane,
        )
        silent = "it has not answered in time"
        return {one.name: answers.get(one.name, Refusal(one.name, silent)) for one in asked}

    def _ask(self, custodian: Principal, question: Question[Answer]) -> Answer | Refusal:
        """Return the custodian's verified answer, or why there is none."""
        name = custodian.name
        try:
            return self._fetch(custodian, question)
        except ProblemError as error:
            refusal = Refusal(name, str(error), final=error.status in _FINAL)
        except (OperationError, ProtocolError) as error:
            refusal = Refusal(name, str(error), false=isinstance(error, AnswerRejected))
        _log.warning(
            "not_granted",
            custodian=name,
            asked=question.path,
            reason=refusal.reason,
            final=refusal.final,
        )
        return refusal

    def _fetch(self, custodian: Principal, question: Question[Answer]) -> Answer:
        """Ask one custodian.

        Raises:
            ProblemError, PeerUnreachable: it refuses, or does not answer.
            SignatureInvalid, MalformedMessage: its answer is not one of its own.
            AnswerRejected: it is an answer to something else.
        """
        if custodian.url is None:
            raise PeerUnreachable("the directory gives no address for it")
        with client(
            custodian.url, self._tls, _TIMEOUT_S, max_answer_bytes=MAX_MESSAGE_BYTES
        ) as http:
            response = _post(http, custodian.name, question)
        signed = Signed.parse(response.content, kind=question.answer_kind)
        payload = signed.verify(self._trust.directory.resolver(CUSTODIAN))
        if signed.signer != custodian.name:
            raise AnswerRejected("it answered with another custodian's answer")
        return question.read(custodian.name, signed, payload)


def _post(http: httpx.Client, custodian: str, question: Question[Answer]) -> httpx.Response:
    """Put a question, with its query named by digest if the custodian holds it.

    Raises:
        ProblemError, PeerUnreachable: it refuses, or does not answer.
    """

    def post(request: bytes) -> httpx.Response:
        response = http.post(question.path, content=request, headers={"content-type": CBOR})
        raise_for_problem(response)
        return response

    short = question.by_digest
    if short is None:
        return post(question.request)
    unread = False
    if short.told.holds(custodian, short.digest):
        try:
            return post(short.request)
        except ProblemError as error:
            if error.type not in {_NOT_HELD, _UNSUPPORTED}:
                raise
            unread = error.type == _UNSUPPORTED
            short.told.forget(custodian, short.digest)
            _log.info("query_sent_again", custodian=custodian, reason=str(error))
    response = post(question.request)
    if unread:
        short.told.is_old(custodian)
    short.told.note(custodian, short.digest)
    return response
