"""What an audit reports: findings with a name each, and counts of who asked, agreed and granted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum


class Severity(StrEnum):
    """How much a finding weighs: a ``wrong`` one fails the audit."""

    WRONG = "wrong"
    WARNING = "warning"
    NOTE = "note"


class FindingKind(StrEnum):
    """The name of everything that an audit can find. The value is what reports print."""

    ENTRY_ALTERED = "entry-altered"
    """The entries do not hash to the root that the log signed for."""
    ENTRY_MALFORMED = "entry-malformed"
    """A leaf is not an audit entry, or its kind is unknown."""
    LOG_INCONSISTENT = "log-inconsistent"
    """A checkpoint seen earlier does not lead to the history shown now, or entries are missing."""
    LOG_FORKED = "log-forked"
    """The log signed two different histories of one size."""
    CHECKPOINT_INVALID = "checkpoint-invalid"
    """A checkpoint is malformed, or not signed by the log that it names."""
    COSIGNATURES_MISSING = "cosignatures-missing"
    """Too few witnesses stand behind the log's history, and have not for too long."""
    NOT_YET_COSIGNED = "not-yet-cosigned"
    """The last entries lack witnesses that it takes to rule out a second history: a state."""
    WITNESS_SILENT = "witness-silent"
    """A role did not say what it has seen of the other logs."""
    COPY_BEHIND = "copy-behind"
    """A witness has seen more of a log than the copy holds."""
    KEY_SHARED = "key-shared"
    """Two names in the directory have one key: one party counts as several."""
    EDITION_CONTRADICTED = "edition-contradicted"
    """Two directories, admissions or policies of one version: roles were told different things."""
    ID_REUSED = "id-reused"
    """One id stands for two queries, or for two grants: whoever reads by id sees one of them."""
    NOT_YET_SIGNED = "not-yet-signed"
    """Entries at the end that no checkpoint covers yet."""
    LOG_MISSING = "log-missing"
    """A role that must keep a log has none here: what others say of it cannot be checked."""
    LOG_UNKNOWN = "log-unknown"
    """A log of an actor that the directory does not know."""
    ACTOR_FALSE = "actor-false"
    """An entry names another actor than the one whose log it stands in."""
    TIME_WRONG = "time-wrong"
    """Entries that go back in time, or contradict the time of a witness's cosignature."""
    BODY_UNREADABLE = "body-unreadable"
    """An entry's body does not open for this auditor, or is not what its kind says."""
    SIGNATURE_FALSE = "signature-false"
    """A query, or what is signed of one, was logged that no officer signed so."""
    APPROVED_AFTER_REFUSAL = "approved-after-refusal"
    """An approver approved a query that the same approver had refused: they changed their mind."""
    REFUSED_OWN_APPROVAL = "refused-own-approval"
    """An approver refused a query and had approved it; that is taken back by a withdrawal."""
    DECISION_UNAUTHORIZED = "decision-unauthorized"
    """A decision on a query's candidate by an officer whom the query does not name."""
    EXPORT_UNAUTHORIZED = "export-unauthorized"
    """An export of a query's results by an officer to whom they are not sealed."""
    POLICY_UNKNOWN = "policy-unknown"
    """A grant under a policy that is not among those at hand, or that its own log never named."""
    GRANT_UNAUTHORIZED = "grant-unauthorized"
    """A grant for a query that was not approved, had expired, or broke the policy."""
    GRANT_AFTER_WITHDRAWAL = "grant-after-withdrawal"
    """A grant after the requester or a needed approver had withdrawn."""
    GRANT_OUTSIDE_QUERY = "grant-outside-query"
    """A grant of a camera, slot or modality that the query does not cover."""
    GRANT_AFTER_DESTRUCTION = "grant-after-destruction"
    """A grant of a day whose private key had been destroyed by the same log, or should have been
    by the policy."""
    DAY_KEY_MADE_AGAIN = "day-key-made-again"
    """A custodian made a key for a day whose key it had logged as destroyed."""
    GRANT_NOT_LOGGED = "grant-not-logged"
    """The aggregator received a grant that the custodian's log does not hold."""
    GRANT_FALSE = "grant-false"
    """The aggregator logged that a custodian's grant was not what others' grants opened."""
    GRANT_NOT_RECEIVED = "grant-not-received"
    """A custodian granted, and the aggregator never logged that it received it."""
    QUERY_NOT_FILED = "query-not-filed"
    """A grant for a query that the aggregator never logged as filed."""
    OPENED_WITHOUT_GRANT = "opened-without-grant"
    """Rows opened before anybody had granted the query, or stills of rows that were not opened."""
    OPENED_BEYOND_QUERY = "opened-beyond-query"
    """More rows or stills opened than the query permits, or stills for somebody else."""
    OPENED_MISCOUNTED = "opened-miscounted"
    """A custodian's count of what it opened for a query does not follow from its own log."""
    STILLS_UNASKED = "stills-unasked"
    """A still that no officer is said to have asked a box for."""
    LINKED_UNASKED = "linked-unasked"
    """Companions compared with one another for a query that does not ask for it."""
    MATCH_WITHOUT_GRANT = "match-without-grant"
    """A match that is not backed by grants of enough custodians."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it should be.

    Args:
        origin: the log that it is about.
        index: the entry, counted from 0, or None when it is about the log as a whole.
        query: hex of the query id, or None.
    """

    kind: FindingKind
    severity: Severity
    origin: str
    message: str
    index: int | None = None
    query: str | None = None


