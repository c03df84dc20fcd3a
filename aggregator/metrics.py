"""What headquarters tells monitoring: messages, boxes, queries by state, the log.

What the store knows is told by one process of the aggregator alone (the one with the duty
``upkeep``), so that sums over its processes are right, and is read every fifteen seconds at most.
No query, subject, officer or place is named; boxes only on request (`AggregatorMetricsConfig`), and
then with nothing but what their own reports have told the broker.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from aggregator.config import AggregatorConfig
from aggregator.matching.pool import Matcher
from aggregator.processes.duties import Duty
from aggregator.store import LedgerReading, Store
from aggregator.store.rows import (
    AWAITING_APPROVALS,
    AWAITING_TEMPLATES,
    BLOCKED,
    INTERRUPTED,
    REFUSED_BY_APPROVERS,
    RUNNING,
    STANDING,
    BoxRow,
)
from aggregator.threads import Duties
from protocol.directory import BOX, Directory
from protocol.names import SLOT_MS
from protocol.policy import Policy
from protocol.telemetry import OFFLINE
from runtime.auditlog import AuditLog
from runtime.clock import system_ms
from runtime.metrics import SITE, Family, Figures, Metrics, Source, Subject, of_site
from runtime.trust import Trust

OPEN_STATES = (
    AWAITING_TEMPLATES,
    AWAITING_APPROVALS,
    REFUSED_BY_APPROVERS,
    RUNNING,
    STANDING,
    BLOCKED,
    INTERRUPTED,
)
SILENT_MS = 120_000
"""A box that says it is there, and has not been heard for so long, counts as silent."""
_STORE_EVERY_S = 15.0
FAMILIES = (
    *SITE,
    Family(
        "sealtrace_aggregator_messages_total",
        "Messages from the broker since the start, by what became of them.",
        ("outcome",),
    ),
    Family(
        "sealtrace_aggregator_stored_timestamp_seconds",
        "When this process stored something last, in seconds since 1970.",
    ),
    Family("sealtrace_aggregator_storing_fails", "1: what comes cannot be stored, and waits."),
    Family("sealtrace_aggregator_brokers", "Brokers in the configuration."),
    Family("sealtrace_aggregator_brokers_connected", "Brokers that this process is with."),
    Family("sealtrace_aggregator_matching_waits", "1: large scopes wait for machines that match."),
    Family("sealtrace_aggregator_partitions", "Partitions of boxes that this process takes in."),
    Family("sealtrace_aggregator_boxes", "Boxes of the directory, by how they are.", ("state",)),
    Family("sealtrace_aggregator_boxes_clock_wrong", "Boxes whose clock is beyond the limit."),
    Family(
        "sealtrace_aggregator_gaps",
        "Gaps in what boxes sent, by whether they are waited for.",
        ("state",),
    ),
    Family(
        "sealtrace_aggregator_rejected",
        "Messages refused within the retention, by reason.",
        ("reason",),
    ),
    Family("sealtrace_aggregator_quarantined", "Messages in quarantine."),
    Family("sealtrace_aggregator_quarantine_bytes", "Bytes in quarantine."),
    Family("sealtrace_aggregator_queries", "Queries that have not ended, by state.", ("state",)),
    Family(
        "sealtrace_aggregator_query_waits_seconds",
        "Of queries in a state, how long the longest has been in it.",
        ("state",),
    ),
    Family("sealtrace_aggregator_false_grants", "Grants that were false, of any custodian."),
    Family("sealtrace_aggregator_entries_waiting", "Entries that the audit log is still to tell."),
    Family(
        "sealtrace_aggregator_hours_to_pack", "Hours of shards that are over and not packed yet."
    ),
    Family("sealtrace_aggregator_packed_bytes", "Bytes of packed segments, by the ledger."),
    Family(
        "sealtrace_box_seen_timestamp_seconds",
        "When a box was heard last, in seconds since 1970; on request.",
        ("box",),
    ),
    Family("sealtrace_box_queued", "Messages that a box has not sent yet; on request.", ("box",)),
    Family("sealtrace_box_gaps", "Open gaps in what a box sent; on request.", ("box",)),
    Family("sealtrace_box_troubles", "Troubles that a box reports; on request.", ("box",)),
    Family(
        "sealtrace_box_certificate_end_timestamp_seconds",
        "When a box's certificate ends, in seconds since 1970; on request.",
        ("box",),
    ),
)
_OUTCOMES = ("stored", "duplicates", "quarantined", "rejected", "health", "passed_on")


@dataclass(frozen=True, slots=True)
class Parts:
    """What the figures are read from."""

    config: AggregatorConfig
    trust: Trust
    policy: Policy
    store: Store
    duties: Duties
    matcher: Matcher | None
    log: AuditLog | None
    databases: tuple[Path, ...]
    partitions: Callable[[], int] | None


def metrics_of(parts: Parts) -> Metrics:
    """Return the metrics of a running process of the aggregator."""
    config, trust, log = parts.config, parts.trust, parts.log
    sources: dict[str, Source] = {
        "site": of_site(
            lambda: trust.directory,
            admissions=lambda: trust.admissions_version,
            policy=lambda: parts.policy,
            log_size=None if log is None else (lambda: log.size),
        ),
        "aggregator": lambda figures: _put_own(figures, parts),
    }
    if Duty.UPKEEP in config.processes.duties:
        sources["store"] = _Kept(lambda figures: _put_store(figures, parts)).put
    broker = config.mqtt.tls
    return Metrics(
        config.metrics,
        Subject(
            "aggregator",
            config.state_dir,
            parts.databases,
            {"http": config.tls, "mqtt": broker, "cluster": config.cluster.tls},
        ),
        families=FAMILIES,
        sources=sources,
    )


class _Kept:
    """A source that is read every fifteen seconds at most, and repeated in between."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._figures: list[tuple[str, float, tuple[str, ...]]] = []
        self._next_s = 0.0

    def put(self, figures: Figures) -> None:
        """Put in what was read lately, or what is read now."""
        if time.monotonic() >= self._next_s:
            self._next_s = 0.0
            noted = _Noted()
            self._source(noted)
            self._figures = noted.noted
            self._next_s = time.monotonic() + _STORE_EVERY_S
        for name, value, labels in self._figures:
            figures.put(name, value, *labels)


