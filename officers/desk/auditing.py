"""Verify fetched logs offline, and read their entries: nothing is asked of anybody."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from officers.desk.audit_copy import AuditCopy
from officers.desk.audit_words import actor_of
from officers.desk.officer import Officer
from protocol.audit import AuditorKey, audit, open_entries
from protocol.audit_queries import OpenedEntry
from protocol.directory import AUDITOR
from protocol.findings import Report


@dataclass(frozen=True, slots=True)
class Verified:
    """What an audit found; ``sound`` if nothing is wrong and every file could be read."""

    copy: AuditCopy
    report: Report

    @property
    def sound(self) -> bool:
        """Whether nothing is wrong, with the logs and with the copy of them."""
        return not self.report.wrong and not self.copy.damaged


@dataclass(frozen=True, slots=True)
class Selection:
    """Which entries to read; what is empty chooses all.

    ``query`` is the beginning of a query's id (hex), ``log`` a role's name.
    """

    query: str = ""
    kinds: Collection[str] = ()
    log: str = ""
    since_ms: int = 0

    def takes(self, item: OpenedEntry) -> bool:
        """Tell whether an entry is among them."""
        entry = item.entry
        return (
            (not self.log or actor_of(item.origin) == self.log)
            and (not self.kinds or entry.kind in self.kinds)
            and (entry.query_id or b"").hex().startswith(self.query.lower())
            and entry.time_ms >= self.since_ms
        )


def may_open_bodies(copy: AuditCopy, officer: Officer) -> bool:
    """Tell whether the entries of these logs are sealed to this officer too."""
    listed = copy.directory.principals.get(officer.name)
    return listed is not None and AUDITOR in listed.duties


def verify_logs(copy: AuditCopy, auditor: AuditorKey | None = None) -> Verified:
    """Judge the logs, their witnesses, and whether everything granted was approved.

    Args:
        copy: from `read_audit_copy`.
        auditor: opens the bodies; without it only what is in the clear is judged.
    """
    report = audit(
        copy.logs,
        directory=copy.directory,
        policies=copy.policies,
        now_ms=copy.fetched_ms,
        auditor=auditor,
        witnessed=copy.witnessed,
        editions=copy.editions,
        former=copy.former,
    )
    return Verified(copy, report)


def read_entries(
    copy: AuditCopy, auditor: AuditorKey | None = None, selection: Selection | None = None
) -> list[OpenedEntry]:
    """Return entries of all logs in order of time. Reading is not verifying.

    Args:
        copy: from `read_audit_copy`.
        auditor: opens the bodies.
        selection: which; None for all.
    """
    wanted = selection or Selection()
    chosen = [
        item
        for log in copy.logs
        for item in open_entries(log, auditor)
        if item is not None and wanted.takes(item)
    ]
    return sorted(chosen, key=lambda item: (item.entry.time_ms, item.origin, item.index))
