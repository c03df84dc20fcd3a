"""Audit decisions on candidates and exports: by whom the query names; count what came to be hits.

Part of :mod:`protocol.audit`, after :mod:`protocol.audit_queries`, which reports false signatures.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from protocol.audit_queries import BAD_BODY, OpenedEntry, QueryAudit
from protocol.authorization import parse_signed_query
from protocol.confirming import Word, last_words, read_word, verdict_of
from protocol.directory import Directory
from protocol.errors import NotAuthorized, ProtocolError
from protocol.exports import EXPORT_KIND, Export, check_reader
from protocol.findings import FindingKind
from protocol.policy import Policy
from protocol.query import Query
from protocol.results import CONFIRMED, DECISION_KIND, Decision
from protocol.signing import Signed

_Named = tuple[tuple[str, ...], bytes]
"""Whom a query names, the requester first, and the digest of its policy."""


class DecisionAudit:
    """Holds the decisions and exports of all logs against the queries that they are of."""

    def __init__(
        self, queries: QueryAudit, directory: Directory, policies: Mapping[bytes, Policy]
    ) -> None:
        self._known = queries
        self._directory = directory
        self._policies = policies
        self._named: dict[bytes, _Named] = {}
        self._words: dict[bytes, dict[bytes, list[Word]]] = {}

    def run(self, opened: Sequence[OpenedEntry]) -> None:
        """Read the queries, then the decisions on them; count what is confirmed."""
        for item in opened:
            if item.body is not None and item.entry.kind in {"query-filed", "grant"}:
                self._learn(item.body)
        for item in opened:
            if item.body is not None and item.entry.kind == "decision":
                self._check(item, item.body)
            elif item.body is not None and item.entry.kind == "exported":
                self._check_export(item, item.body)
        for digest, (officers, policy_digest) in self._named.items():
            count = self._known.query(digest)
            count.confirmers = officers[1:]
            policy = self._policies.get(policy_digest)
            needed = len(officers) if policy is None else policy.confirmations
            count.confirmed = sum(
                verdict_of(last_words(words), needed, self._directory) == CONFIRMED
                for words in self._words.get(digest, {}).values()
            )

    def _learn(self, body: Mapping[str, Any]) -> None:
        try:
            signed = parse_signed_query(body["query"])
            query = Query.parse(signed.payload)
        except BAD_BODY:
            return  # reported where the entry is checked
        self._named[signed.digest] = ((signed.signer, *query.confirmers), query.policy_digest)

    def _check(self, item: OpenedEntry, body: Mapping[str, Any]) -> None:
        try:
            signed = Signed.parse(body["decision"], kind=DECISION_KIND)
            digest = Decision.parse(signed.payload).query_digest
        except BAD_BODY:
            return  # reported where the entry is checked
        if digest not in self._named:
            return  # of a query that was filed before the auditor was one
        officers, _ = self._named[digest]
        try:
            word = read_word(
                signed, query_digest=digest, officers=officers, directory=self._directory
            )
        except NotAuthorized as error:
            self._known.find(FindingKind.DECISION_UNAUTHORIZED, item, str(error))
        except ProtocolError:
            return  # not genuine: reported where the signature is checked
        else:
            on = self._words.setdefault(digest, {})
            on.setdefault(word.candidate_id, []).append(word)

    def _check_export(self, item: OpenedEntry, body: Mapping[str, Any]) -> None:
        try:
            signed = Signed.parse(body["export"], kind=EXPORT_KIND)
            export = Export.parse(signed.payload)
        except BAD_BODY:
            return  # reported where the entry is checked
        named = self._named.get(export.query_digest)
        if named is None:
            return  # of a query that was filed before the auditor was one
        try:
            check_reader(signed, export, export.query_digest, named[0])
        except NotAuthorized as error:
            self._known.find(FindingKind.EXPORT_UNAUTHORIZED, item, str(error))
