"""Take in subject queries, their templates and what is signed of them; say where each one stands.

Nothing here opens anything: what may be opened is the custodians' decision. The private half of a
query's matcher key lives in this process's memory only, so a restart interrupts what was running
until the investigator seals the templates anew (`QueryDesk.matcher_key`).
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

import structlog

from aggregator.late_films import LateFilms, late_films
from aggregator.matching.probes import Probes, probes_of
from aggregator.query_secrets import QuerySecrets
from aggregator.records import AnyLog, Records
from aggregator.store import Store
from aggregator.store.rows import (
    AWAITING_APPROVALS,
    AWAITING_TEMPLATES,
    ENDED,
    FAILED,
    INTERRUPTED,
    RUNNABLE,
    FalseGrant,
    QueryRecord,
    Seen,
)
from protocol import hpke
from protocol.about_queries import APPROVAL_KIND, REFUSAL_KIND, WITHDRAWAL_KIND, MatcherKey
from protocol.authorization import (
    check_approval,
    check_people,
    check_policy,
    check_withdrawal,
    open_query,
    parse_signed_query,
)
from protocol.directory import INVESTIGATOR
from protocol.errors import NotAuthorized, TemplatesDisagree
from protocol.exports import EXPORT_KIND, Export, check_reader
from protocol.policy import Policy
from protocol.refusing import check_refusal
from protocol.results import DECISION_KIND, Decision
from protocol.signing import Signed, SigningKey
from protocol.templates import Template, check_resemblance
from runtime.calibration import Calibration, least_resemblance
from runtime.clock import system_ms
from runtime.errors import OperationError
from runtime.trust import Trust

_log = structlog.get_logger()

MAX_OPEN_QUERIES = 1000
_ENTRIES = {REFUSAL_KIND: "approval-refused"}
"""Kinds of messages whose log entries are called otherwise (a ``refusal`` is a role's own)."""


class QueryUnknown(OperationError):
    """There is no query of that id."""


class QueryConflict(OperationError):
    """What was sent does not fit where the query stands."""


class QueryDesk:
    """The aggregator's desk for queries; safe to call from several threads.

    Args:
        store: the aggregator's store.
        trust: the site's directory.
        policy: the site's policy.
        log: the aggregator's audit log; every step is in it before anything is built on it.
        key: the aggregator's identity.
        calibrations: model id to calibration: what one person's templates must have in common.
    """

    def __init__(
        self,
        store: Store,
        trust: Trust,
        policy: Policy,
        log: AnyLog,
        key: SigningKey,
        *,
        calibrations: Mapping[str, Calibration] | None = None,
    ) -> None:
        self._store = store
        self._trust = trust
        self._policy = policy
        self._records = Records(store, log, key.signer)
        self._key = key
        self._calibrations = dict(calibrations or {})
        self._secrets: dict[bytes, QuerySecrets] = {}
        self._lock = threading.RLock()
        self._revisions: Counter[bytes] = Counter()
        self.changed = threading.Event()
        """Set when there may be something to do: for queries here, by whoever stores arrivals."""
        self.version = 0
        """Rises whenever a query was added, or its state or messages changed."""

    # ------------------------------------------------------------------ intake

    def file(self, data: bytes) -> QueryRecord:
        """Take in a signed query; filing the same one again changes nothing.

        Raises:
            SignatureInvalid, MalformedMessage: it is not an investigator's query.
            NotAuthorized: the policy would refuse it whoever approved it.
            QueryConflict: another query has its id, or too many are open.
        """
        signed = parse_signed_query(data)
        query, requester = open_query(signed, self._trust.directory)
        now_ms = system_ms()
        check_policy(query, self._policy, now_ms=now_ms)
        check_people(query, requester, self._trust.directory, self._policy, now_ms=now_ms)
        with self._lock, self._records.writing() as unit:  # in which no other process files it
            known = unit.ledger.query(query.query_id)
            if known is not None:
                if known.digest == signed.digest:
                    return known
                raise QueryConflict("another query has this id; file it anew with a fresh id")
            if unit.ledger.count_open_queries() >= MAX_OPEN_QUERIES:
                raise QueryConflict(f"{MAX_OPEN_QUERIES} queries are open; wait or withdraw some")
            unit.ledger.add_query(query, signed, now_ms=now_ms)
            self._records.note("query-filed", query.query_id, {"query": data})
        _log.info("query_filed", query=query.query_id.hex(), requester=requester)
        self._touch(signed.digest)
        return self.get(query.query_id)

    def matcher_key(self, query_id: bytes) -> bytes:
        """Return the signed public half of a fresh key, to which the templates are to be sealed.

        Raises:
            QueryUnknown, QueryConflict: no such query, or it has ended.
        """
        record = self._open_record(query_id)
        with self._lock:
            secrets = QuerySecrets(hpke.PrivateKey.generate())
            self._secrets[record.digest] = secrets
            self.set_state(
                record.digest, AWAITING_TEMPLATES, "the subjects' templates have to come"
            )
        statement = MatcherKey(record.digest, secrets.matcher.public, system_ms())
        return statement.sign(self._key).to_bytes()

    def put_templates(self, query_id: bytes, sealed: bytes) -> QueryRecord:
        """Take in the templates, sealed to the matcher key that was given out last.

        They are opened once to hold them against the query's digests, and kept sealed. A query of
        which one subject's templates are of several people ends: it would search for them all.

        Raises:
            QueryUnknown, QueryConflict: no such query, ended, or no matcher key was asked for.
            SealError, MalformedMessage, ModelMismatch: they are not the query's templates.
            TemplatesDisagree: those of one subject do not resemble one another.
        """
        record = self._open_record(query_id)
        with self._lock:
            secrets = self._secrets.get(record.digest)
            if secrets is None:
                raise QueryConflict("ask for the query's matcher key first, then seal to it")
            try:
                with secrets.opened(record, sealed) as templates:
                    self._check_resemblance(templates)
            except TemplatesDisagree as error:
                body = {"query_digest": record.digest, "reason": f"templates-disagree: {error}"}
                with self._records.writing():
                    self.set_state(record.digest, FAILED, str(error))
                    self._records.note("refusal", record.query_id, body)
                raise
            secrets.sealed_templates = sealed
            self.set_state(record.digest, AWAITING_APPROVALS, "")
        self._touch(record.digest)
        return self.get(query_id)

    def approve(self, query_id: bytes, data: bytes) -> QueryRecord:
        """Take in an approval; the same approver's again changes nothing.

        Raises:
            QueryUnknown, QueryConflict: no such query, or it has ended.
            ApprovalInvalid, PolicyMismatch, MalformedMessage: it does not count.
        """
        record = self._open_record(query_id)
        approval = Signed.parse(data, kind=APPROVAL_KIND)
        directory = self._trust.directory
        check_approval(approval, record.digest, record.requester, directory, self._policy)
        return self._keep(record, approval)

    def refuse(self, query_id: bytes, data: bytes) -> QueryRecord:
        """Take in an approver's refusal; the same approver's again changes nothing.

        Raises:
            QueryUnknown, QueryConflict: no such query, it has ended, or the approver approved it.
            RefusalInvalid, PolicyMismatch, MalformedMessage: it is not genuine.
        """
        record = self._open_record(query_id)
        refusal = Signed.parse(data, kind=REFUSAL_KIND)
        directory = self._trust.directory
        check_refusal(refusal, record.digest, record.requester, directory, self._policy)
        with self._lock:
            given = {approval.signer for approval in self.approvals(record.digest)}
            withdrawn = {withdrawal.signer for withdrawal in self.withdrawals(record.digest)}
            if refusal.signer in given - withdrawn:
                raise QueryConflict(
                    f"'{refusal.signer}' has approved this query: first withdraw the approval "
                    "(`sealtrace query revoke`), which already stops it where it was needed"
                )
            return self._keep(record, refusal)

    def withdraw(self, query_id: bytes, data: bytes) -> QueryRecord:
        """Take in a withdrawal by an approver or by the requester.

        Raises:
            QueryUnknown: no such query.
            NotAuthorized: it is of another query, or by somebody who has no say in it.
            SignatureInvalid, MalformedMessage: it is not genuine.
        """
        record = self.get(query_id)
        withdrawal = Signed.parse(data, kind=WITHDRAWAL_KIND)
        content = check_withdrawal(withdrawal, self._trust.directory)
        if content.query_digest != record.digest:
            raise NotAuthorized("the withdrawal is of another query")
        if withdrawal.signer != record.requester and withdrawal.signer not in {
            approval.signer for approval in self.approvals(record.digest)
        }:
            raise NotAuthorized(
                f"'{withdrawal.signer}' neither asked for this query nor approved it"
            )
        return self._keep(record, withdrawal)

    def decide(self, query_id: bytes, data: bytes) -> None:
        """Take in an officer's decision on a candidate; a later one of the same replaces it.

        Raises:
            QueryUnknown: no such query or candidate.
            NotAuthorized: not by the investigator who asked, nor by one who confirms.
            SignatureInvalid, MalformedMessage: it is not genuine.
        """
        record = self.get(query_id)
        signed = Signed.parse(data, kind=DECISION_KIND)
        decision = Decision.parse(signed.verify(self._trust.directory.resolver(INVESTIGATOR)))
        if signed.signer not in record.readers or decision.query_digest != record.digest:
            raise NotAuthorized(
                "only the investigator who asked and those whom the query names to confirm decide "
                "on its candidates"
            )
        if not self._store.ledger.has_result(record.digest, decision.candidate_id):
            raise QueryUnknown("the query has no such candidate")
        with self._lock, self._records.writing() as unit:
            unit.ledger.put_decision(
                record.digest,
                decision.candidate_id,
                signed,
                decided_ms=decision.decided_at_ms,
            )
            self._records.note("decision", query_id, {"decision": data})
        if record.query.asks.wait_for_decisions:
            self._touch(record.digest)

    def export(self, query_id: bytes, data: bytes) -> None:
        """Log that an officer writes a query's results to files, before there are any.

        Raises:
            QueryUnknown: no such query.
            NotAuthorized: by nobody to whom its results are sealed, or of another query's.
            SignatureInvalid, MalformedMessage: it is not genuine.
        """
        record = self.get(query_id)
        signed = Signed.parse(data, kind=EXPORT_KIND)
        export = Export.parse(signed.verify(self._trust.directory.resolver(INVESTIGATOR)))
        check_reader(signed, export, record.digest, record.readers)
        self._records.append("exported", query_id, {"export": data})

    # ------------------------------------------------------------------ reading

    def get(self, query_id: bytes) -> QueryRecord:
        """Return a query.

        Raises:
            QueryUnknown: there is none of that id.
        """
        record = self._store.ledger.query(query_id)
        if record is None:
            raise QueryUnknown(f"there is no query {query_id.hex()[:32]}")
        return record

    def everything(self) -> list[QueryRecord]:
        """Return all queries, newest first."""
        return self._store.ledger.queries()

    def runnable(self) -> list[QueryRecord]:
        """Return the queries that may have something to do."""
        return self._store.ledger.queries_in(RUNNABLE)

    def approvals(self, digest: bytes) -> list[Signed]:
        """Return the approvals of a query as they came."""
        return self._store.ledger.messages(APPROVAL_KIND, digest)

    def refusals(self, digest: bytes) -> list[Signed]:
        """Return the refusals of a query as they came, also of who approved afterwards."""
        return self._store.ledger.messages(REFUSAL_KIND, digest)

    def withdrawals(self, digest: bytes) -> list[Signed]:
        """Return the withdrawals of a query as they came."""
        return self._store.ledger.messages(WITHDRAWAL_KIND, digest)

    def results(
        self, record: QueryRecord, *, reader: str
    ) -> list[tuple[bytes, bytes, bytes | None]]:
        """Return what was sealed to ``reader``, in order of finding.

        That they asked for it goes into the audit log first.

        Returns:
            Candidate id, sealed candidate, the reader's own signed decision or None.
        """
        body = {"query_digest": record.digest, "reader": reader}
        self._records.append("result-read", record.query_id, body)
        return self._store.ledger.results(record.digest, reader)

    def openings(self, record: QueryRecord, *, reader: str) -> list[bytes]:
        """Return which rows custodians opened for a query, as it was sealed to ``reader``."""
        return self._store.ledger.openings(record.digest, reader)

    def watching(self, record: QueryRecord, *, reader: str) -> bytes | None:
        """Return what a query's cameras watched, as it was sealed to ``reader``; None yet."""
        return self._store.ledger.watching(record.digest, reader)

    def links(self, record: QueryRecord, *, reader: str) -> bytes | None:
        """Return which companions are one person, as it was sealed to ``reader``; None if none."""
        return self._store.ledger.links(record.digest, reader)

    def decisions(self, record: QueryRecord) -> list[bytes]:
        """Return the signed decisions of all officers on a query's candidates."""
        return self._store.ledger.decisions(record.digest)

    def count_results(self, digest: bytes) -> int:
        """Return how many candidates a query has."""
        return self._store.ledger.count_results(digest)

    def late_films(self, record: QueryRecord) -> tuple[LateFilms, ...]:
        """Return which films a query asked for came after it had ended, by camera."""
        return late_films(self._store.ledger, record)

    def false_grants(self, digest: bytes | None = None) -> list[FalseGrant]:
        """Return which custodians answered falsely, to one query or to any; the oldest first."""
        return self._store.ledger.false_grants(digest)

    # ------------------------------------------------------------------ for the runner

    def accuse(self, record: QueryRecord, custodian: str, reason: str) -> None:
        """Log and keep that a custodian answered this query falsely; once a query."""
        with self._lock:
            known = {found.custodian for found in self._store.ledger.false_grants(record.digest)}
            if custodian in known:
                return
            body = {
                "query_digest": record.digest,
                "reason": f"{custodian}: {reason}",
                "custodian": custodian,
            }
            with self._records.writing() as unit:
                found = FalseGrant(record.digest, custodian, reason, system_ms())
                unit.ledger.add_false_grant(found)
                self._records.note("refusal", record.query_id, body)
        _log.error(
            "custodian_granted_falsely",
            custodian=custodian,
            query=record.query_id.hex(),
            reason=reason,
        )

    def revision(self, digest: bytes) -> int:
        """Return a number that rises with each of a query's messages and templates."""
        with self._lock:
            return self._revisions[digest]

    def matcher(self, digest: bytes) -> hpke.PrivateKey | None:
        """Return the private half of a query's matcher key, if this process has it."""
        with self._lock:
            secrets = self._secrets.get(digest)
            return secrets.matcher if secrets and secrets.sealed_templates is not None else None

    def probes(
        self, record: QueryRecord, examples: Mapping[str, Sequence[Template]] | None = None
    ) -> tuple[Probes, ...]:
        """Open the subjects' templates for matching; the caller wipes the probes.

        Args:
            record: the query.
            examples: what its examples gave, by subject (`aggregator.matching.examples`).

        Raises:
            QueryConflict: the templates are not here.
            SealError, ModelMismatch, MalformedMessage, TemplatesDisagree: they cannot be used.
        """
        with self._lock:
            secrets = self._secrets.get(record.digest)
            if secrets is None or secrets.sealed_templates is None:
                raise QueryConflict("the subjects' templates have to come")
            sealed = secrets.sealed_templates
        with secrets.opened(record, sealed) as templates:
            shown = examples or {}
            together = {name: (*own, *shown.get(name, ())) for name, own in templates.items()}
            self._check_resemblance(together)
            return probes_of(record.query, together)

    def forget_keys(self, digest: bytes) -> None:
        """Forget a query's keys and templates: another process carries it by now."""
        with self._lock:
            self._secrets.pop(digest, None)

    def look_again(self) -> None:
        """Note that others may have changed queries, where several processes do."""
        with self._lock:
            self.version += 1

    def calibration(self, model: str) -> Calibration | None:
        """Return what is known of a model's scores."""
        return self._calibrations.get(model)

    def set_state(
        self, digest: bytes, state: str, reason: str = "", *, seen: Seen | None = None
    ) -> None:
        """Put a query into another state; one that has ended forgets its keys and stays ended.

        Args:
            seen: of one that ends, up to where it was carried (`late_films` come after it).
        """
        with self._lock:
            with self._store.writing() as unit:
                changed = unit.ledger.set_state(
                    digest, state, reason, now_ms=system_ms(), seen=seen
                )
            self.version += changed
            if state in ENDED:
                self._secrets.pop(digest, None)
        if changed:
            _log.info("query_state", digest=digest.hex()[:16], state=state, reason=reason)

    def add_progress(self, digest: bytes, figures: Mapping[str, int]) -> None:
        """Add to a query's figures (segments, sightings, altered, ...)."""
        with self._store.writing() as unit:
            unit.ledger.add_progress(digest, figures)

    # ------------------------------------------------------------------ inside

    def interrupt_open_queries(self, mine: Callable[[bytes], bool] = lambda _id: True) -> None:
        """Note that a previous process took its matcher keys with it: at the start, or over others.

        Args:
            mine: tells by a query's id whether it is now ours to carry.
        """
        for record in self._store.ledger.queries():
            if record.state not in ENDED and mine(record.query_id):
                self._interrupt(record)

    def interrupt_without_keys(self, ours: Iterable[QueryRecord]) -> None:
        """Note which of the queries that are ours to carry cannot be: their keys are not here.

        The process that had them before us may have said afterwards that they stand.
        """
        for record in ours:
            with self._lock:  # templates that come now are in before their state is
                there = self.matcher(record.digest) is not None
                if not there and self.get(record.query_id).state in RUNNABLE:
                    self._interrupt(record)

    def _interrupt(self, record: QueryRecord) -> None:
        self.set_state(
            record.digest,
            INTERRUPTED,
            "the aggregator was restarted and has forgotten the matcher key: "
            "the investigator runs `sealtrace query resume`; no new approval is needed",
        )

    def _check_resemblance(self, templates: Mapping[str, Sequence[Template]]) -> None:
        for subject, listed in templates.items():
            check_resemblance(subject, listed, partial(least_resemblance, self._calibrations))

    def _open_record(self, query_id: bytes) -> QueryRecord:
        record = self.get(query_id)
        if record.state in ENDED:
            raise QueryConflict(f"the query is {record.state}: {record.reason or 'it has ended'}")
        return record

    def _keep(self, record: QueryRecord, signed: Signed) -> QueryRecord:
        """Log and keep what was signed of a query; the same signer's again changes nothing."""
        with self._lock:
            self._records.flush()
            known = {
                kept.signer for kept in self._store.ledger.messages(signed.kind, record.digest)
            }
            if signed.signer not in known:
                body = {signed.kind: signed.to_bytes()}
                with self._records.writing() as unit:
                    unit.ledger.add_message(record.digest, signed, now_ms=system_ms())
                    entry = _ENTRIES.get(signed.kind, signed.kind)
                    self._records.note(entry, record.query_id, body)
        self._touch(record.digest)
        return self.get(record.query_id)

    def _touch(self, digest: bytes) -> None:
        """Note that something about a query is not as it was, and wake whoever carries it on."""
        with self._lock:
            self._revisions[digest] += 1
            self.version += 1
        self.changed.set()