class _Noted(Figures):
    def __init__(self) -> None:
        super().__init__(())
        self.noted: list[tuple[str, float, tuple[str, ...]]] = []

    def put(self, name: str, value: float, *labels: str) -> None:
        self.noted.append((name, value, labels))


# ---------------------------------------------------------------------- this process


def _put_own(figures: Figures, parts: Parts) -> None:
    duties = parts.duties
    if Duty.INGEST in parts.config.processes.duties:
        for outcome in _OUTCOMES:
            count = getattr(duties.came, outcome)
            figures.put("sealtrace_aggregator_messages_total", count, outcome)
        if duties.newest_ms:
            stored_s = duties.newest_ms / 1000
            figures.put("sealtrace_aggregator_stored_timestamp_seconds", stored_s)
        figures.put("sealtrace_aggregator_storing_fails", duties.storing_fails)
    if duties.session is not None:
        figures.put("sealtrace_aggregator_brokers", duties.session.brokers)
        figures.put("sealtrace_aggregator_brokers_connected", duties.session.reached)
    if parts.matcher is not None:
        waits = parts.matcher.trouble() is not None
        figures.put("sealtrace_aggregator_matching_waits", waits)
    if parts.partitions is not None:
        figures.put("sealtrace_aggregator_partitions", parts.partitions())


# ---------------------------------------------------------------------- the store


