"""Have custodians release what opens one still, and open it: no fewer than must agree.

Each is asked past the aggregator, by a request that the officer signs; each decides again, counts,
and logs before it answers. What they release opens one still and no other, for the officers who
confirm hits.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, TimeoutError, as_completed
from dataclasses import dataclass

from officers.desk.case import Case
from officers.desk.keys import Keys
from officers.desk.officer import Officer
from officers.desk.phrases import Phrase, phrase, theirs, together, words_of
from officers.desk.session import Session
from protocol.directory import BOX, CUSTODIAN, Principal
from protocol.epoch import EPOCH_KIND, Announcement, roots_of
from protocol.errors import (
    KeyCommitmentMismatch,
    MalformedMessage,
    ProtocolError,
    ScopeExceeded,
    ShareInvalid,
)
from protocol.hmacs import KEY_BYTES
from protocol.names import SightingName, epoch_of
from protocol.signing import Signed
from protocol.v2.evidence import (
    EVIDENCE_RELEASE_KIND,
    EvidenceRelease,
    EvidenceRequest,
    SealedStill,
    open_still_key,
)
from runtime.clock import system_ms
from runtime.config import TlsConfig
from runtime.errors import OperationError, explained
from runtime.http import CBOR, PeerUnreachable, ProblemError, raise_for_problem
from runtime.peers import client_of

_WITHIN_S = 10.0
_TRANSIENT = frozenset({409, 429, 500, 502, 503, 504})
"""Statuses after which asking again may help."""


class StillClosed(OperationError):
    """Custodians do not open it; ``final`` if asking again comes to the same."""

    def __init__(self, words: Phrase, *, final: bool) -> None:
        super().__init__(words)
        self.words, self.final = words, final


@dataclass(frozen=True, slots=True)
class Released:
    """An opened still, which the caller wipes.

    Args:
        total: distinct stills of the query that custodians have opened, by the highest count.
    """

    picture: bytearray
    total: int


@dataclass(frozen=True, slots=True)
class _Answer:
    """What a custodian answered: values by root and its count, or why there are none."""

    custodian: str
    values: Mapping[int, bytes] | None = None
    total: int = 0
    refusal: str = ""
    final: bool = False


def open_still(
    session: Session, case: Case, name: SightingName, sealed: SealedStill, keys: Keys
) -> Released:
    """Open a still with what custodians release to the officer.

    Args:
        session: an officer's who confirms hits of the query.
        case: the query.
        name: whose still it is.
        sealed: the still.
        keys: the officer's.

    Raises:
        StillClosed: too few release it, or what they release does not open it.
        PeerUnreachable: the aggregator does not answer.
    """
    announcement, signed = _announcement(session, case, name)
    request = EvidenceRequest(
        query=case.signed,
        approvals=tuple(session.client.approvals(case.id)),
        withdrawals=(),
        announcements=(signed,),
        sightings=(name,),
        requested_at_ms=system_ms(),
    )
    asking = _Asking(session.officer, case, announcement, name, keys)
    released: dict[str, Mapping[int, bytes]] = {}
    refused: list[_Answer] = []
    total, false = 0, False
    for answer in asking.answers(request.sign(keys.identity).to_bytes()):
        if answer.values is None:
            refused.append(answer)
            continue
        released[answer.custodian] = answer.values
        total = max(total, answer.total)
        if len(released) < announcement.threshold:
            continue
        try:
            opening = open_still_key(announcement, name, released, sealed.sealed[:KEY_BYTES])
            return Released(sealed.open(opening.key), total)
        except KeyCommitmentMismatch:
            false = True  # one of them lies, or the box does: those still to come may tell
        except ProtocolError as error:
            raise _does_not_open(error) from error
    if false:
        raise _does_not_open(KeyCommitmentMismatch("no custodians' answers fit together"))
    raise _too_few(announcement, released, refused)


def _announcement(session: Session, case: Case, name: SightingName) -> tuple[Announcement, bytes]:
    """Return the announcement of a sighting's generation, verified, and as it came."""
    for data in session.client.announcements(case.id, name):
        try:
            signed = Signed.parse(data, kind=EPOCH_KIND)
            payload = signed.verify(session.officer.directory.historic_resolver(BOX))
            found = Announcement.parse(payload, box=signed.signer)
        except ProtocolError:
            continue
        address = name.slot_name(case.query.site).address
        told = (found.address, found.epoch, found.generation)
        if told == (address, name.epoch, name.generation):
            return found, data
    raise StillClosed(
        phrase(
            "Headquarters has no announcement of the day's keys for this sighting any more, so "
            "its still opens no more."
        ),
        final=name.epoch + session.officer.policy.retention_days < epoch_of(system_ms()),
    )


