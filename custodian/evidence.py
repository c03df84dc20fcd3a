"""Release what opens stills to the officers who confirm hits of a query, and to nobody else.

docs/protocol.md, "Version 2". One of them asks and signs for it. The decision is that of a grant;
besides it a still opens only of a row that this custodian opened for this query, and at most so
many in all as the query asked for.
"""

from __future__ import annotations

import secrets
from dataclasses import replace

import structlog

from custodian.answering import LAST_INDEX, Desk, check_answer
from custodian.derived import derive
from custodian.tally import ROWS, STILLS, Tally
from custodian.trust import Site
from custodian.verification import Decision, Form, OpenedRequest
from protocol import hpke
from protocol.directory import INVESTIGATOR
from protocol.errors import PolicyViolation, ScopeExceeded
from protocol.v2.evidence import (
    EVIDENCE_REQUEST_KIND,
    EvidenceRelease,
    EvidenceRequest,
    release_stills,
    seal_stills,
)
from protocol.v2.release import RELEASE_ID_BYTES, SALT_BYTES, digest_of

_FORM = Form(EVIDENCE_REQUEST_KIND, INVESTIGATOR, EvidenceRequest.parse)
_log = structlog.get_logger()


class EvidenceDesk:
    """Answers requests for stills. Safe in several threads."""

    def __init__(self, desk: Desk, tally: Tally) -> None:
        self._desk = desk
        self._tally = tally

    def open(self, data: bytes) -> bytes:
        """Return the signed release for an encoded, signed request for stills.

        Raises:
            ScopeExceeded: another officer asks, a row was not opened for this query, or more
                stills than the query asked for would be opened.
            ProtocolError, GrantFailed, StorageError: nothing is released (`Desk.answer`).
        """
        return self._desk.answer(data, _FORM, self._answer_by)

    def _answer_by(self, site: Site, opened: OpenedRequest[EvidenceRequest]) -> bytes | None:
        decision = self._desk.decide(site, opened)
        query, digest = decision.authorized.query, decision.authorized.digest
        officers = _confirming(decision, opened.asker)
        if not query.asks.evidence_stills:
            raise ScopeExceeded("the query asks for no stills, so none are opened for it")
        derived = derive(self._desk, decision, opened.request.sightings, release_stills)
        names = sorted(derived.values)
        salt = secrets.token_bytes(SALT_BYTES)
        release_id = secrets.token_bytes(RELEASE_ID_BYTES)
        draft = EvidenceRelease(
            release_id=release_id,
            query_digest=digest,
            stills=len(names),
            total=LAST_INDEX,
            digest=digest_of(salt, names),
            entry_index=LAST_INDEX,
            released_at_ms=decision.now_ms,
            sealed=seal_stills(
                derived.values, officers, salt=salt, release_id=release_id, query_digest=digest
            ),
        )
        check_answer(draft.sign(self._desk.key))
        with self._desk.gate(decision) as in_force:
            if not in_force:
                return None
            if self._tally.opened(ROWS, digest, names) != set(names):
                raise ScopeExceeded(
                    "stills are opened only of sightings whose rows this custodian opened for "
                    "this query before"
                )
            total = self._tally.count(STILLS, digest, names, most=query.asks.evidence_stills)
            index = self._desk.log(
                "evidence",
                opened,
                decision,
                {
                    "release_id": release_id,
                    "asked_by": opened.asker,
                    "officers": sorted(officers),
                    "stills": len(names),
                    "total": total,
                    "digest": draft.digest,
                    "left_out": [list(reason) for reason in derived.left_out],
                },
            )
            signed = replace(draft, total=total, entry_index=index).sign(self._desk.key)
            message = signed.to_bytes()
            self._tally.keep(STILLS, digest, message, entry_index=index, readers=sorted(officers))
        _log.info(
            "stills_opened",
            query_id=query.query_id.hex(),
            asked_by=opened.asker,
            stills=len(names),
            total=total,
            entry=index,
        )
        return message


def _confirming(decision: Decision, asker: str) -> dict[str, hpke.PublicKey]:
    """Return the officers who confirm hits of a query, with the keys that is sealed to.

    Raises:
        ScopeExceeded: ``asker`` is none of them.
        SignatureInvalid: one of them is no officer in force any more.
        PolicyViolation: one of them has no key to seal to.
    """
    names = decision.authorized.readers
    if asker not in names:
        raise ScopeExceeded(
            f"'{asker}' does not confirm hits of this query; {' or '.join(names)} may ask"
        )
    officers = {}
    for name in names:
        key = decision.site.directory.require(name, INVESTIGATOR).seal_key
        if key is None:
            raise PolicyViolation(f"the directory lists no key to seal to for '{name}'")
        officers[name] = key
    return officers