def _put_store(figures: Figures, parts: Parts) -> None:
    ledger, now_ms = parts.store.ledger, system_ms()
    _put_boxes(figures, parts, ledger, now_ms)
    rejected: Counter[str] = Counter()
    for row in ledger.rejects():
        rejected[row.reason] += row.count
    for reason, count in sorted(rejected.items()):
        figures.put("sealtrace_aggregator_rejected", count, reason)
    quarantined = sum(sum(one.values()) for one in ledger.quarantined_by_box().values())
    figures.put("sealtrace_aggregator_quarantined", quarantined)
    figures.put("sealtrace_aggregator_quarantine_bytes", ledger.quarantine_bytes())
    _put_queries(figures, ledger, now_ms)
    figures.put("sealtrace_aggregator_false_grants", len(ledger.false_grants()))
    figures.put("sealtrace_aggregator_entries_waiting", len(ledger.pending_entries()))
    over_ms = now_ms - parts.config.objects.wait_minutes * 60_000
    waiting = ledger.waiting_hours(over_slot=over_ms // SLOT_MS)
    figures.put("sealtrace_aggregator_hours_to_pack", len(waiting))
    packed = sum(pack.size for day in ledger.pack_days() for pack in ledger.packs_on(day))
    figures.put("sealtrace_aggregator_packed_bytes", packed)


def _put_queries(figures: Figures, ledger: LedgerReading, now_ms: int) -> None:
    count: Counter[str] = Counter()
    longest: dict[str, int] = {}
    for query in ledger.queries_in(OPEN_STATES):
        count[query.state] += 1
        longest[query.state] = max(longest.get(query.state, 0), now_ms - query.changed_ms)
    for state in OPEN_STATES:
        figures.put("sealtrace_aggregator_queries", count[state], state)
        waits_s = max(0, longest.get(state, 0)) / 1000
        figures.put("sealtrace_aggregator_query_waits_seconds", waits_s, state)


def _put_boxes(figures: Figures, parts: Parts, ledger: LedgerReading, now_ms: int) -> None:
    heard = ledger.boxes()
    gaps: Counter[str] = Counter()
    waited: Counter[str] = Counter()
    for address, gap in ledger.open_gaps():
        gaps[address.box] += 1
        waited["lost" if gap.lost else "open"] += 1
    states: Counter[str] = Counter()
    wrong = 0
    skew_ms = parts.config.limits.clock_skew_s * 1000
    for name, state in _states(parts.trust.directory, heard, now_ms):
        states[state] += 1
        box = heard.get(name)
        if box is None or state == "revoked":
            continue
        wrong += abs(box.clock_offset_ms or 0) > skew_ms
        if parts.config.metrics.boxes:
            _put_box(figures, box, gaps[name])
    for state in ("online", "offline", "silent", "never", "revoked"):
        figures.put("sealtrace_aggregator_boxes", states[state], state)
    figures.put("sealtrace_aggregator_boxes_clock_wrong", wrong)
    for state in ("open", "lost"):
        figures.put("sealtrace_aggregator_gaps", waited[state], state)


def _states(
    directory: Directory, heard: Mapping[str, BoxRow], now_ms: int
) -> Iterator[tuple[str, str]]:
    """Return each box of the directory and how it is."""
    for name, principal in sorted(directory.principals.items()):
        if BOX not in principal.duties:
            continue
        box = heard.get(name)
        if principal.revoked_at_ms is not None:
            yield name, "revoked"
        elif box is None or not box.last_seen_ms:
            yield name, "never"
        elif box.state == OFFLINE:
            yield name, "offline"
        else:
            yield name, "silent" if now_ms - box.last_seen_ms > SILENT_MS else "online"


def _put_box(figures: Figures, box: BoxRow, gaps: int) -> None:
    told = box.figures or {}
    name = box.box
    figures.put("sealtrace_box_seen_timestamp_seconds", box.last_seen_ms / 1000, name)
    figures.put("sealtrace_box_gaps", gaps, name)
    troubles = sum(bool(value) for key, value in told.items() if key.startswith("trouble."))
    figures.put("sealtrace_box_troubles", troubles, name)
    if (queued := told.get("outbox.queued")) is not None:
        figures.put("sealtrace_box_queued", queued, name)
    if (ends_s := told.get("certificate_ends_s")) is not None:
        figures.put("sealtrace_box_certificate_end_timestamp_seconds", ends_s, name)
