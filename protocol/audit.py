"""Audit the logs offline: what was signed for, who agreed, and whether each opening was allowed.

docs/protocol.md, "Audit". Pure: takes the copies of the logs, the directory and the policies, gives
a report. It trusts no role: grants are authorized again here, from the signatures in their entries.
Without an auditor's key only what stands in the clear is checked, and the report says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from protocol import hpke
from protocol.audit_decisions import DecisionAudit
from protocol.audit_editions import EditionAudit, Editions
from protocol.audit_grants import GrantAudit
from protocol.audit_named import NamedQueries
from protocol.audit_officers import with_former
from protocol.audit_queries import OpenedEntry, QueryAudit
from protocol.audit_refusals import RefusalAudit
from protocol.audit_witnesses import (
    COSIGNING_DELAY_MS,
    Cosignature,
    WitnessAudit,
    historic_keeper_key,
)
from protocol.auditlog import (
    AGGREGATOR_KINDS,
    CUSTODIAN_KINDS,
    Checkpoint,
    Entry,
    origin_of,
    verify_checkpoint,
)
from protocol.directory import AGGREGATOR, BOX, CUSTODIAN, Directory
from protocol.errors import CheckpointInvalid, ProtocolError, UnknownSigner
from protocol.findings import Finding, FindingKind, LogSummary, Report, Severity
from protocol.merkle import MerkleTree, leaf_hash
from protocol.policy import Policy
from protocol.quorum import log_keepers
from protocol.signing import VerifyKey

CLOCK_TOLERANCE_MS = 5 * 60_000


@dataclass(frozen=True, slots=True)
class LogCopy:
    """A log as an auditor holds it: all its entries, and every checkpoint ever seen of it.

    Each checkpoint text carries whatever cosignatures it had when it was fetched; the same
    checkpoint may come more than once with different ones.
    """

    origin: str
    entries: tuple[bytes, ...]
    checkpoints: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AuditorKey:
    """The auditor's name and sealing key, with which bodies open."""

    name: str
    key: hpke.PrivateKey


def audit(
    logs: Sequence[LogCopy],
    *,
    directory: Directory,
    policies: Mapping[bytes, Policy],
    now_ms: int,
    auditor: AuditorKey | None = None,
    witnessed: Mapping[str, Sequence[str]] | None = None,
    editions: Editions | None = None,
    former: Sequence[Directory] = (),
) -> Report:
    """Audit copies of the logs; never raises for what is wrong in them: that is the report.

    Args:
        policies: every policy at hand, by digest; a grant is held against the one it names.
        now_ms: when the copies were taken: entries younger than a quarter of an hour need no
            cosignature yet.
        witnessed: what each role says that it cosigned last, by role, asked of it directly:
            checkpoints with the role's own cosignature. None: nobody was asked.
        editions: the digests of the signed directory and admissions that are at hand.
        former: earlier directories, verified: what passkeys signed that have been withdrawn since.
    """
    findings: list[Finding] = []
    summaries: list[LogSummary] = []
    opened: list[OpenedEntry] = []
    keepers = log_keepers(directory)
    _check_keys(directory, findings)
    for copy in logs:
        summary, entries = _LogAudit(
            copy, directory, findings, now_ms, auditor, witnessed=witnessed or {}
        ).run()
        summaries.append(summary)
        opened.extend(entries)
    present = {copy.origin for copy in logs}
    for origin, actor in keepers.items():
        if origin not in present:
            findings.append(
                Finding(
                    FindingKind.LOG_MISSING,
                    Severity.WARNING,
                    origin,
                    f"there is no copy of the log of '{actor}': what others say of it cannot be "
                    "checked; fetch it when it can be reached",
                )
            )
    if witnessed is not None:
        for actor in sorted(set(keepers.values()) - set(witnessed)):
            findings.append(
                Finding(
                    FindingKind.WITNESS_SILENT,
                    Severity.NOTE,
                    origin_of(directory.site, actor),
                    f"'{actor}' has not said what it saw of the other logs; fetch again when it can"
                    " be reached",
                )
            )
    officers_ever, ended = with_former(directory, former)
    queries = QueryAudit(officers_ever, findings, ended)
    queries.run(opened)
    RefusalAudit(queries).run(opened)
    DecisionAudit(queries, officers_ever, policies).run(opened)
    EditionAudit(queries, policies, editions or {}).run(opened)
    grants = GrantAudit(queries, officers_ever, policies, present=present)
    grants.run(opened, opens_bodies=auditor is not None)
    counts, officers = queries.counts()
    order = {Severity.WRONG: 0, Severity.WARNING: 1, Severity.NOTE: 2}
    findings.sort(key=lambda f: (order[f.severity], f.origin, -1 if f.index is None else f.index))
    return Report(
        site=directory.site,
        auditor=auditor.name if auditor else None,
        logs=tuple(summaries),
        queries=tuple(counts),
        officers=tuple(officers),
        findings=tuple(findings),
    )