@dataclass(frozen=True, slots=True)
class _Asking:
    """One still, for which custodians are asked on behalf of an officer."""

    officer: Officer
    case: Case
    announcement: Announcement
    name: SightingName
    keys: Keys

    def answers(self, request: bytes) -> Iterator[_Answer]:
        """Yield answers as they come; who is slow is not waited for once the caller has enough."""
        tls, holders = self.officer.tls, self.announcement.custodians
        asked = [one for one in self.officer.custodians() if one.name in holders]
        if not asked:
            return
        pool = ThreadPoolExecutor(len(asked), thread_name_prefix="custodians")
        try:
            futures: list[Future[_Answer]] = [
                pool.submit(self._ask, one, request, tls) for one in asked
            ]
            for future in as_completed(futures, timeout=2 * _WITHIN_S):
                yield future.result()
        except TimeoutError:
            return
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def _ask(self, custodian: Principal, request: bytes, tls: TlsConfig) -> _Answer:
        try:
            with client_of(custodian, tls, _WITHIN_S) as http:
                headers = {"content-type": CBOR}
                answer = http.post("/v1/evidence", content=request, headers=headers)
                body = raise_for_problem(answer).content
            return self._read(custodian.name, body)
        except ProblemError as error:
            final = error.status not in _TRANSIENT
            return _Answer(custodian.name, refusal=str(error), final=final)
        except PeerUnreachable as error:
            return _Answer(custodian.name, refusal=explained(error))
        except (OperationError, ProtocolError) as error:
            refusal = explained(error) or type(error).__name__
            return _Answer(custodian.name, refusal=refusal, final=True)

    def _read(self, custodian: str, body: bytes) -> _Answer:
        """Return what a custodian released of the still.

        Raises:
            ProtocolError: it is no release of this still for this query, to this officer.
        """
        signed = Signed.parse(body, kind=EVIDENCE_RELEASE_KIND)
        release = EvidenceRelease.parse(signed.verify(self.officer.directory.resolver(CUSTODIAN)))
        if signed.signer != custodian or release.query_digest != self.case.digest:
            raise MalformedMessage("it answered with another custodian's or query's release")
        values = release.open(self.officer.name, self.keys.sealing)
        if set(values) != {self.name}:
            raise ScopeExceeded("it released other stills than it was asked for")
        own = roots_of(custodian, self.announcement.subsets())
        if set(values[self.name]) != set(own):
            raise ShareInvalid("it released other roots than the box shared with it")
        return _Answer(custodian, values[self.name], release.total)


def _too_few(
    announcement: Announcement,
    released: Mapping[str, Mapping[int, bytes]],
    refused: list[_Answer],
) -> StillClosed:
    said = [
        phrase("{custodian}: {reason}", custodian=one.custodian, reason=theirs(one.refusal))
        for one in refused
    ]
    words = phrase(
        "Custodians do not open the still: {given} of {needed} that must agree released it. "
        "{reasons}",
        given=len(released),
        needed=announcement.threshold,
        reasons=together(said, "; "),
    )
    # Whoever is only away may come back: as many as could still agree decide.
    never = sum(one.final for one in refused)
    return StillClosed(words, final=len(announcement.custodians) - never < announcement.threshold)


def _does_not_open(error: ProtocolError) -> StillClosed:
    return StillClosed(
        phrase(
            "The still does not open with what custodians released ({reason}): the box sealed "
            "something else, or a custodian answered falsely. Tell the auditors.",
            reason=words_of(error),
        ),
        final=True,
    )
