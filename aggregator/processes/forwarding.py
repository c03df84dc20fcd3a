"""Hand a request to the process that has what it is about; answer as if it had been asked there.

Any process with an HTTP interface answers what the ledger tells. What needs the memory or the file
of one process (a query's keys, the audit log, a camera's stream) goes to that one, over the same
mutual TLS: the first process knows who calls, and says so in a header that counts only beside the
aggregator's own certificate, which nobody else has.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import quote

import httpx
import structlog
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from aggregator.ingest.checks import Rejected, topic_box
from aggregator.ingest.partitions import partition_of
from aggregator.processes.members import Member, members
from aggregator.processes.shares import UPKEEP_NUMBER, share_of_query
from aggregator.store import LedgerReading
from aggregator.store.leases import DUTY, PARTITION, QUERY
from runtime.config import TlsConfig
from runtime.errors import OperationError, explained
from runtime.http import client
from runtime.problems import Problem, problem_response

_log = structlog.get_logger()
CALLER = "x-sealtrace-caller"
"""Who asked the process that hands a request on."""
_TIMEOUT_S = 30.0
_MOST_BYTES = 16 << 20
"""Of an answer: a page of the log is the largest."""
_READING = {"GET", "HEAD"}
_OF_LOG = re.compile(r"/v1/(log/.*|witness|witnessed)")
_OF_QUERY = re.compile(r"/v1/queries/([0-9a-f]{32})/.*")
_OF_QUARANTINE = re.compile(r"/v1/quarantine/([0-9]{1,18})/admit")
_DOTS = frozenset({".", ".."})
_HEADERS = ("content-type", "retry-after")
_WORDS = {DUTY: "the audit log", QUERY: "this query", PARTITION: "this box"}


@dataclass(frozen=True, slots=True)
class Wanted:
    """The lease whose holder a request is for."""

    kind: str
    number: int


class Forwarding:
    """An ASGI application before another: answers what is ours, hands on what is another's.

    Args:
        app: answers what is ours.
        ledger: knows who holds what.
        member: gives this process as it is registered.
        name: the aggregator's, as its certificate has it.
        tls: the certificates; without them nobody can say for whom a request is handed on.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        ledger: LedgerReading,
        member: Callable[[], Member],
        name: str,
        tls: TlsConfig | None,
    ) -> None:
        self._app = app
        self._ledger = ledger
        self._member = member
        self._name = name
        self._tls = tls

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        state = scope.get("state", {})
        said = dict(scope["headers"]).get(CALLER.encode())
        if said is not None and state.get("peer") == self._name and not state.get("peer_is_box"):
            # Handed on to us already: by a certificate that is ours, so the name can be believed.
            state = {**state, "peer": said.decode("ascii", "replace")}
            await self._app({**scope, "state": state}, receive, send)
            return
        # Handed on without a name it would come with our own.
        named = isinstance(state.get("peer"), str) and not state.get("peer_is_box")
        try:
            holder = await self._elsewhere(scope) if named else None
        except OperationError as error:
            problem = Problem(503, "not-here", "The aggregator cannot tell who has it", str(error))
            await problem_response(problem)(scope, receive, send)
            return
        if holder is None:
            await self._app(scope, receive, send)
            return
        request = Request(scope, receive)
        answer = await run_in_threadpool(self._hand_on, request, await request.body(), holder)
        await answer(scope, receive, send)

    async def _elsewhere(self, scope: Scope) -> Wanted | Member | None:
        """Return who has it: None for ourselves; what is wanted where nobody does."""
        return await run_in_threadpool(self._holder, scope["method"], scope["path"])

    def _holder(self, method: str, path: str) -> Wanted | Member | None:
        wanted = self._wanted(method, path)
        if wanted is None:
            return None
        held = {lease.number: lease.holder for lease in self._ledger.held(wanted.kind)}
        name = held.get(wanted.number)
        if name == self._member().name:
            return None
        found = (one for one in members(self._ledger) if one.name == name and one.url)
        return next(found, wanted)

    def _wanted(self, method: str, path: str) -> Wanted | None:
        if not _DOTS.isdisjoint(path.split("/")):
            return None  # it would become another path on the way
        if _OF_LOG.fullmatch(path):
            return Wanted(DUTY, UPKEEP_NUMBER)
        if method in _READING:
            return None
        if match := _OF_QUERY.fullmatch(path):
            return Wanted(QUERY, share_of_query(bytes.fromhex(match[1])))
        if match := _OF_QUARANTINE.fullmatch(path):
            return self._partition_of_quarantined(int(match[1]))
        return None

    def _partition_of_quarantined(self, number: int) -> Wanted | None:
        for item in self._ledger.quarantined(limit=1, after=number - 1):
            if item.number == number:
                try:
                    box, _, _ = topic_box(item.topic, item.topic.split("/")[2])
                except (Rejected, IndexError):
                    return None
                return Wanted(PARTITION, partition_of(box))
        return None

    def _hand_on(self, request: Request, body: bytes, holder: Wanted | Member) -> Response:
        if isinstance(holder, Wanted):
            return _nobody(holder)
        headers = {
            name: value
            for name, value in request.headers.items()
            if name in {"content-type", "accept"}
        }
        headers[CALLER] = request.scope["state"]["peer"]
        # Of the request itself: a starlette URL begins with what the caller says is our name.
        url = httpx.URL(path=quote(request.scope["path"]), query=request.scope["query_string"])
        try:
            with client(holder.url, self._tls, _TIMEOUT_S, max_answer_bytes=_MOST_BYTES) as http:
                answer = http.request(request.method, url, content=body, headers=headers)
        except OperationError as error:
            _log.warning("not_handed_on", process=holder.name, reason=explained(error))
            return problem_response(
                Problem(
                    503,
                    "process-unreachable",
                    "The process that has it does not answer",
                    f"{explained(error)}. If it is gone, another takes over within seconds: ask "
                    "again.",
                )
            )
        kept = {name: answer.headers[name] for name in _HEADERS if name in answer.headers}
        return Response(answer.content, answer.status_code, kept)


def _nobody(wanted: Wanted) -> Response:
    answer = problem_response(
        Problem(
            503,
            "nobody-has-it",
            "No process of the aggregator has it at the moment",
            f"Ask again in a few seconds; if that does not help, no process runs that may have "
            f"{_WORDS[wanted.kind]} (`sealtrace aggregator serve --duty`).",
        )
    )
    answer.headers["retry-after"] = "2"
    return answer