def _check_keys(directory: Directory, findings: list[Finding]) -> None:
    """Two names with one key are one party: what counts heads must not be told otherwise."""
    for names in directory.shared_keys():
        told = ", ".join(f"'{name}'" for name in names)
        only_boxes = all(directory.principals[name].duties <= {BOX} for name in names)
        findings.append(
            Finding(
                FindingKind.KEY_SHARED,
                Severity.WARNING if only_boxes else Severity.WRONG,
                origin_of(directory.site, names[0]),
                f"{told} have one and the same key: they are one party under several names; have "
                "the authority revoke all but one",
            )
        )


def open_entries(copy: LogCopy, auditor: AuditorKey | None) -> Iterable[OpenedEntry | None]:
    """Read every entry of a log, None where it is not one; bodies are opened where they can be."""
    actor = copy.origin.rpartition("/")[2]
    queries = NamedQueries()
    for index, data in enumerate(copy.entries):
        try:
            entry = Entry.parse(data)
        except ProtocolError:
            yield None
            continue
        body = None
        if auditor is not None:
            try:
                body = queries.filled_in(entry.open(auditor.name, auditor.key))
            except (ProtocolError, TypeError, ValueError):
                body = None
        yield OpenedEntry(actor, copy.origin, index, entry, body)


class _LogAudit:
    """Checks one log by itself: hashes, checkpoints, witnesses, times, actors."""

    def __init__(
        self,
        copy: LogCopy,
        directory: Directory,
        findings: list[Finding],
        now_ms: int,
        auditor: AuditorKey | None,
        *,
        witnessed: Mapping[str, Sequence[str]],
    ) -> None:
        self._copy = copy
        self._directory = directory
        self._findings = findings
        self._now_ms = now_ms
        self._auditor = auditor
        self._actor = copy.origin.rpartition("/")[2]
        self._witnessed = witnessed
        keeper = directory.principals.get(self._actor)
        duties = keeper.duties if keeper is not None else frozenset()
        self._foreign = (frozenset() if CUSTODIAN in duties else CUSTODIAN_KINDS) | (
            frozenset() if AGGREGATOR in duties else AGGREGATOR_KINDS
        )
        self._tree = MerkleTree(map(leaf_hash, copy.entries))

    def run(self) -> tuple[LogSummary, list[OpenedEntry]]:
        """Check the log; return its summary and its entries."""
        try:
            key = historic_keeper_key(self._directory, self._copy.origin)
        except UnknownSigner as error:
            self._find(FindingKind.LOG_UNKNOWN, str(error))
            key = None
        verified = self._verified(key)
        genuine = self._check_history(verified)
        opened = self._read_entries()
        witnesses = WitnessAudit(
            self._copy.origin, self._directory, self._findings, root_at=self._root_at
        )
        cosigned = [
            *witnesses.cosignatures(genuine),
            *witnesses.statements(self._witnessed, key, held=len(self._copy.entries)),
        ]
        signed_size = max((c.size for c, _ in genuine), default=0)
        cover = witnesses.check_cover(cosigned, opened, signed_size, now_ms=self._now_ms)
        self._check_times(opened, cosigned)
        newest_cosigned = max((size for size, _, _ in cosigned), default=0)
        summary = LogSummary(
            origin=self._copy.origin,
            entries=len(self._copy.entries),
            kinds=dict(sorted(Counter(o.entry.kind for o in opened).items())),
            first_ms=opened[0].entry.time_ms if opened else None,
            last_ms=opened[-1].entry.time_ms if opened else None,
            checkpoints=len({(c.size, c.root) for c, _ in verified}),
            signed_size=signed_size,
            cosigned_size=newest_cosigned,
            witnesses=tuple(sorted({w for size, w, _ in cosigned if size == newest_cosigned})),
            quorum=cover.quorum,
            covered_size=cover.size,
            uncovered_since_ms=cover.since_ms,
        )
        return summary, opened

    def _find(
        self,
        kind: FindingKind,
        message: str,
        *,
        severity: Severity = Severity.WRONG,
        index: int | None = None,
    ) -> None:
        self._findings.append(Finding(kind, severity, self._copy.origin, message, index))

    def _root_at(self, size: int) -> bytes:
        """Return the root over the first ``size`` entries that are held."""
        return self._tree.root(size)

    def _verified(self, key: VerifyKey | None) -> list[tuple[Checkpoint, str]]:
        """Return the checkpoints that the log really signed, by size."""
        if key is None:
            return []
        verified = []
        for text in self._copy.checkpoints:
            try:
                verified.append((verify_checkpoint(text, origin=self._copy.origin, key=key), text))
            except CheckpointInvalid as error:
                self._find(FindingKind.CHECKPOINT_INVALID, str(error))
        if not verified:
            self._find(
                FindingKind.CHECKPOINT_INVALID, "no signed checkpoint: nobody vouches for this log"
            )
        return sorted(verified, key=lambda item: item[0].size)

    def _check_history(
        self, verified: list[tuple[Checkpoint, str]]
    ) -> list[tuple[Checkpoint, str]]:
        """Hold every checkpoint against the entries; return those that they hash to."""
        by_size: dict[int, set[bytes]] = {}
        for checkpoint, _ in verified:
            by_size.setdefault(checkpoint.size, set()).add(checkpoint.root)
        for size in sorted(size for size, roots in by_size.items() if len(roots) > 1):
            self._find(
                FindingKind.LOG_FORKED,
                f"'{self._actor}' signed {len(by_size[size])} different histories of {size} "
                "entries: somebody was shown another log",
            )
        held = len(self._copy.entries)
        roots = {size: self._root_at(size) for size in by_size if size <= held}
        genuine = [(c, text) for c, text in verified if roots.get(c.size) == c.root]
        good = max((c.size for c, _ in genuine), default=0)
        newest = max(by_size, default=0)
        if newest > held:
            self._find(
                FindingKind.LOG_INCONSISTENT,
                f"there are {held} entries, but '{self._actor}' signed for {newest}: entries "
                "have been removed, or the copy is cut short",
            )
        wrong = sorted(s for s, r in by_size.items() if s <= held and roots[s] not in r)
        if wrong and wrong[-1] > good:
            self._find(
                FindingKind.ENTRY_ALTERED,
                f"the first {wrong[0]} entries are not those that were signed for: one was altered"
                + (f" after the first {good}" if good else ""),
            )
        elif wrong:
            self._find(
                FindingKind.LOG_INCONSISTENT,
                f"the history was rewritten: '{self._actor}' had signed for another one of "
                f"{wrong[0]} entries",
            )
        if good < held and not wrong:
            self._find(
                FindingKind.NOT_YET_SIGNED,
                f"{held - good} entries at the end are covered by no checkpoint",
                severity=Severity.WRONG if not genuine else Severity.NOTE,
            )
        return genuine

    def _read_entries(self) -> list[OpenedEntry]:
        opened = []
        not_ours: list[int] = []
        for index, item in enumerate(open_entries(self._copy, self._auditor)):
            if item is None:
                self._find(
                    FindingKind.ENTRY_MALFORMED,
                    "this is not an audit entry of a known kind",
                    index=index,
                )
                continue
            if item.entry.actor != self._actor:
                self._find(
                    FindingKind.ACTOR_FALSE,
                    f"the entry speaks for '{item.entry.actor}'",
                    index=index,
                )
            if item.entry.kind in self._foreign:
                self._find(
                    FindingKind.ACTOR_FALSE,
                    f"'{self._actor}' has no business to log a {item.entry.kind}",
                    index=index,
                )
            if self._auditor is not None and item.body is None:
                if self._auditor.name in item.entry.body:
                    self._find(
                        FindingKind.BODY_UNREADABLE,
                        "the body does not open: altered, or sealed to another key",
                        index=index,
                    )
                else:
                    not_ours.append(index)
            opened.append(item)
        if self._auditor is not None and not_ours:
            self._find(
                FindingKind.BODY_UNREADABLE,
                f"{len(not_ours)} entries, the last of them {not_ours[-1]}, are not sealed to "
                f"'{self._auditor.name}': let an auditor of that time judge them",
                severity=Severity.WARNING,
                index=not_ours[0],
            )
        return opened

    def _check_times(self, opened: list[OpenedEntry], cosigned: list[Cosignature]) -> None:
        """Entries follow in time; none is younger or older than its witnesses say it can be."""
        ahead = [o for o in opened if o.entry.time_ms > self._now_ms + CLOCK_TOLERANCE_MS]
        if ahead:
            self._find(
                FindingKind.TIME_WRONG,
                f"{len(ahead)} entries are dated after the time at which they were fetched: their "
                "keeper's clock is wrong, or yours was",
                index=ahead[0].index,
            )
        newest = 0
        for item in opened:
            if item.entry.time_ms < newest - CLOCK_TOLERANCE_MS:
                behind_s = (newest - item.entry.time_ms) // 1000
                self._find(
                    FindingKind.TIME_WRONG,
                    f"the entry is dated {behind_s} s before one that stands above it",
                    severity=Severity.WARNING,
                    index=item.index,
                )
            newest = max(newest, item.entry.time_ms)
        earliest: dict[int, int] = {}
        for size, _, time_ms in cosigned:
            earliest[size] = min(time_ms, earliest.get(size, time_ms))
        bounds = sorted(earliest.items())
        place = 0
        for item in opened:
            while place < len(bounds) and bounds[place][0] <= item.index:
                place += 1
            if place < len(bounds) and item.entry.time_ms > bounds[place][1] + CLOCK_TOLERANCE_MS:
                self._find(
                    FindingKind.TIME_WRONG,
                    "the entry is dated after the time at which witnesses had already seen it",
                    index=item.index,
                )
            before = bounds[place - 1][1] if place else 0
            if item.entry.time_ms < before - COSIGNING_DELAY_MS:
                self._find(
                    FindingKind.TIME_WRONG,
                    "the entry is dated before the time at which witnesses had seen the log end "
                    "above it",
                    index=item.index,
                )
