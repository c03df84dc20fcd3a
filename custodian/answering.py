"""What granting, opening rows and releasing stills have in common: one way to decide, log, refuse.

A request is verified, its withdrawals are taken in, and it is decided by the directory and policy
in force. What leaves is logged first, inside the gate of the withdrawals, so that no withdrawal or
directory slips in between; and every refusal is logged, whatever went wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import structlog

from custodian.errors import GrantFailed
from custodian.journal import Journal
from custodian.keystore import KeyRing
from custodian.queries import Queries
from custodian.trust import Site, Trust
from custodian.verification import (
    CaseT,
    Decision,
    Form,
    OpenedRequest,
    Opening,
    decide,
    open_request,
)
from custodian.withdrawals import Withdrawals
from protocol.authorization import authorize
from protocol.directory import AGGREGATOR
from protocol.encoding import MAX_MESSAGE_BYTES
from protocol.errors import MessageTooLarge, ProtocolError
from protocol.query import Query
from protocol.signing import Signed, SigningKey
from runtime.errors import OperationError
from runtime.problems import problem_type

MAX_REASON = 300
LAST_INDEX = 2**63 - 1
"""Stands for numbers that are not known yet where it is tried whether an answer can be sent."""
_log = structlog.get_logger()


class Desk:
    """Takes requests of every form. Safe in several threads."""

    def __init__(
        self,
        *,
        key: SigningKey,
        trust: Trust,
        ring: KeyRing,
        journal: Journal,
        withdrawals: Withdrawals,
        now_ms: Callable[[], int],
        clock_skew_ms: int,
        heard: Callable[[str, int], object],
    ) -> None:
        """Wire it up; ``heard`` is told which time the aggregator has signed."""
        self.key = key
        self.journal = journal
        self._trust = trust
        self._ring = ring
        self._withdrawals = withdrawals
        self._now_ms = now_ms
        self._clock_skew_ms = clock_skew_ms
        self._heard = heard
        self.queries = Queries()

    def answer(
        self,
        data: bytes,
        form: Form[CaseT],
        answer_by: Callable[[Site, OpenedRequest[CaseT]], bytes | None],
    ) -> bytes:
        """Return the signed answer to an encoded, signed request.

        Args:
            answer_by: decides by a site and answers; None if another came into force meanwhile.

        Raises:
            ProtocolError: nothing leaves; the class says why. The refusal has been logged.
            GrantFailed: something else went wrong, so nothing left. That has been logged.
            StorageError: it could not be logged, so nothing left.
        """
        opened: OpenedRequest[CaseT] | None = None
        try:
            self._trust.require_fit_to_grant()
            signed = Signed.parse(data, kind=form.kind)
            opened = open_request(
                signed,
                form,
                self._trust.site,
                now_ms=self._now_ms(),
                clock_skew_ms=self._clock_skew_ms,
            )
            if form.duty == AGGREGATOR:
                self._heard(opened.asker, opened.request.requested_at_ms)
            for withdrawal, content in opened.withdrawals:
                self._withdrawals.take(withdrawal, content)
            while True:
                self._trust.require_fit_to_grant()
                answer = answer_by(self._trust.site, opened)
                if answer is not None:
                    return answer
        except ProtocolError as error:
            self._log_refusal(opened, reason_of(error))
            raise
        except OperationError as error:
            self._log_refusal(opened, f"custodian-unable: {error}"[:MAX_REASON])
            raise
        except Exception as error:  # whatever it is, nothing has left: say so where it counts
            _log.critical("request_failed", what=form.kind, exc_info=True)
            self._log_refusal(opened, f"custodian-failed: {type(error).__name__}")
            raise GrantFailed(
                f"the request could not be judged ({type(error).__name__}); nothing was granted"
            ) from error

    def decide(self, site: Site, opened: OpenedRequest[CaseT]) -> Decision:
        """Judge a request by ``site``, now, with every withdrawal known.

        Raises:
            ProtocolError: nothing of it may be opened.
        """
        known = self._withdrawals.known(opened.signed_query.digest)
        return decide(opened, known, site, custodian=self.key.signer, now_ms=self._now_ms())

    def roots(self, opening: Opening) -> dict[int, bytes]:
        """Open this custodian's share of an announcement: number of the root to its 32 bytes.

        Raises:
            ProtocolError: the day's key is gone, or the share does not open.
        """
        announcement = opening.announcement
        day_key = self._ring.private(announcement.epoch)
        return announcement.open_share(self.key.signer, day_key)

    @contextmanager
    def gate(self, decision: Decision) -> Iterator[bool]:
        """Let no withdrawal or directory in; tell whether what decided is in force still.

        Raises:
            ProtocolError: a withdrawal that has come since undoes the decision.
        """
        with self._withdrawals.gate:
            if self._trust.site is not decision.site:
                yield False
                return
            self._check_withdrawals_since(decision)
            yield True

    def log(
        self,
        kind: str,
        opened: OpenedRequest[CaseT],
        decision: Decision,
        body: Mapping[str, object],
    ) -> int:
        """Write down, inside the gate, what leaves by a decision; return the entry's index.

        The query is in full in the first entry about it, and named by its digest in later ones.

        Raises:
            StorageFull, StorageError: it is not in the log: nothing must leave.
        """
        signed, data = opened.signed_query, opened.request.query
        auditors = self.journal.auditors
        query = self.queries.in_entry(signed, data, auditors)
        index = self.journal.write(
            kind,
            {
                **body,
                "query": query,
                "approvals": list(opened.request.approvals),
            },
            query_id=decision.authorized.query.query_id,
            time_ms=decision.now_ms,
        )
        if query is data:
            self.queries.logged(signed, data, auditors)
        return index

    def _check_withdrawals_since(self, decision: Decision) -> None:
        latest = self._withdrawals.known(decision.authorized.digest)
        if len(latest) == len(decision.known):
            return
        authorize(
            decision.signed_query,
            decision.approvals,
            latest,
            directory=decision.site.directory,
            policy=decision.site.policy,
            now_ms=decision.now_ms,
        )

    def _log_refusal(self, opened: OpenedRequest[CaseT] | None, reason: str) -> None:
        query_id = _query_id(opened)
        _log.warning("grant_refused", query_id=query_id.hex() if query_id else None, reason=reason)
        self.journal.write(
            "refusal",
            {"query_digest": opened.signed_query.digest if opened else b"", "reason": reason},
            query_id=query_id,
        )


def reason_of(error: Exception) -> str:
    """Return a refusal's reason as it is logged and answered.

    For example ``retention-ended: the day's ...``.

    Of an error that is no refusal of the protocol only the kind is told: its text may hold secrets.
    """
    if not isinstance(error, ProtocolError):
        return f"internal-error: {type(error).__name__}"[:MAX_REASON]
    return f"{problem_type(type(error))}: {error}"[:MAX_REASON]


def check_answer(signed: Signed) -> None:
    """Check that an answer can be sent.

    Raises:
        MessageTooLarge: nobody would take it.
    """
    size = len(signed.to_bytes())
    if size > MAX_MESSAGE_BYTES:
        raise MessageTooLarge(f"the answer would have {size} bytes; ask for less in one request")


def _query_id(opened: OpenedRequest[CaseT] | None) -> bytes | None:
    """Return the id of the query of a request, if it can be read at all."""
    if opened is None:
        return None
    try:
        return Query.parse(opened.signed_query.payload).query_id
    except Exception:  # a refusal is logged whatever the query is
        return None
