"""Audit the logs offline: what was signed for, who agreed, and whether each opening was allowed.

PROTOCOL.md, "Audit log". Pure: takes the copies of the logs, the directory and the policies, gives
a report. It trusts no role: grants are authorized again here, from the signatures in their entries.
Without an auditor's key only what stands in the clear is checked, and the report says so.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from pymerkle import InmemoryTree

from protocol import hpke
from protocol.audit_grants import GrantAudit
from protocol.audit_queries import OpenedEntry, QueryAudit
from protocol.auditlog import (
    Checkpoint,
    Entry,
    origin_of,
    parse_checkpoint,
    root_of,
    verify_checkpoint,
    verify_cosignature,
)
from protocol.directory import AGGREGATOR, CUSTODIAN, Directory
from protocol.errors import CheckpointInvalid, ProtocolError, UnknownSigner
from protocol.findings import Finding, FindingKind, LogSummary, Report, Severity
from protocol.policy import Policy
from protocol.signing import VerifyKey

CLOCK_TOLERANCE_MS = 5 * 60_000
COSIGNING_DELAY_MS = 15 * 60_000


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


def log_keepers(directory: Directory) -> dict[str, str]:
    """Return who must keep a log: origin to actor, for every role in force."""
    keepers = [*directory.with_duty(CUSTODIAN), *directory.with_duty(AGGREGATOR)]
    return {origin_of(directory.site, p.name): p.name for p in keepers}


def audit(
    logs: Sequence[LogCopy],
    *,
    directory: Directory,
    policies: Mapping[bytes, Policy],
    now_ms: int,
    auditor: AuditorKey | None = None,
) -> Report:
    """Audit copies of the logs; never raises for what is wrong in them: that is the report.

    :param policies: every policy at hand, by digest; a grant is held against the one it names.
    :param now_ms: when the copies were taken: entries younger than a quarter of an hour need no
        cosignature yet.
    """
    findings: list[Finding] = []
    summaries: list[LogSummary] = []
    opened: list[OpenedEntry] = []
    keepers = log_keepers(directory)
    for copy in logs:
        summary, entries = _LogAudit(copy, directory, findings, now_ms, auditor).run()
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
    queries = QueryAudit(directory, findings)
    queries.run(opened)
    grants = GrantAudit(queries, directory, policies, present=present)
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


def open_entries(copy: LogCopy, auditor: AuditorKey | None) -> Iterable[OpenedEntry | None]:
    """Read every entry of a log, None where it is not one; bodies are opened where they can be."""
    actor = copy.origin.rpartition("/")[2]
    for index, data in enumerate(copy.entries):
        try:
            entry = Entry.parse(data)
        except ProtocolError:
            yield None
            continue
        body = None
        if auditor is not None:
            try:
                body = entry.open(auditor.name, auditor.key)
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
    ) -> None:
        self._copy = copy
        self._directory = directory
        self._findings = findings
        self._now_ms = now_ms
        self._auditor = auditor
        self._actor = copy.origin.rpartition("/")[2]

    def run(self) -> tuple[LogSummary, list[OpenedEntry]]:
        """Check the log; return its summary and its entries."""
        try:
            key = self._keeper_key(self._actor, self._copy.origin)
        except UnknownSigner as error:
            self._find(FindingKind.LOG_UNKNOWN, str(error))
            key = None
        verified = self._verified(key)
        genuine = self._check_history(verified)
        opened = self._read_entries()
        cosigned = self._cosignatures(genuine)
        self._check_witnesses(genuine, cosigned, opened)
        self._check_times(opened, cosigned)
        newest_cosigned = max((size for size, _, _ in cosigned), default=0)
        summary = LogSummary(
            origin=self._copy.origin,
            entries=len(self._copy.entries),
            kinds=dict(sorted(Counter(o.entry.kind for o in opened).items())),
            first_ms=opened[0].entry.time_ms if opened else None,
            last_ms=opened[-1].entry.time_ms if opened else None,
            checkpoints=len({(c.size, c.root) for c, _ in verified}),
            signed_size=max((c.size for c, _ in genuine), default=0),
            cosigned_size=newest_cosigned,
            witnesses=tuple(sorted({w for size, w, _ in cosigned if size == newest_cosigned})),
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

    def _keeper_key(self, actor: str, origin: str) -> VerifyKey:
        principal = self._directory.principals.get(actor)
        if (
            principal is None
            or not principal.duties & {CUSTODIAN, AGGREGATOR}
            or origin != origin_of(self._directory.site, actor)
        ):
            raise UnknownSigner(f"the directory knows nobody who keeps the log '{origin}'")
        return principal.verify_key

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
        tree = InmemoryTree(algorithm="sha256")
        tree.append_entries(list(self._copy.entries))
        roots = {
            size: bytes(tree.get_root(size)) if size else root_of(())
            for size in by_size
            if size <= held
        }
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

    def _cosignatures(self, genuine: list[tuple[Checkpoint, str]]) -> list[tuple[int, str, int]]:
        """Return size, witness and time (ms) of every true cosignature on a true checkpoint."""
        found = []
        for checkpoint, text in genuine:
            for name, _ in parse_checkpoint(text)[1]:
                if name == self._copy.origin:
                    continue
                witness = name.rpartition("/")[2]
                try:
                    key = self._keeper_key(witness, name)
                    time_s = verify_cosignature(text, witness=name, key=key)
                except (CheckpointInvalid, UnknownSigner) as error:
                    self._find(FindingKind.CHECKPOINT_INVALID, str(error))
                    continue
                found.append((checkpoint.size, witness, time_s * 1000))
        return found

    def _check_witnesses(
        self,
        genuine: list[tuple[Checkpoint, str]],
        cosigned: list[tuple[int, str, int]],
        opened: list[OpenedEntry],
    ) -> None:
        """As many witnesses as custodians must grant are enough; who else is missing is noted."""
        others = {
            actor for o, actor in log_keepers(self._directory).items() if actor != self._actor
        }
        needed = min(self._directory.threshold, len(others))
        behind: dict[str, int] = dict.fromkeys(others, 0)
        for size, witness, _ in cosigned:
            behind[witness] = max(behind.get(witness, 0), size)
        reach = sorted(behind.values(), reverse=True)
        covered = reach[needed - 1] if needed else 0
        last = max((c.size for c, _ in genuine), default=0)
        due_ms = self._now_ms - COSIGNING_DELAY_MS
        late = [o for o in opened if covered <= o.index < last and o.entry.time_ms < due_ms]
        if needed and late:
            self._find(
                FindingKind.COSIGNATURES_MISSING,
                f"from entry {late[0].index} on fewer than {needed} witnesses have cosigned: "
                "another history may have been shown to somebody else",
            )
        for witness, size in sorted(behind.items()):
            if size < last and not late:
                self._find(
                    FindingKind.COSIGNATURES_MISSING,
                    f"'{witness}' has cosigned the first {size} of {last} entries",
                    severity=Severity.NOTE,
                )

    def _check_times(self, opened: list[OpenedEntry], cosigned: list[tuple[int, str, int]]) -> None:
        """Entries follow in time; none is younger or older than its witnesses say it can be."""
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
