"""Grant what a verified request covers: seal the keys of exactly those slots, log that, answer.

docs/protocol.md, "Keys of a camera's day", point 5, and "Audit". Whatever can fail comes before the
log entry, so that the log tells of no grant that never left; and no grant leaves that the log does
not tell of. An announcement that cannot be opened is listed with its reason; a request of which
nothing can be opened is refused, and the refusal is logged, whatever went wrong.
"""

from __future__ import annotations

import secrets
from dataclasses import replace

import structlog

from custodian.answering import LAST_INDEX, Desk, check_answer, reason_of
from custodian.trust import Site
from custodian.verification import (
    Decision,
    Form,
    OpenedRequest,
    Refusal,
    matcher_of,
    nothing_left,
    place_of,
)
from protocol.directory import AGGREGATOR
from protocol.errors import MessageTooLarge, ProtocolError
from protocol.grant import (
    GRANT_ID_BYTES,
    GRANT_REQUEST_KIND,
    Grant,
    GrantedKeys,
    GrantRequest,
    release,
    seal_grant,
)

NODE_BYTES = 48
MAX_GRANT_BYTES = 6 << 20
_log = structlog.get_logger()


class Granter:
    """Answers grant requests. Safe in several threads."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._form = Form(GRANT_REQUEST_KIND, AGGREGATOR, self._read)

    def grant(self, data: bytes) -> bytes:
        """Return the signed grant for an encoded, signed grant request.

        Raises:
            QueryNotHeld: the query has to be sent in full; nothing is granted.
            ProtocolError, GrantFailed, StorageError: nothing is granted (`Desk.answer`).
        """
        return self._desk.answer(data, self._form, self._answer_by)

    def _read(self, payload: bytes) -> GrantRequest:
        """Read a request, with the query that it names where it brings none.

        Raises:
            MalformedMessage: it is none.
            QueryNotHeld: it names a query that has to be sent in full first.
        """
        request = GrantRequest.parse(payload)
        if request.query_digest is None:
            return request
        return request.having(self._desk.queries.held(request.query_digest))

    def _answer_by(self, site: Site, opened: OpenedRequest[GrantRequest]) -> bytes | None:
        decision = self._desk.decide(site, opened)
        matcher = matcher_of(opened, site)
        granted, versions, refused = self._release(decision)
        if not granted:
            raise nothing_left(refused)
        digest, query_id = decision.authorized.digest, decision.authorized.query.query_id
        labels = tuple(
            dict.fromkeys(
                label
                for version in sorted(set(versions))
                for label in decision.authorized.labels(version)
            )
        )
        reasons = [(r.camera, r.epoch, reason_of(r.error)) for r in refused]
        grant_id = secrets.token_bytes(GRANT_ID_BYTES)
        draft = Grant(
            grant_id=grant_id,
            query_digest=digest,
            labels=labels,
            scopes=tuple(keys.scope for keys in granted),
            refused=tuple(reasons),
            entry_index=LAST_INDEX,
            granted_at_ms=decision.now_ms,
            sealed=seal_grant(granted, matcher, grant_id=grant_id, query_digest=digest),
        )
        check_answer(draft.sign(self._desk.key))
        with self._desk.gate(decision) as in_force:
            if not in_force:
                return None
            index = self._desk.log(
                "grant",
                opened,
                decision,
                {
                    "grant_id": grant_id,
                    "matcher_key": opened.request.matcher_key,
                    "scopes": [keys.scope.to_value() for keys in granted],
                    "versions": versions,
                    "labels": list(labels),
                    "refused": [list(reason) for reason in reasons],
                },
            )
        grant = replace(draft, entry_index=index)
        _log.info(
            "granted",
            query_id=query_id.hex(),
            scopes=len(granted),
            refused=len(refused),
            entry=index,
        )
        return grant.sign(self._desk.key).to_bytes()

    def _release(self, decision: Decision) -> tuple[list[GrantedKeys], list[int], list[Refusal]]:
        """Derive the nodes of every opening whose share opens; also tell each one's version."""
        granted: list[GrantedKeys] = []
        versions: list[int] = []
        refused = list(decision.refused)
        room = MAX_GRANT_BYTES
        for opening in decision.openings:
            announcement = opening.announcement
            version = announcement.version
            try:
                roots = self._desk.roots(opening)
                labels = decision.authorized.labels(version)
                keys = release(roots, opening.scope, labels, version)
                size = NODE_BYTES * sum(
                    len(nodes) for by_root in keys.nodes.values() for nodes in by_root.values()
                )
                if size > room:
                    raise MessageTooLarge("the grant is full; ask for the rest in another request")
            except ProtocolError as error:
                refused.append(Refusal(place_of(announcement), error))
                continue
            room -= size
            granted.append(keys)
            versions.append(version)
        return granted, versions, refused
