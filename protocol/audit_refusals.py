"""Audit refusals: each signed by an approver, and what the same approver said besides.

Part of :mod:`protocol.audit`, after :mod:`protocol.audit_queries`. A refusal forbids nobody else to
approve, and its approver may come to another mind; who reads the logs is told of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from protocol.about_queries import (
    APPROVAL_KIND,
    REFUSAL_KIND,
    WITHDRAWAL_KIND,
    Approval,
    Refusal,
    Withdrawal,
)
from protocol.audit_queries import BAD_BODY, OpenedEntry, QueryAudit
from protocol.directory import APPROVER
from protocol.findings import FindingKind, Severity
from protocol.signing import Signed

_Who = tuple[bytes, str]
"""A query's digest and an approver."""


class RefusalAudit:
    """Holds refusals against approvals and withdrawals of the same approver, in the log's order."""

    def __init__(self, queries: QueryAudit) -> None:
        self._known = queries
        self._refused: dict[_Who, str] = {}
        self._approved: set[_Who] = set()

    def run(self, opened: Sequence[OpenedEntry]) -> None:
        """Read the refusals, and what was approved before and after."""
        checks = {
            "approval": self._approval,
            "approval-refused": self._refusal,
            "withdrawal": self._withdrawal,
        }
        for item in opened:
            check = checks.get(item.entry.kind)
            if check is None or item.body is None:
                continue
            try:
                check(item, item.body)
            except BAD_BODY as error:
                if item.entry.kind == "approval-refused":
                    self._known.unreadable(item, error)  # of the others where they are checked

    def _approval(self, item: OpenedEntry, body: Mapping[str, Any]) -> None:
        signed = Signed.parse(body["approval"], kind=APPROVAL_KIND)
        who = (Approval.parse(signed.payload).query_digest, signed.signer)
        self._approved.add(who)
        if who in self._refused:
            self._known.find(
                FindingKind.APPROVED_AFTER_REFUSAL,
                item,
                f"'{signed.signer}' approves a query that '{signed.signer}' had refused before, "
                f'with the reason "{self._refused[who]}"',
                severity=Severity.NOTE,
            )

    def _refusal(self, item: OpenedEntry, body: Mapping[str, Any]) -> None:
        signed = Signed.parse(body["refusal"], kind=REFUSAL_KIND)
        if not self._known.signed_by(signed, APPROVER, item):
            return
        refusal = Refusal.parse(signed.payload)
        who = (refusal.query_digest, signed.signer)
        if who not in self._refused:
            self._known.officer(signed.signer).refused += 1
        self._refused[who] = refusal.reason
        if refusal.query_digest in self._known.ids:
            count = self._known.query(refusal.query_digest)
            count.refused_by = tuple(sorted({*count.refused_by, signed.signer}))
        if who in self._approved:
            self._known.find(
                FindingKind.REFUSED_OWN_APPROVAL,
                item,
                f"'{signed.signer}' refuses a query that '{signed.signer}' had approved: the "
                "approval counts until it is withdrawn",
                severity=Severity.WARNING,
            )

    def _withdrawal(self, _item: OpenedEntry, body: Mapping[str, Any]) -> None:
        signed = Signed.parse(body["withdrawal"], kind=WITHDRAWAL_KIND)
        self._approved.discard((Withdrawal.parse(signed.payload).query_digest, signed.signer))