@dataclass(frozen=True, slots=True)
class LogSummary:
    """One log: how long, what kinds of entries, who stands behind it (names of witnesses).

    ``quorum`` other roles must cosign it; the first ``covered_size`` of the ``signed_size`` entries
    are, and the oldest of the rest is of ``uncovered_since_ms`` (None: there is no rest).
    """

    origin: str
    entries: int
    kinds: Mapping[str, int]
    first_ms: int | None
    last_ms: int | None
    checkpoints: int
    signed_size: int
    cosigned_size: int
    witnesses: tuple[str, ...]
    quorum: int
    covered_size: int
    uncovered_since_ms: int | None


@dataclass(slots=True)
class QueryCount:
    """One query as the logs tell it. Fields that need the auditor's key stay empty without it.

    ``digest`` (hex) tells queries apart; ``query``, the id, is what the logs show in the clear.
    Entries of an id whose bodies stay sealed count for its query if there is one alone.
    ``confirmed`` candidates are hits: enough officers whom the query names have confirmed them.
    ``rows_opened`` and ``stills_opened`` are what the custodian that opened most says,
    ``stills_sent`` of how many sightings boxes sent stills, by the aggregator's word.
    ``pairs`` of companions were compared with one another, in that comparison that had most.
    ``refused_by``: who refused to approve, also if they approved afterwards; ``refusals`` counts
    what roles refused to open.
    ``witnessed`` maps those subjects whose enrolment somebody witnessed to who did,
    ``consent_documents`` those whose document the query names to its SHA-256 (hex).
    """

    query: str
    digest: str | None = None
    requester: str | None = None
    purpose: str | None = None
    purpose_kind: str | None = None
    options: tuple[str, ...] = ()
    legal_basis: str | None = None
    consent_references: tuple[str, ...] = ()
    consent_documents: dict[str, str] = field(default_factory=dict)
    witnessed: dict[str, str] = field(default_factory=dict)
    cameras: int | None = None
    window_ms: tuple[int, int] | None = None
    filed_ms: int | None = None
    approvers: tuple[str, ...] = ()
    refused_by: tuple[str, ...] = ()
    withdrawn_by: tuple[str, ...] = ()
    grants: int = 0
    granting_custodians: tuple[str, ...] = ()
    granted_slots: int | None = None
    received: int = 0
    matches: int = 0
    rows_opened: int | None = None
    stills_opened: int | None = None
    stills_sent: int | None = None
    pairs: int | None = None
    sightings: int | None = None
    candidates: int | None = None
    decisions: int = 0
    confirmers: tuple[str, ...] = ()
    confirmed: int | None = None
    reads: int = 0
    exports: int = 0
    refusals: int = 0


@dataclass(slots=True)
class OfficerCount:
    """One officer: queries asked, approvals, refusals of approval, withdrawals, decisions, ..."""

    name: str
    queries: int = 0
    approvals: int = 0
    refused: int = 0
    withdrawals: int = 0
    decisions: int = 0
    exports: int = 0
    grants_asked: int = 0
    grants_approved: int = 0


@dataclass(frozen=True, slots=True)
class Report:
    """The outcome of an audit.

    Args:
        auditor: whose key opened the bodies, or None: then only the structure was checked.
    """

    site: str
    auditor: str | None
    logs: tuple[LogSummary, ...]
    queries: tuple[QueryCount, ...]
    officers: tuple[OfficerCount, ...]
    findings: tuple[Finding, ...]

    @property
    def uncovered(self) -> tuple[LogSummary, ...]:
        """The logs whose last entries too few others stand behind to rule out a second history."""
        return tuple(log for log in self.logs if log.covered_size < log.entries)

    @property
    def wrong(self) -> tuple[Finding, ...]:
        """The findings that fail the audit."""
        return tuple(f for f in self.findings if f.severity is Severity.WRONG)
