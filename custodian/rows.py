"""Release the metadata of single rows to the matcher: decided anew, counted, logged, receipted.

docs/protocol.md, "Version 2". The decision is that of a grant (`custodian.verification.decide`);
besides it a query opens at most ``max_candidates`` distinct rows here, whoever asks how often.
"""

from __future__ import annotations

import secrets
from dataclasses import replace

import structlog

from custodian.answering import LAST_INDEX, Desk, check_answer
from custodian.derived import derive
from custodian.store import Store
from custodian.tally import ROWS, Tally
from custodian.trust import Site
from custodian.verification import Form, OpenedRequest, matcher_of
from protocol.directory import AGGREGATOR
from protocol.encoding import encode
from protocol.v2.release import (
    RELEASE_ID_BYTES,
    ROW_REQUEST_KIND,
    SALT_BYTES,
    RowRelease,
    RowRequest,
    digest_of,
    release_rows,
    seal_rows,
)

MAX_RECEIPTS_BYTES = 4 << 20
_FORM = Form(ROW_REQUEST_KIND, AGGREGATOR, RowRequest.parse)
_log = structlog.get_logger()


class RowOpener:
    """Answers requests for rows. Safe in several threads."""

    def __init__(self, desk: Desk, tally: Tally, store: Store) -> None:
        self._desk = desk
        self._tally = tally
        self._store = store

    def open(self, data: bytes) -> bytes:
        """Return the signed release for an encoded, signed request for rows.

        Raises:
            ScopeExceeded: more rows than the query may have opened in all; nothing is released.
            ProtocolError, GrantFailed, StorageError: nothing is released (`Desk.answer`).
        """
        return self._desk.answer(data, _FORM, self._answer_by)

    def receipts(self, query_digest: bytes, *, from_entry: int = 0) -> bytes:
        """Return the releases of a query as they left, a CBOR array in the order of the log.

        Args:
            from_entry: only those from this entry of the log on: an answer holds about 4 MiB.
        """
        return encode(
            self._store.receipts(
                query_digest, ROWS, from_entry=from_entry, max_bytes=MAX_RECEIPTS_BYTES
            )
        )

    def _answer_by(self, site: Site, opened: OpenedRequest[RowRequest]) -> bytes | None:
        decision = self._desk.decide(site, opened)
        matcher = matcher_of(opened, site)
        derived = derive(self._desk, decision, opened.request.rows, release_rows)
        query, digest = decision.authorized.query, decision.authorized.digest
        rows = sorted(derived.values)
        salt = secrets.token_bytes(SALT_BYTES)
        release_id = secrets.token_bytes(RELEASE_ID_BYTES)
        draft = RowRelease(
            release_id=release_id,
            query_digest=digest,
            rows=len(rows),
            total=LAST_INDEX,
            digest=digest_of(salt, rows),
            entry_index=LAST_INDEX,
            released_at_ms=decision.now_ms,
            sealed=seal_rows(
                derived.values, matcher, salt=salt, release_id=release_id, query_digest=digest
            ),
        )
        check_answer(draft.sign(self._desk.key))
        with self._desk.gate(decision) as in_force:
            if not in_force:
                return None
            total = self._tally.count(ROWS, digest, rows, most=query.max_candidates)
            index = self._desk.log(
                "rows",
                opened,
                decision,
                {
                    "release_id": release_id,
                    "matcher_key": opened.request.matcher_key,
                    "rows": len(rows),
                    "total": total,
                    "digest": draft.digest,
                    "left_out": [list(reason) for reason in derived.left_out],
                },
            )
            signed = replace(draft, total=total, entry_index=index).sign(self._desk.key)
            message = signed.to_bytes()
            self._tally.keep(
                ROWS, digest, message, entry_index=index, readers=decision.authorized.readers
            )
        _log.info(
            "rows_opened",
            query_id=query.query_id.hex(),
            rows=len(rows),
            total=total,
            left_out=sum(count for _, count in derived.left_out),
            entry=index,
        )
        return message
