"""Call the aggregator's ``/v1`` as an officer.

What comes back is the aggregator's word. What matters is signed: callers verify the query
(`case`), the matcher key (`filing`) and the decisions (`results`) themselves.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Annotated, Any, Self, TypeVar

import httpx
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from officers.desk.fleet_answers import BoxSaid, HistorySaid
from officers.desk.phrases import phrase
from protocol.directory import FORMS
from protocol.encoding import decode
from protocol.names import NAME_PATTERN, SightingName
from protocol.results import CANDIDATE_ID_BYTES
from protocol.textformats import parse_json
from protocol.v2.stills import request_digest
from runtime.config import TlsConfig
from runtime.errors import OperationError
from runtime.http import CBOR, client, raise_for_problem

_TIMEOUT_S = 30.0
_LAST_MS = 253_370_764_800_000  # the year 9999 begins: until then a moment is a date anywhere
_Name = Annotated[str, Field(pattern=NAME_PATTERN)]
_MAX_ANSWER_BYTES = 256 << 20  # results, lists of boxes and cameras of a whole city
_MAX_RESULTS_BYTES = 1 << 30
ENDED = frozenset({"complete", "withdrawn", "expired", "failed"})
"""States that a query does not leave again."""
_NO_SUCH_LIST = frozenset({404, 405})
"""How an aggregator of an earlier version answers that keeps no such thing for officers."""
STANDING, COMPLETE = "standing", "complete"
SomeModel = TypeVar("SomeModel", bound=BaseModel)


class AnswerInvalid(OperationError):
    """The aggregator's answer is not what its interface promises."""


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class ApprovalNote(_Answer):
    """That an approver said yes, according to the aggregator."""

    approver: str
    at_ms: int


class RefusalNote(_Answer):
    """That an approver said no, according to the aggregator; it may have been before a yes."""

    approver: str
    reason: str
    at_ms: int


class WithdrawalNote(_Answer):
    """That an officer withdrew, according to the aggregator."""

    officer: str
    reason: str
    at_ms: int


class FalseGrantNote(_Answer):
    """That a custodian answered the query falsely, according to the aggregator."""

    custodian: str
    reason: str
    at_ms: int


class LateFilmsNote(_Answer):
    """That films came after the query had ended, according to the aggregator: of one camera."""

    camera: _Name
    boxes: Annotated[tuple[_Name, ...], Field(max_length=10_000)]
    from_ms: Annotated[int, Field(ge=0, le=_LAST_MS)]
    to_ms: Annotated[int, Field(ge=0, le=_LAST_MS)]
    quarter_hours: Annotated[int, Field(ge=1)]


class QueryContent(_Answer):
    """What a query asks for, according to the aggregator (the signed query is what counts)."""

    pseudonyms: tuple[str, ...]
    purpose: str
    legal_basis: str
    cameras: tuple[str, ...]
    window_from_ms: int
    window_to_ms: int
    live: bool


class QuerySummary(_Answer):
    """Where a query stands, according to the aggregator."""

    id: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    digest: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    requester: str
    state: str
    reason: str = ""
    filed_ms: int
    changed_ms: int
    progress: Mapping[str, int] = {}
    approvals_needed: int
    approvals: tuple[ApprovalNote, ...] = ()
    refusals: tuple[RefusalNote, ...] = ()
    withdrawals: tuple[WithdrawalNote, ...] = ()
    false_grants: tuple[FalseGrantNote, ...] = ()
    candidates: int = 0
    late_films: tuple[LateFilmsNote, ...] = ()
    query: QueryContent


class Estimate(_Answer):
    """What a scope holds by now; ``expected_false`` is None without a calibration.

    ``at_most``: the sightings are a bound, as boxes of version 2 tell no count in the clear.
    ``default_thresholds`` are those for this scope, ``raised`` for it; for models in
    ``beyond_counts`` an upper bound of strangers' rate stands in, as too few were ever compared to
    count it.
    ``version_1_generations``: how many in it are of version 1; None where it is not told.
    ``told_twice``: quarter hours of cameras that were watched and imported, or imported twice.
    """

    sightings: int
    at_most: bool = False
    expected_false: float | None
    default_thresholds: Mapping[str, float] = {}
    raised: tuple[str, ...] = ()
    beyond_counts: tuple[str, ...] = ()
    version_1_generations: Annotated[int, Field(ge=0)] | None = None
    told_twice: Annotated[int, Field(ge=0)] = 0


@dataclass(frozen=True, slots=True)
class StoredResult:
    """A candidate as it is kept: sealed, with the reader's own signed decision if there is one."""

    candidate_id: bytes
    sealed: bytes
    decision: bytes | None


