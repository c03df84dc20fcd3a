"""Grant what a verified request covers: seal the keys of exactly those slots, log that, answer.

docs/protocol.md, "Keys of a camera's day", point 5, and "Audit". Whatever can fail comes before the
log entry, so that the log tells of no grant that never left; and no grant leaves that the log does
not tell of. An announcement that cannot be opened is listed with its reason; a request of which
nothing can be opened is refused, and the refusal is logged, whatever went wrong.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import replace

import structlog

from custodian.errors import GrantFailed
from custodian.journal import Journal
from custodian.keystore import KeyRing
from custodian.trust import Site, Trust
from custodian.verification import (
    Decision,
    OpenedRequest,
    Refusal,
    decide,
    nothing_left,
    open_request,
)
from custodian.withdrawals import Withdrawals
from protocol.authorization import authorize
from protocol.encoding import MAX_MESSAGE_BYTES
from protocol.errors import MessageTooLarge, ProtocolError
from protocol.grant import (
    GRANT_ID_BYTES,
    GRANT_REQUEST_KIND,
    Grant,
    GrantedKeys,
    release,
    seal_grant,
)
from protocol.query import APPROVAL_KIND, Query
from protocol.signing import Signed, SigningKey
from runtime.errors import OperationError
from runtime.problems import problem_type

NODE_BYTES = 48
MAX_GRANT_BYTES = 6 << 20
MAX_REASON = 300
_LAST_INDEX = 2**63 - 1
_log = structlog.get_logger()


class Granter:
    """Answers grant requests. Safe in several threads."""

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
        """Wire it up; ``heard`` is told who has signed which time."""
        self._key = key
        self._trust = trust
        self._ring = ring
        self._journal = journal
        self._withdrawals = withdrawals
        self._now_ms = now_ms
        self._clock_skew_ms = clock_skew_ms
        self._heard = heard

    def grant(self, data: bytes) -> bytes:
        """Return the signed grant for an encoded, signed grant request.

        Raises:
            ProtocolError: nothing is granted; the class says why. The refusal has been logged.
            GrantFailed: something else went wrong, so nothing was granted. That has been logged.
            StorageError: it could not be logged, so nothing was granted.
        """
        opened: OpenedRequest | None = None
        try:
            self._trust.require_fit_to_grant()
            signed = Signed.parse(data, kind=GRANT_REQUEST_KIND)
            opened = open_request(
                signed,
                self._trust.site,
                now_ms=self._now_ms(),
                clock_skew_ms=self._clock_skew_ms,
            )
            self._heard(opened.aggregator, opened.request.requested_at_ms)
            for withdrawal, content in opened.withdrawals:
                self._withdrawals.take(withdrawal, content)
            return self._answer(opened)
        except ProtocolError as error:
            self._log_refusal(opened, reason_of(error))
            raise
        except OperationError as error:
            self._log_refusal(opened, f"custodian-unable: {error}"[:MAX_REASON])
            raise
        except Exception as error:  # whatever it is, nothing has left: say so where it counts
            _log.critical("grant_failed", exc_info=True)
            self._log_refusal(opened, f"custodian-failed: {type(error).__name__}")
            raise GrantFailed(
                f"the request could not be judged ({type(error).__name__}); nothing was granted"
            ) from error

    def _answer(self, opened: OpenedRequest) -> bytes:
        while True:
            answer = self._answer_by(self._trust.site, opened)
            if answer is not None:
                return answer

    def _answer_by(self, site: Site, opened: OpenedRequest) -> bytes | None:
        """Decide by ``site`` and answer; None if another came into force meanwhile: decide anew."""
        self._trust.require_fit_to_grant()
        now_ms = self._now_ms()
        digest = opened.signed_query.digest
        known = self._withdrawals.known(digest)
        decision = decide(opened, known, site, custodian=self._key.signer, now_ms=now_ms)
        granted, refused = self._release(decision)
        if not granted:
            raise nothing_left(refused)
        labels = decision.authorized.labels()
        reasons = [(r.camera, r.epoch, reason_of(r.error)) for r in refused]
        grant_id = secrets.token_bytes(GRANT_ID_BYTES)
        draft = Grant(
            grant_id=grant_id,
            query_digest=digest,
            labels=labels,
            scopes=tuple(keys.scope for keys in granted),
            refused=tuple(reasons),
            entry_index=_LAST_INDEX,
            granted_at_ms=now_ms,
            sealed=seal_grant(granted, decision.matcher, grant_id=grant_id, query_digest=digest),
        )
        _check_answer(draft.sign(self._key))
        with self._withdrawals.gate:
            if self._trust.site is not site:
                return None
            self._check_withdrawals_since(decision, known, now_ms)
            index = self._journal.write(
                "grant",
                {
                    "grant_id": grant_id,
                    "query": opened.request.query,
                    "approvals": list(opened.request.approvals),
                    "matcher_key": opened.request.matcher_key,
                    "scopes": [keys.scope.to_value() for keys in granted],
                    "labels": list(labels),
                    "refused": [list(reason) for reason in reasons],
                },
                query_id=decision.authorized.query.query_id,
                time_ms=now_ms,
            )
        grant = replace(draft, entry_index=index)
        _log.info(
            "granted",
            query_id=decision.authorized.query.query_id.hex(),
            scopes=len(granted),
            refused=len(refused),
            entry=index,
        )
        return grant.sign(self._key).to_bytes()

    def _release(self, decision: Decision) -> tuple[list[GrantedKeys], list[Refusal]]:
        """Derive the nodes of every opening whose share opens."""
        labels = decision.authorized.labels()
        granted: list[GrantedKeys] = []
        refused = list(decision.refused)
        room = MAX_GRANT_BYTES
        for opening in decision.openings:
            announcement = opening.announcement
            try:
                day_key = self._ring.private(announcement.epoch)
                roots = announcement.open_share(self._key.signer, day_key)
                keys = release(roots, opening.scope, labels)
                size = NODE_BYTES * sum(
                    len(nodes) for by_root in keys.nodes.values() for nodes in by_root.values()
                )
                if size > room:
                    raise MessageTooLarge("the grant is full; ask for the rest in another request")
            except ProtocolError as error:
                refused.append(Refusal(announcement.address.camera, announcement.epoch, error))
                continue
            room -= size
            granted.append(keys)
        return granted, refused

    def _check_withdrawals_since(
        self, decision: Decision, known: Sequence[Signed], now_ms: int
    ) -> None:
        """Judge again if a withdrawal has come since: inside the gate, so none can after."""
        latest = self._withdrawals.known(decision.authorized.digest)
        if len(latest) == len(known):
            return
        site = self._trust.site
        authorize(
            decision.opened.signed_query,
            [Signed.parse(a, kind=APPROVAL_KIND) for a in decision.opened.request.approvals],
            latest,
            directory=site.directory,
            policy=site.policy,
            now_ms=now_ms,
        )

    def _log_refusal(self, opened: OpenedRequest | None, reason: str) -> None:
        query_id = _query_id(opened)
        _log.warning("grant_refused", query_id=query_id.hex() if query_id else None, reason=reason)
        self._journal.write(
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


def _check_answer(signed: Signed) -> None:
    """Check that an answer can be sent.

    Raises:
        MessageTooLarge: nobody would take it.
    """
    size = len(signed.to_bytes())
    if size > MAX_MESSAGE_BYTES:
        raise MessageTooLarge(f"the grant would have {size} bytes; ask for less in one request")


def _query_id(opened: OpenedRequest | None) -> bytes | None:
    """Return the id of the query of a request, if it can be read at all."""
    if opened is None:
        return None
    try:
        return Query.parse(opened.signed_query.payload).query_id
    except Exception:  # a refusal is logged whatever the query is
        return None
