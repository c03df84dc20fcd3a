"""Audit whether what custodians opened was allowed: each decision taken again, as of its time.

Part of :mod:`protocol.audit`. Entries of grants, rows and stills carry the query and the approvals
themselves, so nothing is taken on any role's word.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from protocol.audit_officers import PROPAGATION_MS, as_of, officers_of
from protocol.audit_queries import (
    OpenedEntry,
    QueryAudit,
    octets,
)
from protocol.authorization import AuthorizedQuery, authorize
from protocol.directory import Directory
from protocol.errors import PolicyMismatch, ProtocolError, QueryWithdrawn
from protocol.findings import FindingKind, Severity
from protocol.policy import Policy
from protocol.query import Query
from protocol.signing import Signed

_CALLED = {"grant": "grant", "rows": "opening of rows", "evidence": "opening of stills"}


class AuthorityAudit:
    """Decides again, by the policy that each custodian's log says was in force there.

    Args:
        queries: what the first pass learned of queries, approvals and withdrawals.
        policies: every policy at hand, by digest.
    """

    def __init__(
        self, queries: QueryAudit, directory: Directory, policies: Mapping[bytes, Policy]
    ) -> None:
        self.policies = policies
        self._known = queries
        self._officers = officers_of(directory)
        self._policy_of: dict[str, bytes] = {}
        self._told_policy: set[str] = set()

    def told_policy(self, actor: str) -> None:
        """Note that a log names a policy, whether or not it can be read which."""
        self._told_policy.add(actor)

    def note_policy(self, item: OpenedEntry, body: Mapping[str, Any]) -> None:
        """Note which policy a log says is in force from here on."""
        self._policy_of[item.actor] = octets(body, "digest")

    def authorize(
        self, item: OpenedEntry, signed: Signed, query: Query, approvals: Sequence[Signed]
    ) -> AuthorizedQuery | None:
        """Decide again, as of the entry's time; report and return None where it was not allowed."""
        policy, what = self.policies.get(query.policy_digest), _CALLED[item.entry.kind]
        if policy is None:
            logged = query.policy_digest in self._known.policies_seen
            self._known.find(
                FindingKind.POLICY_UNKNOWN,
                item,
                f"the policy {query.policy_digest.hex()[:16]} of this {what} is not at hand"
                + ("" if logged else ", and no log ever held it in force"),
                severity=Severity.WARNING if logged else Severity.WRONG,
            )
            return None
        in_force = self._policy_of.get(item.actor)
        if item.actor not in self._told_policy:
            self._known.find(
                FindingKind.POLICY_UNKNOWN,
                item,
                "the custodian's log had not said which policy was in force: it may have granted "
                "under one that was over",
            )
        policy = self._with_floors(item, query, policy)
        time_ms = item.entry.time_ms
        standing = as_of(self._officers, time_ms, self._known.ended)

        def decide(withdrawals: Sequence[Signed]) -> AuthorizedQuery:
            return authorize(
                signed, approvals, withdrawals, directory=standing, policy=policy, now_ms=time_ms
            )

        own, elsewhere = self._withdrawals_before(item, signed.digest)
        try:
            if in_force is not None and in_force != policy.digest:
                raise PolicyMismatch(
                    "the custodian's own log says that another policy was in force"
                )
            authorized = decide(own)
        except QueryWithdrawn as error:
            self._known.find(FindingKind.GRANT_AFTER_WITHDRAWAL, item, str(error))
            return None
        except ProtocolError as error:
            self._known.find(FindingKind.GRANT_UNAUTHORIZED, item, str(error))
            return None
        try:
            decide([*own, *elsewhere])
        except QueryWithdrawn as error:
            self._known.find(
                FindingKind.GRANT_AFTER_WITHDRAWAL,
                item,
                f"{error}, by the log of another role: this custodian had not been told",
                severity=Severity.WARNING,
            )
        return authorized

    def _with_floors(self, item: OpenedEntry, query: Query, policy: Policy) -> Policy:
        """Report models without a floor, and judge the rest: earlier versions granted all the same.

        Returns the policy as those versions took it. None of them reads the second schema.
        """
        used = {t.model for subject in query.subjects for t in subject.templates}
        unstated = sorted(used - set(policy.threshold_floor))
        if not unstated or policy.schema > 1:
            return policy
        self._known.find(
            FindingKind.GRANT_UNAUTHORIZED,
            item,
            f"the policy states no threshold_floor for {', '.join(unstated)}: whatever the query's "
            "threshold, it was granted",
            severity=Severity.WARNING,
        )
        floors = {**policy.threshold_floor, **dict.fromkeys(unstated, -1.0)}
        return replace(policy, threshold_floor=floors)

    def _withdrawals_before(
        self, item: OpenedEntry, query_digest: bytes
    ) -> tuple[list[Signed], list[Signed]]:
        """Return the withdrawals of a query before a grant: in its own log, and elsewhere."""
        own, elsewhere = [], []
        for at, withdrawal, content in self._known.withdrawn:
            if content.query_digest != query_digest:
                continue
            if at.actor == item.actor:
                if at.index < item.index:
                    own.append(withdrawal)
            elif at.entry.time_ms < item.entry.time_ms - PROPAGATION_MS:
                elsewhere.append(withdrawal)
        return own, elsewhere