class AggregatorClient:
    """The aggregator as an officer sees it; use it in a ``with`` block.

    Every method raises `PeerUnreachable` when there is no answer, `ProblemError` when the
    aggregator refuses, and `AnswerInvalid` when its answer makes no sense.
    """

    def __init__(self, url: str, tls: TlsConfig | None, *, timeout_s: float = _TIMEOUT_S) -> None:
        self._http = client(url, tls, timeout_s, max_answer_bytes=_MAX_ANSWER_BYTES)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Hang up."""
        self._http.close()

    def directory(self) -> bytes:
        """Return the signed directory that the aggregator holds, in the newest form we read."""
        return self._get(f"/v1/directory?form={max(FORMS)}").content

    def admissions(self) -> bytes | None:
        """Return the signed admissions that the aggregator holds; None when it holds none."""
        response = self._http.get("/v1/admissions")
        return None if response.status_code == 404 else raise_for_problem(response).content

    def places(self) -> bytes | None:
        """Return the register of places that the aggregator holds; None when it holds none."""
        response = self._http.get("/v1/places")
        if response.status_code in _NO_SUCH_LIST:
            return None
        return raise_for_problem(response).content

    def estimate(
        self,
        cameras: Sequence[str],
        from_ms: int,
        to_ms: int,
        thresholds: Mapping[str, float],
        *,
        templates: int = 1,
        subjects: int = 1,
    ) -> Estimate:
        """Ask what a scope holds and how many strangers would be candidates by chance.

        Without ``thresholds`` the answer is for the models' defaults, which it names.
        """
        body = {
            "cameras": list(cameras),
            "from_ms": from_ms,
            "to_ms": to_ms,
            "thresholds": dict(thresholds),
            "templates": templates,
            "subjects": subjects,
        }
        return _read(raise_for_problem(self._http.post("/v1/estimates", json=body)), Estimate)

    def boxes(self) -> list[BoxSaid]:
        """Return how each box is."""
        listed = _json(self._get("/v1/boxes"))
        if not isinstance(listed, list):
            raise AnswerInvalid("the aggregator's list of boxes is none; is it up to date?")
        return [_model(item, BoxSaid) for item in listed]

    def box_history(self, box: str, *, days: int) -> HistorySaid | None:
        """Return how a box was over the last days; None of an aggregator that keeps no history."""
        response = self._http.get(f"/v1/boxes/{box}/health", params={"days": days})
        if response.status_code in _NO_SUCH_LIST:
            return None
        return _read(raise_for_problem(response), HistorySaid)

    def file(self, signed: bytes) -> QuerySummary:
        """File a signed query."""
        return _read(self._send("POST", "/v1/queries", signed), QuerySummary)

    def queries(self) -> list[QuerySummary]:
        """Return all queries, newest first."""
        listed = _json(self._get("/v1/queries"))
        if not isinstance(listed, list):
            raise AnswerInvalid(
                phrase("the aggregator's list of queries is none; is it up to date?")
            )
        return [_model(item, QuerySummary) for item in listed]

    def query(self, query_id: str) -> QuerySummary:
        """Return where a query stands."""
        return _read(self._get(f"/v1/queries/{query_id}"), QuerySummary)

    def signed_query(self, query_id: str) -> bytes:
        """Return a query as it was signed."""
        return self._get(f"/v1/queries/{query_id}/signed").content

    def matcher_key(self, query_id: str) -> bytes:
        """Have the matcher make a fresh key for a query; return its signed public half."""
        return raise_for_problem(self._http.post(f"/v1/queries/{query_id}/matcher-key")).content

    def put_templates(self, query_id: str, sealed: bytes) -> QuerySummary:
        """Hand over the templates, sealed to the matcher's key."""
        return _read(self._send("PUT", f"/v1/queries/{query_id}/templates", sealed), QuerySummary)

    def approvals(self, query_id: str) -> list[bytes]:
        """Return a query's approvals as they were signed."""
        data = self._get(f"/v1/queries/{query_id}/approvals").content
        listed = decode(data, what="approvals")
        if not isinstance(listed, list) or not all(isinstance(item, bytes) for item in listed):
            raise AnswerInvalid(
                phrase("the aggregator's approvals are not a list; is it up to date?")
            )
        return listed

    def approve(self, query_id: str, signed: bytes) -> QuerySummary:
        """Hand over a signed approval."""
        return _read(self._send("POST", f"/v1/queries/{query_id}/approvals", signed), QuerySummary)

    def refusals(self, query_id: str) -> list[bytes]:
        """Return a query's refusals as they were signed; an earlier aggregator knows of none."""
        return self._listed(f"/v1/queries/{query_id}/refusals", "refusals")

    def refuse(self, query_id: str, signed: bytes) -> QuerySummary:
        """Hand over an approver's signed refusal."""
        return _read(self._send("POST", f"/v1/queries/{query_id}/refusals", signed), QuerySummary)

    def withdraw(self, query_id: str, signed: bytes) -> QuerySummary:
        """Hand over a signed withdrawal."""
        path = f"/v1/queries/{query_id}/withdrawals"
        return _read(self._send("POST", path, signed), QuerySummary)

    def results(self, query_id: str) -> list[StoredResult]:
        """Return the candidates in order of finding; the aggregator logs that they were read."""
        data = self._get(f"/v1/queries/{query_id}/results").content
        listed = decode(data, what="results", max_bytes=_MAX_RESULTS_BYTES)
        if not isinstance(listed, list):
            raise AnswerInvalid(
                phrase("the aggregator's results are not a list; is it up to date?")
            )
        return [_stored(item) for item in listed]

    def decisions(self, query_id: str) -> list[bytes]:
        """Return the signed decisions of all officers; none of an aggregator that keeps no list."""
        return self._listed(f"/v1/queries/{query_id}/decisions", "decisions")

    def openings(self, query_id: str) -> list[bytes]:
        """Return the openings of rows as they were sealed to the officer who asks for them.

        None of an aggregator that knows of none: then nothing backs what it shows as opened so.
        """
        return self._listed(f"/v1/queries/{query_id}/openings", "openings")

    def watching(self, query_id: str) -> list[bytes]:
        """Return what the cameras watched as it was sealed to the officer who asks: one, or none.

        None of an aggregator that does not tell it.
        """
        return self._listed(f"/v1/queries/{query_id}/watching", "watching")

    def links(self, query_id: str) -> list[bytes]:
        """Return which companions are one person, as sealed to the officer who asks: one, or none.

        An earlier version of the aggregator links nobody.
        """
        return self._listed(f"/v1/queries/{query_id}/links", "links")

    def decide(self, query_id: str, signed: bytes) -> None:
        """Hand over a signed decision on a candidate."""
        self._send("POST", f"/v1/queries/{query_id}/decisions", signed)

    def export(self, query_id: str, signed: bytes) -> None:
        """Hand over one's signed word that results are written to files, to be logged."""
        self._send("POST", f"/v1/queries/{query_id}/exports", signed)

    def ask_stills(self, query_id: str, signed: bytes) -> bytes:
        """Hand over one's signed request for stills of one box; return its digest, 32 bytes."""
        told = _json(self._send("POST", f"/v1/queries/{query_id}/stills", signed))
        digest = told.get("request") if isinstance(told, dict) else None
        if digest != request_digest(signed).hex():
            raise AnswerInvalid("the aggregator answers another request for stills than was sent")
        return bytes.fromhex(digest)

    def still_answers(self, query_id: str, request: bytes | None = None) -> list[bytes]:
        """Return what boxes answered the officer who asks: to one request, or within the hour."""
        to = "" if request is None else f"?to={request.hex()}"
        return self._listed(f"/v1/queries/{query_id}/stills{to}", "answers about stills")

    def announcements(self, query_id: str, name: SightingName) -> list[bytes]:
        """Return the signed announcement of a sighting's generation: one, or none."""
        which = (
            f"box={name.box}&camera={name.camera}&epoch={name.epoch}&generation={name.generation}"
        )
        return self._listed(f"/v1/queries/{query_id}/announcements?{which}", "announcements")

    def _listed(self, path: str, what: str) -> list[bytes]:
        response = self._http.get(path)
        if response.status_code in _NO_SUCH_LIST:
            return []
        listed = decode(
            raise_for_problem(response).content, what=what, max_bytes=_MAX_RESULTS_BYTES
        )
        if not isinstance(listed, list) or not all(isinstance(item, bytes) for item in listed):
            raise AnswerInvalid(
                phrase(
                    "the aggregator's {what} are not a list; is it up to date?",
                    what=what,
                )
            )
        return listed

    def _get(self, path: str) -> httpx.Response:
        return raise_for_problem(self._http.get(path))

    def _send(self, method: str, path: str, content: bytes) -> httpx.Response:
        headers = {"content-type": CBOR}
        return raise_for_problem(self._http.request(method, path, content=content, headers=headers))


def _stored(item: object) -> StoredResult:
    if (
        not isinstance(item, list)
        or len(item) != 3
        or not isinstance(item[0], bytes)
        or len(item[0]) != CANDIDATE_ID_BYTES
        or not isinstance(item[1], bytes)
        or not isinstance(item[2], bytes | None)
    ):
        raise AnswerInvalid(
            phrase("a result of the aggregator is not [id, sealed candidate, decision]")
        )
    return StoredResult(item[0], item[1], item[2])


def _json(response: httpx.Response) -> Any:
    try:
        return parse_json(response.content)
    except ValueError as error:
        raise AnswerInvalid(
            phrase("the aggregator's answer is not JSON; is it up to date?")
        ) from error


def _read(response: httpx.Response, model: type[SomeModel]) -> SomeModel:
    return _model(_json(response), model)


def _model(value: Any, model: type[SomeModel]) -> SomeModel:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise AnswerInvalid(
            phrase(
                "the aggregator's answer does not fit ({where}: {first}); are this command and "
                "the aggregator of the same version?",
                where=where,
                first=first["msg"],
            )
        ) from error
