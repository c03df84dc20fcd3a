"""Lay an audit's report and log entries out for a terminal: tables and colours."""

from __future__ import annotations

from collections.abc import Iterable

from rich.table import Table

from officers.desk.audit_words import SHORT, actor_of, finding_text, moment, printable, summary
from protocol.audit_queries import OpenedEntry
from protocol.findings import Finding, OfficerCount, Report, Severity
from runtime.terminal import plain_table

_STYLES = {Severity.WRONG: "bold red", Severity.WARNING: "yellow", Severity.NOTE: "dim"}


def finding_line(finding: Finding) -> tuple[str, str]:
    """Return a finding as one line, and its style."""
    return finding_text(finding), _STYLES[finding.severity]


def entries_table(entries: Iterable[OpenedEntry]) -> Table:
    """Return log entries, one a row."""
    table = plain_table("time (UTC)", "log", "#", "kind", "query", "what")
    for item in entries:
        table.add_row(
            moment(item.entry.time_ms),
            actor_of(item.origin),
            str(item.index),
            item.entry.kind,
            item.entry.query_id.hex()[:SHORT] if item.entry.query_id else "",
            summary(item),
        )
    return table


def logs_table(report: Report) -> Table:
    """Return the logs: lengths, signatures, witnesses."""
    table = plain_table("log", "entries", "signed", "cosigned", "by", "witnesses", "from", "to")
    for log in report.logs:
        table.add_row(
            actor_of(log.origin),
            str(log.entries),
            str(log.signed_size),
            str(log.covered_size),
            f"{log.quorum} others",
            ", ".join(log.witnesses) or "none",
            moment(log.first_ms),
            moment(log.last_ms),
        )
    return table


def officers_table(report: Report) -> Table:
    """Return the officers: what each asked, approved, withdrew, decided and exported."""
    table = plain_table(
        "officer",
        "queries",
        "approvals",
        "withdrawals",
        "decisions",
        "exports",
        "grants asked",
        "approved",
    )
    for officer in report.officers:
        table.add_row(*_officer_cells(officer))
    return table


def _officer_cells(officer: OfficerCount) -> list[str]:
    return [
        printable(officer.name),
        *(
            str(number)
            for number in (
                officer.queries,
                officer.approvals,
                officer.withdrawals,
                officer.decisions,
                officer.exports,
                officer.grants_asked,
                officer.grants_approved,
            )
        ),
    ]
